#!/usr/bin/env bash
# Runs a command with each Triton of requirements/ in turn: the oldest (lower), a GPU machine's (rehearsal), the newest
# (default). Each lies in a folder of its own in .tools/ and comes before the environment's; torch stays what it is.
#
#   scripts/each_triton.sh PYTHON ARG...
set -euo pipefail
cd "$(dirname "$0")/.."
uv=$(scripts/find_uv.sh)
tag=$("$1" -c 'import sys; print("py%d%d" % sys.version_info[:2])')

code=0
for set in lower rehearsal default; do
    # The version with its hashes.
    wanted=$(sed -n '/^triton==/,/[^\\]$/p' "requirements/$set.txt")
    version=$(sed -n 's/^triton==\([^ ;]*\).*/\1/p' <<<"$wanted")
    folder=.tools/triton/$version-$tag
    if [ ! -d "$folder/triton" ]; then
        "$uv" pip install --quiet --no-deps --require-hashes --python "$1" --target "$folder" -r /dev/stdin <<<"$wanted"
    fi
    echo "== triton $version"
    PYTHONPATH=$folder${PYTHONPATH:+:$PYTHONPATH} "$@" || code=$?
done
exit "$code"

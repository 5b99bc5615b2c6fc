#!/usr/bin/env bash
# Rehearses parts a and b of `python -m benchmarks gpu` as they will run on a lent GPU machine, but without a GPU: a bare
# copy of the last commit without .git, with the pack of scripts/gpu_pack.sh, in the rehearsal environment without the
# packages that such a machine lacks, and without a network for pip.
#
#   scripts/gpu_rehearse.sh [PHOTOS]    PHOTOS: as scripts/gpu_pack.sh takes them; without: what .gpu holds already
#
#   OUT=DIR      where a.txt, a.tar.gz, b.txt, b.tar.gz go (default: a new folder in /tmp)
#   PARTS="a b"  which parts
set -euo pipefail
cd "$(dirname "$0")/.."

uv=$(scripts/find_uv.sh)
rehearsal=.venv-rehearsal
[ -x "$rehearsal/bin/python" ] || { echo "gpu_rehearse: no $rehearsal: run \`make gpu-rehearsal\`" >&2; exit 1; }
work=$(mktemp -d /tmp/gpu-rehearsal-XXXX)
trap 'rm -rf "$work"' EXIT
export OUT=${OUT:-$(mktemp -d /tmp/gpu-out-XXXX)}

if [ $# -gt 0 ] || [ ! -d .gpu ]; then scripts/gpu_pack.sh "$@"; fi
git archive HEAD | tar -x -C "$work" --one-top-level=checkout
cp -r .gpu "$work/checkout/.gpu"

# A venv over the rehearsal's packages but for those that a GPU machine's image lacks: links cost nothing.
"$uv" venv --quiet --seed --python "$rehearsal/bin/python" "$work/venv"
from=$(echo "$rehearsal"/lib/python3*/site-packages) to=$(echo "$work"/venv/lib/python3*/site-packages)
for path in "$PWD/$from"/*; do
    case ${path##*/} in
        ffcv* | fastargs* | antialiased_cnns* | isal* | terminaltables* | engine.pth | _virtualenv*) ;;
        *) [ -e "$to/${path##*/}" ] || ln -s "$path" "$to/" ;;
    esac
done

cd "$work/checkout"
export PATH=$work/venv/bin:$PATH SITE=$work/site
unset VIRTUAL_ENV PYTHONPATH
unpacked=$(PYTHON=python3 scripts/gpu_unpack.sh)
eval "$unpacked"
code=0
for part in ${PARTS:-a b}; do
    python3 -m benchmarks gpu "$part" --rehearse || code=$?
done
echo "gpu_rehearse: $(find "$OUT" -type f | wc -l) files in $OUT, $(du -sk "$OUT" | cut -f1) KB; exit code $code"
exit "$code"

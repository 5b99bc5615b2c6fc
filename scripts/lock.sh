#!/usr/bin/env bash
# Regenerates requirements/*.txt from pyproject.toml: exact versions with hashes, valid for Python 3.11 to 3.13 on
# Linux. Run by `make lock` after a change of dependencies; UPGRADE=1 also moves to the newest versions allowed.
#
#   default.txt  what training needs, the newest set that works together, and ffcv
#   wheel.txt    default.txt without ffcv: what the wheel needs; all that pip can install by hashes (environment.yml)
#   dev.txt      default.txt plus what tests and lint need
#   lower.txt    the same as dev.txt on the oldest torch supported (see lower.in), for V100s and older drivers
#   rehearsal.txt the same as dev.txt on a GPU machine's ready-made stack (see rehearsal.in)
#   build.txt    what building ffcv from source needs
#   uv.txt       the uv that set-up installs when there is none on PATH
#
# No registry's host may appear in these files, hence --no-header and no --emit-index-url.
set -euo pipefail
cd "$(dirname "$0")/.."
uv=$(scripts/find_uv.sh)

upgrade=()
if [ -n "${UPGRADE:-}" ]; then upgrade=(--upgrade); fi

python=3.11
# compile NAME ARG...: one version of a package for all Pythons (fork-strategy), old pins kept unless UPGRADE is set.
compile() {
    local out=requirements/$1.txt; shift
    echo "lock: $out"
    UV_CUSTOM_COMPILE_COMMAND="make lock" "$uv" pip compile --quiet --universal --python-version "$python" \
        --fork-strategy fewest --generate-hashes --no-header --output-file "$out" "${upgrade[@]}" "$@" >/dev/null
    sed -i '1i # Made by `make lock` from pyproject.toml: do not edit.' "$out"
}

linux='; sys_platform == "linux"'
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
echo "setuptools $linux" >"$work/build.in"
echo "uv $linux" >"$work/uv.in"

compile default pyproject.toml --extra ffcv
compile wheel pyproject.toml --constraint requirements/default.txt
compile dev pyproject.toml --extra dev --constraint requirements/default.txt
compile lower pyproject.toml --extra dev --constraint requirements/lower.in
python=3.12 compile rehearsal pyproject.toml --extra dev --constraint requirements/rehearsal.in
compile build "$work/build.in" --constraint requirements/default.txt --no-annotate
compile uv "$work/uv.in" --no-annotate

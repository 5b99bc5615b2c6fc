#!/usr/bin/env bash
# Prints the path of a usable uv: the user's own when it is on PATH and new enough, else a private copy in .tools/,
# installed there at the version and hashes of requirements/uv.txt. A small venv of its own keeps the system's
# Python untouched (PEP 668). With --can it installs nothing and only says by its exit code whether it could.
set -euo pipefail
cd "$(dirname "$0")/.."
oldest="0.5.0" # what set-up asks of uv (build constraints with hashes) was settled well before

version_of() { "$1" --version 2>/dev/null | awk '{print $2}'; }

python_with_venv() {
    local python
    for python in /usr/bin/python3 python3; do
        if "$python" -c 'import ensurepip, venv' 2>/dev/null; then echo "$python"; return; fi
    done
}

found=$(command -v uv || true)
if [ -n "$found" ]; then
    version=$(version_of "$found" || true)
    if [ -n "$version" ] && [ "$(printf '%s\n' "$oldest" "$version" | sort -V | sed -n 1p)" = "$oldest" ]; then
        echo "$found"
        exit 0
    fi
fi

wanted=$(sed -n 's/^uv==\([^ ;]*\).*/\1/p' requirements/uv.txt)
have=$(version_of .tools/bin/uv || true)
if [ "${1:-}" = --can ]; then
    [ -n "$have" ] || [ -n "$(python_with_venv)" ]
    exit
fi
if [ -z "$wanted" ]; then
    echo "setup: requirements/uv.txt names no version of uv: restore it from git" >&2
    exit 1
fi
if [ "$have" != "$wanted" ]; then
    python=$(python_with_venv)
    if [ -z "$python" ]; then
        echo "setup: no uv on PATH and no python3 that can make a venv: install python3-venv, or uv" >&2
        exit 1
    fi
    echo "setup: installing uv $wanted into .tools/" >&2
    mkdir -p .tools
    if ! { "$python" -m venv .tools && .tools/bin/python -m pip install --quiet --disable-pip-version-check \
        --no-input --require-hashes --only-binary :all: -r requirements/uv.txt; } >.tools/uv.log 2>&1; then
        { grep -v '^$' .tools/uv.log || true; } | tail -n 3 >&2
        echo "setup: could not install uv $wanted: is there a network? (details: .tools/uv.log)" >&2
        exit 1
    fi
fi
echo "$PWD/.tools/bin/uv"

#!/usr/bin/env bash
# Prints the path of a usable uv: the user's own when it is on PATH and new enough, else a private copy in .tools/,
# installed there at the version and hashes of requirements/uv.txt. A small venv of its own keeps the system's
# Python untouched (PEP 668).
set -euo pipefail
cd "$(dirname "$0")/.."
oldest="0.5.0" # the first uv known here to take --build-constraints with hashes

found=$(command -v uv || true)
if [ -n "$found" ]; then
    version=$("$found" --version 2>/dev/null | awk '{print $2}') || version=""
    if [ -n "$version" ] && [ "$(printf '%s\n' "$oldest" "$version" | sort -V | head -n 1)" = "$oldest" ]; then
        echo "$found"
        exit 0
    fi
    echo "setup: the uv on PATH (${version:-broken}) is older than $oldest; using a private copy" >&2
fi

wanted=$(sed -n 's/^uv==\([^ ;]*\).*/\1/p' requirements/uv.txt)
if [ -z "$wanted" ]; then
    echo "setup: requirements/uv.txt names no version of uv: restore it from git" >&2
    exit 1
fi
if [ "$(.tools/bin/uv --version 2>/dev/null | awk '{print $2}')" != "$wanted" ]; then
    echo "setup: installing uv $wanted into .tools/" >&2
    mkdir -p .tools
    python=$(for p in /usr/bin/python3 python3; do
        "$p" -c 'import ensurepip, venv' 2>/dev/null && { echo "$p"; break; }
    done || true)
    if [ -z "$python" ]; then
        echo "setup: no uv on PATH and no python3 that can make a venv: install python3-venv, or uv" >&2
        exit 1
    fi
    if ! { "$python" -m venv .tools && .tools/bin/python -m pip install --quiet --disable-pip-version-check \
        --no-input --require-hashes --only-binary :all: -r requirements/uv.txt; } >.tools/uv.log 2>&1; then
        tail -n 5 .tools/uv.log >&2
        echo "setup: could not install uv $wanted: is there a network? (details: .tools/uv.log)" >&2
        exit 1
    fi
fi
echo "$PWD/.tools/bin/uv"

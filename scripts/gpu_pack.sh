#!/usr/bin/env bash
# Makes the folder .gpu to carry to a GPU machine without a network: wheels that its image lacks (Python 3.12), the built C
# library with libjpeg, and photos. There, scripts/gpu_unpack.sh puts them in place.
#
#   scripts/gpu_pack.sh [PHOTOS]    PHOTOS: a folder or tar of images; 200 of them are taken
#
#   PYTHON=X     the Python whose pip fetches the wheels (default: .venv/bin/python, else python3)
set -euo pipefail
cd "$(dirname "$0")/.."

photos=${1:-}
folder=.gpu
limit_mb=60
python=${PYTHON:-.venv/bin/python}
[ -x "$python" ] || python=$(command -v python3)
# Pure Python, or with wheels for Python 3.12; the versions are those of the rehearsal.
packages="antialiased-cnns fastargs isal terminaltables psutil tqdm pyyaml packaging"

die() { echo "gpu_pack: $*" >&2; exit 1; }

rm -rf "$folder"
mkdir -p "$folder/wheels" "$folder/native" "$folder/photos"

wanted=()
for name in $packages; do
    version=$(sed -n "s/^$name==\([^ ]*\).*/\1/p" requirements/rehearsal.txt)
    [ -n "$version" ] || die "requirements/rehearsal.txt has no $name"
    wanted+=("$name==$version")
done
# Everything that has no wheel is built into one; it is pure Python then.
"$python" -m pip --version >/dev/null 2>&1 || python=$(command -v python3)
"$python" -m pip download -q --no-deps --only-binary=:all: --python-version 3.12 --implementation cp \
    --platform manylinux_2_28_x86_64 --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 \
    -d "$folder/wheels" "${wanted[@]}" 2>/dev/null ||
    for one in "${wanted[@]}"; do
        "$python" -m pip download -q --no-deps --only-binary=:all: --python-version 3.12 --implementation cp \
            --platform manylinux_2_28_x86_64 --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 \
            -d "$folder/wheels" "$one" 2>/dev/null ||
            "$python" -m pip wheel -q --no-deps -w "$folder/wheels" "$one" || die "can't fetch $one"
    done

library=$(ls engine/data/native/libengine-x86_64-*.so 2>/dev/null | head -n 1) ||
    die "the C library is not built: run \`make setup\`"
[ -n "$library" ] || die "the C library is not built: run \`make setup\`"
cp "$library" "$folder/native/"
# The library names these; an image of a GPU machine may lack them.
ldd "$library" | awk '/libjpeg|libturbojpeg/ { print $3 }' | xargs -r -I{} cp -L {} "$folder/native/"

if [ -d "$photos" ]; then
    find -L "$photos" -iname '*.jp*g' | sort | head -n 200 | xargs -d '\n' -I{} cp {} "$folder/photos/"
elif [ -f "$photos" ]; then
    tar -tf "$photos" | grep -i '\.jpe\?g$' | sort | head -n 200 >"$folder/list"
    tar -xf "$photos" -C "$folder/photos" --transform 's,.*/,,' -T "$folder/list"
    rm "$folder/list"
elif [ -n "$photos" ]; then
    die "$photos does not exist: give a folder or a tar of images"
fi
rmdir "$folder/photos" 2>/dev/null || true

size=$(du -sm "$folder" | cut -f1)
files=$(find "$folder" -type f | wc -l)
[ "$size" -le "$limit_mb" ] || die "$folder has $size MB, more than $limit_mb: give fewer or smaller photos"
echo "gpu_pack: $folder holds $files files, $size MB (limit $limit_mb)"

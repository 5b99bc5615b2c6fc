#!/usr/bin/env bash
# Sets up this machine: missing system packages (Debian/Ubuntu; macOS by scripts/setup_macos.sh), uv, and the locked
# environment. Written for bash 3.2, which macOS has.
#
#   scripts/setup.sh [setup|speedrun|test|lint|bench|gpu] [auto|default|dev|lower|rehearsal]
#
# The first word is the purpose: `speedrun` also installs Fashion-MNIST's package, `test` the developer's tools and
# Chromium with its driver for pages. The second is a set in requirements/; `auto` chooses the one that is needed, and
# `lower` if the GPU or its driver is too old for the newest torch. `rehearsal` needs Python 3.12.
#
#   VENV=DIR      where the environment goes (.venv)
#   UV_PYTHON=X   the Python to use (3.12, or a path), else a suitable one on this machine, else uv fetches one
#
# Quiet and quick when nothing is to do; safe to run twice at once. Works from any folder. Without root or sudo, or without
# apt, it says which system packages are missing, what is lost with them, and does the rest.
set -euo pipefail
cd "$(dirname "$0")/.."

purpose=${1:-setup}
set_wanted=${2:-auto}
venv=${VENV:-.venv}
stamp=$venv/.engine-setup
log=.tools/setup.log

case $purpose in
    setup | speedrun | test | lint | bench | gpu) ;;
    *) echo "setup: unknown purpose '$purpose'" >&2; exit 2 ;;
esac
case $set_wanted in
    auto | default | dev | lower | rehearsal) ;;
    *) echo "setup: unknown set '$set_wanted' (choose from auto, default, dev, lower, rehearsal)" >&2; exit 2 ;;
esac

say() { echo "setup: $*"; }
die() { echo "setup: $*" >&2; exit 1; }

sha256() { if command -v sha256sum >/dev/null; then sha256sum; else shasum -a 256; fi; }

# hash_of SET: changes whenever what would be installed changes.
hash_of() { cat "requirements/$1.txt" requirements/build.txt | sha256 | cut -c1-16; }

needs_dev() { [ "$purpose" != speedrun ] && [ "$purpose" != bench ]; }

# The set in place, when it is complete and up to date, else nothing.
set_in_place() {
    local name hash without
    [ -x "$venv/bin/python" ] && read -r name hash without 2>/dev/null <"$stamp" || return 0
    # ffcv is made up for as soon as it can be built.
    if [ -n "$without" ] && can_build_ffcv; then return 0; fi
    if [ -r "requirements/$name.txt" ] && [ "$(hash_of "$name")" = "$hash" ]; then echo "$name"; fi
}

# dev and lower hold all that default holds; lower stays once chosen, until another is asked for by name.
satisfied() {
    local have; have=$(set_in_place)
    case $set_wanted/$purpose/$have in
        */*/) false ;;
        auto/*/dev | auto/*/lower) true ;;
        auto/*) ! needs_dev ;;
        *) [ "$have" = "$set_wanted" ] ;;
    esac
}

# ---- system packages ------------------------------------------------------------------------------------------------

has_python_h() { "$1" -c 'import os, sysconfig as s; open(os.path.join(s.get_path("include"), "Python.h"))' 2>/dev/null; }

suitable() { "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; }

# The Python to build the environment from: the user's choice, else a suitable one that has its headers, else nothing.
find_python() {
    if [ -n "${UV_PYTHON:-}" ]; then echo "$UV_PYTHON"; return; fi
    local name path names=(python3 python3.12 python3.13 python3.11 /usr/bin/python3)
    if [ "$set_wanted" = rehearsal ]; then names=(python3.12 "${PYENV_ROOT:-${HOME:-}/.pyenv}"/versions/3.12*/bin/python); fi
    for name in "${names[@]}"; do
        path=$(command -v "$name") || continue
        if suitable "$path" && has_python_h "$path"; then "$path" -c 'import sys; print(sys.executable)'; return; fi
    done
}

missing_packages() {
    local packages=()
    command -v g++ >/dev/null || packages+=(g++)
    if command -v pkg-config >/dev/null; then
        pkg-config --exists libturbojpeg || packages+=(libturbojpeg0-dev)
        pkg-config --exists opencv4 || packages+=(libopencv-dev)
        pkg-config --exists libjpeg || packages+=(libjpeg-dev)
    else
        packages+=(pkg-config libturbojpeg0-dev libopencv-dev libjpeg-dev)
    fi
    # A private uv needs a Python that can make a venv; building ffcv needs the headers of the Python it is built for.
    # A system's Python outside 3.11 to 3.13 is no use for the latter: uv will fetch one, headers included.
    if ! scripts/find_uv.sh --can >/dev/null; then packages+=(python3-venv); fi
    if [ -z "$(find_python)" ] && { [ ! -x /usr/bin/python3 ] || suitable /usr/bin/python3; } &&
        ! has_python_h /usr/bin/python3; then
        packages+=(python3-dev)
    fi
    echo "${packages[*]-}"
}

# Things one purpose would like and can do without; each is tried once, and again by a plain `make setup`.
wished_packages() {
    local packages=()
    if [ "$purpose" = speedrun ] && [ ! -d /usr/share/datasets/fashion-mnist ]; then packages+=(dataset-fashion-mnist); fi
    if [ "$purpose" = test ]; then
        command -v chromium chromium-browser google-chrome >/dev/null || packages+=(chromium)
        command -v chromedriver >/dev/null || packages+=(chromium-driver)
        command -v git >/dev/null || packages+=(git)
        # A Slurm of one node.
        command -v slurmctld >/dev/null || packages+=(slurmctld)
        command -v slurmd >/dev/null || packages+=(slurmd)
        command -v sbatch >/dev/null || packages+=(slurm-client)
        command -v munged >/dev/null || packages+=(munge)
    fi
    local name
    for name in ${packages[@]+"${packages[@]}"}; do [ -e ".tools/tried-$name" ] || echo "$name"; done
}

as_root() {
    local sudo=(); [ "$(id -u)" = 0 ] || sudo=(sudo)
    ${sudo[@]+"${sudo[@]}"} env DEBIAN_FRONTEND=noninteractive "$@"
}

can_be_root() {
    [ "$(id -u)" = 0 ] && return 0
    command -v sudo >/dev/null || return 1
    [ -t 0 ] || sudo -n true 2>/dev/null # with a terminal, sudo may ask for the password
}

apt_update() {
    [ -z "${apt_updated:-}" ] || return 0
    apt_updated=1
    as_root apt-get update -q </dev/null >>"$log" 2>&1
}

apt_install() {
    as_root apt-get install -y -q --no-install-recommends "$@" </dev/null >>"$log" 2>&1
}

# lacks NAME...: whether one of these packages is missing.
lacks() {
    local name missing; missing=$(missing_packages)
    for name; do [[ " $missing " != *" $name "* ]] || return 0; done
    return 1
}

for_decoders=(g++ pkg-config libjpeg-dev)
for_ffcv=(g++ pkg-config libturbojpeg0-dev libopencv-dev python3-dev)

# Asked once, and again after an installation.
can_build_ffcv() {
    if [ -z "${buildable:-}" ]; then buildable=yes; ! lacks "${for_ffcv[@]}" || buildable=no; fi
    [ "$buildable" = yes ]
}

# go_without WHY HELP: what is lost with the packages that are missing here, and what would bring them.
go_without() {
    say "$1: these system packages are missing: $(missing_packages)" >&2
    if lacks "${for_decoders[@]}"; then
        say "without ${for_decoders[*]}: JPEGs are decoded by Pillow, not in C, which is slower; raw and yuv420 in numba" >&2
    fi
    can_build_ffcv || say "without ${for_ffcv[*]}: no ffcv, which comparisons with it need and nothing else" >&2
    say "all else works. $2; then run this again" >&2
    ! lacks python3-venv ||
        die "no uv, and no python3 that can make a venv for it: install uv for yourself (https://docs.astral.sh/uv), then try again"
}

install_system_packages() {
    local missing; missing=$(missing_packages)
    [ -n "$missing" ] || return 0
    local system; system=$(. /etc/os-release 2>/dev/null && echo "${PRETTY_NAME:-unknown}") || system=unknown
    if ! command -v apt-get >/dev/null; then
        go_without "no apt-get on this system ($system)" "An administrator can install the equivalents of Debian's $missing"
        return
    elif ! can_be_root; then
        go_without "no root here, and no sudo" "An administrator can type: apt-get install $missing"
        return
    fi
    say "installing system packages (a few minutes): $missing"
    apt_update || true # an unreachable extra source must not stop what the others have
    # shellcheck disable=SC2086
    apt_install $missing || {
        { grep -E '^E:|Err:' "$log" || true; } | tail -n 4 >&2
        die "apt-get could not install: $missing (no network, or not in this system's sources? details: $log)"
    }
    buildable=
    missing=$(missing_packages)
    [ -z "$missing" ] || die "still missing after installation: $missing (details: $log)"
}

install_wished_packages() {
    local wished=$1 name
    command -v apt-get >/dev/null && can_be_root || { for name in $wished; do touch ".tools/tried-$name"; done; return 0; }
    for name in $wished; do
        touch ".tools/tried-$name"
        # Lists may be absent (container images) or old: refresh once, then ask whether there is anything to install.
        apt_update || true
        if [[ $(LC_ALL=C apt-cache policy "$name" 2>/dev/null) != *"Candidate: "[0-9]* ]]; then
            say "$name is not in this system's sources: continuing without it"
            continue
        fi
        say "installing optional system package: $name"
        apt_install "$name" || say "could not install $name: continuing without it (details: $log)"
    done
}

# ---- the environment ------------------------------------------------------------------------------------------------

# CUDA 13, which the newest torch is built for, left out GPUs before 7.5 and drivers before 580.
gpu_too_old() {
    local driver capability
    # Asked for apart: a driver before 510 knows no compute_cap, and is too old whatever the GPU.
    driver=$(ask_gpu driver_version) && capability=$(ask_gpu compute_cap) || return 1
    case ${driver%%.*} in "" | *[!0-9]*) ;; *) [ "${driver%%.*}" -ge 580 ] || return 0 ;; esac
    case ${capability/./} in "" | *[!0-9]*) return 1 ;; *) [ "${capability/./}" -lt 75 ] ;; esac
}

# The lowest value of a property among this machine's GPUs.
ask_gpu() {
    command -v nvidia-smi >/dev/null || return 1
    { nvidia-smi --query-gpu="$1" --format=csv,noheader 2>/dev/null || true; } | sort -V | sed -n 1p
}

choose_set() {
    local before=none
    read -r before _ 2>/dev/null <"$stamp" || true
    if [ "$set_wanted" != auto ]; then
        echo "$set_wanted"
    elif [ "$before" = lower ] || [ "$before" = dev ]; then
        echo "$before"
    elif gpu_too_old; then
        say "this GPU or its driver is too old for the newest torch: installing the set lower (an older torch)" >&2
        echo lower
    elif needs_dev; then
        echo dev
    else
        echo default
    fi
}

# run_uv WHAT ARG...: uv with its own progress on a terminal, into the log elsewhere; ends set-up when it fails.
run_uv() {
    local what=$1; shift
    # As ffcv asks for every OpenCV library by name, --as-needed keeps the three it uses.
    local -x LDFLAGS="$linker_flags ${LDFLAGS:-}"
    if [ -t 2 ]; then
        "$uv" "$@" || die "could not $what: see above"
        return 0
    fi
    if "$uv" "$@" >>"$log" 2>&1; then return 0; fi
    tail -n 6 "$log" >&2
    local last; last=$(tail -n 30 "$log")
    if grep -qi 'hash mismatch' <<<"$last"; then
        die "could not $what: a downloaded package does not have the locked hash; $log names it"
    elif grep -qi 'certificate' <<<"$last"; then
        die "could not $what: this network's TLS certificate is not trusted here; add its CA to the system's (details: $log)"
    elif grep -qiE 'dns error|failed to fetch|failed to download|connection|timed out|unreachable' <<<"$last"; then
        die "could not $what: the network or the package index can't be reached (details: $log)"
    elif grep -qi 'no space left' <<<"$last"; then
        die "could not $what: the disk is full; about 12 GB are needed, uv's cache included (details: $log)"
    fi
    die "could not $what (details: $log)"
}

linker_flags=-Wl,--as-needed

# Packages that are not installed, where something is left out.
left_out='^ffcv==' # as far as can_build_ffcv

# The file to install of a set: all of it, or a copy without what is left out.
requirements_of() {
    if can_build_ffcv; then echo "requirements/$1.txt"; return; fi
    awk -v left_out="$left_out" '/^[^ #]/ { out = $0 ~ left_out } !out' "requirements/$1.txt" >".tools/$1-without.txt"
    echo ".tools/$1-without.txt"
}

imports() {
    local ffcv=; if can_build_ffcv; then ffcv=', ffcv'; fi
    "$venv/bin/python" -c "import torch, torchvision$ffcv" >>"$log" 2>&1
}

# uv keeps packages and Pythons in the user's home; where there is none that can be written, here.
find_room_for_uv() {
    local cache=${UV_CACHE_DIR:-${XDG_CACHE_HOME:-${HOME:+$HOME/.cache}}}
    if [ -n "$cache" ] && mkdir -p "$cache" 2>/dev/null && [ -w "$cache" ]; then return; fi
    export UV_CACHE_DIR=$PWD/.tools/uv-cache UV_PYTHON_INSTALL_DIR=$PWD/.tools/uv-python
    say "no home folder that can be written: uv keeps its files in .tools"
}

install_environment() {
    local name python without=
    uv=$(scripts/find_uv.sh)
    find_room_for_uv
    # Trust what the system trusts (a company's CA), where it has a store at all.
    if [ -s /etc/ssl/certs/ca-certificates.crt ]; then export UV_SYSTEM_CERTS=${UV_SYSTEM_CERTS:-1}; fi
    name=$(choose_set)
    python=$(find_python)
    if [ -z "$python" ]; then
        python=3.12
        say "no Python 3.11 to 3.13 with headers found: uv will provide $python"
    fi
    if ! suitable "$venv/bin/python" || [ -n "${UV_PYTHON:-}" ]; then
        run_uv "make $venv with Python $python" venv --clear --python "$python" "$venv"
    fi
    say "installing the locked environment ($name) into $venv: about 3 GB to download the first time"
    echo "$name incomplete" >"$stamp"
    local sync=(pip sync --python "$venv/bin/python" --require-hashes
        --build-constraints requirements/build.txt "$(requirements_of "$name")")
    run_uv "install requirements/$name.txt" "${sync[@]}"
    if ! imports; then
        can_build_ffcv || { tail -n 5 "$log" >&2; die "the environment is installed but does not import (details: $log)"; }
        # uv keeps wheels it built: one built before a change of the system's OpenCV no longer loads. Build it anew.
        say "building ffcv again for this system's libraries"
        run_uv "build ffcv" "${sync[@]}" --reinstall-package ffcv --refresh-package ffcv
        imports || { tail -n 5 "$log" >&2; die "the environment is installed but does not import (details: $log)"; }
    fi
    can_build_ffcv || without=without-ffcv
    echo "$name $(hash_of "$name") $without" >"$stamp"
    say "ready: $("$venv/bin/python" -c 'import platform, torch; print("Python", platform.python_version(), "torch", torch.__version__)')"
}

# ---- the C decoders -------------------------------------------------------------------------------------------------

# Named by a fingerprint of their sources, as engine/data/native/compile.py names them.
decoders_built() {
    local native=engine/data/native
    [ -e "$native/libengine-$(uname -m)-$(cat $native/*.[ch] | sha256 | cut -c1-12).so" ]
}

build_decoders() {
    decoders_built && return 0
    say "building the C decoders"
    "$venv/bin/python" -m engine build >>"$log" 2>&1 || say "could not build them: numba decodes instead, slower
setup: ($(tail -n 1 "$log"))"
}

# ---- `python -m engine` from any folder -----------------------------------------------------------------------------

findable() {
    local folder
    for folder in "$venv"/lib/python3*/site-packages; do
        [ ! -d "$folder" ] || [ -e "$folder/engine.pth" ] || return 1
    done
}

make_findable() {
    local folder
    for folder in "$venv"/lib/python3*/site-packages; do
        [ ! -d "$folder" ] || echo "$PWD" >"$folder/engine.pth"
    done
}

# shellcheck source=scripts/setup_macos.sh
if [ "$(uname -s)" = Darwin ]; then . scripts/setup_macos.sh; fi

if [ "$purpose" = setup ]; then rm -f .tools/tried-*; fi
wished=$(wished_packages)
if satisfied && decoders_built && findable && [ -z "$wished" ]; then exit 0; fi

mkdir -p .tools
exec 9>.tools/lock
if command -v flock >/dev/null && ! flock -n 9; then
    say "waiting for another set-up that is running in this folder"
    flock 9
fi
: >"$log"
if ! satisfied; then
    install_system_packages
elif ! decoders_built; then
    (install_system_packages) || true # what says why it can't; without its packages there is still numba
fi
if [ -n "$wished" ]; then install_wished_packages "$wished"; fi
if ! satisfied; then install_environment; fi
make_findable
build_decoders

# shellcheck shell=bash
# What scripts/setup.sh, which reads this file, does otherwise on macOS: packages come from Homebrew, for the user and
# without root, and ffcv and NVIDIA's packages are left out: ffcv is for comparisons only, and needs all of OpenCV.
# Not run on a Mac yet: tests/test_setup.py runs it with a `brew` and a `uname` of its own.

# Apple's linker does not know --as-needed.
linker_flags=

# Homebrew keeps libjpeg-turbo where nothing looks by itself.
homebrew_paths() { if command -v brew >/dev/null; then echo "$(brew --prefix jpeg-turbo)/lib/pkgconfig"; fi; }
PKG_CONFIG_PATH=$(homebrew_paths)${PKG_CONFIG_PATH:+:$PKG_CONFIG_PATH}
export PKG_CONFIG_PATH

missing_packages() {
    local packages=()
    if ! command -v pkg-config >/dev/null; then
        packages+=(jpeg-turbo pkg-config)
    elif ! pkg-config --exists libjpeg; then
        packages+=(jpeg-turbo)
    fi
    # The private uv is locked for Linux alone.
    command -v uv >/dev/null || packages+=(uv)
    echo "${packages[*]-}"
}

wished_packages() { :; }

install_system_packages() {
    # /usr/bin/cc is there without them, and only opens a window.
    xcode-select -p >/dev/null 2>&1 || die "no C compiler: run xcode-select --install, then try again"
    local missing; missing=$(missing_packages)
    [ -n "$missing" ] || return 0
    command -v brew >/dev/null || die "no Homebrew (https://brew.sh): install it, or $missing in another way, then try again"
    say "installing from Homebrew: $missing"
    # shellcheck disable=SC2086
    HOMEBREW_NO_AUTO_UPDATE=1 brew install $missing </dev/null >>"$log" 2>&1 || {
        tail -n 4 "$log" >&2
        die "brew could not install: $missing (details: $log)"
    }
    missing=$(missing_packages)
    [ -z "$missing" ] || die "still missing after installation: $missing (details: $log)"
}

can_build_ffcv() { false; }

# No wheel of these is made for macOS.
left_out='^(ffcv==|nvidia-)'

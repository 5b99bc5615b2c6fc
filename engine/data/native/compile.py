"""`python -m engine build`: compile the C decoders for this machine. `make setup` does it by itself.

The library's name holds a fingerprint of its sources, so that one built from other sources is never loaded.
Without a compiler the numba decoders are used, which are slower; without libjpeg-turbo's headers only JPEG's is
missing.
"""

import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from engine.errors import UserError

FOLDER = Path(__file__).resolve().parent
# No contraction: a product and a sum fused into one rounding would make other pixels than the numba decoders.
_FLAGS = ("-O3", "-std=gnu11", "-fPIC", "-Wall", "-Wextra", "-Wno-psabi", "-ffp-contract=off")
_PLAIN = ("decode.c", "dispatch.c", "guard.c")
_HOMEBREW = [f"{prefix}/opt/jpeg-turbo/lib/pkgconfig" for prefix in ("/opt/homebrew", "/usr/local")]
# Left out where libjpeg-turbo's headers are missing.
_JPEG = ("jpeg.c", "transcode.c", "entropy.c", "area.c")


def library_path() -> Path:
    """Where the library built from the present sources for this machine lies, built or not."""
    sources = b"".join(path.read_bytes() for path in sorted(FOLDER.glob("*.[ch]")))
    return FOLDER / f"libengine-{platform.machine()}-{hashlib.sha256(sources).hexdigest()[:12]}.so"


def build(into: Path | None = None) -> Path:
    """Compile, replacing what was built before. Raises UserError without a compiler, or with what it said.

    `into`: a folder other than that of the sources.
    """
    into = into or FOLDER
    compiler = _compiler()
    target = into / library_path().name
    jpeg = libjpeg_flags()
    try:
        with tempfile.TemporaryDirectory(dir=into, prefix=".build-") as folder:
            objects = []
            for variant, flags in _variants().items():
                objects.append(f"{folder}/resize_{variant}.o")
                named = f"-DVARIANT(name)=name##_{variant}"
                _run([*compiler, *_FLAGS, *flags, named, "-c", str(FOLDER / "resize.c"), "-o", objects[-1]])
            sources = [*_PLAIN, *(_JPEG if jpeg else ())]
            # On macOS a symbol that may be missing is an error unless the linker is told.
            without = ["-Wl,-undefined,dynamic_lookup"] if sys.platform == "darwin" and not jpeg else []
            library = f"{folder}/{target.name}"
            files = [str(FOLDER / name) for name in sources]
            _run([*compiler, *_FLAGS, "-shared", "-o", library, *files, *objects, *jpeg, *without, "-lm"])
            os.replace(library, target)
    except OSError as error:
        raise UserError(
            f"{into} can't be written ({error.strerror}): build as a user who may write there"
        ) from None
    for old in into.glob(f"libengine-{platform.machine()}-*.so"):
        if old != target:
            old.unlink(missing_ok=True)
    return target


def _variants() -> dict[str, tuple[str, ...]]:
    wide = ("-mavx2",) if platform.machine() == "x86_64" else ()
    return {"baseline": (), "avx2": wide}


def _compiler() -> list[str]:
    named = os.environ.get("CC")
    if named:
        return shlex.split(named)
    for name in ("cc", "gcc", "clang"):
        if shutil.which(name):
            return [name]
    raise UserError("no C compiler: install gcc (or set CC); until then decoding is slower, in numba")


def libjpeg_flags() -> list[str]:
    """What pkg-config says of libjpeg-turbo; empty where it isn't installed for development."""
    if not shutil.which("pkg-config"):
        return []
    flags = _pkg_config("--cflags", "--libs", "libjpeg")
    if flags is None:
        return []
    # A conda environment's libraries are found by this path alone.
    return [*shlex.split(flags), f"-Wl,-rpath,{_pkg_config('--variable=libdir', 'libjpeg')}"]


def _pkg_config(*arguments: str) -> str | None:
    """What pkg-config says; None where it knows no such package."""
    # Homebrew keeps libjpeg-turbo where nothing looks by itself.
    paths = [os.environ.get("PKG_CONFIG_PATH", ""), *(_HOMEBREW if sys.platform == "darwin" else ())]
    environment = os.environ | {"PKG_CONFIG_PATH": os.pathsep.join(filter(None, paths))}
    done = subprocess.run(
        ["pkg-config", *arguments], capture_output=True, text=True, check=False, env=environment
    )
    return None if done.returncode else done.stdout.strip()


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise UserError(
            f"the C compiler {command[0]} can't be run ({error.strerror}): install gcc, or set CC to another"
        ) from None
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if "error" in line] or done.stderr.splitlines()
        raise UserError(f"{command[0]} failed: {lines[0] if lines else 'without a word'}")

"""`python -m engine doctor`: checks this machine and installation, with advice for each problem.

Every check is a small function of facts with defaults taken from this machine, so that a test can force each
outcome. No check may depend on the subject of another one: a missing package is a finding, not an import error.
"""

import importlib.metadata
import os
import platform
import shutil
import sys
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Literal

from engine.config.command_line import CommandParser
from engine.config.installation import IS_CHECKOUT, NEWEST_TORCH, OLDER_TORCH, REINSTALL, requirements
from engine.ctrl_c import importing
from engine.devices import names, present
from engine.errors import EXIT_DONE, EXIT_MISSED
from engine.limits import compute_threads, free_memory, usable_cores, usable_memory
from engine.system import allowed_cores, open_files_limit

_DESCRIPTION = """Check this machine and installation: Python, packages, GPUs, decoders, cores, memory and disk.

Each line is ok, warn (will cause trouble later) or fail (the engine can't work), with advice. Exit code: 1 if a check
fails, else 0."""

_DRIVER = Path("/proc/driver/nvidia/version")
# Distributions whose versions are printed; the others only have to be installed.
_REPORTED = ("torch", "torchvision", "numba", "numpy", "fastargs", "antialiased-cnns")
_GIB = 2**30


@dataclass(frozen=True)
class Finding:
    """One line of the report. fail: keeps the engine from working; warn: will cause trouble later."""

    level: Literal["ok", "warn", "fail"]
    what: str
    advice: str = ""

    def __str__(self) -> str:
        return f"{self.level:<4}  {self.what}" + (f": {self.advice}" if self.advice else "")


@dataclass(frozen=True)
class Gpu:
    """A CUDA device as torch sees it; `error` is the message of a first small computation on it, or ""."""

    name: str
    capability: tuple[int, int]
    memory_gib: float
    error: str = ""


@dataclass(frozen=True, kw_only=True)
class Cuda:
    """The CUDA version and GPUs that torch was built for, and the GPUs it finds."""

    version: str | None
    architectures: tuple[str, ...] = ()
    gpus: tuple[Gpu, ...] = ()
    problem: str = ""
    driver: str | None = None
    other: Finding | None = None
    """Of a GPU of another kind: mps or xpu."""
    visible_devices: str | None = field(default_factory=lambda: os.environ.get("CUDA_VISIBLE_DEVICES"))


def _first_line(problem: BaseException) -> str:
    return (str(problem).splitlines() or [type(problem).__name__])[0]


def check_python(version: tuple[int, int] = sys.version_info[:2]) -> Iterable[Finding]:
    """Python is one of the versions that the locked requirements were resolved for."""
    text = f"Python {version[0]}.{version[1]}"
    if (3, 11) <= version <= (3, 13):
        yield Finding("ok", text)
    else:
        yield Finding("fail", f"{text} is not 3.11 to 3.13", "`make setup` or uv installs a suitable Python")


def check_packages(
    wanted: Callable[[], list[str]] = requirements,
    installed: Callable[[str], str] = importlib.metadata.version,
) -> Iterable[Finding]:
    """Every dependency is installed in a version that the program allows."""
    try:
        from packaging.requirements import Requirement
    except ImportError:
        yield Finding("fail", "no packages are installed for this Python", f"{REINSTALL} and use .venv")
        return
    fine = []
    for text in wanted():
        need = Requirement(text)
        if need.marker and not need.marker.evaluate({"extra": ""}):
            continue
        try:
            have = installed(need.name)
        except importlib.metadata.PackageNotFoundError:
            yield Finding("fail", f"{need.name} is not installed", REINSTALL)
            continue
        if not need.specifier.contains(have, prereleases=True):
            yield Finding("fail", f"{need.name} {have} is not {need.specifier}", REINSTALL)
        elif need.name in _REPORTED:
            fine.append(f"{need.name} {have}")
    if fine:
        yield Finding("ok", ", ".join(fine))


def _ffcv_decode_error() -> float:
    """Mean difference, in levels, between ffcv's decode of a small JPEG and Pillow's."""
    with importing():
        import ffcv.libffcv
        import numpy as np
        from PIL import Image

    rows, columns = np.mgrid[0:48, 0:64]
    pixels = np.stack([rows * 5, columns * 4, 255 - columns * 3], axis=-1).astype(np.uint8)
    stream = BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=95, subsampling=0)
    jpeg = np.frombuffer(stream.getvalue(), np.uint8)
    decoded = np.zeros_like(pixels)
    height, width = decoded.shape[:2]
    ffcv.libffcv.ctypes_imdecode(
        *(jpeg.ctypes.data, jpeg.size, height, width, decoded.ctypes.data, height, width),
        *(0, 0, 1, 1, False, False),
    )
    reference = np.asarray(Image.open(stream).convert("RGB"))
    return float(np.abs(decoded.astype(int) - reference).mean())


def check_ffcv(decode_error: Callable[[], float] = _ffcv_decode_error) -> Iterable[Finding]:
    """ffcv, if it is installed, loads its C library and decodes a JPEG to the same pixels as Pillow."""
    advice = (
        "it was built for another OpenCV or libjpeg-turbo than this system's: uninstall it, or build it again"
    )
    if IS_CHECKOUT:
        advice = "`rm -rf .venv && make setup` builds it again for this system's OpenCV and libjpeg-turbo"
    try:
        error = decode_error()
    except ModuleNotFoundError as missing:
        if missing.name != "ffcv":
            raise
        advice = "comparisons and its own Loader need it, nothing else: the extra ffcv, which is compiled"
        yield Finding("ok", "ffcv is not installed", advice)
        return
    except Exception as problem:  # noqa: BLE001 - any error of a broken library is the finding
        yield Finding("fail", f"ffcv's C library does not work ({_first_line(problem)})", advice)
        return
    if error > 3:
        yield Finding("fail", f"ffcv decodes a JPEG wrongly (off by {error:.0f} levels)", advice)
    else:
        yield Finding(
            "ok", f"ffcv {importlib.metadata.version('ffcv')}: its C library loads and decodes a JPEG"
        )


def check_decoders(find: Callable[[], str] | None = None) -> Iterable[Finding]:
    """The C decoders are built and load; without them numba decodes, several times slower."""
    with importing():
        from engine.data.native.compile import library_path
        from engine.data.native.library import describe

    what = (find or describe)()
    advice = "run `python -m engine build` (needs gcc and libjpeg-turbo's headers, Debian's libjpeg-dev)"
    if not IS_CHECKOUT:
        advice = f"{REINSTALL}, one that `make wheel` built of these sources"
    if what:
        complete = "without JPEG" not in what
        yield Finding("ok" if complete else "warn", f"C decoders: {what}", "" if complete else advice)
    else:
        state = "do not load" if library_path().exists() else "are not built"
        yield Finding("warn", f"the C decoders {state}: numba decodes instead, slower", advice)


def _first_computation(device: str) -> str:
    """The error of a first small computation on a device, or ""."""
    import torch

    try:
        total = torch.ones(64, device=device).sum().item()
    except RuntimeError as problem:
        return _first_line(problem)
    return "" if total == 64 else f"64 ones add up to {total}"


def find_cuda() -> Cuda:
    """Ask torch, keeping its warnings as text: they name an old driver."""
    with importing():
        import torch

    driver = None
    if _DRIVER.exists():
        words = _DRIVER.read_text(encoding="utf-8", errors="replace").split()
        driver = next((word for word in words if word[:1].isdigit() and "." in word), "of unknown version")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        available = torch.cuda.is_available()
        gpus = []
        for index in range(torch.cuda.device_count() if available else 0):
            facts = torch.cuda.get_device_properties(index)
            capability = (facts.major, facts.minor)
            gpus.append(
                Gpu(facts.name, capability, facts.total_memory / _GIB, _first_computation(f"cuda:{index}"))
            )
    return Cuda(
        version=torch.version.cuda,
        architectures=tuple(torch.cuda.get_arch_list()),
        gpus=tuple(gpus),
        problem=str(caught[0].message).splitlines()[0] if caught else "",
        driver=driver,
        other=None if gpus or torch.version.cuda else find_other_gpu(),
    )


def find_other_gpu() -> Finding | None:
    """Apple's or Intel's GPU, if torch sees one."""
    kind = present()
    if kind in ("cpu", "cuda"):
        return None
    what = f"{kind}: {', '.join(names())}"
    if error := _first_computation(f"{kind}:0"):
        return Finding(
            "fail", f"{what}: {error}", "train on the CPU (--training.device=cpu), or update torch"
        )
    return Finding(
        "ok", what, "the engine's part for it has not been run yet; --training.device=cpu is the other way"
    )


def check_cuda(find: Callable[[], Cuda] = find_cuda) -> Iterable[Finding]:
    """This torch can use the GPUs of this machine."""
    cuda = find()
    if cuda.gpus:
        for index, gpu in enumerate(cuda.gpus):
            yield _judge_gpu(f"cuda:{index} {gpu.name}", gpu, cuda)
    elif cuda.other:
        yield cuda.other
    elif cuda.driver is None:
        yield Finding(
            "warn", "no NVIDIA GPU found", "the CPU is enough for speedrun and tests; ImageNet needs a GPU"
        )
    elif cuda.version is None:
        yield Finding("fail", "this torch is built without CUDA, but there is an NVIDIA driver", REINSTALL)
    elif cuda.visible_devices in ("", "-1"):
        yield Finding("warn", f"CUDA_VISIBLE_DEVICES={cuda.visible_devices!r} hides every GPU", "unset it")
    else:
        reason = f" ({cuda.problem})" if cuda.problem else ""
        what = f"torch for CUDA {cuda.version} can't use NVIDIA driver {cuda.driver}{reason}"
        yield Finding("fail", what, f"update the driver, or {OLDER_TORCH} for CUDA 12.6")


def _judge_gpu(name: str, gpu: Gpu, cuda: Cuda) -> Finding:
    major, minor = gpu.capability
    what = f"{name}, {gpu.memory_gib:.0f} GiB, compute capability {major}.{minor}, CUDA {cuda.version}"
    # A build for sm_80 runs on 8.0 to 8.9, not on 9.0 or 7.5.
    built = {int(arch[3:].rstrip("af")) for arch in cuda.architectures if arch.startswith("sm_")}
    if built and not any(number // 10 == major and number % 10 <= minor for number in built):
        older = major * 10 + minor < min(built)
        advice = f"{OLDER_TORCH} (torch 2.7, CUDA 12.6)" if older else NEWEST_TORCH
        return Finding("fail", f"{what}: this torch is not built for it", advice)
    if gpu.error:
        return Finding("fail", f"{what}: {gpu.error}", "`nvidia-smi` shows its errors and other users")
    if major < 8:
        return Finding("ok", what, "no bf16 on it: precision auto uses fp16 with loss scaling")
    return Finding("ok", what)


def check_cores(
    usable: int | None = None, affinity: int | None = None, total: int | None = None
) -> Iterable[Finding]:
    """Cores that this process may use, by its affinity and its container's CPU limit."""
    affinity = affinity or len(allowed_cores())
    usable = usable or usable_cores()
    total = total or os.cpu_count() or affinity
    what = f"{usable} of {total} CPU threads usable"
    if usable < affinity:
        advice = f"a CPU limit (docker --cpus, a job's quota) is below its {affinity} threads; raise it to be faster"
        yield Finding("warn", what, advice)
    elif usable < 2:
        yield Finding(
            "warn", what, "decoding and training have to share it: allow more (taskset, docker --cpus)"
        )
    else:
        yield Finding("ok", what)
    if (threads := compute_threads(usable)) != usable:
        yield Finding("ok", f"OMP_NUM_THREADS: training on the CPU computes with {threads} threads")


def check_memory(usable: int | None = None, free: int | None = None) -> Iterable[Finding]:
    """Memory that this process may use, by the machine and by its container's limit, and what is free of it."""
    usable = usable_memory() if usable is None else usable
    free = free_memory() if free is None else free
    what = f"{usable / _GIB:.1f} GiB of memory usable, {free / _GIB:.1f} GiB of them free"
    if free < _GIB:
        yield Finding(
            "warn", what, "too little to train: end other programs, or raise the limit (docker --memory)"
        )
    else:
        yield Finding("ok", what)


def check_shared_memory(size: int | None = None, path: Path = Path("/dev/shm")) -> Iterable[Finding]:
    """Size of /dev/shm, the shared memory of NCCL and of other loaders' worker processes; Linux alone has it."""
    if sys.platform != "linux":
        return
    if size is None:
        size = shutil.disk_usage(path).total if path.is_dir() else 0
    what = f"/dev/shm holds {size / _GIB:.1f} GiB"
    if size < _GIB:
        yield Finding("warn", what, "several GPUs need more: docker run --shm-size=8g, or remount it larger")
    else:
        yield Finding("ok", what)


def check_disk(free: int | None = None, path: Path | None = None) -> Iterable[Finding]:
    """Free space in the folder where runs/ and .beton files are written by default."""
    path = path or Path.cwd()
    free = shutil.disk_usage(path).free if free is None else free
    what = f"{free / _GIB:.1f} GiB free in {path}"
    if free < _GIB // 2:
        yield Finding(
            "fail", what, "too little for a run's checkpoints: free some space, or work in another folder"
        )
    elif free < 5 * _GIB:
        yield Finding("warn", what, "enough only for the speedrun: write data sets to another disk")
    else:
        yield Finding("ok", what)


def check_open_files(soft: int | None = None) -> Iterable[Finding]:
    """The limit on open files; many ranks and worker processes on one host can reach it."""
    soft = open_files_limit() if soft is None else soft
    if soft == -1:
        yield Finding("ok", "open files unlimited")
    elif soft < 1024:
        yield Finding("warn", f"at most {soft} open files", "raise it: ulimit -n 65536")
    else:
        yield Finding("ok", f"up to {soft} open files")


Check = Callable[[], Iterable[Finding]]
CHECKS: list[Check] = [check_python, check_packages, check_cuda, check_ffcv, check_decoders]
CHECKS += [check_cores, check_memory, check_shared_memory, check_disk, check_open_files]


def _survive(check: Check) -> Iterable[Finding]:
    """A check's findings; a check that lacks a package or library fails with that reason, and the next one runs."""
    try:
        yield from check()
    except (ImportError, OSError) as problem:
        subject = check.__name__.removeprefix("check_").replace("_", " ")
        yield Finding("fail", f"{subject}: could not be checked ({_first_line(problem)})", REINSTALL)


def diagnose(checks: Iterable[Check] = CHECKS) -> int:
    """Print each finding as soon as it is known, then a summary. Returns 1 when something fails, else 0."""
    print(f"{platform.platform()}, {sys.executable}")
    levels = []
    for check in checks:
        for finding in _survive(check):
            print(finding, flush=True)
            levels.append(finding.level)
    warned, failed = levels.count("warn"), levels.count("fail")
    print(f"{failed} failed, {warned} warnings" if failed or warned else "everything is fine")
    return EXIT_MISSED if failed else EXIT_DONE


def main(arguments: Sequence[str]) -> int:
    """Run all checks; returns 0 when none fails, else 1. Raises UserError for an argument."""
    CommandParser("python -m engine doctor", _DESCRIPTION, "[-h]").parse_args(arguments)
    return diagnose()

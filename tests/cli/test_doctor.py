"""The doctor: what it says of this machine, and what it would say of others."""

import importlib.metadata
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from engine.cli import doctor
from engine.cli.doctor import Cuda, Finding, Gpu
from engine.data.native import compile
from engine.data.native.library import library

GIB = 2**30
ARCHITECTURES = ("sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120")
V100 = Gpu("Tesla V100-SXM2-32GB", (7, 0), 32.0)
T4 = Gpu("Tesla T4", (7, 5), 15.0)
L40 = Gpu("NVIDIA L40", (8, 9), 45.0)
H100 = Gpu("NVIDIA H100", (9, 0), 80.0)


def one(findings: Iterable[Finding]) -> Finding:
    """The only finding; what hurts has to come with an advice."""
    (finding,) = findings
    assert finding.level == "ok" or finding.advice
    assert "\n" not in str(finding)
    return finding


def cuda(*gpus: Gpu, version: str | None = "13.2", driver: str | None = "580.1", **more: Any) -> Cuda:
    return Cuda(version=version, architectures=ARCHITECTURES, gpus=gpus, driver=driver, **more)


@pytest.mark.slow
def test_doctor_passes_on_this_installation(repository: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "engine", "doctor"],
        cwd=repository,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    for subject in (
        "Python 3.",
        "torch ",
        "its C library loads",
        "C decoders",
        "CPU threads",
        "/dev/shm",
        "GiB free",
        "open files",
    ):
        assert subject in done.stdout
    assert "fail" not in re.sub(r"^\d+ failed", "", done.stdout, flags=re.M)


def test_ffcv_decodes_like_pillow() -> None:
    assert doctor._ffcv_decode_error() < 2
    assert one(doctor.check_ffcv()).level == "ok"


@pytest.mark.parametrize(
    ("version", "level"), [((3, 10), "fail"), ((3, 11), "ok"), ((3, 13), "ok"), ((3, 14), "fail")]
)
def test_unsupported_python_fails(version: tuple[int, int], level: str) -> None:
    assert one(doctor.check_python(version)).level == level


def test_missing_package_is_named() -> None:
    def installed(name: str) -> str:
        if name == "numba":
            raise importlib.metadata.PackageNotFoundError(name)
        return "1.5"

    wanted = ["numba>=1", "torch>=2.7,<3", "numpy>=1", "ffcv==1.0.2; extra == 'ffcv'"]
    missing, wrong, fine = doctor.check_packages(lambda: wanted, installed)
    assert (missing.level, missing.what) == ("fail", "numba is not installed")
    assert wrong.level == "fail" and "torch 1.5 is not" in wrong.what and "make setup" in wrong.advice
    assert (fine.level, fine.what) == ("ok", "numpy 1.5")


def test_prerelease_of_an_allowed_version_is_ok() -> None:
    assert one(doctor.check_packages(lambda: ["torch>=2.7,<3"], lambda _: "2.11.0a0+abc.nv26")).level == "ok"


def test_every_dependency_of_this_checkout_is_checked(repository: Path) -> None:
    text = (repository / "pyproject.toml").read_text(encoding="utf-8")
    wanted = tomllib.loads(text)["project"]["dependencies"]
    asked: list[str] = []

    def installed(name: str) -> str:
        asked.append(name)
        raise importlib.metadata.PackageNotFoundError(name)

    assert len(list(doctor.check_packages(installed=installed))) == len(asked) == len(wanted)


def test_ffcv_that_does_not_load_fails() -> None:
    def broken() -> float:
        raise OSError("libopencv_core.so.406: cannot open shared object file\nmore")

    finding = one(doctor.check_ffcv(broken))
    assert finding.level == "fail"
    assert "libopencv_core.so.406" in finding.what and "make setup" in finding.advice


def test_missing_ffcv_is_ok_and_its_extra_is_named() -> None:
    def missing() -> float:
        raise ModuleNotFoundError("No module named 'ffcv'", name="ffcv")

    finding = one(doctor.check_ffcv(missing))
    assert finding.level == "ok" and "the extra ffcv" in finding.advice


def test_ffcv_that_decodes_wrongly_fails() -> None:
    assert one(doctor.check_ffcv(lambda: 40.0)).level == "fail"


@pytest.mark.parametrize(
    ("found", "level", "words"),
    [
        ("AVX2, JPEG", "ok", "C decoders: AVX2, JPEG"),
        ("no AVX2, JPEG", "ok", "C decoders: no AVX2, JPEG"),
        ("AVX2, without JPEG", "warn", "C decoders: AVX2, without JPEG"),
    ],
)
def test_built_decoders_are_described(found: str, level: str, words: str) -> None:
    finding = one(doctor.check_decoders(lambda: found))
    assert (finding.level, finding.what) == (level, words)
    assert ("libjpeg-dev" in finding.advice) is (level == "warn")


@pytest.mark.parametrize(("exists", "words"), [(False, "are not built"), (True, "do not load")])
def test_missing_decoders_warn(
    exists: bool, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compile, "FOLDER", tmp_path)
    if exists:
        compile.library_path().touch()
    finding = one(doctor.check_decoders(lambda: ""))
    assert finding.level == "warn" and f"the C decoders {words}" in finding.what
    assert "python -m engine build" in finding.advice


def test_decoders_of_this_installation_are_described() -> None:
    finding = one(doctor.check_decoders())
    built = library()
    assert (finding.level == "ok") is (built is not None and built.has_jpeg)


def test_no_gpu_warns() -> None:
    assert one(doctor.check_cuda(lambda: cuda(driver=None))).level == "warn"


@pytest.mark.parametrize(("error", "level"), [("", "ok"), ("no kernel", "fail")])
def test_apples_gpu_is_tried(monkeypatch: pytest.MonkeyPatch, error: str, level: str) -> None:
    monkeypatch.setattr(doctor, "present", lambda: "mps")
    monkeypatch.setattr(doctor, "names", lambda: ["Apple M4 Pro"])
    monkeypatch.setattr(doctor, "_first_computation", lambda device: error if device == "mps:0" else "else")
    facts = Cuda(version=None, driver=None, other=doctor.find_other_gpu())
    finding = one(doctor.check_cuda(lambda: facts))
    assert finding.level == level and "mps: Apple M4 Pro" in finding.what
    assert "training.device=cpu" in finding.advice
    monkeypatch.setattr(doctor, "present", lambda: "cpu")
    assert doctor.find_other_gpu() is None


def test_supported_gpus_are_ok() -> None:
    findings = list(doctor.check_cuda(lambda: cuda(H100, L40, T4)))
    assert [finding.level for finding in findings] == ["ok", "ok", "ok"]
    assert "fp16" in findings[2].advice and not findings[0].advice


def test_v100_needs_the_lower_bound_set() -> None:
    finding = one(doctor.check_cuda(lambda: cuda(V100)))
    assert finding.level == "fail" and "SET=lower" in finding.advice


def test_v100_with_an_older_torch_uses_fp16() -> None:
    facts = Cuda(version="12.6", architectures=("sm_50", "sm_70", "sm_90"), gpus=(V100,), driver="560.1")
    finding = one(doctor.check_cuda(lambda: facts))
    assert finding.level == "ok" and "fp16" in finding.advice


def test_gpu_newer_than_torch_needs_the_default_set() -> None:
    facts = Cuda(version="12.6", architectures=("sm_70", "sm_90"), gpus=(Gpu("B200", (10, 0), 180.0),))
    finding = one(doctor.check_cuda(lambda: facts))
    assert finding.level == "fail" and "SET=default" in finding.advice


def test_gpu_that_fails_a_computation_fails() -> None:
    finding = one(doctor.check_cuda(lambda: cuda(Gpu("H100", (9, 0), 80.0, "CUDA error: out of memory"))))
    assert finding.level == "fail" and "out of memory" in finding.what


def test_old_driver_fails_with_torchs_message() -> None:
    finding = one(doctor.check_cuda(lambda: cuda(driver="535.104", problem="The NVIDIA driver is too old")))
    assert finding.level == "fail"
    assert "535.104" in finding.what and "too old" in finding.what and "SET=lower" in finding.advice


def test_torch_without_cuda_beside_a_driver_fails() -> None:
    assert one(doctor.check_cuda(lambda: cuda(version=None))).level == "fail"


@pytest.mark.parametrize("hidden", ["", "-1"])
def test_hidden_gpus_warn(hidden: str) -> None:
    finding = one(doctor.check_cuda(lambda: cuda(visible_devices=hidden)))
    assert finding.level == "warn" and "CUDA_VISIBLE_DEVICES" in finding.what


@pytest.mark.gpu
def test_gpus_of_this_machine_are_ok() -> None:
    facts = doctor.find_cuda()
    assert facts.gpus and facts.driver
    assert [finding.level for finding in doctor.check_cuda(lambda: facts)] == ["ok"] * len(facts.gpus)


@pytest.mark.parametrize(
    ("usable", "affinity", "total", "level"),
    [(8, 8, 8, "ok"), (4, 8, 16, "warn"), (1, 1, 8, "warn"), (2, 2, 64, "ok")],
)
def test_few_or_limited_cores_warn(
    usable: int, affinity: int, total: int, level: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert one(doctor.check_cores(usable, affinity, total)).level == level
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    _, threads = doctor.check_cores(usable, affinity, total)
    assert threads.what == "OMP_NUM_THREADS: training on the CPU computes with 7 threads"


@pytest.mark.parametrize(("usable", "free", "level"), [(8 * GIB, 2 * GIB, "ok"), (8 * GIB, GIB // 2, "warn")])
def test_little_free_memory_warns(usable: int, free: int, level: str) -> None:
    finding = one(doctor.check_memory(usable, free))
    assert (finding.level, finding.what.partition(" of")[0]) == (level, "8.0 GiB")


def test_small_shared_memory_warns() -> None:
    assert "--shm-size" in one(doctor.check_shared_memory(64 * 2**20)).advice
    assert one(doctor.check_shared_memory(8 * GIB)).level == "ok"


def test_missing_shared_memory_warns(tmp_path: Path) -> None:
    assert one(doctor.check_shared_memory(path=tmp_path / "none")).level == "warn"


@pytest.mark.parametrize(("free", "level"), [(100 * 2**20, "fail"), (2 * GIB, "warn"), (100 * GIB, "ok")])
def test_little_free_disk_warns_or_fails(free: int, level: str, tmp_path: Path) -> None:
    finding = one(doctor.check_disk(free, tmp_path))
    assert finding.level == level and str(tmp_path) in finding.what


@pytest.mark.parametrize(("limit", "level"), [(256, "warn"), (1024, "ok"), (-1, "ok")])
def test_low_open_files_limit_warns(limit: int, level: str) -> None:
    assert one(doctor.check_open_files(limit)).level == level


def test_failed_check_gives_exit_code_1(capsys: pytest.CaptureFixture[str]) -> None:
    def bad() -> Iterable[Finding]:
        yield Finding("fail", "nothing works", "do something")

    def fair() -> Iterable[Finding]:
        yield Finding("warn", "something is slow", "do something else")

    assert doctor.diagnose([fair]) == 0
    assert doctor.diagnose([fair, bad, fair]) == 1
    output = capsys.readouterr().out
    assert "fail  nothing works: do something\n" in output
    assert output.endswith("1 failed, 2 warnings\n")


def test_check_that_lacks_a_package_fails_and_the_next_runs(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def check_open_files() -> Iterable[Finding]:
        raise ModuleNotFoundError("No module named 'torch'")

    def fair() -> Iterable[Finding]:
        yield Finding("ok", "the next one")

    assert doctor.diagnose([check_open_files, fair]) == 1
    output = capsys.readouterr().out
    assert "fail  open files: could not be checked (No module named 'torch'): run `make setup`\n" in output
    assert "ok    the next one\n" in output


def test_doctor_runs_without_any_package(repository: Path) -> None:
    # -S leaves site-packages out: what a newcomer's system Python has.
    done = subprocess.run(
        [sys.executable, "-S", "-m", "engine", "doctor"],
        cwd=repository,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "fail  no packages are installed" in done.stdout

"""The memory stage: which memory counts."""

import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from benchmarks.harness.case import loader_case
from benchmarks.harness.images.prepared import prepare
from benchmarks.harness.processes.worker import SideError
from benchmarks.stages.memory import Peak, main, own_bytes, take_turn
from tests.benchmarks import record_checks

MB = 10**6


# In a process of its own: what other tests left in this one may be freed between two looks.
_OWN_MEMORY = """
import mmap, os, sys
from benchmarks.stages.memory import own_bytes

size, before = 64 * 10**6, own_bytes(os.getpid())
with open(sys.argv[1], "rb") as opened, mmap.mmap(opened.fileno(), 0, prot=mmap.PROT_READ) as mapped:
    assert sum(mapped[:: mmap.PAGESIZE]) == 0
    print(own_bytes(os.getpid()) - before)
    private = b"x" * size
    shared = mmap.mmap(-1, size)
    shared[:] = private
    print(own_bytes(os.getpid()) - before)
"""


def test_allocated_memory_counts_and_a_mapped_file_does_not(tmp_path: Path, repository: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(bytes(64 * MB))
    done = subprocess.run(
        [sys.executable, "-c", _OWN_MEMORY, str(file)],
        cwd=repository, capture_output=True, text=True, check=True,
    )  # fmt: skip
    mapped, allocated = map(int, done.stdout.split())
    assert mapped < 16 * MB
    assert 120 * MB < allocated < 144 * MB


def test_peak_is_kept_after_memory_is_freed() -> None:
    script = "input(); block = b'x' * 100_000_000; input(); del block; print('freed', flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin and process.stdout
        with Peak(process.pid) as peak:
            before = peak.bytes
            process.stdin.write("\n")
            process.stdin.flush()
            for _ in range(6000):
                if peak.bytes - before > 90 * MB:
                    break
                time.sleep(0.01)
            process.stdin.write("\n")
            process.stdin.flush()
            assert process.stdout.readline() == "freed\n"
            assert own_bytes(process.pid) - before < 50 * MB
        process.stdin.close()
    assert 90 * MB < peak.bytes - before < 130 * MB


SMALL = ("--images=12", "--batch=4", "--resolution=16")


def test_record_has_the_memory_beyond_the_imports(
    cache: Path,
    tmp_path: Path,
    plain_side: Callable[[str, str], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    plain_side("small", "self.held = b'x' * 20_000_000")
    plain_side("large", "self.held = b'x' * 100_000_000")
    assert main([*SMALL, "--ours=small", "--against=large", f"--json={tmp_path}/m.json"]) == 0
    (record,) = record_checks.read(tmp_path / "m.json")
    record_checks.check(record)
    assert len(record["pinned_to"]) == record["cores"]
    assert (record["stage"], record["metric"]) == ("memory", "peak_megabytes")
    assert 20 <= record["ours_median"] < 30
    assert 100 <= record["peer_median"] < 110
    assert record["ratio"]["median"] == pytest.approx(0.2, abs=0.1)
    assert "| small | large" in capsys.readouterr().out
    assert "RssAnon + RssShmem" in (tmp_path / "m.md").read_text(encoding="utf-8")


def test_failing_side_is_recorded(
    cache: Path, tmp_path: Path, plain_side: Callable[[str, str], None]
) -> None:
    plain_side("sound", "pass")
    plain_side("broken", "raise RuntimeError('no luck')")
    assert main([*SMALL, "--ours=sound", "--against=broken", f"--json={tmp_path}/m.json"]) == 1
    (record,) = record_checks.read(tmp_path / "m.json")
    assert record["error"] == "broken: RuntimeError: no luck"


@pytest.mark.slow
def test_our_loader_and_stock_ffcv_are_measured(cache: Path) -> None:
    case = loader_case(
        ours="yuv420-packed", peer="ffcv-jpeg", cores=1, resolution=224, min_scale=0.08, cache="warm", batch=64,
        form="host",
    )  # fmt: skip
    images = {storage: prepare(None, storage, 12) for storage in case.storages}
    (ours, our_settings), (peer, peer_settings) = map(
        take_turn, (partial(case.open_ours, images), partial(case.open_peer, images))
    )
    assert 0 < ours < peer
    assert "packed" in our_settings and "ffcv.loader.Loader" in peer_settings


def test_side_with_several_processes_is_refused(cache: Path, plain_side: Callable[[str, str], None]) -> None:
    plain_side("many", "import subprocess; self.helper = subprocess.Popen(['sleep', '60'])")
    case = loader_case(
        ours="many", peer="self", cores=1, resolution=16, min_scale=0.35, cache="warm", batch=4, form="host"
    )
    images = {"jpeg": prepare(None, "jpeg", 8)}
    with pytest.raises(SideError, match="it works in 1 more processes"):
        take_turn(lambda: case.open_ours(images))

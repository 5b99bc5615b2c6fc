"""The startup stage: its waits, and the compiled code that each start finds."""

from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.harness.case import loader_case
from benchmarks.harness.images.prepared import prepare
from benchmarks.stages.startup import main
from tests.benchmarks import record_checks

SMALL = ("--images=12", "--batch=4", "--resolution=16", "--new-resolution=24")


# Notes the folder for compiled code, and whether something was in it, then leaves something there.
NOTE = """
        from pathlib import Path
        code = Path(os.environ["NUMBA_CACHE_DIR"])
        assert os.environ["TRITON_CACHE_DIR"] == str(code)
        with open({notes!r}, "a") as notes:
            print({side!r}, code, len(list(code.iterdir())), file=notes)
        (code / "compiled").touch()
"""


@pytest.mark.slow
def test_cold_starts_find_no_compiled_code_and_second_ones_do(
    cache: Path,
    tmp_path: Path,
    plain_side: Callable[[str, str], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    notes = tmp_path / "notes"
    for side in ("a", "b"):
        plain_side(side, NOTE.format(notes=str(notes), side=side))
    assert main([*SMALL, "--ours=a", "--against=b", f"--json={tmp_path}/s.json"]) == 0

    lines = [line.split() for line in notes.read_text().splitlines()]
    # One start of each side to fill its folder, then in every turn a cold and a second one of each.
    assert [line[0] for line in lines] == ["a", "b", *["a", "a", "b", "b"] * 5]
    assert [line[2] for line in lines] == ["0", "0", *["0", "1"] * 10]
    cold, second = lines[2::2], lines[3::2]
    assert len({folder for _, folder, _ in cold}) == 10
    assert {folder for _, folder, _ in second} == {folder for _, folder, _ in lines[:2]}

    found = record_checks.read(tmp_path / "s.json")
    for record in found:
        record_checks.check(record)
        assert len(record["pinned_to"]) == record["cores"]
    assert [(record["start"], record["since"]) for record in found] == [
        *(("cold", "process"), ("cold", "imports"), ("second", "process"), ("second", "imports")),
        ("new resolution", "asking"),
    ]
    # The imports are a part of the whole.
    for whole, part in (found[0:2], found[2:4]):
        assert all(a > b for a, b in zip(whole["ours_rounds"], part["ours_rounds"], strict=True))
    assert "| a    | b    | new resolution | asking" in capsys.readouterr().out


def test_failing_side_is_recorded(
    cache: Path, tmp_path: Path, plain_side: Callable[[str, str], None]
) -> None:
    plain_side("sound", "pass")
    plain_side("broken", "raise RuntimeError('no luck')")
    assert main([*SMALL, "--ours=sound", "--against=broken", f"--json={tmp_path}/s.json"]) == 1
    found = record_checks.read(tmp_path / "s.json")
    assert [record["error"] for record in found] == ["broken: RuntimeError: no luck"] * 5


def test_second_starts_alone_have_the_other_waits(
    cache: Path, tmp_path: Path, plain_side: Callable[[str, str], None]
) -> None:
    plain_side("sound", "pass")
    options = ("--ours=sound", "--against=self", "--start=second", f"--json={tmp_path}/s.json")
    assert main([*SMALL, *options]) == 0
    found = [(record["start"], record["since"]) for record in record_checks.read(tmp_path / "s.json")]
    assert found == [("second", "process"), ("second", "imports"), ("new resolution", "asking")]


@pytest.mark.slow
@pytest.mark.parametrize("side", ["open_ours", "open_peer"])
def test_loader_gives_a_first_batch_of_each_resolution(side: str, cache: Path) -> None:
    case = loader_case(
        ours="yuv420-packed",
        peer="ffcv-jpeg",
        cores=1,
        resolution=16,
        min_scale=0.08,
        cache="warm",
        batch=4,
        form="host",
    )
    images = {storage: prepare(None, storage, 12) for storage in case.storages}
    with getattr(case, side)(images) as worker:
        imported = worker.load()
        times = [worker.started, imported, *worker.first_batch(0, 16), *worker.first_batch(1, 24)]
    # All by one clock, though taken in two processes.
    assert times == sorted(times)

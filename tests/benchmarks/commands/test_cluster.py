"""What a conversion on many hosts takes: the table, and memory that does not grow with the number of shards."""

import pytest

from benchmarks.commands import cluster
from benchmarks.commands.cluster import Cost, _at, main, measure


def test_costs_are_a_line_through_two_measurements() -> None:
    one, two = Cost(megabytes=30, seconds=3), Cost(megabytes=50, seconds=7)
    assert _at(1000, 100, one, two) == Cost(megabytes=30 + 9 * 20, seconds=3 + 9 * 4)


def test_table_has_a_row_for_each_number_of_hosts(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "measure", lambda step, images, *_: Cost(megabytes=images / 1000, seconds=1))
    assert main(["--images=1000000", "--hosts=2,4", "--measured=4000", "--classes=100", "--rate=500"]) == 0
    rows = capsys.readouterr().out.splitlines()
    assert rows[2:4] == [
        f"| {step} | 4 MB, 1.0 s | 8 MB, 1.0 s | 4 MB, 1.0 s | 1000 B |" for step in ("plan", "merge")
    ]
    assert rows[-1].startswith("| 4 | 16 | 81 | 1 GB | 0.062 GB | 1 GB | 1 s | 31 s |")


@pytest.mark.slow
@pytest.mark.parametrize(("step", "most"), [("plan", 400), ("merge", 600)])
def test_memory_is_flat_in_shards_and_small_by_image(step: str, most: int) -> None:
    """Bytes for a further image, and the peak in 8 and in 128 shards."""
    few, many = (measure(step, 500_000, shards, 2_000) for shards in (8, 128))
    twice = measure(step, 1_000_000, 8, 2_000)
    assert many.megabytes < 1.2 * few.megabytes + 3
    assert (twice.megabytes - few.megabytes) * 1e6 / 500_000 < most

"""The decode stage: records and refusals."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from benchmarks.records.record_table import page
from benchmarks.stages.decode import main
from engine.errors import UserError
from tests.benchmarks import record_checks

SMALL = ("--images=16", "--resolution=48", "--seconds=0.01", "--batch=4", "--cores=1")


@pytest.mark.slow
def test_self_comparison_is_judged_by_its_interval(cache: Path, tmp_path: Path) -> None:
    options: Sequence[str] = (*SMALL, "--against=self", "--ours=jpeg-kept", "--scale=0.35")
    code = main([*options, f"--json={tmp_path}/self.json"])
    (record,) = record_checks.read(tmp_path / "self.json")
    record_checks.check(record)
    assert (record["stage"], record["ours"], record["peer"]) == ("decode", "jpeg-kept", "self")
    assert (record["pixel_difference"], record["labels_equal"], record["each_image_once"]) == (0, True, True)
    assert record["crop"] == "random, 0.35-1"
    assert len(record["pinned_to"]) == 1
    assert len(record["load"]["average_before"]) == len(record["load"]["average_after"]) == 3
    # Equals do the same work; how fast is up to the machine, and so is the verdict, but not its rule.
    assert code == (0 if record["ratio"]["low"] <= 1 <= record["ratio"]["high"] else 1)
    assert (tmp_path / "self.md").read_text(encoding="utf-8") == page([record])


def test_plain_sides_are_recorded_with_their_crop(
    cache: Path, tmp_path: Path, plain_side: Callable[[str, str], None]
) -> None:
    plain_side("a", "pass")
    plain_side("b", "pass")
    options = ("--ours=a", "--against=b", "--scale=1,0.35", f"--json={tmp_path}/r.json")
    assert main([*SMALL, *options]) == 0
    found = record_checks.read(tmp_path / "r.json")
    for record in found:
        record_checks.check(record)
    assert [(record["ours"], record["peer"], record["crop"]) for record in found] == [
        ("a", "b", "centred square"),
        ("a", "b", "random, 0.35-1"),
    ]


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ("--against=opencw", "no peer 'opencw' (did you mean 'opencv'?)"),
        ("--ours=yuv", "no side of ours 'yuv'"),
        ("--cores=1000", "--cores 1000"),
        ("--seconds=0", "--seconds: invalid number of seconds above 0"),
        ("--scale=0", "--scale"),
    ],
)
def test_bad_option_is_refused_in_one_line(option: str, says: str) -> None:
    with pytest.raises(UserError) as caught:
        main([option])
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)

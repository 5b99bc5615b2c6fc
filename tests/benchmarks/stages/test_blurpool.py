"""The blurpool stage: its parts and their records."""

from pathlib import Path

import pytest

from benchmarks.sides.blur_forms import FORMS
from benchmarks.stages.blurpool import main
from engine.errors import UserError
from tests.benchmarks import record_checks

TINY = ("--resolution=16", "--batch=2", "--seconds=0.001", "--arch=small_resnet")


@pytest.mark.slow
def test_records_are_valid(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "blurpool.json"
    parts = "--part=network,composed,maxpool"
    assert main([*TINY, parts, f"--json={file}"]) == 0
    found = record_checks.read(file)
    for record in found:
        record_checks.check(record)
    assert [(record["ours"], record["peer"]) for record in found] == [
        ("fused", "unfused"),
        *[("blur-then-3x3", "composed-5x5")] * 6,
        *(("max-pool", "blurred-at-stride"), ("max-pool", "blurred-everywhere")),
    ]
    assert found[0]["what"] == "small_resnet, a step"
    assert "in turns, in one process; 5 rounds of each" in file.with_suffix(".md").read_text()
    assert "depthwise 3x3, 128 channels" in capsys.readouterr().out


def test_shortcut_of_each_block_is_measured(tmp_path: Path) -> None:
    file = tmp_path / "layers.json"
    assert main([*TINY, "--part=layers", f"--json={file}"]) == 0
    assert [(record["ours"], record["what"]) for record in record_checks.read(file)] == [
        ("fused", f"shortcut {inputs} to {2 * inputs} channels") for inputs in (256, 512, 1024)
    ]


def test_every_form_is_compared_with_the_depthwise_one(tmp_path: Path) -> None:
    file = tmp_path / "filter.json"
    assert main([*TINY, "--part=filter", "--precision=bf16", f"--json={file}"]) == 0
    found = record_checks.read(file)
    assert [record["peer"] for record in found] == [form for form in FORMS if form != "depthwise"]
    assert {(record["precision"], record["compiled"]) for record in found} == {("bf16", False)}


def test_unknown_part_is_refused_in_one_line() -> None:
    with pytest.raises(UserError, match="--part"):
        main(["--part=everything"])

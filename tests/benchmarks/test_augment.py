"""The augment stage: every peer's use gives a batch like ours, one that is missing is left out, records are sound."""

from pathlib import Path

import pytest
import torch

from benchmarks.stages import augment as bench_augment
from benchmarks.sides.augmenters import EACH, ONE, PAIRS, torchvision_uses
from benchmarks.stages.augment import RECIPES, main
from engine.errors import UserError
from tests.benchmarks import records

TINY = ("--resolution=16", "--batch=4", "--seconds=0.001")
CPU = torch.device("cpu")


@pytest.mark.parametrize("name", RECIPES)
def test_both_sides_give_a_normalised_batch_of_the_same_form(name: str) -> None:
    torch.manual_seed(0)
    given = bench_augment._given(4, 16, CPU)
    ours = bench_augment._our_work(name, given, CPU)
    ours.ready()
    batch: object = ours.call()
    assert batch.images.shape == (4, 3, 16, 16) and batch.images.dtype == torch.float32  # type: ignore[attr-defined]
    uses = torchvision_uses(name, 1000)
    assert [use.how for use in uses] == [PAIRS if name in ("mixup", "cutmix") else EACH, ONE]
    for use in uses:
        images, targets = use.run(given.levels, given.labels)
        assert images.shape == (4, 3, 16, 16) and images.dtype == torch.float32
        assert images.min() > -3 and images.max() < 5, "normalised"
        assert targets.shape == batch.targets.shape  # type: ignore[attr-defined]


def test_the_same_images_reach_both_sides() -> None:
    given = bench_augment._given(3, 16, CPU)
    use = torchvision_uses("colour-jitter", 1000)[0]
    assert given.levels.float().std() > 10
    torch.testing.assert_close(given.shares * 255, given.levels.float())
    plain = torchvision_uses("erasing-mean", 1000)[0].run(given.levels, given.labels)[0]
    kept = (plain - given.normalised).abs() < 1e-4
    assert kept.float().mean() > 0.5, "what is not erased is as ours is normalised"
    assert use.run(given.levels, given.labels)[0].shape == given.normalised.shape


def test_records_are_of_the_fixed_format_and_a_missing_peer_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench_augment, "is_there", lambda peer: peer == "torchvision")
    file = tmp_path / "augment.json"
    only = "--only=trivial-augment,cutmix"
    assert main([*TINY, only, "--against=torchvision,kornia", f"--json={file}"]) == 0
    found = records.read(file)
    for record in found:
        records.check(record)
    assert [(record["what"], record["how"]) for record in found] == [
        *(("trivial-augment", EACH), ("trivial-augment", ONE), ("cutmix", PAIRS), ("cutmix", ONE)),
    ]
    assert "kornia is left out: it is not installed here" in capsys.readouterr().out


def test_nothing_to_compare_with_is_no_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench_augment, "is_there", lambda peer: False)
    assert main([*TINY, "--against=kornia"]) == 0
    assert capsys.readouterr().out.count("\n") == 1


def test_an_unknown_peer_is_refused_in_a_line() -> None:
    with pytest.raises(UserError, match="--against"):
        main(["--against=albumentations"])

"""The augment stage: every use of a peer returns a batch like ours; a missing peer is left out."""

from pathlib import Path

import pytest
import torch

from benchmarks.sides import PEERS, Side
from benchmarks.sides.augmenters import EACH, ONE, PAIRS, torchvision_uses
from benchmarks.stages import augment
from benchmarks.stages.augment import RECIPES, main
from engine.errors import UserError
from tests.benchmarks import record_checks

CPU = torch.device("cpu")


@pytest.mark.parametrize("name", RECIPES)
def test_both_sides_return_a_normalised_batch_of_one_form(name: str) -> None:
    torch.manual_seed(0)
    given = augment._given(4, 16, CPU)
    ours = augment._our_work(name, given, CPU)
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


def test_both_sides_get_the_same_images() -> None:
    given = augment._given(3, 16, CPU)
    use = torchvision_uses("colour-jitter", 1000)[0]
    assert given.levels.float().std() > 10
    torch.testing.assert_close(given.shares * 255, given.levels.float())
    plain = torchvision_uses("erasing-mean", 1000)[0].run(given.levels, given.labels)[0]
    kept = (plain - given.normalised).abs() < 1e-4
    assert kept.float().mean() > 0.5, "what is not erased is as ours is normalised"
    assert use.run(given.levels, given.labels)[0].shape == given.normalised.shape


TINY = ("--resolution=16", "--batch=4", "--seconds=0.001")


def _remove_kornia(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = Side(entry="nowhere:uses", needs=("no_such_module",), package="kornia")
    monkeypatch.setitem(PEERS["augment"], "kornia", gone)


def test_records_are_valid_and_a_missing_peer_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _remove_kornia(monkeypatch)
    file = tmp_path / "augment.json"
    only = "--only=trivial-augment,cutmix"
    assert main([*TINY, only, "--against=torchvision,kornia", f"--json={file}"]) == 0
    found = record_checks.read(file)
    for record in found:
        record_checks.check(record)
    assert [(record["what"], record["how"]) for record in found] == [
        *(("trivial-augment", EACH), ("trivial-augment", ONE), ("cutmix", PAIRS), ("cutmix", ONE)),
    ]
    assert "left out: kornia: it is not installed: pip install kornia" in capsys.readouterr().out


def test_no_installed_peer_is_no_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _remove_kornia(monkeypatch)
    assert main([*TINY, "--against=kornia"]) == 0
    assert capsys.readouterr().out.count("\n") == 1


def test_unknown_peer_is_refused_in_one_line() -> None:
    with pytest.raises(UserError, match=r"no peer 'korna' .did you mean 'kornia'"):
        main(["--against=korna"])

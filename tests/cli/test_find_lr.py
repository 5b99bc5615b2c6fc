"""The learning rate range test: what is read off a curve, and the whole verb on a tiny data set."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from engine.cli.find_lr import main
from engine.config.load import load_train_config
from engine.errors import UserError
from engine.report.drawing.lr_curve import draw
from engine.train.lr_range import (
    Explosion,
    RangePoint,
    Reading,
    as_tested,
    linear_scaling,
    rates,
    read_curve,
    smoothed,
)
from tests.shapes import write_betons


def _curve(steps: int = 200, noise: float = 0.0) -> list[RangePoint]:
    """Flat, then falling around 0.01, lowest at 0.3, then exploding; with noise that alternates."""
    points = []
    for number, lr in enumerate(rates(1e-5, 10, steps)):
        fall = 2 / (1 + (lr / 0.01) ** -1.5)
        rise = 40 * max(0.0, math.log10(lr / 0.3)) ** 2
        points.append(RangePoint(lr=lr, loss=3 - fall + rise + noise * (-1) ** number))
    return points


def test_rates_grow_by_a_constant_factor() -> None:
    found = rates(1e-3, 1, 4)
    assert found == pytest.approx([1e-3, 1e-2, 1e-1, 1])


@pytest.mark.parametrize("noise", [0.0, 0.2])
def test_reading_finds_steepest_and_lowest_rate(noise: float) -> None:
    reading = read_curve(_curve(noise=noise), exploded=True)
    assert isinstance(reading, Reading)
    assert reading.steepest == pytest.approx(0.01, rel=0.3)
    # Smoothing lets the steep side reach over the flat one: within a factor of two.
    assert abs(math.log2(reading.lowest / 0.3)) < 1
    assert reading.suggestion(peaked=True) == reading.lowest
    assert reading.suggestion(peaked=False) == reading.lowest / 10


def test_smoothing_does_not_shift_the_curve() -> None:
    step = [0.0] * 100 + [1.0] * 100
    mean = smoothed(step)
    assert mean[99] + mean[100] == pytest.approx(1.0)
    assert mean[:80] == pytest.approx([0.0] * 80, abs=1e-4)


def _points(losses: Sequence[float]) -> list[RangePoint]:
    return [
        RangePoint(lr=lr, loss=float(loss))
        for lr, loss in zip(rates(1e-3, 1, len(losses)), losses, strict=True)
    ]


def test_early_explosion_asks_for_lower_rates() -> None:
    for losses in ([2.0], [2, 1.9, 9], [2 + number for number in range(40)]):
        assert read_curve(_points(losses), exploded=True) == "the loss explodes before it falls: lower --from"


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("steps", [20, 200])
def test_noise_gives_no_suggestion(seed: int, steps: int) -> None:
    losses = np.random.default_rng(seed).normal(2, 0.3, steps).tolist()
    said = read_curve(_points(losses), exploded=False)
    assert isinstance(said, str) and said.startswith("the loss never falls by more than its noise")


@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_loss_still_falling_gives_no_suggestion(noise: float) -> None:
    falling = [point for point in _curve(noise=noise) if point.lr < 0.05]
    assert read_curve(falling, exploded=False) == "the loss still falls at --to: raise it"


def test_fall_after_the_lowest_is_not_the_steepest() -> None:
    down, up, down_again = np.linspace(3, 1, 100), np.linspace(1, 8, 50), np.linspace(8, 2, 20)
    reading = read_curve(_points([*down, *up, *down_again]), exploded=False)
    assert isinstance(reading, Reading) and reading.steepest < reading.lowest


def test_single_bad_batch_is_not_an_explosion() -> None:
    explosion = Explosion()
    assert not any(explosion.seen(loss) for loss in [*[1.0] * 20, 9.0, *[1.0] * 20])
    assert any(explosion.seen(9.0) for _ in range(10))
    assert Explosion().seen(math.nan)


def test_linear_scaling_is_a_tenth_per_256_images() -> None:
    assert linear_scaling(256) == 0.1
    assert linear_scaling(8192) == pytest.approx(3.2)


def test_range_test_uses_the_first_resolution() -> None:
    words = (
        "--data.train_dataset=a --data.val_dataset=b --resolution.schedule=stages --training.ema_half_life=5"
    )
    words += " --resolution.stages=96x2,128x1 --training.epochs=3"
    config = load_train_config(words.split())[0]
    tested = as_tested(config, 96)
    assert (tested.resolution.min_res, tested.resolution.max_res, tested.resolution.schedule) == (
        96,
        96,
        "ramp",
    )
    assert tested.training.ema_half_life == 0


def test_picture_names_every_rate() -> None:
    points = _curve()
    root = ElementTree.fromstring(
        draw("A <title> & more", points, Reading(steepest=0.01, lowest=0.3), 0.3, 0.05)
    )
    texts = [element.text or "" for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert "A <title> & more" in texts
    for name in ("recipe 0.05", "suggestion 0.3", "steepest"):
        assert any(text.startswith(name) for text in texts)
    for path in root.iter("{http://www.w3.org/2000/svg}path"):
        ys = [float(pair.split()[1]) for pair in path.attrib["d"].lstrip("M").split("L")]
        assert all(0 <= y <= 420 for y in ys), "what exploded stays inside"


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A recipe of a tiny data set whose first resolution is 16 px."""
    train, val = write_betons(tmp_path_factory.mktemp("shapes"))
    return [
        f"--data.train_dataset={train}",
        f"--data.val_dataset={val}",
        "--model.arch=small_resnet",
        "--resolution.min_res=16",
        "--resolution.max_res=24",
        "--resolution.end_ramp=1",
        "--training.batch_size=16",
        "--training.device_batch_size=8",
        "--training.precision=fp32",
        "--training.device=cpu",
        "--training.ema_half_life=4",
        "--validation.resolution=32",
    ]


def test_find_lr_writes_picture_and_points_only(
    options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    test = ["--from=1e-3", "--to=1", "--steps=24"]
    found = []
    for name in ("one", "two"):
        assert main([*test, "--folder", str(tmp_path / name), *options]) == 0
        assert sorted(path.name for path in (tmp_path / name).iterdir()) == ["lr_range.json", "lr_range.svg"]
        found.append((tmp_path / name / "lr_range.json").read_text())
    # More steps than an epoch of 96 images has, accumulated; the same seed gives the same bits.
    assert found[0] == found[1]
    content = json.loads(found[0])
    assert content["global_batch"] == 16
    assert content["linear_scaling"] == pytest.approx(0.1 * 16 / 256)
    assert [point["lr"] for point in content["points"]] == rates(1e-3, 1, 24)[: len(content["points"])]
    assert content["points"][0]["loss"] == pytest.approx(math.log(6), rel=0.4)
    printed = capsys.readouterr().out
    assert "16 px" in printed and "8 images x 2 accumulation" in printed
    assert "linear scaling  0.00625 (0.1 x 16 / 256: Goyal et al. 2017)" in printed
    assert "recipe          0.5 (lr.lr, its peak)" in printed


def test_earlier_test_is_not_overwritten(options: list[str], tmp_path: Path) -> None:
    (tmp_path / "lr_range.json").write_text("{}")
    with pytest.raises(
        UserError, match=r"lr_range\.json already exists: choose another --folder, or remove it"
    ):
        main(["--folder", str(tmp_path), *options])
    assert [path.name for path in tmp_path.iterdir()] == ["lr_range.json"]


def test_find_lr_stops_when_the_loss_explodes(
    options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--from=1e-2", "--to=1e9", "--steps=40", "--folder", str(tmp_path / "a"), *options]) == 0
    points = json.loads((tmp_path / "a" / "lr_range.json").read_text())["points"]
    assert 0 < len(points) < 40
    assert "the loss exploded" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--from=1", "--to=0.1"], "--from 1, --to 0.1"),
        (["--steps=3"], "at least 20"),
        (["--training.eval_only=true", "--model.weights=x.pt"], "find-lr starts its own training"),
        (["--lr.rl=1"], "unknown option 'lr.rl'"),
    ],
)
def test_find_lr_mistake_is_refused(options: list[str], tmp_path: Path, words: list[str], said: str) -> None:
    with pytest.raises(UserError, match=said):
        main([*words, "--folder", str(tmp_path / "x"), *options])
    assert not (tmp_path / "x").exists()

"""`python -m engine average` on runs of random weights: what it writes, what it says of it, and what it refuses."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.average.ingredients import gather
from engine.data.beton.reader import open_beton
from engine.data.sampling.order import held_out
from engine.errors import UserError
from engine.models.build import build_model
from engine.runs.model_card import CARD_KEY, ModelCard
from engine.train.checkpoints import checkpoint_file
from engine.train.checkpoints.weights_file import classes_in, with_classes
from tests.average.conftest import MakeRun, network
from tests.shapes import CLASSES

Averaged = Callable[..., int]

STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


def _card(path: Path) -> ModelCard:
    return ModelCard.from_text(getattr(checkpoint_file.load(path), CARD_KEY))


def _table(text: str) -> dict[str, float]:
    """Top-1 in percent by row."""
    return {
        name.strip(): float(top1) for name, top1 in re.findall(r"^(\S.*?) +([\d.]+)% +[\d.]+% ", text, re.M)
    }


@pytest.fixture
def pair(make_run: MakeRun) -> tuple[Path, Path]:
    return make_run("a", 0), make_run("b", 1)


def test_soup_is_the_mean_with_its_measured_accuracy(
    averaged: Averaged, pair: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert averaged(*pair, "--images=64", "--ensemble") == 0
    out = capsys.readouterr().out
    states = [checkpoint_file.load(run / "weights.pt") for run in pair]
    soup = pair[0].parent / "a_soup"
    found = checkpoint_file.load(soup / "weights.pt")
    for name, value in states[0].items():
        mean = (value.double() + states[1][name].double()) / 2
        if not name.endswith(STATISTICS):
            torch.testing.assert_close(found[name].double(), mean, rtol=1e-6, atol=1e-8)
        elif name.endswith("running_mean"):
            assert not torch.allclose(found[name].double(), mean, rtol=0.01), "the statistics are recomputed"
    assert classes_in(found) == list(CLASSES)
    build_model("small_resnet", len(CLASSES), use_blurpool=True).load_state_dict(found, strict=True)
    card, table = _card(soup / "model.safetensors"), _table(out)
    assert card == _card(soup / "weights.pt")
    assert (card.arch, card.use_blurpool, card.ingredients) == (
        "small_resnet",
        True,
        [str(run) for run in pair],
    )
    assert card.seed is None and card.accuracies[0].images == 37
    assert 100 * card.accuracies[0].top1 == pytest.approx(table["its batch norm from 64 images"], abs=0.006)
    best = max(map(str, pair), key=lambda run: table[run])
    assert list(table) == [
        *map(str, pair),
        "mean of 2",
        "its batch norm from 64 images",
        f"{best}, batch norm too",
        "ensemble of 2",
    ]


def test_written_soup_scores_what_its_card_says(
    averaged: Averaged, pair: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """It is measured again as one of two, by its card alone."""
    assert averaged(*pair, "--out", pair[0] / "soup.safetensors") == 0
    once = _card(pair[0] / "soup.safetensors").accuracies[0]
    (pair[0] / "soup.safetensors").rename(pair[0].parent / "moved.safetensors")
    capsys.readouterr()
    moved = pair[0].parent / "moved.safetensors"
    assert averaged(moved, pair[1], "--out", pair[0].parent / "again.pt", "--", "--training.device=cpu",
                    "--training.precision=fp32") == 0  # fmt: skip
    out = capsys.readouterr().out
    assert _table(out)[str(moved)] == pytest.approx(100 * once.top1, abs=0.006)
    assert ", from val crops" in out


def test_images_of_the_statistics_depend_on_the_seed(averaged: Averaged, pair: tuple[Path, Path]) -> None:
    states = []
    for number, seed in enumerate((0, 0, 1)):
        out = pair[0].parent / f"{number}.pt"
        assert averaged(*pair, "--images=8", f"--seed={seed}", "--out", out) == 0
        states.append(checkpoint_file.load(out))
    same = [all(torch.equal(states[0][name], other[name]) for name in states[0]) for other in states[1:]]
    assert same == [True, False]


def test_classes_in_another_order_are_mapped(
    averaged: Averaged, make_run: MakeRun, capsys: pytest.CaptureFixture[str]
) -> None:
    one, other = make_run("a", 0), make_run("b", 1)
    state = network("small_resnet", 1)
    for name in ("fc.weight", "fc.bias"):
        state[name] = state[name].flip(0)
    flipped = make_run("flipped", 1, CLASSES[::-1])
    checkpoint_file.save(flipped / "weights.pt", with_classes(state, CLASSES[::-1]))
    for name, second in (("straight", other), ("mapped", flipped)):
        assert averaged(one, second, "--out", one.parent / f"{name}.pt") == 0
    straight, mapped = (checkpoint_file.load(one.parent / f"{name}.pt") for name in ("straight", "mapped"))
    assert all(torch.equal(straight[name], mapped[name]) for name in straight)
    assert "the data's classes in another order" in capsys.readouterr().out


def test_checkpoints_of_one_run_are_averaged(averaged: Averaged, make_run: MakeRun) -> None:
    run = make_run("run")
    for epoch in (1, 2, 3):
        content = {"model": network("small_resnet", epoch), "classes": list(CLASSES)}
        checkpoint_file.save(run / "checkpoints" / f"epoch_{epoch:03d}_step_000006.pt", content)
    checkpoint_file.save(run / "checkpoints" / "last.pt", content)
    assert averaged(run, "--images=32") == 0
    found = checkpoint_file.load(run.parent / "run_swa" / "weights.pt")
    mean = sum(network("small_resnet", epoch)["fc.weight"].double() for epoch in (1, 2, 3)) / 3
    torch.testing.assert_close(found["fc.weight"].double(), mean, rtol=1e-6, atol=1e-8)
    ingredients = _card(run.parent / "run_swa" / "weights.pt").ingredients
    assert ingredients == [f"epoch_00{epoch}_step_000006.pt" for epoch in (1, 2, 3)]


def _always(folder: Path, label: int, certainty: float) -> Path:
    """A run whose network gives every image one class."""
    state = network("small_resnet", 0)
    state["fc.weight"].zero_()
    state["fc.bias"].zero_()[label] = certainty
    checkpoint_file.save(folder / "weights.pt", with_classes(state, CLASSES))
    return folder


def test_greedy_soup_leaves_out_what_makes_it_worse(
    averaged: Averaged, make_run: MakeRun, betons: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """It chooses on one half of the images, and its accuracy is of the other."""
    labels = open_beton(betons[1]).labels
    choice = held_out(len(labels), 0.5, 0)
    images = np.bincount(labels[choice], minlength=len(CLASSES))
    best, worst = int(images.argmax()), int(images.argmin())
    assert images[worst] < images[best]
    bad = _always(make_run("bad"), worst, 4000)
    good, alike = _always(make_run("good"), best, 1000), _always(make_run("alike"), best, 900)
    out = bad.parent / "soup.pt"
    assert averaged(bad, good, alike, "--greedy", "--images=8", "--out", out) == 0
    steps = re.findall(r"^([+-]) (\S+): ([\d.]+)% on (\d+) images", capsys.readouterr().out, re.M)
    share = 100 * images / len(choice)
    assert [step[:2] for step in steps] == [("+", str(good)), ("+", str(alike)), ("-", str(bad))]
    assert [float(step[2]) for step in steps] == pytest.approx(
        [share[best], share[best], share[worst]], abs=0.006
    )
    card, others = _card(out), np.delete(labels, choice)
    assert card.ingredients == [str(good), str(alike)]
    assert card.accuracies[0].images == len(others)
    assert card.accuracies[0].top1 == pytest.approx((others == best).mean())


def test_greedy_soup_of_one_is_not_written(
    averaged: Averaged, make_run: MakeRun, betons: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    labels = open_beton(betons[1]).labels
    images = np.bincount(labels[held_out(len(labels), 0.5, 0)], minlength=len(CLASSES))
    good = _always(make_run("good"), int(images.argmax()), 1000)
    bad = _always(make_run("bad"), int(images.argmin()), 4000)
    assert averaged(good, bad, "--greedy", "--images=8") == 1
    assert "nothing is written" in capsys.readouterr().out
    assert not list(good.parent.glob("*soup*"))


BAD: dict[str, tuple[Callable[[MakeRun], list[object]], str]] = {
    "one file": (lambda make: [make("a") / "weights.pt"], "is one file of weights: give at least two"),
    "same twice": (lambda make: [run := make("a"), run / "weights.pt"], "are the same weights"),
    "missing": (lambda make: [make("a"), "nosuch"], "nosuch does not exist: give a run's folder"),
    "few checkpoints": (lambda make: [make("a")], "holds 0 of the run's checkpoints.*checkpoint.keep"),
    "architectures": (
        lambda make: [make("a"), make("b", model__arch="resnet9")],
        "b is of resnet9 and .*a of small_resnet.*model.ensemble",
    ),
    "BlurPool": (
        lambda make: [make("a"), make("b", training__use_blurpool=False)],
        "b was trained without BlurPool and .*a with BlurPool",
    ),
    "classes": (
        lambda make: [make("a"), make("b", classes=("another", *CLASSES[1:]))],
        "are of other classes \\(only one has 'another'\\)",
    ),
    "other data": (
        lambda make: [make(name, classes=("another", *CLASSES[1:])) for name in "ab"],
        "val.beton are of other classes .*give the data that it was trained on",
    ),
    "out exists": (
        lambda make: [make("a"), run := make("b"), "--out", run],
        "weights.pt exists: choose another",
    ),
    "share": (
        lambda make: [make("a"), make("b"), "--greedy", "--chosen-on=1.5"],
        r"--chosen-on 1\.5 is not between 0 and 1",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_input_that_does_not_fit_is_refused(
    averaged: Averaged, make_run: MakeRun, name: str, tmp_path: Path
) -> None:
    arguments, message = BAD[name]
    with pytest.raises(UserError, match=message) as caught:
        averaged(*arguments(make_run))
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.glob("*soup*"))


def test_weights_without_recipe_need_options(averaged: Averaged, make_run: MakeRun, tmp_path: Path) -> None:
    for number, name in enumerate("ab"):
        (make_run(name, number) / "weights.pt").rename(tmp_path / f"{name}.pt")
    files = [tmp_path / "a.pt", tmp_path / "b.pt"]
    with pytest.raises(UserError, match=r"neither a card nor a config\.yaml beside it: say after a --"):
        averaged(*files)
    words = ["--model.arch=small_resnet", "--training.use_blurpool=true", "--validation.resolution=16"]
    words.append("--validation.plain_resolution=16")
    assert averaged(*files, "--images=32", "--", *words, "--training.device=cpu") == 0
    assert _card(tmp_path / "a_soup" / "weights.pt").arch == "small_resnet"


def test_run_of_stages_gives_its_last_checkpoints(make_run: MakeRun) -> None:
    run = make_run("run")
    for number in (1, 2):
        stage = run / f"stage{number}"
        stage.mkdir()
        (stage / "config.yaml").write_text((run / "config.yaml").read_text())
        for epoch in (1, 2):
            content = {"model": network("small_resnet", epoch)}
            checkpoint_file.save(stage / "checkpoints" / f"epoch_{epoch:03d}_step_000006.pt", content)
    assert {one.known.file.parent.parent.name for one in gather([run])} == {"stage2"}

"""Training in page-wise order, and what a run says when the data or its windows do not fit into memory."""

from collections.abc import Callable
from pathlib import Path

import pytest

from engine.config.load import load_train_config
from engine.data.loading import page_cache
from engine.errors import UserError
from engine.train.ranks.group import process_group
from engine.train.run import Run
from tests.train.conftest import log_of, train_here

Options = Callable[..., list[str]]


def _losses(folder: Path) -> list[float]:
    return [entry["train_loss"] for entry in log_of(folder, "epoch")]


def _open(argv: list[str]) -> None:
    """A run's construction alone."""
    config, _ = load_train_config(argv)
    with process_group(config.training.device) as ranks, Run(config, ranks):
        pass


def test_page_order_run_learns_and_repeats_to_the_bit(options: Options) -> None:
    pages = {"data__order": "pages", "data__window_mb": 8, "training__epochs": 3}
    (code, first), (_, second) = (
        train_here(options(logging__name=name, **settings))
        for name, settings in (("first", pages), ("second", pages))
    )
    assert code == 0 and _losses(first)[-1] < _losses(first)[0]
    assert [entry["images"] for entry in log_of(first, "epoch")] == [96, 96, 96]
    assert _losses(first) == _losses(second)


def test_resume_with_another_order_is_refused(options: Options) -> None:
    _, folder = train_here(options(training__epochs=2, data__pin_cores=False))
    argv = options(training__epochs=2, training__resume=folder, data__order="pages")
    with pytest.raises(UserError, match=r"was started with data\.order=random, not pages"):
        train_here(argv)


@pytest.mark.parametrize(
    ("settings", "notes"),
    [
        ({}, ["train.beton (0.0 GB) does not fit", "--data.order=pages", "val.beton (0.0 GB) does not fit"]),
        ({"data__in_memory": False}, ["train.beton (0.0 GB) does not fit", "--data.order=pages"]),
        (
            {"data__order": "pages", "data__in_memory": False},
            ["the data of two windows (0.0 GB) does not fit", "lower data.window_mb"],
        ),
    ],
)
def test_file_larger_than_memory_prints_advice(
    options: Options,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    settings: dict[str, object],
    notes: list[str],
) -> None:
    monkeypatch.setattr(page_cache, "free_memory", lambda: 10_000)
    _open(options(**settings))
    printed = [line for line in capsys.readouterr().out.splitlines() if line.startswith("note: ")]
    assert len(printed) == sum("does not fit" in note for note in notes)
    assert all(note in "\n".join(printed) for note in notes)


def test_file_that_fits_memory_prints_no_advice(options: Options, capsys: pytest.CaptureFixture[str]) -> None:
    _open(options())
    assert "note: " not in capsys.readouterr().out

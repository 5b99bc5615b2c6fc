"""data.replay: the first batches again and again, which measures the step and is nobody's result."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from engine.cli.report import main as report
from engine.config.load import load_train_config, load_train_stages
from engine.data.beton.reader import open_beton
from engine.data.loading.loader import Loader
from engine.data.loading.replay import replayed
from engine.errors import UserError
from tests.data.loaders import CPU, LAW
from tests.train.conftest import Launch, log_of, train_here

Options = Callable[..., list[str]]


def test_replayed_batches_are_loaded_once_and_cycled(betons: tuple[Path, Path]) -> None:
    ids = np.arange(24).reshape(-1, 4)
    with Loader(open_beton(betons[0]), device=CPU, in_memory=False) as loader:
        whole = list(loader.batches(ids, 16, LAW))
        before = loader.figures()
        replay = replayed(loader.batches(ids, 16, LAW), 2, 5)
        # The loader may begin another epoch: this one's threads have ended.
        loader.batches(ids, 16, LAW).close()
        given = []
        for batch in replay:
            given.append(batch.images.clone())
            batch.images.zero_()
        assert (loader.figures() - before).asked == 2
    assert [bool((a == whole[i % 2].images).all()) for i, a in enumerate(given)] == [True] * 5


def test_replay_run_is_marked_and_has_no_result(options: Options, capsys: pytest.CaptureFixture[str]) -> None:
    argv = options(data__replay=2, training__ema_half_life=4, augmentation__cutmix_alpha=1.0)
    code, folder = train_here(argv)
    (result,), epochs = log_of(folder, "result"), log_of(folder, "epoch")
    assert code == 0
    assert log_of(folder, "start")[0]["replay"] == result["replay"] == 2
    assert [epoch["replay"] for epoch in epochs] == [2, 2, 2]
    for line in [*epochs, result]:
        assert line["top1"] is line["val_loss"] is None
    assert result["verdict"].startswith("replay of 2 batches, no result: ")
    assert (result["met"], result["weights"]) == (None, None)
    assert all("loaded before the epoch" in epoch["limits"]["words"] for epoch in epochs)
    # As many steps as any epoch, and none of them waited.
    assert [epoch["images"] for epoch in epochs] == [96, 96, 96]
    assert [epoch["data_wait_seconds"] for epoch in epochs] == [0, 0, 0]
    assert {path.name for path in folder.iterdir()} == {"config.yaml", "log.jsonl", "report.html"}
    assert "verdict    replay of 2 batches, no result" in capsys.readouterr().out
    assert report([str(folder)]) == 0
    assert "replay of 2 batches" in (folder / "report.html").read_text().lower()


@pytest.mark.slow
def test_two_ranks_replay_with_exit_code_0(options: Options, launch: Launch, tmp_path: Path) -> None:
    done = launch(options(data__replay=1, training__epochs=2, logging__name="two"), ranks=2)
    assert done.returncode == 0, done.stderr
    assert log_of(tmp_path / "runs" / "two", "result")[0]["replay"] == 1


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("budget__target_top1", 0.5),
        ("training__resume", "runs/x"),
        ("training__eval_only", True),
    ],
)
def test_replay_with_options_of_real_runs_is_refused(options: Options, option: str, value: object) -> None:
    more = {"model__weights": "w.pt"} if option == "training__eval_only" else {}
    with pytest.raises(UserError, match=f"data.replay .* {option.replace('__', '.')} has no effect"):
        load_train_config(options(data__replay=2, **{option: value}, **more))


def test_replay_with_several_stages_is_refused(options: Options, tmp_path: Path) -> None:
    recipe = tmp_path / "two.yaml"
    recipe.write_text("then:\n- {lr: {lr: 0.1}}\n")
    with pytest.raises(UserError, match=r"in stage 1: data\.replay leaves no weights for a later stage"):
        load_train_stages(["-C", str(recipe), *options(data__replay=2)])

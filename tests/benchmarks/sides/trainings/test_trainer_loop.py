"""The trainer's loop and its bare steps: a run's epochs on one network."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.sides.steps.step_tasks import LoopTask, StepTask
from benchmarks.sides.trainings.trainer_loop import TURN, Loop, Replay, Turns
from engine.data.loading.loader import Batch
from engine.data.sampling.crops import CenterCrop

STEPS, BATCH = 22, 4


def _task(folder: Path) -> LoopTask:
    step = StepTask(
        arch="small_resnet",
        blurpool=True,
        precision="fp32",
        compile=False,
        device="cpu",
        cores=torch.get_num_threads(),
    )
    return LoopTask(step=step, resolution=16, batch=BATCH, steps=STEPS, folder=folder)


def test_loop_logs_epochs_and_shares_its_network_with_bare_steps(tmp_path: Path) -> None:
    both = Loop(_task(tmp_path))
    folder = both.record.folder
    assert both.trainer.step.ema is not None
    first, average = (next(model.parameters()) for model in (both.model, both.trainer.step.ema.model))
    begin = first.detach().clone()
    assert both.loop() > 0
    after = first.detach().clone()
    assert not torch.equal(begin, after)
    # It takes the weights in every 20 steps.
    assert not torch.equal(average, begin)
    assert both.bare(2) > 0
    assert not torch.equal(first, after)
    assert min(both.in_turns()) > 0
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    epochs = [line for line in lines if line["kind"] == "epoch"]
    assert [(line["epoch"], line["images"]) for line in epochs] == [(1, STEPS * BATCH), (2, STEPS * BATCH)]
    assert [line["step"] for line in lines if line["kind"] == "steps"] == [STEPS, STEPS]
    assert all(line["data_wait_seconds"] == 0 for line in epochs)
    assert (folder / "report.html").exists()
    assert both.bar.n == 2 * STEPS * BATCH
    both.close()


def test_replay_repeats_its_batches_only_at_their_size() -> None:
    made = [Batch(torch.zeros(4, 3, 8, 8), torch.zeros(4, dtype=torch.int64), np.arange(4)) for _ in range(2)]
    replay = Replay(made, 20)
    ids = np.arange(12).reshape(3, 4)
    assert [id(batch) for batch in replay.batches(ids, 8, CenterCrop(ratio=1.0))] == [
        id(made[number]) for number in (0, 1, 0)
    ]
    assert (replay.beton.num_samples, replay.skips, replay.wait_seconds) == (20, 0, 0.0)
    for asked, resolution in ((ids, 16), (ids[:, :2], 8)):
        with pytest.raises(ValueError, match="made for"):
            next(replay.batches(asked, resolution, CenterCrop(ratio=1.0)))


def test_bare_steps_precede_each_turn_in_equal_number() -> None:
    made = [Batch(torch.zeros(4, 3, 8, 8), torch.zeros(4, dtype=torch.int64), np.arange(4))]
    turns, ids, heard = Turns(made, 4), np.arange(4 * (TURN + 2)).reshape(-1, 4), list[int | str]()
    turns.other = heard.append
    for _ in turns.batches(ids, 8, CenterCrop(ratio=1.0)):
        heard.append("loop")
    assert heard == [TURN, *["loop"] * TURN, 2, "loop", "loop"]
    turns.other = None
    assert len(list(turns.batches(ids, 8, CenterCrop(ratio=1.0)))) == TURN + 2


def test_bare_steps_equal_the_epoch_and_are_timed_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both, bare = Loop(_task(tmp_path)), list[int]()

    def a_second(steps: int) -> float:
        bare.append(steps)
        return 1.0

    def an_epoch() -> float:
        assert len(list(both.trainer.batches(0, 0))) == STEPS
        return 7.5

    monkeypatch.setattr(both, "bare", a_second)
    monkeypatch.setattr(both, "loop", an_epoch)
    assert both.in_turns() == (2.5, 5.0)
    assert sum(bare) == STEPS
    # The next epoch is the trainer's alone.
    assert both.trainer.loader.other is None  # type: ignore[attr-defined]
    both.close()

"""The overhead stage: the loop that it times is the trainer's, with all that a run has around it."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.bench_overhead import main, passed
from benchmarks.replay import Replay
from benchmarks.steps import LoopTask, StepTask
from benchmarks.steps.loop import Loop
from engine.data.crops import CenterCrop
from engine.data.loader import Batch
from engine.errors import UserError
from tests.benchmarks import records

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


def test_the_loop_is_a_run_s_epochs_and_both_train_the_same_network(tmp_path: Path) -> None:
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
    assert both.bare() > 0
    assert not torch.equal(first, after)
    both.loop()
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    epochs = [line for line in lines if line["kind"] == "epoch"]
    assert [(line["epoch"], line["images"]) for line in epochs] == [(1, STEPS * BATCH), (2, STEPS * BATCH)]
    assert all(line["data_wait_seconds"] == 0 for line in epochs)
    assert (folder / "report.html").exists()
    assert both.bar.n == 2 * STEPS * BATCH
    both.close()


def test_a_replay_gives_its_batches_in_turn_and_only_in_their_size() -> None:
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


def test_more_than_two_percent_is_a_failure() -> None:
    assert passed({"overhead": 0.019}) and passed({"overhead": -0.01})
    assert not passed({"overhead": 0.021}) and not passed({"error": "no luck"})


def test_too_few_steps_are_one_line() -> None:
    with pytest.raises(UserError, match="--steps"):
        main(["--steps=1"])


@pytest.mark.slow
def test_the_stage_records_both_and_its_exit_code_is_its_finding(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(
        [
            *("--device=cpu", "--arch=small_resnet", "--resolution=16", "--batch=4", "--steps=4"),
            *("--rounds=5", f"--json={tmp_path}/o.json"),
        ]
    )
    (record,) = records.read(tmp_path / "o.json")
    records.check(record)
    assert (record["ours"], record["peer"], record["metric"]) == ("loop", "bare step", "images_per_second")
    assert record["overhead"] == pytest.approx(1 / record["ratio"]["median"] - 1, abs=1e-4)
    assert code == (0 if passed(record) else 1)
    assert "in turns in one process" in (tmp_path / "o.md").read_text(encoding="utf-8")
    assert "| loop | bare step | small_resnet" in capsys.readouterr().out

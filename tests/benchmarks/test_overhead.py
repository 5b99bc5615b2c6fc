"""The overhead stage: the loop that it times is the trainer's, with all that a run has around it."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.stages.overhead import main, passed
from benchmarks.records.overhead_limit import sentence, verdict
from benchmarks.sides.trainings.trainer_loop import Replay
from benchmarks.sides.steps.step_tasks import LoopTask, StepTask
from benchmarks.sides.trainings.trainer_loop import TURN, Loop, Turns
from benchmarks.records.record_table import table
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


def test_the_other_works_before_each_turn_and_for_as_many_steps() -> None:
    made = [Batch(torch.zeros(4, 3, 8, 8), torch.zeros(4, dtype=torch.int64), np.arange(4))]
    turns, ids, heard = Turns(made, 4), np.arange(4 * (TURN + 2)).reshape(-1, 4), list[int | str]()
    turns.other = heard.append
    for _ in turns.batches(ids, 8, CenterCrop(ratio=1.0)):
        heard.append("loop")
    assert heard == [TURN, *["loop"] * TURN, 2, "loop", "loop"]
    turns.other = None
    assert len(list(turns.batches(ids, 8, CenterCrop(ratio=1.0)))) == TURN + 2


def test_a_round_has_as_many_bare_steps_as_the_epoch_and_they_are_not_the_loop_s_time(
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


@pytest.mark.parametrize(
    ("low", "high", "word", "words"),
    [
        (0.99, 1.01, "holds", "holds: [-0.99, 1.01] lies below 2%"),
        (0.97, 1.01, "undecided", "undecided: [-0.99, 3.09] spans 2%, more --rounds narrow it"),
        (0.95, 0.97, "over", "over: [3.09, 5.26] lies above 2%"),
    ],
)
def test_only_what_is_over_two_percent_beyond_the_noise_is_a_failure(
    low: float, high: float, word: str, words: str
) -> None:
    ratio = {"low": low, "median": (low + high) / 2, "high": high}
    assert (verdict(ratio), sentence(ratio)) == (word, words)
    assert passed({"ratio": ratio}) == (word != "over")


def test_a_comparison_that_failed_is_a_failure() -> None:
    assert not passed({"error": "no luck", "ratio": {"low": None, "median": None, "high": None}})


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
    assert record["verdict"] == sentence(record["ratio"])
    page, said = (tmp_path / "o.md").read_text(encoding="utf-8"), capsys.readouterr().out
    assert "in turns of five steps in one process" in page
    assert table([record]) in page and table([record]) in said
    assert f"| {verdict(record['ratio'])} " in table([record])
    assert said.endswith(f"{record['verdict']}\n")

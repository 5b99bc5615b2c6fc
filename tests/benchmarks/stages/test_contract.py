"""The contract stage: budgets planned, trained and recorded, by a stand-in for the run and by a real one."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks.harness.disturbance import TimedRun
from benchmarks.records.contract_table import is_kept, page
from benchmarks.stages import contract
from engine.errors import UserError
from engine.knowledge.families import FAMILIES
from engine.plan.pace.machine_pace import Pace, SidePace
from tests.plan.conftest import RECIPE, tiny_family
from tests.shapes import write_betons
from tests.train.conftest import TINY

ROOT = Path(__file__).resolve().parents[3]
RESULTS = ROOT / "benchmarks" / "results"


@pytest.fixture(scope="module")
def betons(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return write_betons(tmp_path_factory.mktemp("contract"), train=24, val=12)


@pytest.fixture
def arguments(betons: tuple[Path, Path], tmp_path: Path) -> list[str]:
    """The options of a measurement with a tiny recipe."""
    recipe = tmp_path / "tiny.yaml"
    sections = {key: value for key, value in TINY.items() if key != "lr.lr_peak_epoch"}
    sections |= {"training.batch_size": 8, "lr.lr_peak_share": 0.5}
    recipe.write_text("".join(f"{key}: {value}\n" for key, value in sections.items()))
    return [
        f"--recipe={recipe}={betons[0]},{betons[1]}",
        f"--folder={tmp_path / 'runs'}",
        f"--json={tmp_path}/c.json",
    ]


def _write_plan(budget: contract.Budget, path: Path, override: Sequence[str]) -> None:
    """A plan as the planner writes it, without measuring."""
    path.write_text(
        f"base: {budget.recipe}\nbudget:\n  minutes: {budget.minutes}\n  adapt: true\n  margin: 0.01\n"
        "plan:\n  pace: '16:300, 24:200'\n"
    )


def _log(top1: float) -> str:
    replan = {"at": 1.0, "length": 2.5, "length_before": 3.0, "reason": "it would have ended late"}
    lines: list[dict[str, Any]] = [
        {"kind": "start", "predicted_top1": 0.5, "predicted_top1_low": 0.4, "predicted_top1_high": 0.6},
        {"kind": "epoch", "epoch": 1, "images": 24, "train_seconds": 1.0},
        {
            "kind": "replan",
            **replan,
            "predicted_top1": 0.7,
            "predicted_top1_low": 0.69,
            "predicted_top1_high": 0.71,
        },
        {
            "kind": "result",
            "top1": top1,
            "ema_top1": None,
            "length": 2.5,
            "val_resolution": 32,
            "val_ratio": 1.0,
        },
    ]
    lines[0] |= {
        "family": "tiny",
        "time": "2026-01-02",
        "device": "cpu",
        "machine": {"cpu": "A CPU", "cores": 2},
    }
    lines[0] |= {"versions": {"torch": "2"}}
    return "".join(json.dumps(line) + "\n" for line in lines)


class _Runs:
    """Takes the place of timed_run: writes a finished run's folder and returns the seconds it is said to have taken."""

    def __init__(self, seconds: float, top1: float = 0.7) -> None:
        self.seconds, self.top1, self.windows = seconds, top1, list[object]()

    def __call__(
        self, command: Sequence[str], folder: Path, disturb: tuple[float, float] | None = None
    ) -> TimedRun:
        options = dict(word.removeprefix("--").split("=") for word in command if "=" in word)
        run = Path(options["logging.folder"], options["logging.name"])
        run.mkdir(parents=True)
        (run / "log.jsonl").write_text(_log(self.top1))
        (run / "config.yaml").write_text("training: {seed: 0}\n")
        self.windows.append(disturb)
        facts = {"share_taken": 0.49, "seconds": 60.0} if disturb else None
        return TimedRun(code=0, seconds=self.seconds, disturbance=facts)


@pytest.fixture
def planned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contract, "write_plan", _write_plan)


def _read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_each_budget_is_run_once_and_recorded(
    arguments: list[str],
    tmp_path: Path,
    planned: None,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    runs = _Runs(seconds=118.8)
    monkeypatch.setattr(contract, "timed_run", runs)
    assert contract.main([*arguments, "--minutes=2", "--disturb=2"]) == 0
    assert contract.main([*arguments, "--minutes=2"]) == 0
    capfd.readouterr()
    assert contract.main([*arguments, "--minutes=2"]) == 0
    assert "is in" in capfd.readouterr().out
    disturbed, plain = _read(tmp_path / "c.json")
    assert runs.windows == [(36.0, 76.0), None]
    assert disturbed["disturbed"] and disturbed["disturbance"]["share_taken"] == 0.49
    assert not plain["disturbed"] and plain["disturbance"] is None
    assert plain["budget_minutes"] == 2 and plain["wall_seconds"] == 118.8
    assert plain["deviation"] == pytest.approx(-0.01)
    assert plain["predicted"] == {"top1": 0.5, "low": 0.4, "high": 0.6}
    assert plain["repredicted"] == {"top1": 0.7, "low": 0.69, "high": 0.71}
    assert plain["inside"], "the last prediction counts"
    assert (plain["planned_epochs"], plain["epochs_trained"]) == (3.0, 2.5)
    assert plain["plan"]["budget"]["adapt"] and "average_before" in plain["load"]
    written = (tmp_path / "c.md").read_text()
    assert written == page([disturbed, plain])
    assert (
        "49% for 60 s" in written and "after 1 epochs: 2.5 epochs in all: it would have ended late" in written
    )


@pytest.mark.parametrize(("seconds", "top1"), [(127, 0.7), (113, 0.7), (120, 0.65)])
def test_broken_contract_ends_with_exit_code_1(
    arguments: list[str], planned: None, monkeypatch: pytest.MonkeyPatch, seconds: float, top1: float
) -> None:
    monkeypatch.setattr(contract, "timed_run", _Runs(seconds, top1))
    assert contract.main([*arguments, "--minutes=2"]) == 1


def test_failed_run_ends_the_measurement_with_its_code(
    arguments: list[str], tmp_path: Path, planned: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = TimedRun(code=2, seconds=1.0, disturbance=None)
    monkeypatch.setattr(contract, "timed_run", lambda *_: failed)
    assert contract.main([*arguments, "--minutes=2,3"]) == 2
    assert not (tmp_path / "c.json").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--disturb=9"], "--disturb 9 is none of --minutes"),
        (["--minutes=0"], "minutes"),
        (["--recipe=gone.yaml=a,b"], r"gone\.yaml is not a file"),
        (["--disturb-from=2"], "share above 0"),
    ],
)
def test_bad_option_is_refused_in_one_line(arguments: list[str], change: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        contract.main([*arguments, *change])
    assert "\n" not in str(caught.value)


def test_recipe_without_family_is_refused(arguments: list[str]) -> None:
    with pytest.raises(UserError, match=r"sets no plan\.family"):
        contract.main([*arguments, "--minutes=2"])


def test_file_of_other_records_is_not_overwritten(arguments: list[str], tmp_path: Path) -> None:
    (tmp_path / "c.json").write_text('{"stage": "loader"}\n')
    with pytest.raises(UserError, match="holds other records"):
        contract.main(arguments)


def test_plan_is_the_longest_run_that_is_expected_to_end_in_time(
    betons: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pace = Pace(
        machine="made up",
        basis="made up",
        measured=True,
        gpus=0,
        sides=(SidePace(side=16, step=20.0), SidePace(side=24, step=10.0)),
        error=0.1,
        setup_seconds=3.0,
        validation_seconds=0.2,
    )
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text(yaml.safe_dump({**RECIPE, "plan": {"family": "shapes-tiny"}}))
    monkeypatch.setitem(FAMILIES, "shapes-tiny", tiny_family(recipe))
    monkeypatch.setattr(contract, "measure_apart", lambda config, seconds: pace)
    for minutes in (1.0, 1.5):
        budget = contract.Budget(
            recipe=str(recipe), train=betons[0], val=betons[1], minutes=minutes, disturbed=False
        )
        contract.write_plan(budget, tmp_path / "plan.yaml", [])
        plan = yaml.safe_load((tmp_path / "plan.yaml").read_text())
        assert plan["budget"]["minutes"] == minutes and plan["budget"]["adapt"]
        # Lengths differ by a tenth of an epoch, which takes a second at most, and here and there by a validation.
        assert minutes - 0.1 < plan["plan"]["minutes"] <= minutes
        (tmp_path / "plan.yaml").unlink()
    budget = replace(budget, minutes=0.1)
    with pytest.raises(UserError, match="the shortest run of shapes-tiny takes"):
        contract.write_plan(budget, tmp_path / "plan.yaml", [])


@pytest.mark.slow
def test_real_run_keeps_a_short_budget_beside_other_work(
    arguments: list[str], tmp_path: Path, planned: None
) -> None:
    contract.main([*arguments, "--minutes=0.5", "--disturb=0.5", "--disturb-from=0.5"])
    (record,) = _read(tmp_path / "c.json")
    # Start and end of a process are a large part of half a minute, and other tests may run beside this one.
    assert -0.4 < record["deviation"] < 1
    assert 3 < record["disturbance"]["seconds"] < 13
    assert 18 < record["elapsed_seconds"] <= record["wall_seconds"], "the time was used"


@pytest.mark.parametrize("path", sorted(RESULTS.glob("contract_*.json")), ids=lambda path: path.stem)
def test_committed_records_keep_the_contract_and_match_their_page(path: Path) -> None:
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert len(records) >= 6 and sum(record["disturbed"] for record in records) >= 3
    assert is_kept(records)
    assert path.with_suffix(".md").read_text(encoding="utf-8") == page(records)
    # A path of the machine that it ran on says nothing to anyone else.
    assert all((ROOT / record["plan"]["base"]).is_file() for record in records)

"""The verb: what it prints and writes, and its exit codes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from engine.cli.plan import main
from engine.config.load import load_train_config
from engine.errors import EXIT_DONE, EXIT_MISSED, EXIT_USER, UserError
from engine.knowledge.families import FAMILIES, Family
from tests.plan.conftest import RECIPE, tiny_family
from tests.shapes import write_betons
from tests.train.conftest import log_of, train_here

ROOT = Path(__file__).parents[2]
ON = ["--family", "rn50-ffcv", "--on", "8xA100-40GB"]


def test_plan_on_a_published_machine_writes_a_plan(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan, picture = tmp_path / "plan.yaml", tmp_path / "frontier.svg"
    asked = ["--target", "76", "--hours", "1", "--price", "32.77/h"]
    code = main([*asked, *ON, "-o", str(plan), "--picture", str(picture)])
    out = capsys.readouterr().out
    assert code == EXIT_DONE
    for words in (
        "published, not measured here",
        "rn50-ffcv",
        "<-",
        "pick ",
        "why ",
        f"train_imagenet.py -C {plan}",
    ):
        assert words in out
    assert picture.read_text().startswith("<svg")
    config, _ = load_train_config(["-C", str(plan), "--data.train_dataset=t", "--data.val_dataset=v"])
    assert config.model.arch == "resnet50" and config.budget.adapt
    assert config.plan.family == "rn50-ffcv" and 160 in dict(config.plan.pace_list())


def test_machine_that_nobody_measured_is_predicted_and_said_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    on = ["--family", "rn50-ffcv", "--on", "8xRTX4090", "-o", str(tmp_path / "plan.yaml")]
    assert main(["--target", "76", "--hours", "2", *on]) == EXIT_DONE
    assert (
        "machine    8xRTX4090: predicted from the machine's published rates (1,008 GB/s, 165 TFLOPS), off by 23% on "
        "the 19 figures that are published; not measured here\n"
    ) in capsys.readouterr().out


def test_nothing_fits_is_exit_1_with_advice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = tmp_path / "plan.yaml"
    on = ["--family", "rn50-ffcv", "--on", "1xH100"]
    assert main(["--target", "76", "--minutes", "30", *on, "-o", str(plan)]) == EXIT_MISSED
    out = capsys.readouterr().out
    for words in ("nothing fits", "more time: ", "faster machine: ", "more GPUs: on 4xH100"):
        assert words in out
    assert not plan.exists()


def test_json_is_all_that_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = tmp_path / "plan.yaml"
    assert (
        main(["--target", "0.76", "--cost", "20", "--price", "30", *ON, "--json", "-o", str(plan)])
        == EXIT_DONE
    )
    found = json.loads(capsys.readouterr().out)
    assert found["asked"]["limit_seconds"] == pytest.approx(2400)
    assert found["pick"]["cost"] < 20 and plan.exists()


def test_families_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--families"]) == EXIT_DONE
    assert "rn50-ffcv" in capsys.readouterr().out
    assert main(["--families", "--json"]) == EXIT_DONE
    assert {"rn50-ffcv", "fashion-small"} <= {row["family"] for row in json.loads(capsys.readouterr().out)}


def test_what_if_says_which_stage_limits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    host = ["--cores", "8", "--storage", "jpeg", "--disk", "1GB/s"]
    main(["--target", "76", "--hours", "3", *ON, *host, "-o", str(tmp_path / "plan.yaml")])
    out = capsys.readouterr().out
    assert "what if    160 px: disk 11,111, decode 16,176, step 28," in out
    assert "disk limits: the next one could do 1.5 times as much" in out


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--target", "101", "--hours", "1", *ON], "--target 101"),
        (["--target", "76", "--hours", "0", *ON], "--hours 0"),
        (["--target", "76", "--hours", "1", "--on", "8xA1O0"], "unknown machine '8xA1O0' .did you mean"),
        (["--target", "76", "--hours", "1", "--price=-3", *ON], "--price -3"),
        (["--target", "76", "--cost", "0", "--price", "3", *ON], "--cost 0"),
        (["--target", "76", "--cost", "5", *ON], "--cost needs --price"),
        (["--target", "76", "--hours", "1"], "say which machine"),
        (["--target", "76", "--hours", "1", "--measure", *ON], "say which machine"),
        (["--target", "76", "--measure"], "--measure needs --data"),
        (["--target", "76", "--gpus", "8", *ON], "--gpus 8"),
        (["--target", "76", "--cores", "-1", *ON], "--cores -1"),
        (["--target", "76", "--seconds", "1", *ON], "--seconds 1"),
        (["--target", "76", "--picture", "no/where.svg", *ON], "--picture no/where.svg"),
        (["--target", "76", "--disk", "fast", *ON], "--disk 'fast'"),
        (["--target", "76", "--family", "rn51", "--on", "8xA100"], "no family 'rn51'"),
        (ON, "nothing is asked for"),
        (["--target", "76", "--hours", "soon", *ON], "invalid float value"),
    ],
)
def test_senseless_input_is_one_line(argv: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message) as raised:
        main([*argv, "-o", str(tmp_path / "plan.yaml")])
    assert "\n" not in str(raised.value)


def test_existing_plan_is_not_replaced(tmp_path: Path) -> None:
    plan = tmp_path / "plan.yaml"
    plan.write_text("mine")
    asked = ["--target", "76", "--hours", "1", *ON, "-o", str(plan)]
    with pytest.raises(UserError, match="already exists"):
        main(asked)
    assert plan.read_text() == "mine"
    assert main([*asked, "--force"]) == EXIT_DONE


def test_files_are_written_though_nobody_reads_the_table(tmp_path: Path) -> None:
    plan, picture = tmp_path / "plan.yaml", tmp_path / "plan.svg"
    words = [
        "plan",
        "--target=76",
        "--hours=1",
        "--on=8xA100-40GB",
        f"--output={plan}",
        f"--picture={picture}",
    ]
    command = [sys.executable, "-m", "engine", *words]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
    assert plan.exists() and picture.exists()


def test_usage_error_is_exit_2_without_importing_torch(tmp_path: Path) -> None:
    argv = ["plan", "--target", "101", "--on", "8xA100"]
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "engine", *argv],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == EXIT_USER
    assert "error: --target 101" in done.stderr
    assert "| torch" not in done.stderr


@pytest.mark.slow
def test_measured_plan_trains_in_its_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The whole way: measure, plan, write, train from the plan's file alone."""
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text(yaml.safe_dump({**RECIPE, "logging": {"folder": str(tmp_path / "runs")}}))
    family: Family = tiny_family(recipe)
    # The run looks its family up as well.
    monkeypatch.setitem(FAMILIES, family.name, family)
    train, val = write_betons(tmp_path)
    plan = tmp_path / "plan.yaml"
    argv = ["--minutes", "2", "--measure", "--seconds", "5", "--data", f"{train},{val}", "-o", str(plan)]
    assert main(argv) == EXIT_DONE
    out = capsys.readouterr().out
    assert "measured here in" in out and "speeds     16 px: decode" in out
    config, _ = load_train_config(["-C", str(plan)])
    assert config.plan.minutes_low < config.plan.minutes < config.plan.minutes_high < 2.01
    _, folder = train_here(["-C", str(plan), "--budget.adapt=false"])
    assert len(log_of(folder, "epoch")) == config.training.epochs

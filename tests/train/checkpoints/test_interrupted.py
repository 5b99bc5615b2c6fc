"""A run that is ended at any moment goes on by the same command, as if it had never been: the same samples and losses.

On real images of CIFAR-10 where they lie beside the checkout, else on the shapes of the other tests.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.config.write import OutputConfig, SourceConfig, WriteConfig
from engine.data.convert.conversion import convert
from engine.errors import EXIT_AGAIN
from engine.runs.log_reader import build_history, read_log
from engine.train.checkpoints import store
from tests.train.conftest import ROOT, TINY, command, log_of

EPOCHS, STEPS = 3, 6

Losses = dict[tuple[int, int], tuple[tuple[int, ...], str]]
"""By epoch and step: the samples, and the loss to the bit."""


@dataclass
class Runs:
    """Starts runs of one recipe; each start of a `name` is the same command."""

    folder: Path
    options: dict[str, Any]
    server: "subprocess.Popen[str]"
    outputs: dict[str, str] = field(default_factory=dict)

    def argv(self, name: str, **changes: Any) -> list[str]:
        """The command line of the run."""
        named = {"logging.folder": self.folder, "logging.name": name, "training.resume": "auto"}
        merged = {
            **self.options,
            **named,
            **{key.replace("__", "."): value for key, value in changes.items()},
        }
        return [f"--{key}={value}" for key, value in merged.items()]

    def start(self, name: str, strike: str = "", **changes: Any) -> int:
        """Its exit code; negative: the signal that ended it."""
        output, trace = (self.folder / f"{name}.{kind}" for kind in ("out", "trace"))
        asked = {
            "argv": self.argv(name, **changes),
            "trace": str(trace),
            "strike": strike,
            "output": str(output),
        }
        assert self.server.stdin and self.server.stdout
        self.server.stdin.write(json.dumps(asked) + "\n")
        self.server.stdin.flush()
        code = int(self.server.stdout.readline())
        self.outputs[name] = output.read_text()
        return code

    def losses(self, name: str) -> Losses:
        """Of all its starts; a step that was taken twice has to be the same both times."""
        return read_trace(self.folder / f"{name}.trace")


def read_trace(path: Path) -> Losses:
    """What tests/train/traced.py wrote."""
    steps: Losses = {}
    for line in map(json.loads, path.read_text().splitlines()):
        what = (tuple(line["ids"]), line["loss"])
        place = (line["epoch"], line["step"])
        assert steps.setdefault(place, what) == what, f"step {place} was another one when it was repeated"
    return steps


@pytest.fixture(scope="module")
def data(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    if not (ROOT.parent / "shared" / "data").is_dir():
        train, val = request.getfixturevalue("betons")
        return {"data.train_dataset": train, "data.val_dataset": val, "training.batch_size": 96 // STEPS}
    source = SourceConfig(path=str(request.getfixturevalue("cifar10")), val_folder="test")
    output = OutputConfig(folder=str(tmp_path_factory.mktemp("cifar10")), num_workers=1)
    paths = convert(WriteConfig(source=source, output=output))
    return {
        "data.train_dataset": paths["train"],
        "data.val_dataset": paths["val"],
        "training.batch_size": 600 // STEPS,
    }


@pytest.fixture(scope="module")
def runs(data: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    """Runs with an average of the weights, MixUp, a jittered crop and a schedule, and one of them undisturbed."""
    techniques = {"training.ema_half_life": 3, "augmentation.mixup_alpha": 0.2, "training.sam_rho": 0.05}
    options = {**TINY, **data, **techniques, "training.epochs": EPOCHS, "training.sam_interval": 4}
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.train.traced"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    runs = Runs(tmp_path_factory.mktemp("runs"), options, server)
    assert runs.start("whole") == 0, runs.outputs["whole"]
    assert len(runs.losses("whole")) == EPOCHS * STEPS
    yield runs
    server.communicate(timeout=60)


def same_as_whole(runs: Runs, name: str) -> None:
    """All that was promised: samples and losses of each step, what the log says of them, the weights."""
    whole = runs.losses("whole")
    assert runs.losses(name) == whole
    entries = [
        [
            {key: entry[key] for key in ("epoch", "train_loss", "top1", "ema_top1", "lr_peak", "images")}
            for entry in log
        ]
        for log in (log_of(runs.folder / run, "epoch")[-1:] for run in ("whole", name))
    ]
    assert entries[0] == entries[1]
    first, second = (
        [line.replaced(time="") for line in build_history(read_log(runs.folder / run / "log.jsonl")[0]).steps]
        for run in ("whole", name)
    )
    assert first == second and [line.step for line in first] == [4, STEPS] * EPOCHS
    for file in ("weights.pt", "weights_ema.pt"):
        first, second = (torch.load(runs.folder / run / file, weights_only=True) for run in ("whole", name))
        assert all(torch.equal(first[key], second[key]) for key in first), file
    assert not list((runs.folder / name).glob("**/*.partial-*"))


KILLS = ["step:1:0", "step:1:3", "step:1:6", "step:2:6", "validation:1", "save:1", "save:4"]


# One kill is quick; the others are slow tests.
@pytest.mark.parametrize(
    "moment",
    [moment if moment == "step:1:3" else pytest.param(moment, marks=pytest.mark.slow) for moment in KILLS],
)
def test_run_killed_at_any_moment_resumes_to_the_bit(runs: Runs, moment: str) -> None:
    # As good as after every step, so that most kills come amid an epoch that was saved in its midst.
    often: dict[str, Any] = {"checkpoint__every_minutes": 1e-9}
    name = f"kill-{moment.replace(':', '-')}"
    assert runs.start(name, f"KILL@{moment}", **often) == -9
    assert runs.start(name, **often) == 0, runs.outputs[name]
    same_as_whole(runs, name)


@pytest.mark.slow
def test_run_saved_at_epoch_ends_repeats_the_killed_epoch(runs: Runs) -> None:
    assert runs.start("seldom", "KILL@step:1:3") == -9
    assert runs.start("seldom") == 0
    assert "resuming after epoch 1, step 6" in runs.outputs["seldom"]
    same_as_whole(runs, "seldom")


@pytest.mark.parametrize(
    ("what", "moment", "saved"),
    [
        pytest.param("TERM", "start", "nothing was saved yet: start again", marks=pytest.mark.slow),
        ("TERM", "step:1:3", "saved after epoch 2, step 3: run the same command to resume"),
        *(
            pytest.param(
                what, moment, f"saved after {place}: run the same command to resume", marks=pytest.mark.slow
            )
            for what, moment, place in [
                ("USR1", "step:1:4", "epoch 2, step 4"),
                ("TERM", "step:1:6", "epoch 2, step 6"),
                ("TERM", "validation:1", "epoch 1, step 6"),
                ("USR1", "save:2", "epoch 2, step 6"),
            ]
        ),
    ],
)
def test_signal_saves_within_a_step_and_exits_75(runs: Runs, what: str, moment: str, saved: str) -> None:
    name = f"{what}-{moment.replace(':', '-')}"
    assert runs.start(name, f"{what}@{moment}") == EXIT_AGAIN
    assert f"interrupted: SIG{what}, {saved}" in runs.outputs[name]
    assert "Traceback" not in runs.outputs[name]
    # Nothing was trained that was not saved.
    steps = len(runs.losses(name)) if moment != "start" else 0
    newest = store.newest(runs.folder / name)
    epoch, step = store.place_of(newest[0].name) if newest else (1, 0)
    assert steps == (epoch - 1) * STEPS + step
    assert runs.start(name) == 0, runs.outputs[name]
    same_as_whole(runs, name)


@pytest.mark.slow
@pytest.mark.parametrize(
    "damage",
    ["cut", "emptied", "changed"],
)
def test_damaged_checkpoint_falls_back_to_the_one_before(runs: Runs, damage: str) -> None:
    assert runs.start(damage, "KILL@step:2:3") == -9
    newest, before = store.newest(runs.folder / damage)
    if damage == "cut":
        os.truncate(newest, newest.stat().st_size // 2)
    elif damage == "emptied":
        os.truncate(newest, 0)
    else:
        content = bytearray(newest.read_bytes())
        content[len(content) // 2] ^= 1
        newest.unlink()
        newest.write_bytes(content)
    assert runs.start(damage) == 0, runs.outputs[damage]
    assert f"warning: {newest} is not a whole checkpoint" in runs.outputs[damage]
    assert "resuming after epoch 1, step 6" in runs.outputs[damage]
    assert before.name == "epoch_001_step_000006.pt"
    same_as_whole(runs, damage)


@pytest.mark.slow
def test_no_whole_checkpoint_is_one_error_line(runs: Runs) -> None:
    assert runs.start("broken", "KILL@step:2:3") == -9
    for path in store.newest(runs.folder / "broken"):
        os.truncate(path, 100)
    assert runs.start("broken") == 2
    assert "error: training.resume: none of the 2 checkpoints" in runs.outputs["broken"]
    assert "Traceback" not in runs.outputs["broken"]


def test_finished_run_is_left_unchanged(runs: Runs) -> None:
    before = (runs.folder / "whole" / "log.jsonl").read_bytes()
    assert runs.start("whole") == 0
    assert "nothing is left to do" in runs.outputs["whole"]
    assert (runs.folder / "whole" / "log.jsonl").read_bytes() == before


def test_resume_with_other_data_is_refused(runs: Runs, betons: tuple[Path, Path]) -> None:
    assert runs.start("data", "KILL@step:1:2") == -9
    assert runs.start("data", data__train_dataset=runs.options["data.val_dataset"]) == 2
    assert "data.train_dataset is not the file that this run was started with" in runs.outputs["data"]


@pytest.mark.slow
def test_newest_and_best_checkpoints_are_kept(runs: Runs) -> None:
    folder = runs.folder / "whole"
    names = sorted(path.name for path in (folder / "checkpoints").iterdir())
    assert names == ["best.pt", "epoch_002_step_000006.pt", "epoch_003_step_000006.pt", "last.pt"]
    scores = [entry["ema_top1"] for entry in log_of(folder, "epoch")]
    best = torch.load(folder / "checkpoints" / "best.pt", weights_only=True)
    assert best["epoch"] == scores.index(max(scores)), "the first of equals"
    assert runs.start("more", checkpoint__keep=3, checkpoint__keep_best=False) == 0
    names = sorted(path.name for path in (runs.folder / "more" / "checkpoints").iterdir())
    assert names == [*(f"epoch_00{epoch}_step_000006.pt" for epoch in (1, 2, 3)), "last.pt"]


@pytest.fixture(params=["folder", "s3"])
def bucket(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[dict[str, str]]:
    """A place for copies, empty: a folder, and a real server of the S3 protocol on loopback."""
    if request.param == "folder":
        yield {"checkpoint__copy_to": f"file://{tmp_path}/bucket"}
        return
    moto, s3fs = pytest.importorskip("moto.server"), pytest.importorskip("s3fs")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    options: dict[str, Any] = {"endpoint_url": f"http://{host}:{port}", "key": "user", "secret": "secret"}
    options["client_kwargs"] = {"region_name": "eu-west-1"}
    s3fs.S3FileSystem(**options).mkdir("bucket")
    yield {"checkpoint__copy_to": "s3://bucket/runs/", "checkpoint__storage_options": json.dumps(options)}
    server.stop()


@pytest.mark.slow
def test_remote_copy_resumes_a_run_without_its_folder(
    runs: Runs, bucket: dict[str, str], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url, name = bucket["checkpoint__copy_to"].rstrip("/"), f"moved-{request.node.callspec.id}"
    assert runs.start(name, "KILL@step:2:4", checkpoint__every_minutes=0.0005, **bucket) == -9
    shutil.rmtree(runs.folder / name)
    assert runs.start(name, **bucket) == 0, runs.outputs[name]
    assert f"fetching {url}/{name}" in runs.outputs[name]
    assert "warning:" not in runs.outputs[name]
    same_as_whole(runs, name)
    import fsspec

    storage = json.loads(bucket.get("checkpoint__storage_options", "{}"))
    system, root = fsspec.core.url_to_fs(f"{url}/{name}", **storage)
    for file in ("weights.pt", "weights_ema.pt", "report.html", "log.jsonl"):
        assert system.cat_file(f"{root}/{file}") == (runs.folder / name / file).read_bytes()
    assert len(system.ls(f"{root}/checkpoints")) == 2


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"storage_options": "{}"}, "checkpoint.storage_options has no effect without checkpoint.copy_to"),
        ({"copy_to": "file:///x", "storage_options": "{"}, "checkpoint.storage_options is not JSON"),
        ({"copy_to": "no-such-system://x"}, "checkpoint.copy_to: no-such-system://x/refused can't be used"),
    ],
)
def test_impossible_copy_target_is_one_error_line(runs: Runs, changes: dict[str, str], words: str) -> None:
    assert runs.start("refused", **{f"checkpoint__{key}": value for key, value in changes.items()}) == 2
    assert f"error: {words}" in runs.outputs["refused"]


@pytest.mark.slow
def test_failed_copy_prints_a_warning(runs: Runs, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    assert runs.start("uncopied", checkpoint__copy_to=f"file://{tmp_path}/file/in/a/file") == 0
    assert "warning: not copied to" in runs.outputs["uncopied"]
    same_as_whole(runs, "uncopied")


Ranked = Callable[..., int]


@pytest.fixture
def ranked(runs: Runs) -> Ranked:
    """Start a run under torchrun, traced by rank, with a strike on one rank."""

    def start(name: str, ranks: int, *, strike: str = "", **changes: Any) -> int:
        argv = runs.argv(name, **changes)
        told = {"TRACE": str(runs.folder / f"{name}.trace"), "STRIKE": strike, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            command(argv, ranks, "tests/train/traced.py"),
            cwd=ROOT, env={**os.environ, **told}, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        runs.outputs[name] = done.stdout + done.stderr
        return done.returncode

    return start


@pytest.mark.slow
def test_two_ranks_resume_to_the_bit_and_one_rank_takes_over(runs: Runs, ranked: Ranked) -> None:
    """Killed on 2 ranks it goes on on 2 as it would have; on 1 with the same samples, and losses to rounding."""
    often: dict[str, Any] = {"checkpoint__every_minutes": 1e-9}
    assert ranked("two", 2) == 0, runs.outputs["two"]
    # Both ranks strike, at the same step.
    assert ranked("again", 2, strike="KILL@step:1:3", **often) != 0
    shutil.copytree(runs.folder / "again", runs.folder / "fewer")
    assert ranked("again", 2, **often) == 0, runs.outputs["again"]
    for rank in (0, 1):
        assert read_trace(runs.folder / f"again.trace.{rank}") == read_trace(
            runs.folder / f"two.trace.{rank}"
        )
    assert runs.start("fewer", **often) == 0, runs.outputs["fewer"]
    alone, whole = runs.losses("fewer"), [read_trace(runs.folder / f"two.trace.{rank}") for rank in (0, 1)]
    assert min(alone) == (1, 3) or min(alone) == (1, 2)
    for place, (ids, loss) in alone.items():
        assert ids == whole[0][place][0] + whole[1][place][0]
        both = sum(float.fromhex(part[place][1]) for part in whole) / 2
        assert float.fromhex(loss) == pytest.approx(both, rel=0.02), place


@pytest.mark.slow
def test_signal_to_one_rank_ends_both_after_the_same_step(runs: Runs, ranked: Ranked) -> None:
    # It comes amid the third step, for which the ranks have agreed to go on.
    assert ranked("asked", 2, strike="TERM@step:1:3") != 0
    assert runs.outputs["asked"].count("saved after epoch 2, step 4: run the same command to resume") == 2
    assert store.newest(runs.folder / "asked")[0].name == "epoch_002_step_000004.pt"
    assert ranked("asked", 2) == 0, runs.outputs["asked"]

"""Going on with every technique that has state, to the bit, and refusing what would not be the same run."""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from engine.config.train.train_config import DataConfig, TrainConfig
from engine.errors import UserError
from engine.train.checkpoints import checkpoint_file, resume, store
from tests.train.conftest import ROOT, command, log_of, train_here

Options = Callable[..., list[str]]


def _losses(folder: Path) -> list[float]:
    return [entry["train_loss"] for entry in log_of(folder, "epoch")]


PLAIN: dict[str, object] = {}
# All that has state of its own or depends on how many steps were taken before.
RICH = {
    "training__optimizer": "lamb",
    "training__sam_rho": 0.05,
    "training__sam_interval": 4,
    "training__ema_half_life": 5,
    "training__ema_every": 4,
    "training__clip_norm": 1,
    "training__nonfinite": "skip",
    "resolution__schedule": "stages",
    "resolution__stages": "16x1, 24x4",
    "resolution__batch_sizes": "16:12",
}


@pytest.mark.slow
@pytest.mark.parametrize("techniques", [PLAIN, RICH], ids=["plain", "rich"])
def test_resumed_run_ends_with_the_same_weights(options: Options, techniques: dict[str, object]) -> None:
    _, whole = train_here(options(training__epochs=5, logging__name="whole", **techniques))
    argv = options(training__epochs=5, logging__name="killed", **techniques)
    process = subprocess.Popen(command(argv), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    killed = whole.parent / "killed"
    _wait_for(killed / "checkpoints" / "last.pt", process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = len(_losses(killed))
    assert not (killed / "weights.pt").exists()
    code, resumed = train_here(options(training__epochs=5, training__resume=killed, **techniques))
    assert (code, resumed) == (0, killed)
    resumed_at = log_of(killed, "start")[-1]
    # Saved before its validation, an epoch may be validated again.
    assert resumed_at["resumed_at_epoch"] in (done, done - 1)
    assert resumed_at["resumed_at_step"] == (8 if resumed_at["resumed_at_epoch"] == 0 and techniques else 6)
    assert _losses(killed)[-1] == _losses(whole)[-1]
    for file in [path.name for path in whole.glob("weights*.pt")]:
        first, second = (torch.load(run / file, weights_only=True) for run in (whole, killed))
        assert all(torch.equal(first[name], second[name]) for name in first), file
    assert (whole / "weights_ema.pt").exists() is bool(techniques)


def _wait_for(path: Path, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 90
    while not path.exists():
        assert process.poll() is None, "the run ended before its first checkpoint"
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, betons: tuple[Path, Path]) -> Path:
    """A run of two epochs, to be copied."""
    from tests.train.conftest import TINY

    folder = tmp_path_factory.mktemp("finished")
    data = {"data.train_dataset": betons[0], "data.val_dataset": betons[1], "logging.folder": folder}
    merged = {**TINY, **data, "training.epochs": 2}
    return train_here([f"--{key}={value}" for key, value in merged.items()])[1]


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "copy"))


def test_resume_of_a_finished_run_is_refused(options: Options, copy: Path) -> None:
    with pytest.raises(UserError, match="all 2 epochs of the run are done"):
        train_here(options(training__epochs=2, training__resume=copy))


@pytest.mark.parametrize(
    ("change", "message"),
    [({"training__seed": 5}, r"training\.seed=0, not 5"), ({"lr__lr": 0.3}, r"lr\.lr=0\.05, not 0\.3")],
)
def test_resume_with_another_recipe_is_refused(
    options: Options, copy: Path, change: dict[str, object], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        train_here(options(training__epochs=2, training__resume=copy, **change))


def test_resume_with_a_smaller_device_batch_is_allowed(options: Options, tmp_path: Path) -> None:
    """What is to be done where memory is short at a larger resolution."""
    whole = train_here(options(logging__name="whole"))[1]
    part = Path(shutil.copytree(whole, tmp_path / "part"))
    newest, before = store.newest(part)
    newest.unlink()
    (part / "checkpoints" / "last.pt").unlink()
    lines = [json.loads(line) for line in (part / "log.jsonl").read_text().splitlines()]
    (part / "log.jsonl").write_text(
        "".join(f"{json.dumps(line)}\n" for line in lines if line["kind"] != "result")
    )
    assert before.name.startswith("epoch_002")
    train_here(options(training__resume=part, training__device_batch_size=4))
    (start,) = log_of(part, "start")[1:]
    assert (start["device_batch"], start["accumulation"], start["resumed_at_epoch"]) == (4, 4, 1)
    last, undisturbed = log_of(part, "epoch")[-1], log_of(whole, "epoch")[-1]
    assert last["accumulation"] == 4 and last["images"] == undisturbed["images"]


def test_option_newer_than_the_run_counts_as_its_default(options: Options, copy: Path) -> None:
    path = store.newest(copy)[0]
    content = checkpoint_file.load(path)
    del content["config"]["training"]["sam_rho"]
    checkpoint_file.save(path, content)
    with pytest.raises(UserError, match="all 2 epochs of the run are done"):
        train_here(options(training__epochs=2, training__resume=copy))
    with pytest.raises(UserError, match=r"started with training\.sam_rho=0\.0, not 0\.1"):
        train_here(options(training__epochs=2, training__resume=copy, training__sam_rho=0.1))


def test_resume_of_a_folder_without_checkpoint_is_refused(options: Options, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no checkpoint: nothing was saved yet"):
        train_here(options(training__resume=tmp_path))


def test_loading_a_checkpoint_runs_no_code(options: Options, copy: Path, tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (os.mkdir, (str(tmp_path / "sprung"),))

    for path in store.newest(copy):
        torch.save({"model": Trap()}, path)
    with pytest.raises(UserError, match="none of the 2 checkpoints"):
        train_here(options(training__epochs=2, training__resume=copy))
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("arch", ["resnet18", "mobilenet_v2"])
def test_resume_with_another_network_is_refused(options: Options, copy: Path, arch: str) -> None:
    argv = options(training__eval_only=True, model__weights=copy / "weights.pt", model__arch=arch)
    with pytest.raises(UserError, match=r"does not fit this network.*check model\.arch"):
        train_here(argv)


def test_weights_of_a_checkpoint_start_a_new_schedule(options: Options, copy: Path, tmp_path: Path) -> None:
    from engine.cli.checkpoint import main

    reset = tmp_path / "reset.pt"
    assert main([str(store.newest(copy)[0]), "--reset-schedule", "--output", str(reset)]) == 0
    for path in store.newest(copy):
        path.unlink()
    reset.rename(copy / "checkpoints" / "epoch_001_step_000000.pt")
    code, _ = train_here(options(training__epochs=2, training__resume=copy))
    assert code == 0
    assert log_of(copy, "start")[-1]["resumed_at_epoch"] == 0
    assert [entry["epoch"] for entry in log_of(copy, "epoch")] == [1, 2], "the new schedule's"


def test_file_changed_between_stages_is_refused() -> None:
    seen: dict[str, str] = {}
    config = TrainConfig(data=DataConfig(train_dataset="t.beton", val_dataset="v.beton"))
    resume.refuse_changed_files(seen, config, {"train": "60 images, crc 1", "val": "9 images, crc 2"})
    resume.refuse_changed_files(seen, config, {"train": "60 images, crc 1", "val": "9 images, crc 2"})
    with pytest.raises(
        UserError, match=r"t\.beton is another file than in an earlier stage \(it had 60 .*crc 1"
    ):
        resume.refuse_changed_files(seen, config, {"train": "60 images, crc 3", "val": "9 images, crc 2"})

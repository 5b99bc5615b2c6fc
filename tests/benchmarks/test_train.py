"""The train stage: each side goes through a file of images and updates weights; rounds are whole epochs."""

from pathlib import Path

import pytest
import torch

from benchmarks.stages.train import main
from benchmarks.harness.images.prepared import prepare
from benchmarks.sides.task import Task
from benchmarks.sides.steps.step_tasks import StepTask
from benchmarks.sides.trainings import OURS, TrainTask, peer_of
from engine.errors import UserError
from tests.benchmarks import records

IMAGES, BATCH = 24, 4


def task(storage: str, folder: Path) -> TrainTask:
    images = prepare(None, storage, IMAGES)
    cores = torch.get_num_threads()
    return TrainTask(
        step=StepTask(
            arch="small_resnet", blurpool=False, precision="fp32", compile=False, device="cpu", cores=cores
        ),
        images=Task(
            beton=images.beton,
            folder=images.folder,
            num_samples=images.num_samples,
            resolution=16,
            scale=(0.35, 1.0),
            batch=BATCH,
            cores=cores,
            form="cpu",
        ),
        steps=IMAGES // BATCH,
        folder=folder,
    )


@pytest.mark.parametrize("which", ["file", "replay"])
def test_an_epoch_of_ours_trains_on_the_file_s_images(which: str, cache: Path, tmp_path: Path) -> None:
    contender = OURS["jpeg-kept"] if which == "file" else peer_of("jpeg-kept", "replay")
    side = contender.open_side(task("jpeg-kept", tmp_path))
    before = next(side.model.parameters()).detach().clone()
    assert side.epoch() > 0
    assert not torch.equal(before, next(side.model.parameters()))
    assert side.trainer.num_samples == IMAGES
    assert (which == "replay") == ("lie ready" in side.settings)
    side.close()


def test_a_replay_is_the_ceiling_of_the_same_storage() -> None:
    assert peer_of("yuv420", "replay").storage == "yuv420"
    assert peer_of("yuv420", "torchvision").storage == "files"


@pytest.mark.slow
def test_peers_train_and_are_recorded(cache: Path, tmp_path: Path) -> None:
    options = (
        "--device=cpu",
        f"--images={IMAGES}",
        f"--batch={BATCH}",
        "--resolution=16",
        "--precision=fp32",
    )
    assert main([*options, "--against=replay,torchvision", f"--json={tmp_path}/t.json"]) == 0
    found = records.read(tmp_path / "t.json")
    assert [record["peer"] for record in found] == ["replay", "torchvision"]
    for record in found:
        records.check(record)
        assert (record["images"], record["ours"]) == (IMAGES, "jpeg-kept")
    assert "peer_data" not in found[0]
    assert "ImageFolder" in found[1]["peer_settings"]


def test_too_few_images_or_an_unknown_peer_are_one_line() -> None:
    with pytest.raises(UserError, match="--images 24: give 4 batches of 64 or more"):
        main(["--device=cpu", "--images=24"])
    with pytest.raises(UserError, match="no peer 'replai'"):
        main(["--against=replai"])

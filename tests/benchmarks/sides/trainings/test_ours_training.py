"""Our trainer as a side, on the file and on a replay."""

from pathlib import Path

import pytest
import torch

from benchmarks.harness.images.prepared import prepare
from benchmarks.sides import opponent, our_side
from benchmarks.sides.steps.step_tasks import StepTask, TrainTask
from benchmarks.sides.task import Task

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
def test_epoch_trains_on_the_images_of_the_file(which: str, cache: Path, tmp_path: Path) -> None:
    kept = "jpeg-kept"
    registered = our_side("train", kept) if which == "file" else opponent("train", kept, "replay")
    side = registered.open_side(task("jpeg-kept", tmp_path))
    before = next(side.model.parameters()).detach().clone()
    assert side.epoch() > 0
    assert not torch.equal(before, next(side.model.parameters()))
    assert side.trainer.num_samples == IMAGES
    assert (which == "replay") == ("lie ready" in side.settings)
    side.close()


def test_replay_has_the_storage_of_our_side() -> None:
    assert opponent("train", "yuv420", "replay").storage == "yuv420"
    assert opponent("train", "yuv420", "torchvision").storage == "files"

"""The global batch is the recipe's; what a device takes and how often follows from it."""

import re

import pytest

from engine.config.load import load_train_config
from engine.config.train.train_config import TrainConfig
from engine.errors import UserError
from engine.train.batching import (
    BatchPlan,
    fit_warning,
    left_out_note,
    plan_batches,
    plans_by_resolution,
    split_warning,
)


@pytest.mark.parametrize(
    ("world", "limit", "device_batch", "accumulation"),
    [(8, 512, 512, 1), (1, 512, 512, 8), (1, 0, 4096, 1), (4, 300, 256, 4), (2, 4096, 2048, 1)],
)
def test_device_batch_x_accumulation_x_devices_is_the_global_batch(
    world: int, limit: int, device_batch: int, accumulation: int
) -> None:
    plan = plan_batches(4096, limit=limit, world=world, num_train=1_281_167)
    assert (plan.device_batch, plan.accumulation) == (device_batch, accumulation)
    assert plan.device_batch * plan.accumulation * world == 4096
    assert str(plan).startswith(
        f"global batch 4096 = {device_batch} images x {accumulation} accumulation x {world}"
    )


def test_batch_that_does_not_divide_over_ranks_names_nearest_ones() -> None:
    with pytest.raises(UserError, match="does not divide over 3 processes: use 510 or 513"):
        plan_batches(512, limit=0, world=3, num_train=10_000)


def test_more_ranks_than_images_in_a_batch_are_refused() -> None:
    with pytest.raises(UserError, match="does not divide over 8 processes: use 8"):
        plan_batches(4, limit=0, world=8, num_train=100)


def test_batch_larger_than_the_data_is_refused() -> None:
    with pytest.raises(UserError, match="more than the 100 training samples"):
        plan_batches(512, limit=0, world=1, num_train=100)


def _recipe(*argv: str) -> TrainConfig:
    return load_train_config(["--data.train_dataset=a", "--data.val_dataset=b", *argv])[0]


STAGES = ("--resolution.schedule=stages", "--resolution.stages=96x3, 128x4, 224x2", "--training.epochs=9")


def test_each_resolution_has_a_plan_within_the_device_limit() -> None:
    config = _recipe(
        *STAGES, "--resolution.batch_sizes=128:4096, 224:2560", "--training.device_batch_size=512"
    )
    plans = plans_by_resolution(config, 4, 1_281_167)
    assert list(plans) == [96, 128, 224]
    assert [plan.global_batch for plan in plans.values()] == [4096, 4096, 2560]
    assert [plan.accumulation for plan in plans.values()] == [2, 2, 2]
    assert [plan.device_batch for plan in plans.values()] == [512, 512, 320]


def test_resolution_above_the_last_listed_uses_the_recipes_batch() -> None:
    config = _recipe(*STAGES, "--resolution.batch_sizes=128:1024")
    plans = plans_by_resolution(config, 1, 1_281_167)
    assert [plan.global_batch for plan in plans.values()] == [1024, 1024, 512]


def test_listed_batch_that_does_not_divide_is_refused_by_its_option() -> None:
    config = _recipe(*STAGES, "--resolution.batch_sizes=128:513")
    with pytest.raises(UserError, match=r"resolution\.batch_sizes 513 \(global\) does not divide over 2"):
        plans_by_resolution(config, 2, 10_000)


def _plans(**batches: int) -> dict[int, BatchPlan]:
    return {int(side.lstrip("px")): BatchPlan(batch, batch, 1, 1) for side, batch in batches.items()}


def test_images_left_out_of_an_epoch_are_counted_once() -> None:
    expected = "note: each epoch leaves out 6 of 22 images, different ones each time: they do not fill a global batch"
    assert left_out_note(_plans(px64=16), 22) == expected
    assert left_out_note(_plans(px64=8, px96=16), 22) == expected, "the same at both resolutions"


def test_images_left_out_are_counted_per_resolution() -> None:
    note = left_out_note(_plans(px64=16, px96=5, px128=11), 22)
    assert "leaves out 6 of 22 images at 64 px, 2 of 22 images at 96 px, different" in note


def test_epoch_that_uses_all_images_gives_no_note() -> None:
    assert left_out_note(_plans(px64=16, px96=8), 32) == ""


def test_repeats_count_displaced_images_as_left_out() -> None:
    note = left_out_note(_plans(px64=16), 96, repeats=3)
    assert "leaves out 64 of 96 images" in note and "used 3 times (augmentation.repeats)" in note


def test_epoch_that_leaves_out_a_third_warns_with_a_batch_that_fits() -> None:
    line = left_out_note(_plans(px64=100), 180)
    assert line.startswith("warning: each epoch leaves out 80 of 180 images")
    assert line.endswith("a global batch of 90 leaves out 0")
    assert left_out_note(_plans(px64=90), 180) == ""


@pytest.mark.parametrize(
    ("batch", "limit", "world", "words"),
    [
        (178, 88, 1, "does not divide 178, .* use a global batch of 176 or 264, or a limit of 89$"),
        (2 * 178, 88, 2, "use a global batch of 352 or 528, or a limit of 89$"),
        (509, 100, 1, "use a global batch of 500 or 600, or a limit of 509$"),
    ],
)
def test_limit_that_cuts_a_batch_into_many_parts_warns(
    batch: int, limit: int, world: int, words: str
) -> None:
    plan = plan_batches(batch, limit=limit, world=world, num_train=1000)
    assert re.search(words, split_warning(plan, limit))
    advised = plan_batches(
        int(words.split()[words.split().index("of") + 1]), limit=limit, world=world, num_train=1000
    )
    assert split_warning(advised, limit) == ""


@pytest.mark.parametrize(("batch", "limit"), [(178, 89), (178, 0), (178, 1000), (30, 8), (64, 1), (100, 60)])
def test_limit_that_divides_well_gives_no_warning(batch: int, limit: int) -> None:
    assert split_warning(plan_batches(batch, limit=limit, world=1, num_train=1000), limit) == ""


def test_memory_that_leaves_only_tiny_parts_warns() -> None:
    line = fit_warning(BatchPlan(178, 2, 89, 1))
    assert line.startswith("warning: global batch 178 = 2 images x 89") and "89 images do not fit" in line
    assert fit_warning(BatchPlan(4096, 128, 4, 8)) == fit_warning(BatchPlan(30, 30, 1, 1)) == ""

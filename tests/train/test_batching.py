"""The global batch is the recipe's; what a device takes and how often follows from it."""

import pytest

from engine.config.load import load_train_config
from engine.config.train.train_config import TrainConfig
from engine.errors import UserError
from engine.train.batching import plan_batches, plans_by_resolution


@pytest.mark.parametrize(
    ("world", "limit", "device_batch", "accumulation"),
    [(8, 512, 512, 1), (1, 512, 512, 8), (1, 0, 4096, 1), (4, 300, 256, 4), (2, 4096, 2048, 1)],
)
def test_device_batch_times_accumulation_times_devices_is_the_global_batch(
    world: int, limit: int, device_batch: int, accumulation: int
) -> None:
    plan = plan_batches(4096, limit=limit, world=world, num_train=1_281_167)
    assert (plan.device_batch, plan.accumulation) == (device_batch, accumulation)
    assert plan.device_batch * plan.accumulation * world == 4096
    assert str(plan).startswith(
        f"global batch 4096 = {device_batch} images x {accumulation} accumulation x {world}"
    )


def test_a_batch_that_does_not_divide_over_the_ranks_is_refused_with_the_nearest_that_do() -> None:
    with pytest.raises(UserError, match="does not divide over 3 processes: use 510 or 513"):
        plan_batches(512, limit=0, world=3, num_train=10_000)


def test_more_ranks_than_images_in_a_batch_are_refused() -> None:
    with pytest.raises(UserError, match="does not divide over 8 processes: use 8"):
        plan_batches(4, limit=0, world=8, num_train=100)


def test_a_batch_larger_than_the_data_is_refused() -> None:
    with pytest.raises(UserError, match="more than the 100 training samples"):
        plan_batches(512, limit=0, world=1, num_train=100)


def _recipe(*argv: str) -> TrainConfig:
    return load_train_config(["--data.train_dataset=a", "--data.val_dataset=b", *argv])[0]


STAGES = ("--resolution.schedule=stages", "--resolution.stages=96x3, 128x4, 224x2", "--training.epochs=9")


def test_each_resolution_has_its_plan_and_the_devices_limit_accumulates_as_ever() -> None:
    config = _recipe(
        *STAGES, "--resolution.batch_sizes=128:4096, 224:2560", "--training.device_batch_size=512"
    )
    plans = plans_by_resolution(config, 4, 1_281_167)
    assert list(plans) == [96, 128, 224]
    assert [plan.global_batch for plan in plans.values()] == [4096, 4096, 2560]
    assert [plan.accumulation for plan in plans.values()] == [2, 2, 2]
    assert [plan.device_batch for plan in plans.values()] == [512, 512, 320]


def test_above_the_last_listed_resolution_the_batch_is_the_recipes() -> None:
    config = _recipe(*STAGES, "--resolution.batch_sizes=128:1024")
    plans = plans_by_resolution(config, 1, 1_281_167)
    assert [plan.global_batch for plan in plans.values()] == [1024, 1024, 512]


def test_a_listed_batch_that_does_not_fit_is_refused_by_its_own_name() -> None:
    config = _recipe(*STAGES, "--resolution.batch_sizes=128:513")
    with pytest.raises(UserError, match=r"resolution\.batch_sizes 513 \(global\) does not divide over 2"):
        plans_by_resolution(config, 2, 10_000)

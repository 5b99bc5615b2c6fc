"""The global batch is the recipe's; what a device takes and how often follows from it."""

import pytest

from engine.config.schema import TrainingConfig
from engine.errors import UserError
from engine.train.batching import plan_batches


@pytest.mark.parametrize(
    ("world", "limit", "device_batch", "accumulation"),
    [(8, 512, 512, 1), (1, 512, 512, 8), (1, 0, 4096, 1), (4, 300, 256, 4), (2, 4096, 2048, 1)],
)
def test_device_batch_times_accumulation_times_devices_is_the_global_batch(
    world: int, limit: int, device_batch: int, accumulation: int
) -> None:
    plan = plan_batches(TrainingConfig(batch_size=4096, device_batch_size=limit), world, 1_281_167)
    assert (plan.device_batch, plan.accumulation) == (device_batch, accumulation)
    assert plan.device_batch * plan.accumulation * world == 4096
    assert str(plan).startswith(
        f"global batch 4096 = {device_batch} images x {accumulation} accumulation x {world}"
    )


def test_a_batch_that_does_not_divide_over_the_ranks_is_refused_with_the_nearest_that_do() -> None:
    with pytest.raises(UserError, match="does not divide over 3 processes: use 510 or 513"):
        plan_batches(TrainingConfig(batch_size=512), 3, 10_000)


def test_more_ranks_than_images_in_a_batch_are_refused() -> None:
    with pytest.raises(UserError, match="does not divide over 8 processes: use 8"):
        plan_batches(TrainingConfig(batch_size=4), 8, 100)


def test_a_batch_larger_than_the_data_is_refused() -> None:
    with pytest.raises(UserError, match="more than the 100 training samples"):
        plan_batches(TrainingConfig(batch_size=512), 1, 100)

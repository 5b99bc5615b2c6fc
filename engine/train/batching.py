"""How a global batch is laid out: device batch x accumulation steps x devices, for each training resolution."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from engine.config.train.train_config import TrainConfig
from engine.errors import UserError
from engine.runs.time_left import Ahead
from engine.train.budget.timeline import PARTS, Timeline
from engine.train.schedules import batch_at, resolution_at

_MUCH = 1 / 3
"""Share of the images from which leaving them out of an epoch is worth a warning."""


@dataclass(frozen=True)
class BatchPlan:
    """One global batch: `global_batch` images = `device_batch` images x `accumulation` steps x `world` devices."""

    global_batch: int
    device_batch: int
    accumulation: int
    world: int

    def entry(self) -> dict[str, Any]:
        """The plan's fields of a log line."""
        return {
            "global_batch": self.global_batch,
            "device_batch": self.device_batch,
            "accumulation": self.accumulation,
        }

    def __str__(self) -> str:
        return (
            f"global batch {self.global_batch} = {self.device_batch} images x "
            f"{self.accumulation} accumulation x {self.world} device{'s' if self.world > 1 else ''}"
        )


def plan_batches(
    global_batch: int, *, limit: int, world: int, num_train: int, option: str = "training.batch_size"
) -> BatchPlan:
    """The plan with the fewest accumulation steps whose device batch is at most `limit` images (0 = no limit).

    `num_train` is the number of training images. Raises UserError, which names `option`, when the global batch exceeds
    it or does not divide evenly over `world` processes.
    """
    if global_batch > num_train:
        raise UserError(
            f"{option} {global_batch} (global) is more than the {num_train} training samples: lower it"
        )
    share, rest = divmod(global_batch, world)
    if rest or not share:
        lower, upper = global_batch - rest, global_batch + world - rest
        hint = f"{lower} or {upper}" if lower else f"{upper}"
        raise UserError(
            f"{option} {global_batch} (global) does not divide over {world} processes: use {hint}"
        )
    limit = limit or share
    accumulation = next(
        parts for parts in range(1, share + 1) if share % parts == 0 and share // parts <= limit
    )
    return BatchPlan(global_batch, share // accumulation, accumulation, world)


def left_out_note(plans: Mapping[int, BatchPlan], num_train: int, repeats: int = 1) -> str:
    """A line on how many of the `num_train` images an epoch leaves out; empty where it uses all of them.

    An epoch has whole global batches only, those of `plans` (by resolution in pixels). With `repeats`
    (augmentation.repeats) each image takes that many places in them.
    """
    places = {side: num_train // plan.global_batch * plan.global_batch for side, plan in plans.items()}
    left = {side: num_train - -(-count // repeats) for side, count in places.items()}
    if not any(left.values()):
        return ""
    counts = [f"{count} of {num_train} images at {side} px" for side, count in left.items() if count]
    if len(set(left.values())) == 1:
        counts = [f"{next(iter(left.values()))} of {num_train} images"]
    reason = "they do not fill a global batch"
    if repeats > 1:
        reason = f"each image is used {repeats} times (augmentation.repeats)"
    text = f"each epoch leaves out {', '.join(counts)}, different ones each time: {reason}"
    side = min(places, key=lambda side: places[side])
    if num_train - places[side] < _MUCH * num_train:
        return f"note: {text}"
    batch, world = plans[side].global_batch, plans[side].world
    # One step more per epoch.
    better = num_train // (num_train // batch + 1) // world * world
    advice = f": a global batch of {better} leaves out {num_train % better}" if better else ""
    return f"warning: {text}{advice}"


def split_warning(plan: BatchPlan, limit: int, option: str = "training.device_batch_size") -> str:
    """A line where a device takes far fewer images at once than its `limit` (0 = none); else empty.

    The parts of a global batch are equally large, so a share with no divisor just below the limit is cut into many.
    """
    share = plan.device_batch * plan.accumulation
    if not limit or limit >= share or 2 * plan.device_batch > limit:
        return ""
    lower = share // limit * limit
    larger = next(size for size in range(limit, share + 1) if share % size == 0)
    return (
        f"warning: {plan}: {option}={limit} does not divide {share}, and the parts are equally large; many small parts "
        f"are slow: use a global batch of {lower * plan.world} or {(lower + limit) * plan.world}, or a limit of "
        f"{larger}"
    )


def fit_warning(plan: BatchPlan) -> str:
    """A line where the next larger device batch, which memory can't hold, is several times as large; else empty."""
    share = plan.device_batch * plan.accumulation
    larger = next((size for size in range(plan.device_batch + 1, share + 1) if share % size == 0), 0)
    if larger < 4 * plan.device_batch:
        return ""
    return (
        f"warning: {plan}: {larger} images do not fit into memory, and no number between divides {share}; many small "
        "parts are slow: use a global batch that has more divisors, such as a multiple of 64 per device"
    )


def plans_by_resolution(config: TrainConfig, world: int, num_train: int) -> dict[int, BatchPlan]:
    """The plan of each training resolution in pixels, in the order of the run.

    Raises UserError when a global batch exceeds the `num_train` images or does not divide evenly over `world`.
    """
    training, plans = config.training, {}
    # A run whose length changes may come by every resolution of the schedule, also those between two epochs.
    parts = 8 * PARTS if training.timeline or config.budget.adapt else 1
    for part in range(training.epochs * parts):
        side = resolution_at(config.resolution, part / parts, training.epochs)
        batch = batch_at(config.resolution, side, training.batch_size)
        own = "training.batch_size" if batch == training.batch_size else "resolution.batch_sizes"
        limit = training.device_batch_size
        plans[side] = plan_batches(batch, limit=limit, world=world, num_train=num_train, option=own)
    return plans


def parts_ahead(
    config: TrainConfig, plans: Mapping[int, BatchPlan], num_train: int, timeline: Timeline | None = None
) -> list[list[Ahead]]:
    """What each epoch of a run on `num_train` images trains on, part by part where its resolution may change.

    `plans` are by side. A validation comes after the last part of an epoch. `timeline` is that of the configuration
    unless another one is given.
    """
    timeline = timeline or Timeline.parse(config.training.timeline, config.training.epochs)
    found = []
    for epoch in range(timeline.count):
        last = epoch + 1 == timeline.count
        due = (epoch + 1) % config.validation.every == 0 and config.logging.log_level > 0
        parts = _parts(config, plans, num_train, timeline, epoch)
        found.append([*parts[:-1], replace(parts[-1], validated=last or due)])
    return found


def epochs_ahead(
    config: TrainConfig, plans: Mapping[int, BatchPlan], num_train: int, timeline: Timeline | None = None
) -> list[Ahead]:
    """As parts_ahead, but each epoch as a whole, with the resolution that it ends with."""
    epochs = parts_ahead(config, plans, num_train, timeline)
    return [replace(parts[-1], images=sum(part.images for part in parts)) for parts in epochs]


def _parts(
    config: TrainConfig, plans: Mapping[int, BatchPlan], num_train: int, timeline: Timeline, epoch: int
) -> list[Ahead]:
    """An epoch's parts: images of each resolution, in order."""

    def side_at(at: float) -> int:
        return resolution_at(config.resolution, timeline.position(at), timeline.epochs)

    start = side_at(epoch)
    full = num_train // plans[start].global_batch
    steps = full if (share := timeline.share_of(epoch)) >= 1 else max(1, round(share * full))
    found: list[Ahead] = []
    edges = [-(-full * part // PARTS) for part in range(PARTS)] if timeline.changes else [0]
    for part, (begin, end) in enumerate(pairwise([*edges, full])):
        if (begin := min(begin, steps)) == (end := min(end, steps)):
            continue
        side = side_at(epoch + part / PARTS)
        side = side if plans[side] == plans[start] else start
        images = (end - begin) * plans[start].global_batch
        if found and found[-1].side == side:
            images += found.pop().images
        found.append(Ahead(images=images, side=side, validated=False))
    return found

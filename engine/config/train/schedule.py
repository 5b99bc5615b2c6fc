"""The options that change in the course of a run: resolution by epoch and learning rate by (fractional) epoch."""

from dataclasses import dataclass

from engine.config.options import option
from engine.config.train.choices import LR_SCHEDULES, RESOLUTION_SCHEDULES, described, names, takers
from engine.errors import UserError


@dataclass(frozen=True, kw_only=True)
class ResolutionConfig:
    """Training resolution by epoch, and batch size by resolution."""

    schedule: str = option(
        "ramp",
        described(RESOLUTION_SCHEDULES),
        choices=names(RESOLUTION_SCHEDULES),
    )
    min_res: int = option(160, "ramp: training resolution at the start, in pixels", low=8, high=1024)
    max_res: int = option(
        160, "ramp, progressive: training resolution at the end, in pixels", low=8, high=1024
    )
    start_ramp: float = option(
        0.0, "ramp: share of the run after which the resolution starts to grow", low=0, high=1
    )
    end_ramp: float = option(
        0.0, "ramp: share of the run after which the resolution is max_res", low=0, high=1
    )
    multiple_of: int = option(
        32, "ramp, progressive: resolutions between are rounded to a multiple of this", low=1, high=64
    )
    initial_scale: float = option(
        0.5, "progressive: resolution at the start, as a share of max_res", above=0, high=1
    )
    delay_fraction: float = option(
        0.5, "progressive: share of the run after which the resolution starts to grow", low=0, high=1
    )
    finetune_fraction: float = option(
        0.2, "progressive: share of the run, at its end, that has max_res to itself", low=0, high=1
    )
    stages: str = option("", "stages: resolution x epochs of each, such as 96x12, 128x6, 224x2, 288x1")
    batch_sizes: str = option(
        "",
        "global batch by resolution, such as 128:4096, 224:2560: each up to its resolution, from the one before; "
        "above the last, and where nothing is given, training.batch_size",
    )

    def stage_list(self) -> list[tuple[int, int]]:
        """(resolution, epochs) of each stage. Raises UserError for text that can't be read."""
        return _pairs("resolution.stages", self.stages, "x", "96x12, 128x6")

    def batch_list(self) -> list[tuple[int, int]]:
        """(resolution, global batch), the smallest resolution first. Raises UserError for text that can't be read."""
        return sorted(_pairs("resolution.batch_sizes", self.batch_sizes, ":", "128:4096, 224:2560"))


@dataclass(frozen=True, kw_only=True)
class LrConfig:
    """Learning rate by (fractional) epoch."""

    lr: float = option(0.5, "peak learning rate, for the global batch size of the recipe", above=0)
    lr_schedule_type: str = option(
        "cyclic",
        f"shape of the schedule; {described(LR_SCHEDULES)}",
        choices=names(LR_SCHEDULES),
    )
    lr_peak_epoch: float = option(
        2.0, f"{takers(LR_SCHEDULES, 'lr_peak_epoch')}: epochs until the peak, also called warm-up", low=0
    )
    batch_scaling: str = option(
        "none",
        "what resolution.batch_sizes does to the learning rate; linear: it is multiplied by batch / "
        "training.batch_size (Goyal et al. 2017); none: nothing",
        choices=("none", "linear"),
    )
    lr_peak_share: float = option(
        0.0,
        "the same as a share of the run, instead of lr_peak_epoch; 0: lr_peak_epoch counts",
        low=0,
        high=1,
    )
    lr_start: float = option(
        0.0, f"{takers(LR_SCHEDULES, 'lr_start')}: learning rate that the warm-up starts from", low=0
    )
    lr_final: float = option(
        0.0, f"{takers(LR_SCHEDULES, 'lr_final')}: learning rate at the end of the run", low=0
    )
    power: float = option(2.0, "polynomial: the share of the run that is left is taken to this", above=0)
    flat_until: float = option(
        0.75, "flat-cosine: share of the run after which the cosine starts", low=0, high=0.999
    )
    step_ratio: float = option(0.1, "step: the learning rate is multiplied by this ...", above=0, high=1)
    step_length: float = option(30.0, "step: ... every so many epochs", above=0)
    div_factor: float = option(25.0, "one-cycle: the run starts at lr / div_factor", above=1)
    final_div_factor: float = option(
        1e4, "one-cycle: it ends at the start's rate / final_div_factor", above=1
    )

    def peak_epoch(self, epochs: int) -> float:
        """Epochs until the peak in a run of `epochs`."""
        return self.lr_peak_share * epochs if self.lr_peak_share else self.lr_peak_epoch


def check_resolution(resolution: ResolutionConfig, epochs: int) -> None:
    """Raises UserError for options that don't fit each other in a run of `epochs`."""
    kind = resolution.schedule
    if kind == "ramp" and resolution.min_res > resolution.max_res:
        raise UserError(
            f"resolution.min_res {resolution.min_res} is above resolution.max_res {resolution.max_res}: "
            "swap them"
        )
    if resolution.start_ramp > resolution.end_ramp:
        raise UserError(
            f"resolution.start_ramp {resolution.start_ramp:g} is after end_ramp {resolution.end_ramp:g}: "
            "swap them"
        )
    shares = resolution.delay_fraction + resolution.finetune_fraction
    if kind == "progressive" and shares > 1:
        raise UserError(
            f"resolution.delay_fraction and finetune_fraction are {shares:g} of the run together: lower one"
        )
    if (kind == "stages") != bool(resolution.stages):
        raise UserError(
            f"resolution.schedule is {kind}, but resolution.stages is {resolution.stages!r}: the schedule "
            "stages needs it, and the others have no use for it"
        )
    lengths = sum(length for _, length in resolution.stage_list())
    if kind == "stages" and lengths != epochs:
        raise UserError(
            f"resolution.stages has {lengths} epochs, but training.epochs is {epochs}: make them the same"
        )
    listed = [side for side, _ in resolution.batch_list()]
    if len(set(listed)) < len(listed):
        raise UserError(
            f"resolution.batch_sizes {resolution.batch_sizes!r}: a resolution is listed twice: drop one"
        )


def check_lr(lr: LrConfig, epochs: int) -> None:
    """Raises UserError for options that don't fit each other in a run of `epochs`."""
    kind, peak = lr.lr_schedule_type, lr.peak_epoch(epochs)
    if "lr_peak_epoch" in LR_SCHEDULES[kind].takes and peak >= epochs:
        name, value, better = ("lr_peak_epoch", lr.lr_peak_epoch, epochs / 8)
        if lr.lr_peak_share:
            name, value, better = ("lr_peak_share", lr.lr_peak_share, 1 / 8)
        raise UserError(
            f"lr.{name} {value:g} is not before the end of the run (training.epochs {epochs}): lower it, for "
            f"example --lr.{name}={better:g}"
        )
    if kind == "one-cycle" and peak == 0:
        raise UserError("lr.lr_peak_epoch: one-cycle needs a rise: set it above 0")
    if kind == "flat-cosine" and peak > lr.flat_until * epochs:
        raise UserError(
            f"lr.flat_until {lr.flat_until:g} (epoch {lr.flat_until * epochs:g}) comes before the peak at "
            f"epoch {peak:g}: raise it or end the warm-up earlier"
        )
    for name in ("lr_start", "lr_final"):
        value = getattr(lr, name)
        if value > lr.lr:
            raise UserError(f"lr.{name} {value:g} is above lr.lr, the peak of {lr.lr:g}: lower it")
        if value and name not in LR_SCHEDULES[kind].takes:
            raise UserError(
                f"lr.{name} means nothing to the schedule {kind}: drop it, or take one of "
                + takers(LR_SCHEDULES, name)
            )


def _pairs(name: str, text: str, separator: str, example: str) -> list[tuple[int, int]]:
    pairs = []
    for part in text.split(",") if text else ():
        side, found, count = part.strip().partition(separator)
        if not found or not side.isdecimal() or not count.isdecimal():
            raise UserError(f"{name}: {part.strip()!r} can't be read: write it as in {example}")
        if not 8 <= int(side) <= 1024 or int(count) < 1:
            raise UserError(f"{name}: {part.strip()!r}: a resolution is 8 to 1024, and the rest at least 1")
        pairs.append((int(side), int(count)))
    return pairs

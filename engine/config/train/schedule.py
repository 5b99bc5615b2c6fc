"""The options of sections `resolution` and `lr`: what changes during a run, by epoch and by fractional epoch."""

from dataclasses import dataclass

from engine.config.choices import LR_SCHEDULES, RESOLUTION_SCHEDULES, described, names, takers
from engine.config.options import option
from engine.errors import UserError


@dataclass(frozen=True, kw_only=True)
class ResolutionConfig:
    """Training resolution by epoch, and batch size by resolution."""

    schedule: str = option(
        "ramp",
        f"how the resolution changes. {described(RESOLUTION_SCHEDULES)}",
        choices=names(RESOLUTION_SCHEDULES),
    )
    min_res: int = option(160, "ramp: resolution at the start of the run", unit="px", low=8, high=1024)
    max_res: int = option(
        160, "ramp, progressive: resolution at the end of the run", unit="px", low=8, high=1024
    )
    start_ramp: float = option(
        0.0, "ramp: point at which the resolution starts to grow, as a fraction of the run", low=0, high=1
    )
    end_ramp: float = option(
        0.0, "ramp: point at which the resolution reaches max_res, as a fraction of the run", low=0, high=1
    )
    multiple_of: int = option(
        32,
        "ramp, progressive: round resolutions in between to a multiple of this",
        unit="px",
        low=1,
        high=64,
    )
    initial_scale: float = option(
        0.5, "progressive: resolution at the start, as a fraction of max_res", above=0, high=1
    )
    delay_fraction: float = option(
        0.5,
        "progressive: point at which the resolution starts to grow, as a fraction of the run",
        low=0,
        high=1,
    )
    finetune_fraction: float = option(
        0.2, "progressive: fraction of the run, at its end, that trains at max_res", low=0, high=1
    )
    stages: str = option(
        "", "stages: resolution x epochs of each stage, as a list such as 96x12, 128x6, 224x2, 288x1"
    )
    batch_sizes: str = option(
        "",
        "global batch by resolution, as a list such as 128:4096, 224:2560 (4096 up to 128 px, 2560 up to 224 px, "
        "training.batch_size above); empty = training.batch_size at every resolution",
    )

    def stage_list(self) -> list[tuple[int, int]]:
        """(resolution in pixels, epochs) of each stage. Raises UserError for text that can't be read."""
        return _pairs("resolution.stages", self.stages, "x", "96x12, 128x6")

    def batch_list(self) -> list[tuple[int, int]]:
        """(resolution in pixels, global batch), by resolution. Raises UserError for text that can't be read."""
        return sorted(_pairs("resolution.batch_sizes", self.batch_sizes, ":", "128:4096, 224:2560"))


@dataclass(frozen=True, kw_only=True)
class LrConfig:
    """Learning rate over the run."""

    lr: float = option(0.5, "peak learning rate, for the recipe's global batch", above=0)
    lr_schedule_type: str = option(
        "cyclic",
        f"shape of the schedule. {described(LR_SCHEDULES)}",
        choices=names(LR_SCHEDULES),
    )
    lr_peak_epoch: float = option(
        2.0,
        f"{takers(LR_SCHEDULES, 'lr_peak_epoch')}: length of the warm-up, up to the peak",
        unit="epochs",
        low=0,
    )
    batch_scaling: str = option(
        "none",
        "learning rate at the batches of resolution.batch_sizes. linear: multiply it by batch / training.batch_size "
        "(Goyal et al. 2017). none: leave it as it is",
        choices=("none", "linear"),
    )
    lr_peak_share: float = option(
        0.0,
        "length of the warm-up as a fraction of the run, instead of lr_peak_epoch; 0 = use lr_peak_epoch",
        low=0,
        high=1,
    )
    lr_start: float = option(
        0.0, f"{takers(LR_SCHEDULES, 'lr_start')}: learning rate at the start of the warm-up", low=0
    )
    lr_final: float = option(
        0.0, f"{takers(LR_SCHEDULES, 'lr_final')}: learning rate at the end of the run", low=0
    )
    power: float = option(2.0, "polynomial: exponent applied to the remaining fraction of the run", above=0)
    flat_until: float = option(
        0.75,
        "flat-cosine: point at which the cosine decay starts, as a fraction of the run",
        low=0,
        high=0.999,
    )
    step_ratio: float = option(
        0.1, "step: factor by which the learning rate drops every step_length epochs", above=0, high=1
    )
    step_length: float = option(30.0, "step: epochs between two drops", unit="epochs", above=0)
    div_factor: float = option(25.0, "one-cycle: the run starts at lr / div_factor", above=1)
    final_div_factor: float = option(
        1e4, "one-cycle: the run ends at lr / div_factor / final_div_factor", above=1
    )

    def peak_epoch(self, epochs: int) -> float:
        """Epochs until the peak in a run of `epochs`."""
        return self.lr_peak_share * epochs if self.lr_peak_share else self.lr_peak_epoch


def check_resolution(resolution: ResolutionConfig, epochs: int) -> None:
    """Raises UserError for options that don't go together in a run of `epochs`."""
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
            f"resolution.delay_fraction + finetune_fraction is {shares:g}, more than the whole run: lower one"
        )
    if (kind == "stages") != bool(resolution.stages):
        raise UserError(
            f"resolution.schedule is {kind}, but resolution.stages is {resolution.stages!r}: only the schedule "
            "stages uses the list, and it needs one"
        )
    lengths = sum(length for _, length in resolution.stage_list())
    if kind == "stages" and lengths != epochs:
        raise UserError(
            f"resolution.stages has {lengths} epochs, but training.epochs is {epochs}: make them equal"
        )
    listed = [side for side, _ in resolution.batch_list()]
    if len(set(listed)) < len(listed):
        raise UserError(
            f"resolution.batch_sizes {resolution.batch_sizes!r}: a resolution is listed twice: remove one"
        )


def check_lr(lr: LrConfig, epochs: int) -> None:
    """Raises UserError for options that don't go together in a run of `epochs`."""
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
        raise UserError("lr.lr_peak_epoch is 0, but the schedule one-cycle needs a warm-up: set it above 0")
    if kind == "flat-cosine" and peak > lr.flat_until * epochs:
        raise UserError(
            f"lr.flat_until {lr.flat_until:g} (epoch {lr.flat_until * epochs:g}) comes before the peak at "
            f"epoch {peak:g}: raise it, or shorten the warm-up"
        )
    for name in ("lr_start", "lr_final"):
        value = getattr(lr, name)
        if value > lr.lr:
            raise UserError(f"lr.{name} {value:g} is above lr.lr, the peak of {lr.lr:g}: lower it")
        if value and name not in LR_SCHEDULES[kind].takes:
            raise UserError(
                f"lr.{name} has no effect with lr.lr_schedule_type={kind}: drop it, or use one of "
                + takers(LR_SCHEDULES, name)
            )


def _pairs(name: str, text: str, separator: str, example: str) -> list[tuple[int, int]]:
    pairs = []
    for part in text.split(",") if text else ():
        side, found, count = part.strip().partition(separator)
        if not found or not side.isdecimal() or not count.isdecimal():
            raise UserError(f"{name}: can't read {part.strip()!r}: write it as in {example}")
        if not 8 <= int(side) <= 1024 or int(count) < 1:
            raise UserError(
                f"{name}: {part.strip()!r}: a resolution is 8 to 1024 px, and the second number at least 1"
            )
        pairs.append((int(side), int(count)))
    return pairs

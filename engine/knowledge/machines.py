"""Machines with GPUs whose training speed others published: a speed by network and resolution, and how sure it is.

Three kinds of figures, all in machines.yaml with their sources. A GPU has published speeds of a network, or it has only
its minutes in MLPerf Training's ResNet-50; then it is scaled from the A100's speeds by the minutes. Without either, or
for a network without speeds there, speeds are predicted from the GPU's rates (roofline.py). Nothing here was measured
by this project. GPUs of one host scale as their number: MLPerf's 2, 4 and 8 A100 took 231, 236 and 229
GPU-minutes.

Half-widths of the 90% intervals, as shares of the speed: 10% for a published speed (two programs' figures for ResNet-50
at 224 px on an A100, 2,470 and 2,600 images/s, differ by 5%, and this project's may be a third). 25% for a scaled one:
the V100 has both figures, and MLPerf's ratio (1,395 to 3,554 images/s) misses its published speed at 224 px by 12 to
19%.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from engine.errors import UserError
from engine.knowledge.roofline import SIDES, Figure, Fit, Rates, fit, speed_at, traced_networks
from engine.registry import nearest

ERROR_PUBLISHED = 0.10
ERROR_SCALED = 0.25

_BELOW, _ABOVE = 1.4, 2.1

_MLPERF_IMAGES = 1_281_167

_DATA = Path(__file__).with_name("machines.yaml")


@dataclass(frozen=True, kw_only=True)
class Machine:
    """`count` GPUs of one kind in one host."""

    name: str
    """Such as 8xA100-40GB."""
    gpu: str
    count: int
    speeds: Mapping[str, Mapping[int, float]] = field(repr=False)
    """Images per second of one GPU, by network and by side in pixels."""
    error: float
    """Half-width of the 90% interval of a speed, as a share of it."""
    basis: str
    """Where the speeds are from, in words."""
    predicted: tuple[str, ...] = ()
    """Networks whose speeds are predicted from the GPU's rates."""
    start_seconds: float
    """Time of a run beside its epochs."""
    validation: "ValidationSpeed"

    def speed(self, network: str, side: int) -> float:
        """Images per second of the whole machine in training at `side` pixels.

        See `interpolated` for resolutions that were not published. Raises UserError for a network without speeds.
        """
        if network not in self.speeds:
            known = ", ".join(sorted(self.speeds))
            raise UserError(
                f"no speed of {network} on {self.gpu} is published, only of {known}: measure it there with --measure"
            )
        return self.count * interpolated(self.speeds[network], side)

    def error_of(self, network: str) -> float:
        """Half-width of the 90% interval of the network's speed, as a share of it."""
        return speed_fit().half_width if network in self.predicted else self.error

    def basis_of(self, network: str) -> str:
        """Where the network's speed is from, in words."""
        return (
            _basis_predicted(self.gpu)
            if network in self.predicted
            else f"published, not measured here; {self.basis}"
        )

    def validation_seconds(self, network: str, images: int, side: int, *, tta: bool) -> float:
        """Time of a validation of `images` images at `side` pixels. Raises UserError as `speed` does."""
        known = self.validation
        area = (side / known.side) ** 2 * (2 if tta else 1) / (2 if known.tta else 1)
        # Both networks' speeds are compared at a resolution that both were trained at.
        slower = self.speed(known.network, 192) / self.speed(network, 192)
        return images / (known.images_per_second * self.count) * area * slower


@dataclass(frozen=True, kw_only=True)
class ValidationSpeed:
    """Images per second of one GPU in validation at `side` pixels, with or without flip TTA."""

    network: str
    images_per_second: float
    side: int
    tta: bool


def interpolated(speeds: Mapping[int, float], side: int) -> float:
    """The speed at `side` pixels from those at other sides: log-log between two, by a power of the side beyond them.

    The powers are those of the V100's published speeds: 1.4 from 96 to 128 px, 2.1 from 224 to 288 px.
    """
    below = max((known for known in speeds if known <= side), default=None)
    above = min((known for known in speeds if known >= side), default=None)
    if above is None:
        assert below is not None
        return speeds[below] * (below / side) ** _ABOVE
    if below is None:
        return speeds[above] * (above / side) ** _BELOW
    if below == above:
        return speeds[below]
    share = math.log(side / below) / math.log(above / below)
    return math.exp((1 - share) * math.log(speeds[below]) + share * math.log(speeds[above]))


def find_machine(name: str) -> Machine:
    """The machine of such a name as 8xA100-40GB, 1xH200 or 4xV100.

    Raises UserError for a GPU without published figures, naming a near one, and for more GPUs than the figures cover.
    """
    data = _data()
    most = int(data["most_gpus"])
    match = re.fullmatch(r"(?:(\d+)\s*x\s*)?(.+)", name.strip(), re.IGNORECASE)
    known = {other.lower(): gpu for gpu, entry in data["gpus"].items() for other in _names(gpu, entry)}
    gpu = known.get(match[2].strip().lower()) if match else None
    if match is None or gpu is None:
        written = [other for kind, entry in data["gpus"].items() for other in _names(kind, entry)]
        # Near by the kind alone: the number of GPUs is like any other.
        hint = nearest(match[2].strip() if match else name, written)
        raise UserError(
            f"unknown machine {name!r}{hint}: write NUMBERxGPU as in 8xA100-40GB, with one of "
            f"{', '.join(data['gpus'])}; or use --measure"
        )
    count = int(match[1] or 1)
    if not 1 <= count <= most:
        raise UserError(f"machine {name!r}: the published figures cover 1 to {most} GPUs of one host")
    return _machine(gpu, count)


def _names(gpu: str, entry: Mapping[str, Any]) -> list[str]:
    return [gpu, *entry.get("also", ())]


@cache
def _data() -> dict[str, Any]:
    content = yaml.safe_load(_DATA.read_text(encoding="utf-8"))
    assert isinstance(content, dict)
    return content


def _machine(gpu: str, count: int) -> Machine:
    data = _data()
    entry, base = data["gpus"][gpu], data["gpus"][data["scaled_from"]]
    published = "speeds" in entry
    scaled = "mlperf" in entry and not published
    factor = _gpu_minutes(base) / _gpu_minutes(entry) if scaled else 1.0
    table = entry["speeds"] if published else base["speeds"] if scaled else {}
    speeds = {
        network: {int(side): factor * speed for side, (speed, _) in by_side.items()}
        for network, by_side in table.items()
    }
    predicted = tuple(network for network in traced_networks() if network not in speeds)
    speeds |= {network: predicted_speeds(gpu, network) for network in predicted}
    known = ValidationSpeed(**data["run"]["validation"])
    # The validation's speed is the base GPU's: others' as their training speed.
    ratio = factor if scaled else _ratio(speeds, base, known.network)
    return Machine(
        name=f"{count}x{gpu}",
        gpu=gpu,
        count=count,
        speeds=speeds,
        error=ERROR_PUBLISHED if published else ERROR_SCALED if scaled else speed_fit().half_width,
        basis=_basis(gpu, factor) if table else _basis_predicted(gpu),
        predicted=predicted,
        start_seconds=float(data["run"]["start_seconds"]),
        validation=ValidationSpeed(
            network=known.network,
            images_per_second=known.images_per_second * ratio,
            side=known.side,
            tta=known.tta,
        ),
    )


def _gpu_minutes(entry: Mapping[str, Any]) -> float:
    count, minutes, _ = entry["mlperf"]
    return float(count) * float(minutes)


def _ratio(speeds: Mapping[str, Mapping[int, float]], base: Mapping[str, Any], network: str) -> float:
    of_base = {int(side): float(speed) for side, (speed, _) in base["speeds"][network].items()}
    return interpolated(speeds[network], 192) / interpolated(of_base, 192)


def _basis(gpu: str, factor: float) -> str:
    data = _data()
    entry, sources = data["gpus"][gpu], data["sources"]
    if "speeds" in entry:
        used = {source for by_side in entry["speeds"].values() for _, source in by_side.values()}
        return f"speeds by {'; '.join(sources[name] for name in sources if name in used)}"
    count, minutes, source = entry["mlperf"]
    taken = f"{count}x{gpu}'s {minutes:g} minutes in {sources[source]}"
    return f"{data['scaled_from']}'s speeds x {factor:.2f}, from {taken}"


def rates_of() -> dict[str, Rates]:
    """The published rates, by kind of GPU."""
    return {
        gpu: Rates(gb_per_second=memory, tflops=tensor) for gpu, (memory, tensor) in _data()["rates"].items()
    }


def published_figures() -> list[Figure]:
    """Every published speed of one GPU; MLPerf's from its minutes and epochs."""
    data = _data()
    blurless, elsewhere = data["without_blurpool"], data["measured_on"]
    found = []
    for gpu, entry in data["gpus"].items():
        for network, by_side in entry.get("speeds", {}).items():
            for side, (speed, source) in by_side.items():
                blurpool = "off" if source in blurless else "convolution"
                # NVIDIA's figure stands under the A100 alone.
                kind = elsewhere.get(source, gpu) if gpu == data["scaled_from"] else gpu
                found.append(_figure(kind, network, blurpool, side, speed, data["sources"][source]))
        if "mlperf" in entry:
            source = entry["mlperf"][2]
            kind = elsewhere.get(source, gpu) if gpu == data["scaled_from"] else gpu
            speed = _MLPERF_IMAGES * data["mlperf_epochs"] / (60 * _gpu_minutes(entry))
            found.append(_figure(kind, "resnet50", "off", 224, speed, f"{data['sources'][source]} (c)"))
    return found


def _figure(gpu: str, network: str, blurpool: str, side: int, speed: float, source: str) -> Figure:
    return Figure(gpu=gpu, network=network, blurpool=blurpool, side=side, speed=float(speed), source=source)


@cache
def speed_fit() -> Fit:
    """The roofline fitted to the published figures."""
    return fit(published_figures(), rates_of())


def predicted_speeds(gpu: str, network: str) -> dict[int, float]:
    """Images per second by side in pixels, of a network with BlurPool, from a GPU's published rates."""
    fitted, rates = speed_fit(), rates_of()[gpu]
    return {
        side: float(speed_at(network, "convolution", side, rates, fitted.memory, fitted.tensor))
        for side in SIDES
    }


def _basis_predicted(gpu: str) -> str:
    fitted, rates = speed_fit(), rates_of()[gpu]
    return (
        f"predicted from the machine's published rates ({rates.gb_per_second:,.0f} GB/s, {rates.tflops:g} TFLOPS), off "
        f"by {fitted.rms:.0%} on the {len(fitted.checked)} figures that are published; not measured here"
    )


def machine_names() -> list[str]:
    """Every machine with published figures that is named in full: each kind of GPU, 1, 2, 4 and 8 of it."""
    return [f"{count}x{gpu}" for gpu in _data()["gpus"] for count in (1, 2, 4, 8)]


@cache
def machines() -> Mapping[str, Machine]:
    """Those of machine_names by name; find_machine knows also 3, 5, 6 and 7 GPUs, and other names of a kind."""
    return {name: find_machine(name) for name in machine_names()}

"""A what-if before renting: the same GPUs in a host with so many cores, another storage format, a disk of some speed.

Decoding scales with the cores. A core's speed is this machine's where it was measured, else that of our record on 2
cores of an AMD EPYC (benchmarks/results/loader_2-cores_2026-11-25.md: photos of ImageNet, crops from 35% of the area,
warm cache, one core). The disk is taken to deliver every image of every epoch: a file that fits into memory needs it
in the first epoch alone.
"""

import re
from dataclasses import dataclass, replace

from engine.errors import UserError
from engine.knowledge.machines import interpolated
from engine.plan.pace.machine_pace import Pace, SidePace

PER_CORE = {
    "jpeg": {128: 2174.0, 160: 2022.0, 192: 1875.0, 224: 1862.0},
    "yuv420": {128: 134982.0, 160: 130353.0, 192: 132159.0, 224: 136409.0},
}
"""Images per second of one core, by storage and side; yuv420 is yuv420-packed, which a GPU finishes."""

IMAGE_BYTES = {"jpeg": 90e3, "yuv420": 130e3}
"""Of an ImageNet image as docs/guide/convert.md has it (jpeg: the middle of 70 to 110 kB)."""

DECODE_ERROR = 0.15
"""Half-width of the interval where decoding or the disk limits on a host that was not measured: cores differ in
speed. Added to the step's where both limit, each at some resolutions."""

_UNITS = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9, "t": 1e12}


@dataclass(frozen=True, kw_only=True)
class Host:
    """What is asked: cores (0: as it is), storage ("": as it is), disk bytes per second (0: not asked)."""

    cores: int = 0
    storage: str = ""
    disk: float = 0.0
    image_bytes: float = 0.0
    """Of the file that was given; 0: IMAGE_BYTES."""

    @property
    def asked(self) -> bool:
        """Whether anything is asked."""
        return bool(self.cores or self.storage or self.disk)


def with_host(pace: Pace, host: Host) -> Pace:
    """The pace with the host's decoding and disk. Raises UserError for what is not known."""
    if not host.asked:
        return pace
    if not pace.gpus:
        raise UserError(
            "--cores, --storage and --disk are for machines with GPUs: on a CPU the step shares the cores; measure "
            "there"
        )
    cores = host.cores or pace.cores
    if host.storage and not cores:
        raise UserError("--storage needs --cores: the published speeds don't say how many decode")
    storage = host.storage or _stored(pace.storage) or "jpeg"
    if storage not in PER_CORE:
        raise UserError(f"--storage {storage}: choose {' or '.join(PER_CORE)}")
    per_image = IMAGE_BYTES[storage]
    if host.image_bytes and storage == (_stored(pace.storage) or storage):
        per_image = host.image_bytes
    sides = tuple(
        replace(
            side,
            together=None,
            decode=_decode(pace, side, storage, cores) if host.cores or host.storage else side.decode,
            disk=host.disk / per_image if host.disk else side.disk,
        )
        for side in pace.sides
    )
    starved = [side.limited_by != "step" for side in sides]
    # Where the step limits nowhere, how fast it is does not matter.
    error = DECODE_ERROR if all(starved) else pace.error + (DECODE_ERROR if any(starved) else 0.0)
    return replace(
        pace,
        sides=sides,
        storage=storage,
        cores=cores,
        error=error,
        notes=(*pace.notes, _words(host, storage, cores, per_image)),
    )


def host_lines(pace: Pace) -> list[str]:
    """Which stage limits at each resolution, and by how much."""
    lines = []
    for side in pace.sides:
        stages = ", ".join(f"{name} {rate:,.0f}" for name, rate in side.stages.items())
        stages += f", together {side.together:,.0f}" if side.together else ""
        limit = side.limited_by
        rest = sorted(side.stages.values())
        by = f": the next one could do {rest[1] / rest[0]:.1f} times as much" if len(rest) > 1 else ""
        lines.append(f"{side.side} px: {stages} images/s; {limit} limits{by}")
    return lines


def read_speed(text: str) -> float:
    """Bytes per second of such text as 1GB/s or 500 MB/s. Raises UserError for anything else."""
    match = re.fullmatch(r"([0-9.]+)\s*([kmgt]?)b?(?:/s)?", text.strip(), re.IGNORECASE)
    try:
        speed = float(match[1]) * _UNITS[match[2].lower()] if match else 0.0
    except ValueError:
        speed = 0.0
    if not 0 < speed < float("inf"):
        raise UserError(f"--disk {text!r} is not a speed: write it as in 1GB/s or 500MB/s")
    return speed


def _decode(pace: Pace, side: SidePace, storage: str, cores: int) -> float:
    recorded = interpolated(PER_CORE[storage], side.side)
    own = _stored(pace.storage)
    if side.decode and pace.cores and own in PER_CORE:
        # This machine's cores against the record's, at what was measured here.
        recorded *= side.decode / pace.cores / interpolated(PER_CORE[own], side.side)
    return recorded * cores


def _stored(name: str) -> str:
    """A decoder's name as a storage format."""
    return name.removesuffix("-packed")


def _words(host: Host, storage: str, cores: int, per_image: float) -> str:
    parts = [f"{cores} cores decode {storage}"] if host.cores or host.storage else []
    if host.disk:
        parts.append(
            f"a disk of {host.disk / 1e9:.3g} GB/s reads {per_image / 1e3:.0f} kB an image, every epoch"
        )
    return f"what-if: {', '.join(parts)}"

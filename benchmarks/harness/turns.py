"""Work timed in turns within this process: by the clock on a CPU, by events on a GPU."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

_WARM_UPS = 2


def _nothing() -> None:
    pass


@dataclass(frozen=True, kw_only=True)
class Work:
    """A timed call, and an untimed one that prepares it."""

    call: Callable[[], object]
    ready: Callable[[], None] = _nothing


def take_turns(
    sides: Sequence[Work],
    device: torch.device,
    *,
    rounds: int,
    seconds: float,
    tell: Callable[[str], None] = lambda word: None,
) -> list[list[float]]:
    """Seconds per call of each side in each round; a round of a side takes about `seconds`, or a call.

    In every round each side has its turn, in order. `tell` gets a word after each round.
    """
    calls = [_enough(side, device, seconds) for side in sides]
    taken: list[list[float]] = [[] for _ in sides]
    for _ in range(rounds):
        for number, side in enumerate(sides):
            taken[number].append(_seconds(side, device, calls[number]))
        tell("/".join(f"{1000 * values[-1]:.3g}" for values in taken))
    return taken


def _enough(side: Work, device: torch.device, seconds: float) -> int:
    """How many calls take about `seconds`, found while it warms up."""
    took = min(_seconds(side, device, 1) for _ in range(1 + _WARM_UPS))
    return max(1, round(seconds / took))


def _seconds(side: Work, device: torch.device, calls: int) -> float:
    """Mean time of a call."""
    if device.type == "cuda":
        return _device_seconds(side, calls)
    total = 0.0
    for _ in range(calls):
        side.ready()
        begin = time.perf_counter()
        side.call()
        total += time.perf_counter() - begin
    return total / calls


def _device_seconds(side: Work, calls: int) -> float:
    """Likewise, as the device's own clock has it."""
    pairs = []
    for _ in range(calls):
        side.ready()
        before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        before.record()
        side.call()
        after.record()
        pairs.append((before, after))
    torch.cuda.synchronize()
    return sum(float(before.elapsed_time(after)) for before, after in pairs) / 1000 / calls

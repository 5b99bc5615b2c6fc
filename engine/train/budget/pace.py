"""How fast the machine is, from what a plan predicted and from what the run has measured: pure bookkeeping.

Seconds per image depend on the resolution. The plan gives them for this machine (plan.pace); without a plan they are
taken as a + b side^2, fitted to the resolutions that were measured (engine/runs/time_left.py). What the machine does
now differs from that by a factor, which another job or a hot processor changes. The factor of a later moment is taken
to be that of as much time before now: hours are predicted from hours, the next seconds from the last seconds.
"""

import math
from bisect import bisect_left
from collections.abc import Sequence

from engine.runs.time_left import Pace, seconds_per_image

_SHORTEST = 6.0
"""Seconds; a factor from a shorter time would be noise."""


class PaceModel:
    """Seconds per image by resolution. `planned` is images per second by resolution in pixels; it may be empty."""

    def __init__(self, planned: Sequence[tuple[int, float]] = ()) -> None:
        self._planned = [(side, 1 / rate) for side, rate in planned]
        self._measured: list[Pace] = []
        self._warm = False

    @property
    def measured_seconds(self) -> float:
        """How long the measurements are together."""
        return sum(pace.seconds for pace in self._measured)

    def note(self, side: int, images: int, seconds: float) -> None:
        """Training on `images` images of `side` pixels took `seconds`, without compiling and validation.

        The first call of a process is left out: it contains the first batch and the libraries' warm-up.
        """
        if images > 0 and seconds > 0:
            if self._warm:
                self._measured.append(Pace(side=side, images=images, seconds=seconds))
            self._warm = True

    def seconds_per_image(self, side: int) -> float:
        """As the plan says, or as fitted to the measurements; without the factor of the moment."""
        if not self._planned:
            return seconds_per_image(side, self._measured)
        sides = [known for known, _ in self._planned]
        index = bisect_left(sides, side)
        if index < len(sides) and sides[index] == side:
            return self._planned[index][1]
        if len(sides) == 1 or index in (0, len(sides)):
            # Beyond the planned ones: in proportion to the pixels, as convolutions are.
            near, seconds = self._planned[min(index, len(sides) - 1)]
            return seconds * (side / near) ** 2
        (low, fast), (high, slow) = self._planned[index - 1 : index + 1]
        return fast + (slow - fast) * (side**2 - low**2) / (high**2 - low**2)

    def factor(self, seconds_left: float) -> float:
        """Expected time per image over the next `seconds_left`, as a multiple of the plan's; 1 before the first part.

        In h seconds the machine is taken to be as fast as it was in the mean of the last h. A second that lies t back
        is in that mean for every h above t, which gives it the weight log(seconds_left / t).
        """
        horizon, back, weights, speeds = max(_SHORTEST, seconds_left), 0.0, 0.0, 0.0
        each = {side: self.seconds_per_image(side) for side in {pace.side for pace in self._measured}}
        for pace in reversed(self._measured):
            if back >= horizon:
                break
            end = min(horizon, back + pace.seconds)
            weight = _weight(end, horizon) - _weight(back, horizon)
            weights += weight
            speeds += weight * pace.images * each[pace.side] / pace.seconds
            back = end
        return weights / speeds if speeds else 1.0

    def rate(self) -> float | None:
        """Images per second of the last measurement; None before the first one."""
        return self._measured[-1].images / self._measured[-1].seconds if self._measured else None


def _weight(back: float, horizon: float) -> float:
    """How much the last `back` seconds count among the last `horizon`, 0 to 1: the integral of log(horizon / t)."""
    share = back / horizon
    return share * (1 - math.log(share)) if share else 0.0

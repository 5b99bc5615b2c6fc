"""What an overhead record says of the limit: it is kept, or broken, only where the whole interval says so."""

from collections.abc import Mapping

from benchmarks.method import Interval

LIMIT = 0.02


def overhead(ratio: Mapping[str, float]) -> Interval:
    """By how much longer the loop's steps take, as a share of the bare ones; `ratio`: of a record, of their speeds."""
    return Interval(median=1 / ratio["median"] - 1, low=1 / ratio["high"] - 1, high=1 / ratio["low"] - 1)


def verdict(ratio: Mapping[str, float]) -> str:
    """One word: holds, over, or undecided where the interval spans the limit."""
    found = overhead(ratio)
    if found.high <= LIMIT:
        return "holds"
    return "over" if found.low > LIMIT else "undecided"


def sentence(ratio: Mapping[str, float]) -> str:
    """The verdict with its interval, in percent."""
    found, limit = overhead(ratio), f"{LIMIT:.0%}"
    bounds = f"[{100 * found.low:.2f}, {100 * found.high:.2f}]"
    return {
        "holds": f"holds: {bounds} lies below {limit}",
        "over": f"over: {bounds} lies above {limit}",
        "undecided": f"undecided: {bounds} spans {limit}, more --rounds narrow it",
    }[verdict(ratio)]

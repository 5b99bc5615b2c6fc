"""The limit of the loop's overhead: a record keeps or breaks it only where its whole interval says so."""

from collections.abc import Mapping

LIMIT = 0.02


def overhead(ratio: Mapping[str, float]) -> dict[str, float]:
    """How much longer the loop's steps take than bare ones, as a share; `ratio`: of their speeds, from a record."""
    bounds = {"median": "median", "low": "high", "high": "low"}
    return {name: 1 / ratio[of] - 1 for name, of in bounds.items()}


def verdict(ratio: Mapping[str, float]) -> str:
    """holds, over, or undecided where the interval spans the limit."""
    found = overhead(ratio)
    if found["high"] <= LIMIT:
        return "holds"
    return "over" if found["low"] > LIMIT else "undecided"


def sentence(ratio: Mapping[str, float]) -> str:
    """The verdict with its interval, in percent."""
    found, limit = overhead(ratio), f"{LIMIT:.0%}"
    bounds = f"[{100 * found['low']:.2f}, {100 * found['high']:.2f}]"
    return {
        "holds": f"holds: {bounds} lies below {limit}",
        "over": f"over: {bounds} lies above {limit}",
        "undecided": f"undecided: {bounds} spans {limit}, more --rounds narrow it",
    }[verdict(ratio)]

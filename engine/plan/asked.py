"""Reads what a plan is asked for, as people write it: 76 or 0.76, hours or minutes, 32.77/h, TRAIN,VAL."""

import math
import re

from engine.errors import UserError


def read_target(given: str | None) -> float | None:
    """Top-1 as a share: 76, 76% and 0.76 are the same. Raises UserError."""
    if given is None:
        return None
    try:
        value = float(given.strip().removesuffix("%"))
    except ValueError:
        value = math.nan
    share = value / 100 if value > 1 or given.strip().endswith("%") else value
    if not 0 < share <= 1:
        raise UserError(
            f"--target {given}: must be a top-1 accuracy above 0 and at most 100, as in 76 or 0.76"
        )
    return share


def read_seconds(hours: float | None, minutes: float | None) -> float | None:
    """The time in seconds. None where neither is given. Raises UserError."""
    if hours is not None and minutes is not None:
        raise UserError("--hours and --minutes both set the time: drop one")
    for name, value, unit in (("hours", hours, 3600), ("minutes", minutes, 60)):
        if value is not None:
            if not 0 < value < math.inf:
                raise UserError(f"--{name} {value:g}: must be above 0")
            return float(value * unit)
    return None


def read_price(given: str | None) -> float:
    """Per hour, from 32.77/h or 32.77; 0 without one. Raises UserError."""
    if given is None:
        return 0.0
    match = re.fullmatch(r"[^\d.+-]?\s*([0-9.]+)\s*(?:/\s*(?:h|hour))?", given.strip())
    try:
        price = float(match[1]) if match else 0.0
    except ValueError:
        price = 0.0
    if not 0 < price < math.inf:
        raise UserError(f"--price {given}: must be a price per hour above 0, as in 32.77/h")
    return price


def read_data(given: str | None) -> tuple[str, str] | None:
    """The two files. Raises UserError."""
    if given is None:
        return None
    parts = [part.strip() for part in given.split(",")]
    if len(parts) != 2 or not all(parts):
        raise UserError(f"--data {given}: give two files, as in train.beton,val.beton")
    return parts[0], parts[1]

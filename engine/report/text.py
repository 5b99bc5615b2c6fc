"""Numbers as people read them, shared by the terminal and the HTML page. Unknown values become a dash."""

import math
from typing import Any

MISSING = "–"


def percent(share: Any, digits: int = 2) -> str:
    """0.9231 -> "92.31%"."""
    return MISSING if not _known(share) else f"{100 * share:.{digits}f}%"


def number(value: Any, digits: int = 3) -> str:
    """2.34567 -> "2.346"."""
    return MISSING if not _known(value) else f"{value:.{digits}f}"


def signed(value: Any, digits: int = 2) -> str:
    """0.5 -> "+0.50"."""
    return MISSING if not _known(value) else f"{value:+.{digits}f}"


def count(value: Any) -> str:
    """1281167 -> "1,281,167"."""
    return MISSING if not _known(value) else f"{round(value):,}"


def rate(value: Any) -> str:
    """Three figures or so: 845 -> "845", 12345 -> "12.3k"."""
    if not _known(value):
        return MISSING
    if value < 10_000:
        return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"
    return f"{value / 1000:.1f}k" if value < 999_500 else f"{value / 1e6:.2f}M"


def rate_tick(value: float) -> str:
    """A round rate, as an axis names it: 20000 -> "20k", 2.5 -> "2.5"."""
    return f"{value / 1000:g}k" if value >= 10_000 else f"{value:,g}"


def clock(seconds: Any) -> str:
    """For columns of figures: 67 -> "1:07", 4620 -> "1:17:00"."""
    if not _known(seconds):
        return MISSING
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}" if minutes >= 60 else f"{minutes}:{rest:02d}"


def significant(value: Any, digits: int = 3) -> str:
    """Learning rates and the like: 0.000123456 -> "0.000123", 1e-7 -> "1e-07"."""
    return MISSING if not _known(value) else f"{value:.{digits}g}"


def duration(seconds: Any) -> str:
    """7.31 -> "7.3 s", 149 -> "2 min 29 s", 4620 -> "1 h 17 min"."""
    if not _known(seconds):
        return MISSING
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s" if whole % 60 else f"{whole // 60} min"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes % 60 else f"{minutes // 60} h"


def gigabytes(megabytes: Any) -> str:
    """20480 -> "20.0"."""
    return MISSING if not _known(megabytes) else f"{megabytes / 1024:.1f}"


def moment(stamp: Any) -> str:
    """2026-11-21T12:05:00+00:00 -> "2026-11-21 12:05:00 +00:00"."""
    day, _, hour = str(stamp or MISSING).partition("T")
    return f"{day} {hour[:8]} {hour[8:]}".strip()


def setting(value: Any) -> str:
    """A configuration value as one would write it in a recipe."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.6g}"
    return str(value) if value != "" else "(empty)"


def _known(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)

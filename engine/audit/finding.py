"""What a check of the audit says: a verdict in one line, the particulars behind it, and the same as data."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

FOUND, NOTE, FINE = "FOUND", "note", "fine"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """The outcome of one check."""

    check: str
    """Which check, such as "class lists"."""
    level: str
    """FOUND: something to put right, exit code 1; NOTE: worth knowing; FINE: nothing found."""
    verdict: str
    details: tuple[str, ...] = ()
    data: dict[str, Any] = field(default_factory=dict)
    """The figures, in types that JSON has."""


def in_order(findings: Sequence[Finding]) -> list[Finding]:
    """What was found first, then notes, then what is fine; otherwise as they come."""
    return sorted(findings, key=lambda finding: (FOUND, NOTE, FINE).index(finding.level))


def report(findings: Sequence[Finding]) -> str:
    """All verdicts, a line each, then the details of those that have any."""
    ordered = in_order(findings)
    lines = [f"{finding.level:<5}  {finding.check}: {finding.verdict}" for finding in ordered]
    for finding in ordered:
        if finding.details:
            lines += ["", f"{finding.check}:", *(f"  {line}" for line in finding.details)]
    return "\n".join(lines)


def shorten(lines: Sequence[str], most: int = 20) -> tuple[str, ...]:
    """The first `most` lines, and how many more there are."""
    more = len(lines) - most
    return (*lines[:most], *([f"... and {more:,} more"] if more > 0 else []))

"""The result of an audit check: a verdict in one line, details, and the same as data."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

FOUND, NOTE, FINE = "FOUND", "note", "fine"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """The outcome of one check."""

    check: str
    """The name of the check, such as "class lists"."""
    level: str
    """FOUND: something to correct, exit code 1; NOTE: worth knowing; FINE: nothing found."""
    verdict: str
    details: tuple[str, ...] = ()
    data: dict[str, Any] = field(default_factory=dict)
    """The figures, in JSON types."""


def in_order(findings: Sequence[Finding]) -> list[Finding]:
    """FOUND first, then NOTE, then FINE; otherwise in the given order."""
    return sorted(findings, key=lambda finding: (FOUND, NOTE, FINE).index(finding.level))


def report(findings: Sequence[Finding]) -> str:
    """All verdicts, one line each, then their details."""
    ordered = in_order(findings)
    lines = [f"{finding.level:<5}  {finding.check}: {finding.verdict}" for finding in ordered]
    for finding in ordered:
        if finding.details:
            lines += ["", f"{finding.check}:", *(f"  {line}" for line in finding.details)]
    return "\n".join(lines)


def shorten(lines: Sequence[str], most: int = 20) -> tuple[str, ...]:
    """The first `most` lines, and a line with the number of the others."""
    more = len(lines) - most
    return (*lines[:most], *([f"... and {more:,} more"] if more > 0 else []))

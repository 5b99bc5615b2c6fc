"""A record as a gain over its peer: above 1 ours is better, also for times and memory."""

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.records.layouts import LAYOUTS, Record

# No rival: the ratio is a share of a limit or a cost, which nobody wins or loses.
NO_RIVALS = {"self", "replay", "without", "bare step"}
_NO_CONTESTS = {"roofline", "techniques", "overhead"}

OUTCOMES = {
    "won": "ours is better",
    "lost": "the peer is better",
    "level": "the interval holds 1",
    "share": "no contest: a share of a limit, or a cost",
    "failed": "failed, or did not run",
}


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The result of one comparison; `low`, `median` and `high`: the gain and its interval, 0 where it failed."""

    who: str
    what: dict[str, str]
    """What was measured, by column of the stage's table; empty for a stage without results."""
    kind: str
    """A key of OUTCOMES."""
    low: float = 0.0
    median: float = 0.0
    high: float = 0.0
    reason: str = ""
    """Why it failed."""

    @property
    def figures(self) -> str:
        """The gain with its interval, or why there is none."""
        if self.kind == "failed":
            return self.reason
        return f"{_short(self.median)} [{_short(self.low)}, {_short(self.high)}]"

    def label(self, varying: Sequence[str] | None = None) -> str:
        """Who and what in words; `varying`: only these columns."""
        parts = [
            value if name in ("what", "case") else f"{name} {value}"
            for name, value in self.what.items()
            if varying is None or name in varying
        ]
        return ", ".join([self.who, *parts])


def outcome(record: Record) -> Outcome:
    """The outcome of a record of any stage that compares."""
    who = f"{record['ours']} / {record['peer']}" if record["ours"] else str(record["stage"])
    if record.get("error"):
        reason = f"{'not run' if record.get('not_run') else 'failed'}: {record['error']}"
        what = {} if record.get("whole_stage") else _what(record)
        return Outcome(who=who, what=what, kind="failed", reason=reason)
    low, median, high = (float(record["ratio"][key]) for key in ("low", "median", "high"))
    contest = record["stage"] not in _NO_CONTESTS and record["peer"] not in NO_RIVALS
    if contest and not str(record["metric"]).endswith("per_second"):
        # Seconds and megabytes: less is better.
        low, median, high = 1 / high, 1 / median, 1 / low
    kind = ("won" if low > 1 else "lost" if high < 1 else "level") if contest else "share"
    return Outcome(who=who, what=_what(record), kind=kind, low=low, median=median, high=high)


def tally(outcomes: Sequence[Outcome]) -> str:
    """How many were won, lost, level and failed, in words."""
    words = {"won": "won", "lost": "lost", "level": "level", "failed": "failed or not run"}
    counts = {kind: sum(one.kind == kind for one in outcomes) for kind in words}
    return ", ".join(f"{count} {words[kind]}" for kind, count in counts.items())


def _what(record: Record) -> dict[str, str]:
    return {name: cell(record) for name, cell in LAYOUTS[record["stage"]].what.items()}


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 99.5 else f"{value:.3g}"

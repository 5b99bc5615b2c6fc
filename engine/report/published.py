"""What others published for a recipe, in words: shown beside our figures, never among them."""

from typing import Any

from engine.config.train.train_config import ReferenceConfig
from engine.errors import UserError
from engine.report import text
from engine.runs.log_schema import EpochLine, StartLine


def figures(reference: dict[str, Any]) -> list[str]:
    """Their figures, the accuracy first, each in a few words; `reference` is that section of a configuration."""
    found = []
    if reference.get("top1"):
        found.append(f"{text.percent(reference['top1'])} top-1")
        if reference.get("resolution"):
            found.append(f"at {reference['resolution']} px")
        if "tta" in reference:
            found.append("with TTA" if reference["tta"] else "no TTA")
    if reference.get("epochs"):
        plural = "" if reference["epochs"] == 1 else "s"
        found.append(f"{text.count(reference['epochs'])} epoch{plural}")
    if reference.get("minutes"):
        found.append(text.duration(60 * reference["minutes"]))
    if reference.get("hardware"):
        found.append(f"on {reference['hardware']}")
    return found


def difference(reference: dict[str, Any], start: StartLine) -> str:
    """Why their figures are none to compare with this run's, in a few words; empty where nothing says so."""
    arch, classes = reference.get("arch"), reference.get("classes")
    parts = []
    if arch and start.arch and arch != start.arch:
        parts.append(f"they are of {arch}, this run's of {start.arch}")
    if classes and start.num_classes and classes != start.num_classes:
        parts.append(f"they are of {classes:,} classes, this run's of {start.num_classes:,}")
    return "; ".join(parts)


def by_epoch(reference: dict[str, Any], epochs: list[EpochLine]) -> list[tuple[int, float, float | None]]:
    """(epochs done, their top-1, ours after as many epochs or None) for each point of their curve.

    A curve that can't be read, as in the folder of another version's run, is none.
    """
    try:
        points = ReferenceConfig(curve=str(reference.get("curve") or "")).curve_points()
    except UserError:
        return []
    ours = {epoch.epoch: epoch.top1 for epoch in epochs}
    return [(epoch, top1, ours.get(epoch)) for epoch, top1 in points]

"""What an evaluation found beside the accuracy (engine.train.evaluation.full_evaluation), in words."""

from engine.report import text
from engine.runs.evaluation_schema import ClassAccuracy, Evaluation, OriginalsComparison
from engine.runs.log_schema import ResultLine


def terminal_rows(result: ResultLine) -> list[tuple[str, str]]:
    """Name and text of each line below the accuracies; nothing for a run that trained."""
    found = result.evaluation
    if not found:
        return []
    rows = [("calibrated", calibration_words(found))]
    known = ranked(found)
    # Of one class the accuracy has said it all.
    if len(known) > 1:
        best, *others = [f"{entry.name} {text.percent(entry.top1, 1)}" for entry in known]
        rows.append(("by class", f"from {best} down to {', '.join(others[:-4:-1])}"))
    pairs = [f"{pair.name} for {pair.predicted} {pair.images:,}" for pair in found.confusions[:4]]
    if pairs:
        rows.append(("mistaken", f"{', '.join(pairs)} times"))
    if found.reference:
        rows.append(("Pillow", reference_words(found.reference)))
    return rows


def calibration_words(found: Evaluation) -> str:
    """The calibration error, and to which side it is off."""
    measured, top1 = found.calibration, found.top1
    if measured.confidence is None:
        return "the network's outputs are not finite"
    side = "overconfident" if measured.confidence > top1 else "underconfident"
    said = text.percent(measured.confidence, 1)
    if said == text.percent(top1, 1):
        side = "and right as often"
    return (
        f"ECE {text.percent(measured.ece)} in {len(measured.bins)} bins, NLL {text.number(measured.nll, 4)}; "
        f"{said} confident on average, {side}"
    )


def reference_words(reference: OriginalsComparison) -> str:
    """The gap between the two ways of preparing the images."""
    return (
        f"top-1 {text.percent(reference.top1)}; as decoded here {text.percent(reference.engine_top1)}, a gap of "
        f"{text.signed(reference.gap_points)} points; {text.count(reference.changed)} of "
        f"{text.count(reference.images)} predictions differ, {text.percent(reference.moved)} of an "
        f"image's probability moved to other classes on average"
    )


def ranked(found: Evaluation) -> list[ClassAccuracy]:
    """The classes that have images, the most accurate first, then by the labels."""
    known = [entry for entry in found.classes if entry.top1 is not None]
    return sorted(known, key=lambda entry: -(entry.top1 or 0.0))

"""docs/reference/knowledge.md, made from the families: `python -m engine.knowledge.knowledge_page` prints it."""

from collections.abc import Iterable, Sequence

from engine.knowledge.back_test import LeftOut, leave_one_out
from engine.knowledge.families import FAMILIES
from engine.knowledge.family import REPLICATION_SD, Family, Point
from engine.knowledge.law import USUAL_POWER

COMMAND = "python -m engine.knowledge.knowledge_page > docs/reference/knowledge.md"

_ABOUT = f"""\
A family is one recipe trained for several lengths, its schedule stretched whole. The prediction for a further length
is a law fitted by least squares: error = a + b E^-c, E epochs, a >= 0, c from 0.1 to 3. With two or three lengths c is
{USUAL_POWER}, between those of ffcv-imagenet's two families; with one length there is no law. The interval should
hold one new run in 90% of cases. It has the fit's error (from the linearised covariance, Student's t), the spread
between seeds and, for published recipes, the difference between a publication and a run elsewhere
({100 * REPLICATION_SD:.2f} points, one standard deviation, from mmpretrain's reruns of RSB). Nothing is predicted
outside the lengths that a family covers. Code and figures are in `engine/knowledge/`."""

_ABOUT_MEASURED = """\
# Measured here

Our own runs, made and recorded by `python -m benchmarks family`. The records, with the accuracy by epoch, versions and
revision of each run, are in `engine/knowledge/measured/`. A run that is too short to reach the recipe's last phase (its
largest resolution) is listed, but not fitted."""

_ABOUT_BACK_TEST = """\
# Back-test

Each length is left out once and predicted from the others. *Inside*: the 90% interval for a run by the same people
holds it. *Outside the rest*: the shortest and longest length, for which the others would predict nothing."""


def page() -> str:
    """The whole page, as Markdown."""
    published = [family for family in FAMILIES.values() if not family.measured]
    measured = [family for family in FAMILIES.values() if family.measured]
    several = [family for family in published if _is_fitted(family)]
    parts = [
        f"<!-- Made by `{COMMAND}` from engine/knowledge/published and engine/knowledge/measured. -->",
        "# Accuracy by epochs: what predictions stand on",
        _ABOUT,
        "# Published figures\n\nNone of them is ours.",
        _law_table(several),
        *map(_points_section, several),
        "## Single points\n\nNo law: a prediction for this length alone.",
        _points_table(
            [(family, point) for family in published if not _is_fitted(family) for point in family.points]
        ),
        "## Published accuracy by epoch, with spread\n\nAlarms (`budget.on_alarm`) stand on these.",
        _curve_table(published),
        _ABOUT_MEASURED,
        _law_table(measured),
        *map(_measured_section, measured),
        _ABOUT_BACK_TEST,
        _coverage("Published", several),
        _coverage("Measured here", measured),
        _back_test_table([*several, *measured]),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _is_fitted(family: Family) -> bool:
    return len({point.epochs for point in family.points}) > 1


def _law_table(families: Iterable[Family]) -> str:
    rows = []
    for family in families:
        low, high = family.range()
        rows.append(
            [
                f"`{family.name}`",
                f"{low:g} to {high:g}" if low < high else f"{low:g}",
                family.law.words,
                f"{100 * family.law.rms:.2f}",
                f"{100 * family.spread:.2f}",
                f"`{family.recipe}`" if family.recipe else "–",
            ]
        )
    return _table(["Family", "Epochs", "Error, %", "Rms of the fit, points", "Seeds, points", "Recipe"], rows)


def _points_section(family: Family) -> str:
    note = f" {family.note[0].upper()}{family.note[1:]}." if family.note else ""
    title = f"## {family.name}: {family.title}\n\n{family.network} on {family.data}. Source: {family.source}.{note}"
    parts = [title, _points_table([(family, point) for point in family.points])]
    if family.unfitted:
        parts += [
            "Runs elsewhere, not fitted:",
            _points_table([(family, point) for point in family.unfitted]),
        ]
    return "\n\n".join(parts)


def _points_table(points: Sequence[tuple[Family, Point]]) -> str:
    rows = [
        [
            f"`{family.name}`",
            f"{point.epochs:g}",
            f"{point.top1:.2%}",
            str(point.runs) if point.runs > 1 else "–",
            f"{100 * point.sd:.2f}" if point.sd else "–",
            _hardware_of(point),
            point.source,
            point.note or "–",
        ]
        for family, point in points
    ]
    return _table(["Family", "Epochs", "Top-1", "Runs", "Sd, points", "Hardware", "Source", "Note"], rows)


def _hardware_of(point: Point) -> str:
    minutes = f"{point.minutes:g} min" if point.minutes else ""
    return ": ".join(part for part in (point.hardware, minutes) if part) or "–"


def _curve_table(families: Iterable[Family]) -> str:
    rows = []
    for family in families:
        for curve in family.curves:
            points = "; ".join(
                f"{epoch:g}: {100 * top1:.2f}" + (f" ± {100 * sd:.2f}" if sd else "")
                for epoch, top1, sd in curve.points
            )
            rows.append([f"`{family.name}`", f"{curve.epochs:g}", str(curve.runs), points, curve.source])
    return _table(["Family", "Epochs", "Runs", "Epoch: top-1, %", "Source"], rows)


def _measured_section(family: Family) -> str:
    title = (
        f"## {family.name}: {family.title}\n\n{family.network} on {family.data}, {family.num_train:,} training and "
        f"{family.num_val:,} validation images; {family.note}."
    )
    everything = [*family.points, *family.unfitted]
    rows = []
    for epochs in sorted({point.epochs for point in everything}):
        same = [point for point in everything if point.epochs == epochs]
        rows.append(
            [
                f"{epochs:g}",
                ", ".join(f"{point.top1:.2%}" for point in same),
                ", ".join(f"{point.minutes:.1f}" for point in same if point.minutes),
                ", ".join(sorted({point.hardware for point in same})),
                "yes" if any(point.epochs == epochs for point in family.points) else "no",
            ]
        )
    return f"{title}\n\n{_table(['Epochs', 'Top-1 of each seed', 'Minutes', 'Hardware', 'Fitted'], rows)}"


def _coverage(title: str, families: Sequence[Family]) -> str:
    """How many points the intervals hold, in a sentence."""
    tests = [test for family in families for test in leave_one_out(family)]
    if not tests:
        return f"{title}: no family has three lengths yet."
    covered = [test for test in tests if test.covered]
    words = f"{title}: {_count(tests)} points are inside"
    if covered:
        rms = (sum(test.error**2 for test in covered) / len(covered)) ** 0.5
        words += (
            f", {_count(covered)} of those between the other lengths, where the error is {100 * rms:.2f} points (root "
            "mean square)"
        )
    if not all(family.measured for family in families):
        elsewhere = sum(test.inside_elsewhere for test in tests)
        words += f"; with replication error, as predictions have it, {elsewhere} of {len(tests)}"
    return f"{words}."


def _count(tests: Sequence[LeftOut]) -> str:
    return f"{sum(test.inside for test in tests)} of {len(tests)}"


def _back_test_table(families: Iterable[Family]) -> str:
    rows = [
        [
            f"`{family.name}`",
            f"{test.point.epochs:g}",
            f"{test.point.top1:.2%}",
            f"{test.predicted.top1:.2%}",
            f"{test.predicted.low:.2%} to {test.predicted.high:.2%}",
            f"{100 * test.error:+.2f}",
            ("inside" if test.inside else "missed") + ("" if test.covered else ", outside the rest"),
        ]
        for family in families
        for test in leave_one_out(family)
    ]
    return _table(["Family", "Epochs", "Top-1", "Predicted", "90% interval", "Error, points", "Result"], rows)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; empty without rows."""
    if not rows:
        return ""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    print(page(), end="")

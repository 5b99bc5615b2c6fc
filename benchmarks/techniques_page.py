"""The tables of docs/techniques.md: written from the measured record and the recipes, so that they can't drift."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.table import Record
from benchmarks.techniques import TECHNIQUES, Technique
from engine.config.schema import TrainConfig
from engine.errors import UserError
from engine.files import atomic_write
from engine.report.shelf import Recipe, read_shelf

ROOT = Path(__file__).resolve().parents[1]
DOC = ROOT / "docs" / "techniques.md"
RESULTS = ROOT / "benchmarks" / "results"
COMMAND = "python -m benchmarks techniques --doc docs/techniques.md"

# Stages whose comparisons the page shows as they are.
_COMPARISONS = ("augment", "blurpool")

_NUMBER = re.compile(r"_(\d+)_")
_BLOCK = re.compile(r"(<!-- table: ([a-z-]+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)


def write_tables(doc: Path) -> str:
    """Write the tables in `doc` anew; returns a line that says from what. Raises UserError where it has none."""
    try:
        text = doc.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"--doc {doc} can't be read ({error.strerror}): give docs/techniques.md") from None
    if not _BLOCK.search(text):
        raise UserError(f"--doc {doc} has no tables (<!-- table: NAME --> ... <!-- end -->)")
    with atomic_write(doc) as file:
        file.write(with_tables(text, RESULTS, read_shelf(ROOT)).encode())
    return f"{doc}: tables written anew"


def newest_records(results: Path, stage: str) -> list[Record]:
    """The records of a stage's latest file, by the date in its name; none where there is no such file."""
    found = sorted(results.glob(f"{stage}_*.json"), key=lambda path: path.stem.rsplit("_", 1)[-1])
    lines = found[-1].read_text(encoding="utf-8").splitlines() if found else []
    return [json.loads(line) for line in lines]


def with_tables(text: str, results: Path, shelf: Sequence[Recipe]) -> str:
    """The page with what stands between its markers written anew. Raises UserError for an unknown table."""
    records = newest_records(results, "techniques")
    measured = {record["ours"]: record for record in records}
    sections = {technique.section for technique in TECHNIQUES}

    def block(match: re.Match[str]) -> str:
        name = match[2]
        if name == "how":
            body = _how(records)
        elif name == "schedules":
            body = _pictures(shelf)
        elif name in _COMPARISONS:
            body = _comparison(name, newest_records(results, name))
        elif name in sections:
            body = _table([t for t in TECHNIQUES if t.section == name], measured, shelf)
        else:
            known = ", ".join(sorted({"how", "schedules", *_COMPARISONS, *sections}))
            raise UserError(f"no table {name!r}: one of {known}")
        return f"{match[1]}{body}\n{match[4]}"

    return _BLOCK.sub(block, text)


def _table(techniques: Sequence[Technique], measured: Mapping[str, Record], shelf: Sequence[Recipe]) -> str:
    rows = [("technique", "turned on by", "step's time", "recipes that use it")]
    for technique in techniques:
        asked = " ".join(f"`{key}={_word(value)}`" for key, value in technique.options.items())
        cost = technique.cost or _cost(measured.get(technique.name))
        rows.append((technique.name, asked, cost, in_words(technique, shelf)))
    return _markdown(rows)


def _markdown(rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])


def _word(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _cost(record: Record | None) -> str:
    if record is None:
        return "not measured yet"
    ratio = record["ratio"]
    return f"x {ratio['median']:.2f} [{ratio['low']:.2f}, {ratio['high']:.2f}]"


def in_words(technique: Technique, shelf: Sequence[Recipe]) -> str:
    """Which recipes use it, by folder: all of a folder, or their names."""
    parts = []
    for family in dict.fromkeys(recipe.family for recipe in shelf):
        members = [recipe for recipe in shelf if recipe.family == family]
        using = [recipe.name for recipe in members if _any_stage(technique, recipe.stages)]
        if len(using) == len(members) > 1:
            parts.append(f"all of {family}_configs")
        elif len(using) > len(members) / 2 and len(members) > 3:
            others = [recipe.name for recipe in members if recipe.name not in using]
            parts.append(f"{family}_configs but {', '.join(_folded(others))}")
        else:
            parts += _folded(using)
    return ", ".join(parts) or "none"


def _folded(names: Sequence[str]) -> list[str]:
    """The names, but those that differ in one number alone as one, such as rn50_{16, 24, 32}_epochs."""
    forms: dict[str, list[str]] = {}
    for name in names:
        forms.setdefault(_NUMBER.sub("_{}_", name, count=1), []).append(name)
    folded = []
    for form, members in forms.items():
        numbers = ", ".join(match[1] for name in members if (match := _NUMBER.search(name)))
        folded += [form.replace("{}", f"{{{numbers}}}")] if len(members) > 2 else members
    return folded


def _any_stage(technique: Technique, stages: Sequence[TrainConfig]) -> bool:
    return any(technique.uses(stage) for stage in stages)


def _comparison(stage: str, records: Sequence[Record]) -> str:
    """A stage's comparisons, a line each, and where they come from."""
    if not records:
        return _missing(stage)
    rows = [("what", "px", "ours", "against", "ratio [low, high]")]
    for record in records:
        ratio, how = record["ratio"], record.get("how", "")
        rows.append(
            (
                record["what"],
                f"{record['resolution']}{_mode(record)}",
                record["ours"],
                f"{record['peer']}, {how}" if how else record["peer"],
                f"{ratio['median']:.2f} [{ratio['low']:.2f}, {ratio['high']:.2f}]",
            )
        )
    first = records[0]
    better = "below" if first["metric"].startswith("seconds") else "above"
    what = "time" if better == "below" else "images per second"
    facts = f"n = {first['n']} each, {first['turns']}, batches of {first['batch']}, {first['device']}"
    where = f"Ratio: ours / the other's {what}, {better} 1 ours is faster; {facts}, {_origin(first)}."
    return f"{_markdown(rows)}\n\n{where}"


def _mode(record: Record) -> str:
    if "precision" not in record:
        return ""
    return f", {record['precision']}" + (", compiled" if record["compiled"] else "")


def _pictures(shelf: Sequence[Recipe]) -> str:
    """The figure of each folder of recipes."""
    return "\n\n".join(
        f"![Learning rate, resolution and batch of {family}_configs](assets/schedules_{family}.svg)"
        for family in dict.fromkeys(recipe.family for recipe in shelf)
    )


def _how(records: Sequence[Record]) -> str:
    """Where the times come from."""
    if not records:
        return _missing("techniques")
    first = records[0]
    return (
        f"Measured with {first['arch']} at {first['resolution']} px, batches of {first['batch']}, {first['device']}, "
        f"n = {first['n']} each, {first['turns']}, {_origin(first)}."
    )


def _missing(stage: str) -> str:
    return (
        f"Not measured yet: `python -m benchmarks {stage} --json benchmarks/results/{stage}_NAME_DATE.json`."
    )


def _origin(record: Record) -> str:
    """The machine, and when the record was made; all else is in it."""
    facts = [f"{key} {value}" for key, value in record["machine"].items() if value]
    torch = record["versions"]["torch"]
    return f"{', '.join(facts)}, torch {torch} (`benchmarks/results/{record['stage']}_*`, {record['started'][:10]})"

"""docs/reference/log_schema.md, made from the schema: `python -m engine.runs.schema_page` prints it."""

import types
from collections.abc import Iterator
from typing import Any, Union, get_args, get_origin

from engine.runs import folder
from engine.runs.evaluation_schema import EvaluationFile
from engine.runs.log_fields import JsonTable, key_of, log_fields, type_hints
from engine.runs.log_schema import LINES, SCHEMA, LogLine
from engine.runs.model_card import CARD_KEY, CARD_SCHEMA, ModelCard
from engine.runs.record.record_schema import RECORD_KIND, RECORD_SCHEMA, RunRecord

COMMAND = "python -m engine.runs.schema_page > docs/reference/log_schema.md"

_WORDS = {int: "integer", float: "number", str: "text", bool: "true/false"}


def page() -> str:
    """The whole page, as Markdown."""
    parts = [
        f"<!-- Made by `{COMMAND}` from engine/runs/log_schema.py and engine/runs/record/record_schema.py: change "
        "it there. -->",
        "# The log's schema",
        f"`{folder.LOG}` in a run's folder holds one JSON object per line, in the order of writing. `kind` "
        "is the type of the line. A resumed run appends to the same file: the lines after a `start` line replace the "
        "epochs and steps that came after the checkpoint. Any value may be null where it is not known or not finite, "
        "and a key may be absent where it does not apply. Readers should ignore keys they do not know.",
        f"This is version {SCHEMA} (`schema` in the start line). A key is never renamed and its unit never changes "
        "without a new version. Logs from before version 1 lack `schema` and some of the keys.",
        *(_section(f"`kind`: `{kind}`", line) for kind, line in LINES.items()),
    ]
    nested = dict.fromkeys(inner for line in LINES.values() for inner in _nested(line))
    parts += [_section(table.__name__, table) for table in nested]
    parts.append(
        f"## {folder.EVALUATION}\n\nWritten by a run that only validates: the keys below, then those of "
        f"[Evaluation](#evaluation), which the result line holds too.\n\n"
        f"{_table(EvaluationFile, besides=EvaluationFile.__base__)}"
    )
    parts.append(
        f"## {folder.RECORD}\n\nWritten at the end of a training run, made from its settings and log: "
        f"what `python -m engine leaderboard` reads. This is version {RECORD_SCHEMA} (`schema`); `kind` is "
        f"`{RECORD_KIND}`. {_first_line(RunRecord)}\n\n{_table(RunRecord)}"
    )
    parts.append(
        f"## {folder.MODEL}\n\nThe trained weights, with this JSON object as the metadata's `{CARD_KEY}`; "
        f"{folder.WEIGHTS} has it as an attribute of its state_dict. This is version {CARD_SCHEMA} (`schema`). "
        f"{_first_line(ModelCard)}\n\n{_table(ModelCard)}"
    )
    known = (*nested, *LINES.values())
    inside = [
        table for table in dict.fromkeys([*_nested(RunRecord), *_nested(ModelCard)]) if table not in known
    ]
    parts += [_section(table.__name__, table) for table in inside]
    return "\n\n".join(parts) + "\n"


def _section(title: str, table: type[JsonTable]) -> str:
    return f"## {title}\n\n{_first_line(table)}\n\n{_table(table)}"


def _first_line(table: type[JsonTable]) -> str:
    return " ".join((table.__doc__ or "").split())


def _table(table: type[JsonTable], besides: type | None = None) -> str:
    """The keys of a table; without those that `besides` has too."""
    known = {spec.name for spec in log_fields(besides)} if besides else set()
    hints = type_hints(table)
    rows = [
        f"| `{key_of(spec)}` | {_type(hints[spec.name])} | {spec.metadata['unit']} | {spec.metadata['description']} |"
        for spec in log_fields(table)
        if spec.name not in known
    ]
    return "\n".join(["| Key | Type | Unit | Description |", "|---|---|---|---|", *rows])


def _type(kind: Any) -> str:
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return _type(inner[0])
    if origin is list:
        return f"list of {_type(inner[0])}"
    if origin is dict:
        return f"object: {_type(inner[1])} by name"
    if isinstance(kind, type) and issubclass(kind, LogLine):
        return f"[{kind.kind} line](#kind-{kind.kind})"
    return _WORDS.get(kind) or f"[{kind.__name__}](#{kind.__name__.lower()})"


def _nested(table: type[JsonTable]) -> Iterator[type[JsonTable]]:
    """The tables that a table's fields hold, each before those that it holds itself."""
    for hint in type_hints(table).values():
        yield from _tables_in(hint)


def _tables_in(hint: Any) -> Iterator[type[JsonTable]]:
    if isinstance(hint, type) and issubclass(hint, JsonTable):
        yield hint
        yield from _nested(hint)
    for inner in get_args(hint):
        yield from _tables_in(inner)


if __name__ == "__main__":
    print(page(), end="")

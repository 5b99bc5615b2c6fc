"""Compared runs on the terminal: a column for each run, as many side by side as fit."""

from collections.abc import Sequence

from engine.report.compare_rows import Row

_LONGEST = 40
"""Characters of a cell; of a longer one (a path) its end is shown."""
_GAP = "  "


def tables(names: Sequence[str], groups: Sequence[tuple[str, Sequence[Row]]], width: int) -> str:
    """Each group's heading and rows below the runs' names, in at most `width` columns of characters where possible."""
    names = [_short(name) for name in names]
    cells = [
        (title, [(_short(label), [_short(cell) for cell in cells]) for label, cells in rows])
        for title, rows in groups
    ]
    first = max(len(label) for label in [*(label for _, rows in cells for label, _ in rows), ""])
    widths = [
        max([len(name), *(len(row[index]) for _, rows in cells for _, row in rows)])
        for index, name in enumerate(names)
    ]
    blocks = []
    for part in _parts(widths, width - first):
        lines = [_line("", [names[index] for index in part], first, [widths[index] for index in part])]
        for title, rows in cells:
            lines += ["", title] if title else []
            for label, row in rows:
                shown = [row[index] for index in part]
                lines.append(_line(label, shown, first, [widths[index] for index in part]))
        blocks.append("\n".join(lines))
    return "\n\n\n".join(blocks)


def _parts(widths: Sequence[int], room: int) -> list[list[int]]:
    """Which runs stand side by side: at least one, and no more than there is room for."""
    parts: list[list[int]] = [[]]
    left = room
    for index, width in enumerate(widths):
        if parts[-1] and len(_GAP) + width > left:
            parts.append([])
            left = room
        parts[-1].append(index)
        left -= len(_GAP) + width
    return parts


def _line(label: str, cells: Sequence[str], first: int, widths: Sequence[int]) -> str:
    padded = [f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=True)]
    return _GAP.join([f"{label:<{first}}", *padded]).rstrip()


def _short(cell: str) -> str:
    return cell if len(cell) <= _LONGEST else f"…{cell[1 - _LONGEST :]}"

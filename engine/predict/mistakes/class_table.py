"""The table of all classes: accuracy, images, and what they are taken for; a click on a heading sorts it."""

from collections.abc import Sequence

from engine.predict.mistakes.selection import ClassRow
from engine.report import text
from engine.report.drawing.charts import clean

MOST_ROWS = 1000
"""The least accurate ones, where there are more classes: about 250 kB."""

# heading, and how it is sorted at first
_COLUMNS = (
    ("class", "ascending"),
    ("images", "descending"),
    ("top-1", "ascending"),
    ("most often taken for", "ascending"),
    ("times", "descending"),
    ("wrongly predicted", "descending"),
)
_SORTED_BY = 2
_SORTED = ' aria-sort="ascending"'

# What a cell is sorted by is its data-v, else its text; equal ones keep their order.
_SCRIPT = """<script>
for (const table of document.querySelectorAll(".classes table")) {
  const heads = [...table.tHead.rows[0].cells], body = table.tBodies[0];
  const value = (row, column) => row.cells[column].dataset.v ?? row.cells[column].textContent;
  heads.forEach((head, column) => head.firstChild.onclick = () => {
    const now = head.ariaSort, up = now ? now === "descending" : head.dataset.first === "ascending";
    heads.forEach(one => one.ariaSort = null);
    head.ariaSort = up ? "ascending" : "descending";
    const words = new Intl.Collator(undefined, {numeric: true}).compare;
    const rows = [...body.rows].sort((a, b) => (up ? 1 : -1) * words(value(a, column), value(b, column)));
    body.append(...rows);
  });
}
</script>"""


def class_table(rows: Sequence[ClassRow], names: Sequence[str]) -> str:
    """The table of `rows`, in their order; `names` are by number of the class."""
    heads = "".join(
        f'<th scope="col" data-first="{first}"{_SORTED if column == _SORTED_BY else ""}>'
        f'<button type="button">{name}</button></th>'
        for column, (name, first) in enumerate(_COLUMNS)
    )
    body = "".join(_row(row, names) for row in rows[:MOST_ROWS])
    more = len(rows) - MOST_ROWS
    note = f" The {MOST_ROWS:,} least accurate of {len(rows):,}." if more > 0 else ""
    return (
        f'<p class="soft">Click a heading to sort.{note}</p><div class="scroll classes" tabindex="0">'
        f"<table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table></div>{_SCRIPT}"
    )


def _row(row: ClassRow, names: Sequence[str]) -> str:
    name, share = clean(names[row.label]), row.right / row.images
    other = clean(names[row.taken_for]) if row.taken_for is not None else text.MISSING
    return (
        f'<tr><td title="{name}">{name}</td>{_count(row.images)}<td data-v="{share:.6f}">{text.percent(share, 1)}</td>'
        f'<td class="of" title="{other}">{other}</td>{_count(row.times)}{_count(row.wrongly)}</tr>'
    )


def _count(count: int) -> str:
    return f'<td data-v="{count}">{text.count(count)}</td>'

"""The result table of a report: one row a baseline, stage or comparison, grouped by kind of query."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from lavis.report.markup import element, figure, joined, text

Role = Literal["baseline", "stage", "comparison"]

COLUMNS: dict[str, str] = {
    "R1@0.5": "Queries, in per cent, whose first answer overlaps the true moment by an IoU of 0.5 or more.",
    "R1@0.7": "Queries, in per cent, whose first answer overlaps the true moment by an IoU of 0.7 or more.",
    "mIoU": "Mean IoU of the first answers with the true moment, in per cent.",
    "mAP@0.5": "Mean average precision over all answers at IoU 0.5, in per cent.",
    "mAP@0.75": "Mean average precision over all answers at IoU 0.75, in per cent.",
}

ALL_QUERIES = "All queries"


@dataclass(frozen=True, slots=True)
class TableRow:
    """One row.

    Args:
        name: what gave the answers, such as ``Stage 2``.
        values: column name to percentage, 0 to 100; a missing column shows a dash.
        group: heading that the row stands under.
        role: a trivial baseline, a stage of the run, or a comparison with it.
        spread: column name to standard deviation over seeds, in the same unit.
        num_queries: how many queries the figures are over.
        note: a few words under the name.
    """

    name: str
    values: Mapping[str, float]
    group: str = ALL_QUERIES
    role: Role = "stage"
    spread: Mapping[str, float] = field(default_factory=dict)
    num_queries: int | None = None
    note: str = ""


def results_table(rows: Sequence[TableRow]) -> str:
    """The table as HTML; the best figure of each column of each group is marked.

    Raises:
        ValueError: if there are no rows, or a row names a column that does not exist.
    """
    if not rows:
        raise ValueError("a report needs at least one result row")
    for row in rows:
        unknown = [name for name in {**row.values, **row.spread} if name not in COLUMNS]
        if unknown:
            raise ValueError(f"result row {row.name!r} has unknown columns {unknown}; known: {', '.join(COLUMNS)}")
    with_spread = any(row.spread for row in rows)
    look = "results with-spread" if with_spread else "results"
    headings = [
        element("th", element("abbr", text(name), title=meaning), scope="col", class_="number")
        for name, meaning in COLUMNS.items()
    ]
    head = element("thead", element("tr", element("th", "Answers from", scope="col"), *headings))
    groups = list(dict.fromkeys(row.group for row in rows))
    bodies = [_group(name, [row for row in rows if row.group == name], with_spread) for name in groups]
    meaning = "Higher is better. The best of each group is bold." + (
        " ± is the standard deviation over seeds." if with_spread else ""
    )
    caption = element("caption", meaning)
    return element(
        "div",
        element("table", caption, head, joined(bodies), class_=look),
        class_="scroller",
        tabindex="0",
        role="region",
        aria_label="Results table",
    )


def results_text(rows: Sequence[TableRow]) -> str:
    """The table for a terminal: a line a row, aligned, with a heading for each group."""
    width = max(len(row.name) for row in rows)
    columns = {name: max(len(name), 14 if any(row.spread for row in rows) else 6) for name in COLUMNS}
    lines = []
    for group in dict.fromkeys(row.group for row in rows):
        members = [row for row in rows if row.group == group]
        size = next((f" ({row.num_queries:,} queries)" for row in members if row.num_queries is not None), "")
        lines += ["", f"{group}{size}", " " * width + "".join(f"  {name:>{columns[name]}}" for name in COLUMNS)]
        for row in members:
            shown = {name: figure(row.values.get(name)) for name in COLUMNS}
            for name, value in row.spread.items():
                shown[name] += f" ± {figure(value)}"
            lines.append(f"{row.name:<{width}}" + "".join(f"  {shown[name]:>{columns[name]}}" for name in COLUMNS))
    return "\n".join(lines[1:]) + "\n"


def _group(name: str, rows: list[TableRow], with_spread: bool) -> str:
    best = {
        column: max((row.values[column] for row in rows if column in row.values), default=None) for column in COLUMNS
    }
    counts = {row.num_queries for row in rows if row.num_queries is not None}
    size = f" {element('span', f'{counts.pop():,} queries', class_='size')}" if len(counts) == 1 else ""
    heading = element("th", text(name), size, scope="rowgroup", colspan=len(COLUMNS) + 1)
    stages = [row for row in rows if row.role == "stage"]
    body = []
    for row in rows:
        # The colour that curves and timelines give this stage.
        look = f"stage stage-{min(stages.index(row) + 1, 4)}" if row in stages else row.role
        body.append(_row(row, best, look, with_spread))
    return element("tbody", element("tr", heading, class_="group"), joined(body))


def _row(row: TableRow, best: Mapping[str, float | None], look: str, with_spread: bool) -> str:
    note = element("span", text(row.note), class_="note") if row.note else ""
    cells = [element("th", text(row.name), note, scope="row")]
    for column in COLUMNS:
        value = row.values.get(column)
        shown = figure(value)
        inner = element("strong", shown) if value is not None and shown == figure(best[column]) else shown
        if with_spread:  # an empty one keeps the figures of all rows below one another
            spread = f"± {figure(row.spread[column])}" if column in row.spread else ""
            inner += element("span", spread, class_="spread")
        share = max(0.0, min(100.0, value or 0.0))
        bar = element("span", class_="bar", style=f"--share:{share:.1f}%", aria_hidden="true")
        cells.append(element("td", inner, bar, class_="number"))
    return element("tr", *cells, class_=look)

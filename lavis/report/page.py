"""The report page: one HTML file that needs nothing else, on any screen, light or dark, with or without script.

``write_report`` knows tables, charts and timelines, but no run folder; ``run_report`` collects those from runs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lavis.common.io import PathLike, write_text
from lavis.report.curves import Curve, chart
from lavis.report.document import document, framed, theme_button
from lavis.report.markup import duration, element, figure, joined, text
from lavis.report.results_table import ALL_QUERIES, TableRow, results_table
from lavis.report.timelines import CaseTimeline, queries_section

HEADLINE_COLUMNS = ("R1@0.5", "R1@0.7", "mIoU")


def write_report(
    path: PathLike,
    title: str,
    rows: Sequence[TableRow],
    curves: Sequence[Curve],
    cases: Sequence[CaseTimeline],
    facts: Mapping[str, Any],
    *,
    headline: str = "",
    cases_note: str = "",
    config: Mapping[str, str] | None = None,
    more: Sequence[tuple[str, str, str]] = (),
) -> Path:
    """Write the page.

    Args:
        path: HTML file, replaced in one step.
        title: of the page.
        rows: of the result table, at least one.
        curves: charts.
        cases: queries to show, in the order of the annotation.
        facts: conditions: label to value; a mapping shows as a list of its own. Values under a label that ends in
            ``seconds`` are shown as durations.
        headline: a sentence under the title; made from the rows if empty.
        cases_note: how the queries were chosen.
        config: name to text of configurations to quote.
        more: further sections before the conditions: anchor, title and HTML.

    Returns:
        The file written.

    Raises:
        ValueError: for no rows, unknown columns or a chart without series.
    """
    sections = [("results", "Results", results_table(rows))]
    if curves:
        sections.append(("curves", "Curves", element("div", joined(map(chart, curves)), class_="charts")))
    if cases:
        sections.append(("queries", "Queries", queries_section(cases, cases_note)))
    sections += more
    if facts or config:
        sections.append(("conditions", "Conditions", _conditions(facts, config or {})))
    body = framed(_header(title, headline or _headline(rows), rows), sections)
    return write_text(path, document(title, body))


def _header(title: str, headline: str, rows: Sequence[TableRow]) -> str:
    tiles = _tiles(rows)
    return element(
        "header",
        element("div", element("p", "Video moment retrieval", class_="over"), theme_button(), class_="top"),
        element("h1", text(title)),
        element("p", text(headline), class_="headline"),
        tiles,
        class_="page",
    )


def _tiles(rows: Sequence[TableRow]) -> str:
    """The last stage's main figures, large, each with its distance to the best baseline."""
    final = _last_stage(rows)
    if final is None:
        return ""
    tiles = []
    for column in HEADLINE_COLUMNS:
        if column not in final.values:
            continue
        floor = _best_baseline(rows, column)
        beside = "" if floor is None else _beside(final.values[column] - floor)
        value = element("dd", figure(final.values[column], 1), element("small", beside))
        tiles.append(element("div", element("dt", column), value))
    return element("dl", joined(tiles), class_="tiles", aria_label=f"Figures of {final.name}") if tiles else ""


def _beside(difference: float) -> str:
    return f"{abs(difference):.1f} {'above' if difference >= 0 else 'below'} the best baseline"


def _headline(rows: Sequence[TableRow]) -> str:
    stages = [row for row in rows if row.role == "stage" and row.group == rows[0].group and "R1@0.5" in row.values]
    if not stages:
        return ""
    *earlier, final = stages
    among = f" of {final.num_queries:,} queries" if final.num_queries else " of the queries"
    said = f"{final.name} finds the moment for {figure(final.values['R1@0.5'], 1)} %{among}"
    said += "".join(f", {row.name.lower()} for {figure(row.values['R1@0.5'], 1)} %" for row in reversed(earlier))
    floor = _best_baseline(rows, "R1@0.5")
    if floor is None:
        return f"{said} (first answer, IoU 0.5)."
    return f"{said}; answers that ignore both video and query find it for {figure(floor, 1)} % at best."


def _last_stage(rows: Sequence[TableRow]) -> TableRow | None:
    stages = [row for row in rows if row.role == "stage" and row.group == rows[0].group]
    return stages[-1] if stages else None


def _best_baseline(rows: Sequence[TableRow], column: str) -> float | None:
    values = [
        row.values[column]
        for row in rows
        if row.role == "baseline" and row.group == rows[0].group and column in row.values
    ]
    return max(values, default=None)


def _conditions(facts: Mapping[str, Any], config: Mapping[str, str]) -> str:
    rows = []
    for name, value in facts.items():
        label = re.sub(r",?( in)? seconds$", " time", name)  # it is shown in minutes, too
        rows.append(element("div", element("dt", text(label)), element("dd", _fact(name, value))))
    quoted = [
        element("details", element("summary", text(name)), element("pre", element("code", text(content))))
        for name, content in config.items()
    ]
    return element("dl", joined(rows), class_="facts") + joined(quoted)


def _fact(name: str, value: Any) -> str:
    timed = re.search(r"seconds$", name, re.IGNORECASE) is not None
    if isinstance(value, Mapping):
        items = [element("li", element("span", text(key)), " ", _fact(name, inner)) for key, inner in value.items()]
        return element("ul", joined(items))
    if timed and isinstance(value, (int, float)):
        return text(duration(value))
    if isinstance(value, (list, tuple)):
        return text(", ".join(map(str, value)))
    return text(value)


__all__ = ["ALL_QUERIES", "write_report"]

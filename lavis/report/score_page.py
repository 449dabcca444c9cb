"""The page about a scoring: figures with intervals, what was wrong with the files, how they were understood, how
queries spread, and what differs from other predictions. One file that needs nothing else, like the other pages.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lavis.common.io import PathLike, write_text
from lavis.report.document import Section, document, framed, theme_button
from lavis.report.markup import element, joined, text
from lavis.report.score_plots import Scale, histogram, whisker
from lavis.scoring.comparison import Comparison
from lavis.scoring.score_report import COUNTS, MEANINGS, ScoreReport, query_parts, shown, span

_TILES = 3
_HISTOGRAMS = 6
_QUERIES = 40
_CHANGES = 6


def write_score_page(path: PathLike, report: ScoreReport, title: str | None = None) -> Path:
    """Writes the page.

    Args:
        path: HTML file, replaced in one step.
        report: figures, best with intervals.
        title: by default the protocol's name.
    """
    sections: list[Section] = [("results", "Figures", _figures(report))]
    if report.comparison is not None:
        sections.append(("comparison", "Comparison", _comparison(report.comparison)))
    spread = _spread(report)
    if spread:
        sections.append(("queries", "Queries", spread))
    sections.append(("problems", "Problems", _problems(report)))
    sections.append(("conditions", "Conditions", _conditions(report)))
    name = title or report.protocol
    page = document(name, framed(_header(name, report), sections), "score.css")
    # Half characters, which JSON can hold, have no form in UTF-8.
    return write_text(path, page.encode("utf-8", "backslashreplace").decode("utf-8"))


def _header(name: str, report: ScoreReport) -> str:
    counts = report.pairs.tally.counts()
    file = Path(report.files.get("predictions") or "Predictions").name
    about = f"{file}: {counts['scored']:,} of {counts['queries']:,} queries scored"
    tiles = [
        element("div", element("dt", text(key)), element("dd", shown(value), element("small", _around(report, key))))
        for key, value in list(report.headline.items())[:_TILES]
    ]
    return element(
        "header",
        element("div", element("p", "Benchmark scores", class_="over"), theme_button(), class_="top"),
        element("h1", text(name)),
        element("p", text(about), class_="headline"),
        element("dl", joined(tiles), class_="tiles"),
        class_="page",
    )


def _around(report: ScoreReport, name: str) -> str:
    return f"95 %: {span(report.intervals[name])}" if name in report.intervals else ""


def _figures(report: ScoreReport) -> str:
    values = [value for value in report.headline.values() if value == value]
    scale = Scale.over([0.0, *values, *(bound for pair in report.intervals.values() for bound in pair)])
    rows = [
        [text(name), shown(value), span(report.intervals.get(name)), whisker(scale, value, report.intervals.get(name))]
        for name, value in report.headline.items()
    ]
    notes = [element("p", text(note), class_="note") for note in report.scored.notes]
    if report.intervals and report.without_interval:
        without = f"No interval, since no mean over queries: {', '.join(report.without_interval)}."
        notes.append(element("p", text(without), class_="note"))
    how = "Intervals: 95 %, by bootstrap over videos." if report.intervals else ""
    return _table(["Figure", "Value", "95 % interval", scale.label()], rows, how, numbers=(1, 2)) + joined(notes)


def _comparison(comparison: Comparison) -> str:
    found = comparison.differences
    scale = Scale.around_zero([bound for each in found.values() for bound in (each.value, *(each.interval or ()))])
    rows = []
    for name, each in found.items():
        this, other, gap, interval = each.told()
        mark = element("b", gap) if each.certain else gap
        plot = whisker(scale, each.value, each.interval, zero=True)
        rows.append([text(name), this, other, mark, interval, plot])
    head = ["Figure", "This", "Other", "Other − this", "95 % interval", scale.label()]
    about = (
        f"Other: {comparison.other}. On the {comparison.common:,} queries of both, with a paired bootstrap over "
        "videos; bold where the interval leaves zero out."
    )
    alone = [
        element("p", text(f"{len(ids):,} queries were scored on {whose} alone: {', '.join(ids[:10])}"), class_="note")
        for whose, ids in (("these predictions", comparison.only_this), ("the others", comparison.only_other))
        if ids
    ]
    return _table(head, rows, about, numbers=(1, 2, 3, 4)) + joined(alone) + _most_different(comparison)


def _most_different(comparison: Comparison) -> str:
    rows = []
    for row in comparison.rows(_QUERIES):
        changes = [
            (name, row[name], row[f"{name} (other)"], row[f"{name} (other - this)"])
            for name in row
            if row.get(f"{name} (other - this)")
        ]
        changes.sort(key=lambda change: -abs(change[3]))
        told = [
            element("li", text(name), " ", element("span", f"{shown(a)} → {shown(b)}", class_=_direction(gap)))
            for name, a, b, gap in changes[:_CHANGES]
        ]
        if len(changes) > _CHANGES:
            told.append(element("li", f"and {len(changes) - _CHANGES} more figures"))
        if told:
            rows.append([text(row["id"]), text(row["video"]), element("ul", *told, class_="changes")])
    if not rows:
        return element("p", "No query differs.", class_="note")
    head = element("h3", f"The {len(rows)} queries that differ most")
    return head + _table(["Query", "Video", "This → other"], rows, "Sorted by the sum of differences over all figures.")


def _spread(report: ScoreReport) -> str:
    """Histograms of what each query adds to a figure; hits and misses show nothing that their mean does not."""
    parts = {name: values[~np.isnan(values)] for name, values in query_parts(report.scored).items()}
    graded = {name: values for name, values in parts.items() if len(np.unique(values)) > 2}
    charts = [histogram(name, values.tolist()) for name, values in list(graded.items())[:_HISTOGRAMS]]
    return element("div", joined(charts), class_="charts") if charts else ""


def _problems(report: ScoreReport) -> str:
    counts, examples = report.pairs.tally.counts(), report.pairs.tally.examples
    rows = []
    for kind, meaning in COUNTS.items():
        places = [element("li", text(place)) for place in examples.get(kind, [])]
        if counts[kind] > len(places) > 0:
            places.append(element("li", f"and {counts[kind] - len(places):,} more"))
        where = element("ul", *places, class_="places") if places else ""
        rows.append([text(kind.replace("_", " ")), f"{counts[kind]:,}", text(meaning) + where])
    return _table(["Problem", "Count", "What and where"], rows, "", numbers=(1,))


def _conditions(report: ScoreReport) -> str:
    facts: dict[str, str] = {"Protocol": report.protocol, "Source": report.source}
    for side, form in report.forms.items():
        facts[side.capitalize()] = ", ".join(filter(None, (report.files.get(side, ""), f"taken as {form}")))
    for name, used in report.policies.items():
        official = "as the official script" if used["official"] else f"the official script: {report.defaults[name]}"
        facts[f"{name.capitalize()} answers"] = f"{used['policy']}: {MEANINGS[name, used['policy']]} ({official})"
    facts |= {f"Option {key}": str(value) for key, value in report.options.items()}
    rows = [element("div", element("dt", text(key)), element("dd", text(value))) for key, value in facts.items()]
    return element("dl", joined(rows), class_="facts")


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], caption: str, numbers: Sequence[int] = ()) -> str:
    """A table of HTML cells; the columns ``numbers`` stand to the right."""

    def kind(column: int) -> Mapping[str, Any]:
        return {"class_": "number"} if column in numbers else {}

    titles = [element("th", text(name), scope="col", **kind(column)) for column, name in enumerate(head)]
    lines = [
        element(
            "tr",
            element("th", row[0], scope="row"),
            *(element("td", cell, **kind(column)) for column, cell in enumerate(row[1:], start=1)),
        )
        for row in rows
    ]
    said = element("caption", text(caption)) if caption else ""
    content = (said, element("thead", element("tr", *titles)), element("tbody", joined(lines)))
    return element("div", element("table", *content, class_="scores"), class_="scroller", tabindex=0)


def _direction(gap: float) -> str:
    return "up" if gap > 0 else "down"

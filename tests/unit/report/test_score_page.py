"""The page about a scoring: what it says, that it needs nothing else, and that odd values do no harm."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from lavis.report.score_page import write_score_page
from lavis.report.score_plots import Scale, histogram, whisker
from lavis.scoring import ScoreReport, score
from tests.toy_protocol import Toy, toy_rows

GUESSES, FACTS = toy_rows(90)


def report(**named: Any) -> ScoreReport:
    return score(Toy(), GUESSES[:-1], FACTS, **{"missing": "zero", **named})


def page(found: ScoreReport, folder: Path) -> str:
    return write_score_page(folder / "score.html", found).read_text("utf-8")


def words(html: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", html).split())


def test_all_sections(tmp_path: Path) -> None:
    other = [{**row, "guess": row["guess"] + row["id"] % 3} for row in GUESSES]
    html = page(report(intervals=True, compare=other), tmp_path)
    assert re.findall(r'<section[^>]* id="(\w+)"', html) == [
        "results", "comparison", "queries", "problems", "conditions",
    ]  # fmt: skip
    told = words(html)
    assert "89 of 90 queries" not in told
    assert "rows in memory: 90 of 90 queries scored" in told
    assert "No interval, since no mean over queries: count." in told
    assert "no answer to &#x27;89&#x27;" in told
    assert "zero: a query without a usable answer counts as missed (the official script: error)" in told
    assert "1 queries were scored" not in told
    assert "queries that differ most" in told
    assert "Histogram of closeness over 90 queries" in html


def test_it_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    html = page(report(intervals=True), tmp_path)
    assert not re.findall(r"https?://|src=|@import|url\(", html)
    assert html.count("<style>") == 2  # the second is for visitors without script
    for tag in ("section", "table", "svg", "div"):
        assert html.count(f"<{tag}") == html.count(f"</{tag}>")


def test_without_intervals_comparison_and_grades(tmp_path: Path) -> None:
    found = report()
    found.scored.estimates.clear()
    html = page(found, tmp_path)
    assert re.findall(r'<section[^>]* id="(\w+)"', html) == ["results", "problems", "conditions"]
    assert 'class="range"' not in html


def test_odd_figures_and_ids_do_no_harm(tmp_path: Path) -> None:
    found = report(intervals=True)
    found.scored.headline.update({"nothing": float("nan"), "endless": float("inf"), "<b>": -3.0})
    found.scored.notes.append("half a character: \ud800")
    found.pairs.tally.add("extra", "<script>alert(1)</script>")
    html = page(found, tmp_path)
    assert "<script>alert" not in html
    assert "&lt;b&gt;" in html
    assert "\\ud800" in html


def test_scales() -> None:
    scale = Scale.over([0.0, 53.0, 67.0])
    assert (scale.low, scale.high) == (0.0, 70.0)
    assert (scale.at(0), scale.at(35), scale.at(700), scale.at(-1)) == ("0.00%", "50.00%", "100.00%", "0.00%")
    around = Scale.around_zero([-3.2, 1.0])
    assert around.low == -around.high
    assert around.at(0) == "50.00%"
    assert Scale.over([]).high > Scale.over([]).low
    assert Scale.over([2.0, 2.0, float("nan")]).high > 2.0


def test_plots_are_whole_svg() -> None:
    scale = Scale.over([0.0, 100.0])
    marks = ElementTree.fromstring(whisker(scale, 40.0, (35.0, 45.0), zero=True))
    assert [mark.get("class") for mark in marks] == ["base", "zero", "range", "range", "range", None]
    assert marks[2].get("x1") == "35.00%"
    assert "95 % interval 35.00 to 45.00" in marks.get("aria-label", "")
    assert whisker(scale, float("nan"), None) == ""
    figure = ElementTree.fromstring(histogram("x", [0.0, 100.0, 100.0]))
    heights = [bar.get("height") for bar in figure.iter("rect")]
    assert heights.count("0.00%") == 18
    assert (heights[0], heights[-1]) == ("50.00%", "100.00%")


@pytest.mark.parametrize("values", [[0.0], [5.0, 5.0], [-1.0, 1.0]])
def test_histograms_of_few_values(values: list[float]) -> None:
    figure = ElementTree.fromstring(histogram("x", values))
    assert len(list(figure.iter("rect"))) == 20


def test_the_light_parts_import_no_torch() -> None:
    import subprocess
    import sys

    code = "import sys, lavis.report.score_page; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=600, check=False).returncode == 0

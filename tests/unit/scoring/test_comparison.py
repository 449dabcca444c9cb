"""Paired differences, their intervals, and the table of queries."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from lavis.scoring import ScoreReport, ScoringError, compare, score
from lavis.scoring.comparison import write_rows
from tests.toy_protocol import Toy, toy_rows

GUESSES, FACTS = toy_rows(120)
WORSE = [{**row, "guess": row["guess"] + (3 if row["id"] % 4 == 0 else 0)} for row in GUESSES]


def report(rows: Any, **named: Any) -> ScoreReport:
    return score(Toy(), rows, FACTS, **named)


def test_the_difference_is_other_minus_this() -> None:
    this, other = report(GUESSES, intervals=True), report(WORSE)
    found = compare(this, other)
    gap = found.differences["hits"]
    assert gap.value == pytest.approx(other.headline["hits"] - this.headline["hits"])
    assert gap.value < 0
    assert gap.interval is not None
    assert gap.interval[0] < gap.value < gap.interval[1] < 0
    assert gap.certain
    # Paired: narrower than the interval of either alone, while that of independent sets would be wider.
    low, high = this.intervals["hits"]
    assert gap.interval[1] - gap.interval[0] < high - low
    back = compare(other, this).differences["hits"]
    assert back.value == pytest.approx(-gap.value)
    assert back.interval == pytest.approx((-gap.interval[1], -gap.interval[0]))


def test_the_same_predictions_do_not_differ() -> None:
    found = compare(report(GUESSES), report(GUESSES[::-1]))
    for name in ("hits", "closeness", "both"):
        assert found.differences[name].value == 0
        assert found.differences[name].interval == (0, 0)
        assert not found.differences[name].certain
    assert all(row["closeness (other - this)"] == 0 for row in found.rows())


def test_figures_without_estimate_have_no_interval() -> None:
    found = compare(report(GUESSES), report(WORSE[:-3], missing="drop"))
    assert found.differences["count"].interval is None
    assert (found.differences["count"].this, found.differences["count"].other) == (120, 117)


def test_only_common_queries_are_compared() -> None:
    found = compare(report(GUESSES[2:], missing="drop"), report(WORSE[:-3], missing="drop"))
    assert found.common == 115
    assert found.only_this == ["117", "118", "119"]
    assert found.only_other == ["0", "1"]
    common = [row for row in GUESSES if 2 <= row["id"] < 117]
    alone = score(Toy(), common, FACTS, missing="drop")
    assert found.differences["hits"].this == pytest.approx(alone.headline["hits"])
    told = found.text()
    assert "on 115 common queries" in told
    assert "scored on the other predictions alone: 2 (0, 1)" in told
    assert found.to_json()["only_this"] == {"count": 3, "ids": ["117", "118", "119"]}


def test_the_table_begins_with_the_largest_difference(tmp_path: Path) -> None:
    found = compare(report(GUESSES), report(WORSE))
    sizes = [abs(row["hits (other - this)"]) + abs(row["closeness (other - this)"]) for row in found.rows()]
    assert sizes == sorted(sizes, reverse=True)
    assert len(list(found.rows())) == 120
    assert list(found.rows(3)) == list(found.rows())[:3]
    path = write_rows(tmp_path / "q.csv", found.rows())
    with path.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0]) == [
        "id", "video", "hits", "hits (other)", "hits (other - this)",
        "closeness", "closeness (other)", "closeness (other - this)",
    ]  # fmt: skip
    assert float(rows[0]["hits"]) + float(rows[0]["hits (other - this)"]) == float(rows[0]["hits (other)"])
    assert json.loads(write_rows(tmp_path / "q.json", found.rows()).read_text())[0]["id"] == rows[0]["id"]
    with pytest.raises(ScoringError, match=r"written as \.csv or \.json"):
        write_rows(tmp_path / "q.txt", found.rows())


def test_what_cannot_be_compared() -> None:
    with pytest.raises(ScoringError, match="the same options"):
        compare(report(GUESSES), score(Toy(within=2), GUESSES, FACTS))
    with pytest.raises(ScoringError, match="no scored query in common"):
        compare(report(GUESSES[:60], missing="drop"), report(GUESSES[60:], missing="drop"))


def test_ids_that_are_scored_several_times() -> None:
    reports = [report(GUESSES), report(WORSE)]
    for each in reports:
        each.scored.ids = [str(n // 2) for n in range(120)]
        each.scored.videos = each.pairs.videos
    assert compare(*reports).common == 120

"""Scoring as such, whatever the protocol: order, equality, intervals, and files that are broken in every way."""

from __future__ import annotations

import json
import random
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lavis.common.io import FileFormatError
from lavis.scoring.base import Estimate, Scored, ScoringError
from lavis.scoring.intervals import bootstrap, point_estimates
from lavis.scoring.scorer import score
from tests.toy_protocol import Toy, toy_rows

ANSWERS, TRUTH = toy_rows(24)
FUZZED_ROWS = 10_000
Values = list[float]


def numbers(least: int = 1) -> st.SearchStrategy[Values]:
    return st.lists(st.floats(0, 1), min_size=least, max_size=40)


@given(st.permutations(range(24)), st.permutations(range(24)))
@settings(max_examples=50, deadline=None)
def test_the_order_of_rows_does_not_matter(answers: list[int], truth: list[int]) -> None:
    first = score(Toy(), ANSWERS, TRUTH, intervals=True)
    again = score(Toy(), [ANSWERS[i] for i in answers], [TRUTH[i] for i in truth], intervals=True)
    assert again.headline == pytest.approx(first.headline)
    assert again.intervals == first.intervals


@given(st.lists(st.sampled_from([str, int, float]), min_size=24, max_size=24))
@settings(max_examples=20, deadline=None)
def test_equal_predictions_have_equal_scores_however_ids_are_written(kinds: list[Any]) -> None:
    rows = [{**row, "id": kind(row["id"])} for row, kind in zip(ANSWERS, kinds, strict=True)]
    assert score(Toy(), rows, TRUTH).figures == score(Toy(), ANSWERS, TRUTH).figures


@given(numbers(2), st.integers(1, 4))
@settings(max_examples=100, deadline=None)
def test_intervals_hold_the_figure(values: Values, size: int) -> None:
    ids, videos = [str(n) for n in range(len(values))], [f"v{n // size}" for n in range(len(values))]
    found = Scored({}, {"x": 0.0}, {"x": Estimate(np.array(values))})
    low, high = bootstrap(found, ids, videos, repeats=400)["x"]
    figure = point_estimates(found, ids, videos)["x"]
    assert low - 1e-9 <= figure <= high + 1e-9
    assert 100 * min(values) - 1e-9 <= low <= high <= 100 * max(values) + 1e-9


@given(st.floats(0, 1), st.integers(1, 30), st.integers(1, 5))
@settings(max_examples=50, deadline=None)
def test_constant_values_have_intervals_without_width(value: float, count: int, size: int) -> None:
    ids, videos = [str(n) for n in range(count)], [f"v{n // size}" for n in range(count)]
    found = Scored({}, {"x": 0.0}, {"x": Estimate(np.full(count, value))})
    low, high = bootstrap(found, ids, videos, repeats=200)["x"]
    assert low == pytest.approx(100 * value, abs=1e-9)
    assert high == pytest.approx(100 * value, abs=1e-9)


@given(st.permutations(range(24)), st.integers(0, 23), st.sampled_from(["zero", "drop"]))
@settings(max_examples=50, deadline=None)
def test_counts_add_up_when_answers_lack(order: list[int], lacking: int, policy: Any) -> None:
    rows = [ANSWERS[i] for i in order[lacking:]]
    counts = score(Toy(), rows, TRUTH, missing=policy).pairs.tally.counts()
    assert counts["missing"] == lacking
    assert counts["scored"] == (24 if policy == "zero" else 24 - lacking)


def odd(draw: random.Random, depth: int = 0) -> Any:
    """Any value JSON can hold, and those it should not."""
    kinds = [
        lambda: draw.choice([None, True, False, "", "x", "1", "\ud800", "\x00", "☃" * 40]),
        lambda: draw.choice([0, -1, 7, 10**25, 10**400, 1.5, -2.5, 1e308]),
        lambda: draw.choice([float("nan"), float("inf"), -float("inf")]),
        lambda: [odd(draw, depth + 1) for _ in range(draw.randint(0, 3))],
        lambda: {draw.choice(["id", "guess", "results", "", "1"]): odd(draw, depth + 1)},
    ]
    return draw.choice(kinds if depth < 3 else kinds[:3])()


def odd_row(draw: random.Random) -> Any:
    if draw.random() < 0.2:
        return odd(draw)
    row = {"id": draw.choice([draw.randint(0, 30), str(draw.randint(0, 30)), odd(draw)])}
    if draw.random() < 0.9:
        row["guess"] = draw.choice([draw.uniform(-5, 15), odd(draw)])
    return row


def added_up(rows: Any, **named: Any) -> dict[str, int]:
    """Scores, and checks that every row and every query is counted once."""
    tally = score(Toy(), rows, TRUTH, extra="drop", **named).pairs.tally
    counts = tally.counts()
    assert counts["queries"] == len(TRUTH)
    assert all(len(examples) <= 5 for examples in tally.examples.values())
    return counts


def test_ten_thousand_odd_rows(tmp_path: Path) -> None:
    draw = random.Random(0)
    rows = [odd_row(draw) for _ in range(FUZZED_ROWS)]
    zero, drop = added_up(rows, missing="zero"), added_up(rows, missing="drop")
    assert zero["scored"] == len(TRUTH)
    assert zero["unparseable"] > 1000
    assert drop["scored"] + drop["missing"] <= len(TRUTH)
    # Each row is an answer, one too many, one to no query, or cannot be read; unknown ids may come several times.
    assert zero["unparseable"] + zero["duplicated"] + zero["extra"] + drop["scored"] <= FUZZED_ROWS
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert added_up(path, missing="zero") == zero


def test_few_odd_rows_at_a_time() -> None:
    draw = random.Random(1)
    for _ in range(200):
        rows = [odd_row(draw) for _ in range(draw.randint(0, 4))]
        with suppress(ScoringError):  # nothing readable, or nothing of this truth, and it says so
            added_up(rows, missing="zero")


@pytest.mark.parametrize("suffix", ["jsonl", "json", "csv", "txt", "bin"])
def test_torn_and_garbled_files(suffix: str, tmp_path: Path) -> None:
    draw = random.Random(2)
    path = tmp_path / f"rows.{suffix}"
    lines = "".join(json.dumps(row) + "\n" for row in ANSWERS).encode()
    listed = json.dumps(ANSWERS).encode()
    table = b"id,guess\n" + b"".join(f"{row['id']},{row['guess']}\n".encode() for row in ANSWERS)
    read = 0
    for _ in range(150):
        content = bytearray(draw.choice([lines, listed, table]))
        for _ in range(draw.randint(0, 6)):
            content[draw.randrange(len(content))] = draw.randrange(256)
        path.write_bytes(bytes(content[: draw.randint(0, len(content))] if draw.random() < 0.7 else content))
        try:
            added_up(path, missing="zero")
            read += 1
        except (ScoringError, FileFormatError):
            pass
    assert read or suffix == "csv"  # a table holds text, which the toy protocol takes for no numbers

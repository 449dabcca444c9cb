"""Checked access to rows, windows, tallies."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lavis.scoring.base import Row, RowError, Tally, finite, number_array, outside, window_array


def row(key: str | None = None, **fields: Any) -> Row:
    return Row(fields, 0, "rows, line 1", key)


@pytest.mark.parametrize(("value", "identity"), [("a", "a"), (7, "7"), (7.0, "7"), ("07", "07")])
def test_ids_are_text(value: Any, identity: str) -> None:
    assert row(qid=value).identity("id", "qid") == identity


@pytest.mark.parametrize("value", [None, True, 1.5, "", [1], float("nan"), float("inf"), {}])
def test_bad_ids(value: Any) -> None:
    with pytest.raises(RowError, match="needs an id"):
        row(id=value).identity("id")


def test_the_key_is_the_id_where_no_field_is() -> None:
    assert row("k7", text="x").identity("id") == "k7"
    assert row("k7", id="own").identity("id") == "own"
    with pytest.raises(RowError, match="needs an id"):
        row(text="x").identity("id")


def test_a_missing_field_names_those_there() -> None:
    with pytest.raises(RowError, match=r"'b' is missing \(the row has a, c\)"):
        row(c=1, a=2).get("b")


def test_text_and_numbers() -> None:
    assert row(a="x").text("a") == "x"
    assert row(a=3).number_of("a") == 3.0
    with pytest.raises(RowError, match="must be text"):
        row(a=1).text("a")


@pytest.mark.parametrize("value", ["1", True, None, float("nan"), float("-inf"), 10**400, [1]])
def test_what_is_no_finite_number(value: Any) -> None:
    with pytest.raises(RowError):
        finite(value, "x")


def test_windows() -> None:
    assert window_array([[1, 2], [3, 4.5]], "w").tolist() == [[1.0, 2.0], [3.0, 4.5]]
    assert window_array([], "w", (2, 3)).shape == (0, 2)
    assert window_array([[1, 2, 0.5]], "w", (2, 3)).shape == (1, 3)
    # Reversed and negative ones come back as they are.
    assert window_array([[5, -2]], "w").tolist() == [[5.0, -2.0]]


@pytest.mark.parametrize(
    "value",
    [None, "[[1, 2]]", {}, [1, 2], [[1, 2], [3]], [[1, "2"]], [[1, None]], [[1, float("nan")]], [[]], [[], []], [[[]]],
     [[1]], [[1, 2, 3]], [[10**40, 10**41]], [[{}, {}]], [[True, False]]],
)  # fmt: skip
def test_what_are_no_windows(value: Any) -> None:
    with pytest.raises(RowError):
        window_array(value, "w")


def test_number_arrays_have_their_dimensions() -> None:
    assert number_array([], "x", ndim=1).shape == (0,)
    assert number_array([1, 2], "x", ndim=1).dtype == np.float64
    for value in ([[1, 2]], [[]], 3):
        with pytest.raises(RowError):
            number_array(value, "x", ndim=1)


def test_outside() -> None:
    def windows(*pairs: tuple[float, float]) -> Any:
        return np.array(pairs, dtype=np.float64).reshape(-1, 2)

    assert not outside(windows(), 10)
    assert not outside(windows((0, 10)), 10)
    assert outside(windows((-1, 5)), 10)
    assert outside(windows((1, 11)), 10)
    assert not outside(windows((1, 11)), 10, slack=1)
    assert outside(windows((5, 1)), 10)


def test_a_tally_keeps_few_examples() -> None:
    tally = Tally()
    for number in range(1000):
        tally.add("missing", f"query {number}")
    tally.add("duplicated", "twice", 4)
    assert (tally.missing, tally.duplicated) == (1000, 4)
    assert len(tally.examples["missing"]) == 5
    assert tally.counts()["missing"] == 1000

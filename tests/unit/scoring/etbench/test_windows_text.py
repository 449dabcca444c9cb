"""Windows and moments in texts."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lavis.scoring.etbench.windows_text import _FROM_TO, NUMBER, SPAN, time_point, windows


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("45.7 - 83.2 seconds", [[45.7, 83.2]]),
        ("32.9 - 18.3", [[18.3, 32.9]]),
        ("-3.5 - 3.9 seconds; 4.4-21.4", [[3.5, 3.9], [4.4, 21.4]]),
        ("From 29.7 to 43.0 and 40.4 to 77.1 seconds.", [[29.7, 43.0], [40.4, 77.1]]),
        ("1 - 2, and 30 to 40", [[1.0, 2.0]]),
        ("The event starts at 5.9.\nIt ends at 6.2 seconds.", [[5.9, 6.2]]),
        ("Starts 40\nno 7\nends 80", [[40.0, 80.0]]),
        ("starts 1!ends 2?starts 3", [[1.0, 2.0]]),
        ("starts at 00:00:05\nends at 00:00:21", [[0.0, 0.0]]),
        ("5.0 - 5.0", [[5.0, 5.0]]),
    ],
)
def test_windows(text: str, expected: list[list[float]]) -> None:
    found = windows(text)
    assert found is not None
    assert found.tolist() == expected


@pytest.mark.parametrize("text", ["", "I cannot find it.", "happens in 12 seconds", "12 - ", "12 and 13"])
def test_no_window(text: str) -> None:
    assert windows(text) is None


def test_what_the_script_does_not_survive() -> None:
    assert windows("starts at 00:00:05") is None
    found = windows("12... - 20")
    assert found is not None
    assert found.tolist() == [[12.0, 20.0]]


@pytest.mark.parametrize(
    ("text", "expected"), [("at 31s", 31.0), ("-3.5", -3.5), (".5", 0.5), ("+7 or 8", 7.0), ("no", None)]
)
def test_moments(text: str, expected: float | None) -> None:
    assert time_point(text) == expected


@given(st.text("0123456789.- to", max_size=24))
def test_ranges_are_those_of_the_plain_pattern(text: str) -> None:
    for sign, pattern in (("-", SPAN), (" to ", _FROM_TO)):
        assert pattern.findall(text) == re.findall(rf"({NUMBER})\s*{sign}\s*({NUMBER})", text)


def test_a_long_run_of_digits_takes_no_time() -> None:
    assert windows("7" * 20_000) is None

"""Reading windows from text: where the originals raise, and texts made to hurt."""

from __future__ import annotations

import time

import pytest

from lavis.models.codecs import _windows
from lavis.models.codecs._windows import clean_labelled, clean_mr_blip, is_window, read_calce, to_seconds, window_list


@pytest.mark.parametrize(
    ("text", "duration", "expected"),
    [
        ("[[30, 150150]]", 150, [[30, 150]]),  # nothing remains of the end: the original raises
        ("[[30, 15060]]", 150, [[30, 60]]),
        ("[[200, 300]]", 150, [[150, 200]]),  # a start past the video stays
        ("[[5], [9], [11]]", 150, [[5, 9], [11, 150]]),
        ("[[5], [10, 20]]", None, [[5, 9], [10, 20]]),
        ("[[3.5, 10.25]]", 150, [[3, 5]]),
        ("[[1, 2]]\n junk [3, 4]", 150, [[1, 2], [3, 4]]),
        ("[[٣, ٧]]", 150, [[3, 7]]),  # digits of any script, as in the original
        ("[[" + "9" * 301 + ", 7, 9]]", 150, [[7, 9]]),  # no float holds the first number
        ("[[]]", 150, []),
        ("[[1, 2]", 150, None),
        ("", 150, None),
    ],
)
def test_read_calce(text: str, duration: float | None, expected: list[list[int]] | None) -> None:
    assert read_calce(text, duration) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[[1, 2], [3, 4.5]]", [[1, 2], [3, 4.5]]),
        ("[[1, 2], [3], 7]]", [[-1, -1]]),
        ("[[1, 2], 3, [4, 5]]", [[1, 2], [-1, -1], [4, 5]]),  # the original raises at the 3
        ("[[05, 7]]", [[-1, -1]]),
        ("[[00, -7]]", [[0, -7]]),
        ("[[1e2, .5]]", [[100.0, 0.5]]),
        ("[['a' \"b\", 2]]", [["ab", 2]]),
        ("[[1, 2],]]", [[-1, -1]]),
        ("[[1, 2,], []]", [[1, 2], [-1, -1]]),
        ("[[1 2], [3, 4]]", [[-1, -1]]),
        ("[[1, 2]] + [[3, 4]]", [[-1, -1]]),
        ("[[__import__('os'), 2]]", [[-1, -1]]),
        ("[[1, 2]]; x", [[-1, -1]]),
        ("[[1,, 2]]", [[-1, -1]]),
        ("[[" + "1" * 400 + ", 2]]", [[-1, -1]]),
    ],
)
def test_window_list(text: str, expected: list[list[object]]) -> None:
    assert window_list(text) == expected


def test_labelled_windows_are_turned_and_one_bad_window_spoils_all() -> None:
    assert clean_labelled('[[10, 0, "Long jump"]]') == "[[0, 10, 'Long jump']]"
    assert clean_labelled("[[10, 0]]") == "[[0, 10, '\"No label\"']]"
    assert clean_labelled('[[0, 10, "a"], [3, "b"]]') == "[[-1, -1, -1]]"
    assert window_list('[[0, 10, "a"], [3, 4]]', size=3) == [[0, 10, "a"], [-1, -1, -1]]


def test_to_seconds_marks_what_is_no_window() -> None:
    assert to_seconds([[0, 50], [-1, 3], ["a", 2], [1]], 33.53, integers=True) == [
        [0.0, 16.77],
        [-1, -1],
        [-1, -1],
        [-1, -1],
    ]
    assert to_seconds([[0.1, 0.5]], 20, integers=False) == [[2.0, 10.0]]


def test_is_window() -> None:
    assert is_window([1, 2.5])
    assert not is_window([1, float("inf")])
    assert not is_window([1, "2"])
    assert not is_window([1, 2, 3])


HOSTILE = {
    "brackets": "[" * 500_000,
    "nested": "[" * 5_000 + "1" + "]" * 5_000,
    "commas": "[[1, 2" + "," * 500_000 + "]]",
    "loose commas": "[[" + ",x" * 5_000 + "," * 4_000 + "x]]",
    "spaces": "[[1, 2]" + " " * 9_000 + "x]]",
    "digits": "[[" + "7" * 9_000 + ", 9]]",
    "numbers": "[[" + "1 " * 5_000 + "]]",
    "signs": "[[" + "-" * 9_000 + "1, 2]]",
    "sums": "[[" + "1+" * 4_000 + "1, 2]]",
    "windows": "[" + "[1, 2], " * 1_200 + "[1, 2]]",
    "quotes": "[['" + "a" * 9_000 + "]]",
    "joined quotes": "[[" + "'a'" * 3_000 + ", 2]]",
    "ends": "</s>" * 100_000,
    "closing": "[[" + "],]" * 3_000,
    "nothing readable": "\0\ud800" * 5_000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_texts_are_read_at_once(name: str) -> None:
    started = time.process_time()
    read_calce(HOSTILE[name], 150)
    window_list(clean_mr_blip(HOSTILE[name]))
    window_list(clean_labelled(HOSTILE[name]), size=3)
    assert time.process_time() - started < 0.5


def test_only_the_first_characters_are_read() -> None:
    assert read_calce("[[1, 2]]" + " " * _windows.MAX_CHARS + "[3, 4]]", 150) == [[1, 2]]

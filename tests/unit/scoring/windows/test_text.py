"""Windows in text."""

from __future__ import annotations

import time

import pytest

from lavis.scoring.windows.text import digits_window, listed_windows, spoken_windows, token_window


@pytest.mark.parametrize(
    ("text", "windows"),
    [
        ("[[24, 62], [100, 148.5]]", [[24, 62], [100, 148.5]]),
        ("[ [1,2] ]</s>", [[1, 2]]),
        ("[]", []),
        ("", None),
        ("[[1, 2], [3]]", None),
        ("[['a', 'b']]", None),
        ("[[1, Infinity]]", None),
        ("[[[1, 2]]]", None),
        ("[" * 9000, None),
    ],
)
def test_lists(text: str, windows: list[list[float]] | None) -> None:
    found = listed_windows(text)
    assert (None if found is None else found.tolist()) == windows


@pytest.mark.parametrize(
    ("text", "windows"),
    [
        ("From 3.2 to 10 seconds", [[3.2, 10]]),
        ("12.5 - 20.1", [[12.5, 20.1]]),
        ("From 3.55 secondsto 10.06 seconds.", [[3.55, 10.06]]),
        ("The event happens in 0020 - 0030 seconds.", [[20, 30]]),
        ("It is between 5 and 7.5 seconds.", [[5, 7.5]]),
        ("starts at 3 seconds and ends at 9.", [[3, 9]]),
        ("Start time: 1.5, end time: 2.5", [[1.5, 2.5]]),
        ("from 00:12 to 01:20", [[12, 80]]),
        ("3s to 9s, 11s to 12s", [[3, 9], [11, 12]]),
        ("[[3, 9]]", [[3, 9]]),
        ("[3, 9]", [[3, 9]]),
        ("<12> to <30>", None),
        ("no idea", None),
        ("at 12 seconds", None),
        ("9 to 3 seconds", [[9, 3]]),
    ],
)
def test_sentences(text: str, windows: list[list[float]] | None) -> None:
    found = spoken_windows(text)
    assert (None if found is None else found.tolist()) == windows


def test_time_tokens() -> None:
    assert token_window("From <30> to <0>.", 300).tolist() == [[0, 0.1]]  # type: ignore[union-attr]
    assert token_window("<150> <999>", 300).tolist() == [[0.5, 1]]  # type: ignore[union-attr]
    assert token_window("from 3 to <30>", 300) is None
    assert digits_window("From <30> to <0>", 300).tolist() == [[0.1, 0]]  # type: ignore[union-attr]
    assert digits_window("<1> <2> <3>", 300) is None
    assert token_window(f"<{'9' * 9000}> <1>", 300) is not None


@pytest.mark.parametrize("piece", ["[", "[[", "1 ", "1", "start ", "between 1 ", " ", "1:", "1 - ", "<1", "start 1 "])
def test_any_text_takes_linear_time(piece: str) -> None:
    started = time.process_time()
    text = piece * (20_000 // len(piece))
    spoken_windows(text), token_window(text, 300), digits_window(text, 300)
    assert time.process_time() - started < 0.5

"""Captions with windows in texts."""

from __future__ import annotations

import pytest

from lavis.scoring.etbench.captions_text import captions


@pytest.mark.parametrize(
    ("text", "windows", "texts"),
    [
        ("1.0 - 4.9 seconds, Up then. 8 - 6 seconds, picks it.", [[1.0, 4.9], [6.0, 8.0]], ["up then.", "picks it."]),
        ("Start time: 8.2 seconds\nEnd time: 15.0s\nDescription: up he goes", [[8.2, 15.0]], ["up he goes"]),
        ("Starting time: 1 s\nEnding time: 2 s\n* up he goes", [[1.0, 2.0]], ["up he goes"]),
        ("At 1:05 seconds, Takes it. then", [[45.0, 85.0]], ["Takes it."]),
        ("0:10 to 0:45 seconds, again", [[10.0, 45.0]], ["again."]),
        ("at 12 seconds", [[12.0, 52.0]], ["."]),
        ("at 25 seconds", [[5.0, 45.0]], ["."]),
        ("10000.0 - 20000.0", [[0.0, 20000.0]], ["0 - 20000."]),
        ("between 40 and 30 seconds, x", [[30.0, 40.0]], ["x."]),
        ("no time here\nstarts 40\nends at 80", [[20.0, 60.0]], ["starts 40"]),
    ],
)
def test_captions(text: str, windows: list[list[float]], texts: list[str]) -> None:
    found = captions(text)
    assert found is not None
    assert found[0].tolist() == windows
    assert found[1] == texts


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no times at all",
        "start time 3.0, end time 9.0, takes a camera",
        "12... - 15 he does it",
        "1 2 3 are numbers",
    ],
)
def test_no_caption(text: str) -> None:
    assert captions(text) is None


def test_text_before_the_first_range_is_its_caption() -> None:
    found = captions("Here they are: 1 - 2 seconds, one thing, 3 - 4 seconds, other thing")
    assert found is not None
    assert found[1] == ["here they are:", "one thing"]

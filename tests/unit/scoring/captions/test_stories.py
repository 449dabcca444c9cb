from __future__ import annotations

import pytest

from lavis.scoring.base import RowError
from lavis.scoring.captions.responses import segments
from lavis.scoring.captions.texts import listed_events, official, tolerant


def reply(text: str, time: float) -> dict[str, object]:
    return {"role": "assistant", "content": text, "time": time}


ASKED = {"role": "user", "content": "What do you see?", "time": 0}


def test_a_caption_reaches_from_the_reply_before_to_its_last_repetition() -> None:
    turns = [ASKED, reply("a", 2), reply("b", 5), reply("b", 9), reply("c", 12)]
    assert segments(turns, "discard") == ([[2, 9], [9, 12]], ["b", "c"])


def test_the_first_caption_can_be_kept() -> None:
    turns = [ASKED, reply("a", 2), reply("b", 5)]
    assert segments(turns, "keep") == ([[0, 2], [2, 5]], ["a", "b"])


@pytest.mark.parametrize("turns", [[], [ASKED], [ASKED, reply("a", 2)], [reply("a", 2), reply("a", 4)]])
def test_one_distinct_caption_gives_no_segment(turns: list[dict[str, object]]) -> None:
    assert segments(turns, "discard") == ([], [])


@pytest.mark.parametrize("turn", [3, {"content": "a"}, {"role": "assistant", "time": 1}, reply("a", float("nan"))])
def test_turns_that_cannot_be_read(turn: object) -> None:
    with pytest.raises(RowError):
        segments([turn], "discard")


@pytest.mark.parametrize(
    ("text", "windows", "captions"),
    [
        ("From 0 to 12.5, a man cooks.\nFrom 13 to 20, he eats.", [[0, 12.5], [13, 20]], ["a man cooks.", "he eats."]),
        ("From 0 to 5, he sits. From 5 to 9, he runs.", [[0, 5], [5, 9]], ["he sits.", "he runs."]),
        ("from 0to 5,he sits.", [[0, 5]], ["he sits."]),
        ("From 3 to 8 seconds: he sits", [[3, 8]], ["he sits"]),
        ("3.0 - 8.5 seconds, he sits", [[3, 8.5]], ["he sits"]),
        ("At 7, he jumps. From 8, he falls.", [[7, 7], [8, 8]], ["he jumps.", "he falls."]),
        ("A man cooks.", [], []),
        ("", [], []),
        ("From <3> to <8>, coded times", [], []),
    ],
)
def test_texts_of_events(text: str, windows: list[list[float]], captions: list[str]) -> None:
    told = tolerant(percent=False)(text)
    assert (told.windows, told.captions) == (windows, captions)


def test_a_script_reads_its_own_text_to_the_letter() -> None:
    text = "From 0 to 50, one. From 50 to 99, two.\n1.5 - 2.0 seconds, three"
    assert official(percent=True)(text).captions == ["one. From 50 to 99, two."]
    assert official(percent=False)(text).windows == [[1.5, 2.0]]
    assert official(percent=False)("1 - 2 seconds, whole numbers").windows == []


def test_a_list_in_text() -> None:
    text = 'Here: [{"event": "a", "timestamps": "from 00 to 25"}, {"event": "b", "timestamps": "from 25 to 100"}]'
    told = listed_events(text)
    assert told is not None
    assert (told.windows, told.captions, told.complete) == ([[0, 25]], ["a"], False)


@pytest.mark.parametrize("text", ["", "no list", "[1, 2", "[" * 5000 + "]" * 5000])
def test_texts_without_a_list(text: str) -> None:
    assert listed_events(text) is None


def test_a_hostile_text_is_read_in_time() -> None:
    assert tolerant(percent=False)("1" * 100_000 + " from" * 20_000).windows == []

"""SRT files, tidy and odd; CALCE's own readings are compared in tests/parity_cases/calce_processors.py."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from lavis.processors.subtitles import (
    SubtitleError,
    clean_lines,
    merge_repeats,
    parse_srt,
    read_srt,
    speech_spans,
    write_srt,
)
from lavis.structures import Moment, Subtitle

TIDY = """1
00:00:00,000 --> 00:00:02,500
Hello, the World!

2
00:00:02,500 --> 00:00:04,000
Hello, the World!

3
00:00:09,100 --> 00:00:11,250
We are
here now
"""


def written(folder: Path, content: str | bytes) -> Path:
    path = folder / "a.srt"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_tidy_file(tmp_path: Path) -> None:
    lines, speech = read_srt(written(tmp_path, TIDY))
    assert lines == [Subtitle(0.0, 4.0, "hello world"), Subtitle(9.1, 11.25, "we are here now")]
    assert speech == [Moment(0.0, 4.0), Moment(9.1, 11.25)]


@pytest.mark.parametrize("content", ["", "\n\n", "\ufeff", "1\n\n2\n"])
def test_nothing_said(tmp_path: Path, content: str) -> None:
    assert read_srt(written(tmp_path, content)) == ([], [])


@pytest.mark.parametrize(
    "content",
    [
        TIDY.encode("utf-8-sig"),
        TIDY.encode("utf-16"),
        TIDY.replace("\n", "\r\n").encode(),
        TIDY.replace("\n", "\r").encode(),
        TIDY.replace(",500", ".500").replace(",100", ".1").encode(),
        TIDY.replace("00:00:", "00:").encode(),
        TIDY.replace(" --> ", "-->").encode(),
        TIDY.replace("02,500\n", "02,500 X1:10 Y1:20\n").encode(),
        TIDY.replace("1\n00", "00").replace("2\n00", "00").replace("3\n00", "00").encode(),
        TIDY.rstrip().encode(),
    ],
    ids=["bom", "utf-16", "crlf", "cr", "points", "no hours", "no spaces", "positions", "no numbers", "no end of line"],
)
def test_other_ways_to_write_the_same(tmp_path: Path, content: bytes) -> None:
    assert read_srt(written(tmp_path, content)) == read_srt(written(tmp_path, TIDY))


def test_latin_1(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = written(tmp_path, "1\n00:00:01,000 --> 00:00:02,000\ncaf\u00e9 au lait please now\n".encode("latin-1"))
    assert read_srt(path)[0] == [Subtitle(1.0, 2.0, "caf\u00e9 au lait please now")]
    assert "Latin-1" in caplog.text


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(SubtitleError, match=r"none\.srt: No such file.*on_missing_subtitles"):
        read_srt(tmp_path / "none.srt")


MALFORMED = {
    "letters": ("1\n00:00:0x,000 --> 00:00:02,000\nhello\n", 2),
    "one time": ("1\n00:00:01,000 -->\nhello\n", 2),
    "an arrow in the text": ("1\n00:00:01,000 --> 00:00:02,000\nhello\n\n2\ngo --> there\nnow\n", 6),
    "backwards": ("1\n00:00:03,000 --> 00:00:02,000\nhello\n", 2),
    "no times": ("1\nhello\n", 2),
    "no entry at all": ("Dear diary, today I was transcribed.\n", 1),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed(tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture) -> None:
    text, line = MALFORMED[name]
    path = written(tmp_path, text + "\n9\n00:00:10,000 --> 00:00:12,000\nfine again\n")
    with pytest.raises(SubtitleError) as caught:
        read_srt(path)
    assert caught.value.line == line
    assert f"a.srt:{line}" in str(caught.value)
    lines, _ = read_srt(path, on_malformed="skip")
    assert lines[-1] == Subtitle(10.0, 12.0, "fine again")
    assert "is skipped" in caplog.text


SPOKEN_NUMBER = "1\n00:00:01,000 --> 00:00:02,000\nlucky number\n42\n\n2\n00:00:03,000 --> 00:00:04,000\n7\n"


def test_spoken_numbers() -> None:
    assert [e.text for e in parse_srt(SPOKEN_NUMBER)] == ["lucky number"]
    assert [e.text for e in parse_srt(SPOKEN_NUMBER, digit_lines="text")] == ["lucky number 42", "7"]


def test_text_after_a_spoken_number_has_no_times() -> None:
    text = "1\n00:00:01,000 --> 00:00:02,000\nat\n42\nfeet\n"
    with pytest.raises(SubtitleError, match="digit_lines"):
        parse_srt(text)
    assert [e.text for e in parse_srt(text, digit_lines="text")] == ["at 42 feet"]


def test_order_is_by_time() -> None:
    text = "1\n00:00:05,000 --> 00:00:06,000\nlater\n\n2\n00:00:01,000 --> 00:00:02,000\nsooner\n"
    assert [e.text for e in parse_srt(text)] == ["sooner", "later"]


def test_repeats_need_the_same_text_and_no_gap() -> None:
    entries = [Subtitle(0, 1, "a"), Subtitle(1, 2, "a"), Subtitle(2, 3, "b"), Subtitle(3.1, 4, "b")]
    assert merge_repeats(entries) == [Subtitle(0, 2, "a"), Subtitle(2, 3, "b"), Subtitle(3.1, 4, "b")]


def test_speech_spans() -> None:
    entries = [Subtitle(0, 1, "a"), Subtitle(3.5, 4, "b"), Subtitle(6.6, 7, "c")]
    assert speech_spans(entries) == [Moment(0, 4), Moment(6.6, 7)]
    assert speech_spans(entries, gap=3) == [Moment(0, 7)]
    assert speech_spans([]) == []


def test_cleaning() -> None:
    said = ["The cat, oh yeah!", "uh the hmm", "\u3053\u3093 \u306b hello", "it's 5 o'clock now ok", "!?"]
    kept = clean_lines(Subtitle(0, 1, text) for text in said)
    assert [line.text for line in kept] == ["cat", "its 5 oclock now ok"]


def test_round_trip(tmp_path: Path) -> None:
    lines = [
        Subtitle(0.0, 1.5, "hello there"),
        Subtitle(61.0014, 3661.999, "two\n\nlines\n"),
        Subtitle(4000, 4001, "end"),
    ]
    again = parse_srt(write_srt(tmp_path / "a.srt", lines).read_text())
    assert [e.text for e in again] == ["hello there", "two lines", "end"]
    assert [(e.start, e.end) for e in again] == [(0.0, 1.5), (61.001, 3661.999), (4000.0, 4001.0)]
    assert parse_srt(write_srt(tmp_path / "b.srt", []).read_text()) == []


def test_errors_survive_process_borders() -> None:
    error = SubtitleError("a.srt", "broken", "mend it", 7)
    again = pickle.loads(pickle.dumps(error))
    assert str(again) == str(error) == "a.srt:7: broken; mend it"
    assert str(SubtitleError("a whole message")) == "a whole message"

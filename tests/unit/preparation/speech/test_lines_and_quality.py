"""Lines come back whole from every reader; figures are what they are said to be."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lavis.preparation.speech.lines import caption_lines
from lavis.preparation.speech.quality import Quality, pooled, quality_of
from lavis.preparation.speech.transcribers.base import Transcript, Utterance, Word
from lavis.preparation.speech.word_errors import edit_distance, normal_words, word_errors
from lavis.processors.subtitles import parse_srt, read_srt, write_srt
from lavis.structures import Subtitle


def test_lines_are_cut_to_the_video_and_what_breaks_a_file_is_written_differently() -> None:
    said = [
        Utterance(3, 4, " 1984 "), Utterance(-1, 1, "a\nb --> c"), Utterance(-3, -1, "before"), Utterance(5, 6, "  "),
    ]  # fmt: skip
    assert caption_lines(said) == [Subtitle(0, 1, "a b -> c"), Subtitle(3, 4, "1984.")]
    late = [Utterance(1, 29.98, "spoken"), Utterance(6, 8, "made up")]
    assert caption_lines(late, duration=5.5) == [Subtitle(1, 5.5, "spoken")]
    with pytest.raises(ValueError, match="no finite times for 'x'"):
        caption_lines([Utterance(float("nan"), 1, "x")])
    with pytest.raises(ValueError, match="max_chars=0"):
        caption_lines([], 0)


def test_long_lines_are_cut_between_words() -> None:
    words = (Word(0, 1, " one"), Word(1, 2, " two"), Word(2.5, 3, " three"), Word(3, 9, " incomprehensibilities"))
    timed = Utterance(0, 9, " one two three incomprehensibilities", words)
    assert caption_lines([timed], 9) == [
        Subtitle(0, 2, "one two"), Subtitle(2.5, 3, "three"), Subtitle(3, 9, "incomprehensibilities"),
    ]  # fmt: skip
    untimed = caption_lines([Utterance(0, 8, "abc def")], 3)
    assert untimed == [Subtitle(0, 4, "abc"), Subtitle(4, 8, "def")]
    chinese = Utterance(0, 2, "你好吗我", (Word(0, 1, "你好"), Word(1, 2, "吗我")))
    assert caption_lines([chinese], 3) == [Subtitle(0, 1, "你好"), Subtitle(1, 2, "吗我")]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 10**6), st.integers(0, 9000), st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
        ),
        max_size=6,
    ),
    st.none() | st.integers(1, 12),
)
def test_every_line_comes_back_from_the_reader(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int, int, str]], max_chars: int | None
) -> None:
    lines = caption_lines([Utterance(s / 1000, (s + d) / 1000, text) for s, d, text in rows], max_chars)
    path = write_srt(tmp_path_factory.getbasetemp() / "a.srt", lines)
    back = parse_srt(path.read_text(encoding="utf-8"), path)  # digits end an entry, as in CALCE's reader
    assert [line.text for line in back] == [line.text for line in lines]
    assert all(abs(a.start - b.start) < 1e-3 and abs(a.end - b.end) < 1e-3 for a, b in zip(back, lines, strict=True))


def test_an_empty_file_is_no_subtitles(tmp_path: Path) -> None:
    assert read_srt(write_srt(tmp_path / "a.srt", [])) == ([], [])


def test_quality() -> None:
    said = [
        Utterance(0, 2, "Hello you", (), -0.5, 0.1), Utterance(1, 3, "hello, you!", (), -1.5, 0.7),
        Utterance(4, 5, "no " * 40, (), None, None),
    ]  # fmt: skip
    found = quality_of(Transcript(said, "en", 3.5), caption_lines(said))
    assert (found.lines, found.repeated, found.loops, found.unsure) == (3, 1, 1, 1)
    assert found.line_s == 4 and found.voice_s == 3.5 and found.weight == 20
    assert found.log_probability == pytest.approx((9 * -0.5 + 11 * -1.5) / 20)
    assert found.no_speech == pytest.approx((9 * 0.1 + 11 * 0.7) / 20)
    assert Quality.from_json(found.to_json()) == found
    both = pooled([found, quality_of(Transcript([]), [])])
    assert both == found and pooled([found, found]).chars_per_s == pytest.approx(found.chars_per_s)
    assert pooled([]).log_probability is None and pooled([]).chars_per_s is None


def test_words_are_compared_in_one_form() -> None:
    assert normal_words("Don’t — [music] ill-disposed, 20 İ") == ["dont", "ill", "disposed", "20", "i̇"]
    errors = word_errors("It was the best.", "it was a the bust")
    assert (errors.errors, errors.words, errors.rate) == (2, 4, 0.5)
    assert word_errors("", "one").rate is None and word_errors("one two", "").rate == 1
    assert (errors + word_errors("a", "a")).rate == pytest.approx(0.4)


@settings(deadline=None)
@given(st.lists(st.sampled_from("abc"), max_size=7), st.lists(st.sampled_from("abc"), max_size=7))
def test_distance_is_the_textbook_one(a: list[str], b: list[str]) -> None:
    table = [[i + j if not i * j else 0 for j in range(len(b) + 1)] for i in range(len(a) + 1)]
    for i in range(1, len(a) + 1):
        for j in range(1, len(b) + 1):
            change = table[i - 1][j - 1] + (a[i - 1] != b[j - 1])
            table[i][j] = min(change, table[i - 1][j] + 1, table[i][j - 1] + 1)
    assert edit_distance(a, b) == table[-1][-1]

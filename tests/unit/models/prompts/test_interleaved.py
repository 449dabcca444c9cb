"""The interleaved prompt in words, for every setting."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from lavis.models.codecs.seconds_text import SecondsText
from lavis.models.prompts.interleaved import Interleaved
from lavis.structures import Moment, Subtitle, TimedTokens
from tests.toy_models import sample

TOKENS = TimedTokens(torch.zeros(5, 4), [4, 1], [(0.0, 0.0), (15.2, 15.2)], [0, 1])
LINES = [Subtitle(8.2, 9.6, "open door")]


def words(answer: bool = False, subtitles: list[Subtitle] = LINES, prior: Any = None, **fields: Any) -> list[str]:
    asked = sample(prior=prior, options=["a dog", "a man"])
    sequence = Interleaved(task="Find.", **fields)(asked, TOKENS, SecondsText(replace_below=0), subtitles, answer)
    parts = [
        "".join(f"<{s.stop - s.start}>" if not hasattr(s, "text") else s.text for s in b.one_by_one())
        for b in sequence.blocks
    ]
    return [*parts, *("".join(s.text for s in sequence.answer),) * answer]


def test_calce_stage_1() -> None:
    assert words() == [
        "<4>0<1>15>30<extra_id_0>", "[8open door10]<extra_id_1>", "Query: man talks\nItems: man\nFind.",
    ]  # fmt: skip


def test_calce_stage_2_shows_the_prior() -> None:
    prior = [Moment(4, 12), Moment(20, 28)]
    assert words(prior=prior, show_prior=True)[2] == "Query: man talks\nref: [[4, 12], [20, 28]]\nItems: man\nFind."


def test_mr_blip() -> None:
    shown = words(show_subtitles=False, show_items=False, attend_padding=True, end_mark_in_video=False, answer=True)
    assert shown == ["<4>0<1>15>30", "<extra_id_0>", "Query: man talks\nFind.", "[[4, 12]]"]


def test_without_a_fitting_line_none_is_said() -> None:
    assert words(subtitles=[])[1] == "[-1*None*-1]<extra_id_1>"


def test_not_interleaved() -> None:
    assert words(interleave=False, show_subtitles=False)[:3] == [">0>15>30", "<4><1>", "<extra_id_0>"]


def test_frames_only() -> None:
    assert words(interleave=False, show_times=False, show_subtitles=False)[:2] == ["<vid>", "<4><1>"]


def test_duration_shown_again() -> None:
    shown = words(show_duration_again=True, end_mark_in_video=False, show_subtitles=False)
    assert shown[1] == ">30.0<extra_id_0>\n"


def test_options_and_bare_queries() -> None:
    assert "Query: man talks Options: (a dog a man)\n" in words(options_style="list")[2]
    assert words(show_task=False, show_items=False)[2] == "Query: man talks\n"


def test_joined_layout_is_one_block() -> None:
    assert len(words(layout="joined")) == 1


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="interleave: false"):
        Interleaved(show_times=False)
    with pytest.raises(ValueError, match="max_tokens"):
        Interleaved(max_tokens=1)

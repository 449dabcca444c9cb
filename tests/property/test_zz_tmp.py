"""Laws of time codecs: what is written is read back, and nothing that a model can say makes reading fail."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lavis.models.codecs._windows import read_calce, window_list
from lavis.models.codecs.base import TimeCodec
from lavis.models.codecs.relative_text import RelativeText
from lavis.models.codecs.seconds_text import SecondsText, replacements_for
from lavis.structures import ModelOutput, Moment, VideoSample


class EverySecondOddNumber:
    """A tokenizer that splits numbers such as 67, 71, 75 ... as T5 splits some."""

    def convert_tokens_to_ids(self, token: str) -> int:
        return 3

    def __call__(self, texts: list[str], add_special_tokens: bool) -> dict[str, list[list[int]]]:
        split = range(67, 10_000, 4)
        return {"input_ids": [[5, 6] if int(text) in split else [10 + int(text)] for text in texts]}


def codec_of(cls: type[Any], **arguments: Any) -> TimeCodec:
    codec: TimeCodec = cls(**arguments)
    codec.bind(EverySecondOddNumber())
    return codec


CODECS = {
    "seconds, CALCE": codec_of(SecondsText),
    "seconds, whole numbers replaced": codec_of(SecondsText, target_replacement="number"),
    "seconds, MR.BLIP": codec_of(SecondsText, parser="mr_blip", target_replacement="none"),
    "seconds with decimals": codec_of(SecondsText, style="seconds_floats", parser="mr_blip"),
    "indices": codec_of(SecondsText, style="frame_indices"),
    "fine indices": codec_of(SecondsText, style="frame_indices", num_indices=150, parser="mr_blip"),
    "percent": codec_of(RelativeText),
    "rounded percent": codec_of(RelativeText, truncate=False),
    "fractions": codec_of(RelativeText, style="relative_floats"),
}


@st.composite
def samples(draw: st.DrawFn) -> VideoSample:
    """Videos of up to an hour with up to six moments."""
    duration = draw(st.integers(1, 3600) | st.floats(0.5, 3600).map(lambda x: round(x, 2)))
    bound = st.floats(0, duration) | st.integers(0, int(duration))
    pairs = draw(st.lists(st.tuples(bound, bound), min_size=1, max_size=6))
    return VideoSample("a", "a.mp4", "q", duration, [Moment(min(p), max(p)) for p in pairs])


@pytest.mark.parametrize("name", CODECS)
@given(sample=samples())
@settings(max_examples=1500, deadline=None)
def test_decoding_inverts_encoding(name: str, sample: VideoSample) -> None:
    codec = CODECS[name]
    (text,) = codec.encode(sample)
    decoded = codec.decode(ModelOutput(text.text), sample)
    assert not decoded.malformed
    near = codec.resolution(sample) + 1e-9
    expected = sorted(m.to_list() for m in sample.moments or [])
    for (start, end), moment in zip(expected, sorted(m.to_list() for m in decoded.moments), strict=True):
        # Sorting after rounding may swap neighbours, which lie as near as rounding moves them.
        assert abs(start - moment[0]) <= near
        assert 0 <= moment[0] <= moment[1]
        assert min(abs(end - m.end) for m in decoded.moments) <= near


@pytest.mark.parametrize("name", CODECS)
@given(text=st.text() | st.text("[]0123456789, .-\n'</s>e", max_size=200), duration=st.floats(0.5, 10_000))
@settings(max_examples=1500, deadline=None)
def test_any_text_is_answered(name: str, text: str, duration: float) -> None:
    sample = VideoSample("a", "a.mp4", "q", duration)
    for said in (text, f"[[{text}]]"):
        decoded = CODECS[name].decode(ModelOutput(said), sample)
        assert decoded.text == said
        assert all(math.isfinite(m.start) and m.start <= m.end for m in decoded.moments)
        assert decoded.moments or name != "seconds, CALCE"


@given(windows=st.lists(st.tuples(st.integers(0, 150), st.integers(0, 150)), min_size=1, max_size=8))
def test_both_readers_agree_on_well_formed_text(windows: list[tuple[int, int]]) -> None:
    ordered = sorted([min(w), max(w)] for w in windows)
    text = str(ordered)
    assert sorted(read_calce(text, 150) or []) == ordered
    assert window_list(text) == ordered


@given(
    value=st.recursive(
        st.integers(-999, 999) | st.floats(-99, 99).map(lambda x: round(x, 3)) | st.text("abc 1", max_size=4),
        lambda inner: st.lists(inner, max_size=4),
        max_leaves=12,
    )
)
def test_lists_are_read_as_python_writes_them(value: Any) -> None:
    kept = value if isinstance(value, list) and len(value) == 2 else [-1, -1]
    # Lists at both ends, so that the text begins and ends like one of windows.
    assert window_list(str([[1, 2], value, [[]]])) == [[1, 2], kept, [-1, -1]]


@given(numbers=st.sets(st.integers(0, 299)))
def test_replacements_are_near_and_unsplit(numbers: set[int]) -> None:
    ordered = sorted(numbers)
    for number, instead in replacements_for(ordered).items():
        assert instead not in numbers
        nearest = min(abs(number - n) for n in range(-1, 400) if n not in numbers)
        assert abs(number - instead) == nearest
        assert instead > number or number + nearest in numbers


@pytest.mark.parametrize("name", CODECS)
@given(seconds=st.floats(0, 1), duration=st.integers(1, 1800))
@settings(max_examples=60, deadline=None)
def test_times_are_numbers_within_the_resolution(name: str, seconds: float, duration: int) -> None:
    codec, sample = CODECS[name], VideoSample("a", "a.mp4", "q", duration)
    time = seconds * duration
    shown = float(codec.format_time(time, sample))
    if isinstance(codec, RelativeText):
        shown *= duration / (100 if codec.style == "relative_integers" else 1)
    elif codec.style == "frame_indices":
        shown *= duration / codec.num_indices
    shift = 1.0 if name.startswith("seconds, ") else 0.0  # numbers shown are replaced even where targets are not
    if isinstance(codec, SecondsText) and codec.style == "frame_indices":
        shift = duration / codec.num_indices
    assert abs(shown - time) <= codec.resolution(sample) + shift + 0.006

"""Times as numbers in text: what is written, and what is read back."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from lavis.common.registry import registry
from lavis.models.codecs.seconds_text import SecondsText, replacements_for, split_numbers
from lavis.structures import ModelOutput, Moment, VideoSample


class Tokenizer:
    """Splits 13 behind a word boundary, and 67, 68, 111 and 117 outright."""

    def convert_tokens_to_ids(self, token: str) -> int:
        assert token == "▁"
        return 3

    def __call__(self, texts: list[str], add_special_tokens: bool) -> dict[str, list[list[int]]]:
        assert not add_special_tokens
        ids: dict[str, list[int]] = {"13": [3, 9], "67": [4, 5], "68": [4, 6], "111": [7, 8], "117": [7, 9]}
        return {"input_ids": [ids.get(text, [100 + int(text)]) for text in texts]}


def sample(duration: float = 150, moments: list[tuple[float, float]] | None = None, **fields: Any) -> VideoSample:
    truth = None if moments is None else [Moment(*m) for m in moments]
    return VideoSample("QVHighlight_1", "a.mp4", "a man talks", duration, truth, **fields)


def bound(**settings: Any) -> SecondsText:
    codec = SecondsText(**settings)
    codec.bind(Tokenizer())
    return codec


def target(codec: SecondsText, of: VideoSample) -> str:
    (text,) = codec.encode(of)
    assert text.learned
    assert text.eos
    assert text.max_tokens == 200
    return text.text


def read(codec: SecondsText, text: str, of: VideoSample) -> list[list[float]]:
    return [m.to_list() for m in codec.decode(ModelOutput(text), of).moments]


def test_it_is_registered() -> None:
    assert registry.codecs.get("seconds_text") is SecondsText


def test_split_numbers_are_replaced_by_neighbours() -> None:
    assert split_numbers(Tokenizer(), 200) == [67, 68, 111, 117]
    assert bound().replacements == {67: 66, 68: 69, 111: 112, 117: 118}
    assert replacements_for([0, 1, 2]) == {0: -1, 1: 3, 2: 3}
    assert replacements_for(range(300)) == {n: (300 if n >= 200 else -1) for n in range(300) if n < 99 or n > 200}


def test_frame_times_round_to_even_and_are_replaced() -> None:
    codec, video = bound(), sample(116.6)
    assert [codec.format_time(t, video) for t in (0.0, 2.5, 3.5, 66.6, 110.9)] == ["0", "2", "4", "66", "112"]
    assert codec.format_subtitle_time(-1, video) == "-1"
    assert codec.format_duration(video) == "118"
    assert codec.format_times([0.0, 66.6], video) == ">0>66>118"


def test_unbound_codec_says_so() -> None:
    with pytest.raises(ValueError, match="call bind"):
        SecondsText().format_time(1.0, sample())
    assert SecondsText(replace_below=0).format_time(67.0, sample()) == "67"


@pytest.mark.parametrize(
    ("replacement", "expected"),
    [
        ("substring", "[[66, 112], [166, 1121]]"),  # 167 has the digits of 67, and 1111 those of 111: as in CALCE
        ("number", "[[66, 112], [167, 1111]]"),
        ("none", "[[67, 111], [167, 1111]]"),
    ],
)
def test_target_replacement(replacement: Any, expected: str) -> None:
    codec = bound(target_replacement=replacement)
    assert target(codec, sample(1200, [(67, 111), (167, 1111)])) == expected


def test_targets_are_whole_seconds() -> None:
    assert target(bound(), sample(31, [(24.3, 30.5)])) == "[[24, 30]]"
    assert target(bound(style="seconds_floats", parser="mr_blip"), sample(31, [(24.3, 30)])) == "[[24.3, 30]]"


def test_the_prior_is_shown_as_it_is() -> None:
    assert bound().format_prior([Moment(67, 111), Moment(25.0, 60.0)], sample()) == "[[67, 111], [25.0, 60.0]]"


def test_missing_truth_is_named() -> None:
    with pytest.raises(ValueError, match="QVHighlight_1"):
        bound().encode(sample())


def test_frame_indices() -> None:
    codec, video = bound(style="frame_indices"), sample(150, [(24, 62), (100, 148)], prior=[Moment(20, 60)])
    assert [codec.format_time(t, video) for t in (0.0, 7.5, 33.3)] == ["0", "2", "7"]
    assert codec.format_subtitle_time(33.3, video) == "33"  # CALCE's grid is for frames only
    assert codec.format_duration(video) == "30"
    assert target(codec, video) == "[[5, 12], [20, 30]]"
    assert codec.format_prior([Moment(20, 60)], video) == "[[4, 12]]"
    assert read(codec, "[[5, 12], [20, 30]]", video) == [[25.0, 60.0], [100.0, 150.0]]
    assert read(codec, "[[100, 148]]", video) == [[150.0, 500.0]]  # past the video, as in CALCE
    assert read(bound(style="frame_indices", clamp=True), "[[100, 148]]", video) == [[150, 150]]
    (viewed,) = codec.view([video])
    assert viewed.duration == 30
    assert viewed.prior == [Moment(4, 12)]
    assert codec.view_times([33.3], video) == [7]
    assert bound().view([video]) == [video]


def test_speech_is_counted_in_steps_too_unless_left_in_seconds() -> None:
    video = sample(150, speech=[Moment(66, 75)])
    (viewed,) = bound(style="frame_indices").view([video])
    assert viewed.speech == [Moment(13.2, 15.0)]
    (viewed,) = bound(style="frame_indices", convert_speech=False).view([video])
    assert viewed.speech == [Moment(66, 75)]


def test_seconds_floats_print_single_precision_between_frames_only() -> None:
    codec, video = bound(style="seconds_floats", parser="mr_blip"), sample(116.6)
    assert codec.format_time(11.7, video) == "11.699999809265137"
    assert codec.format_duration(video) == "116.5999984741211"
    assert codec.format_duration(sample(150)) == "150"
    assert codec.format_times([0.0, 11.699999809265137], video) == "0.0>11.7>117"
    assert read(codec, "[[24.3, 30.4]]", video) == [[24.3, 30.4]]
    assert read(codec, "[[30.4, 24.3]]", video) == [[24.3, 30.4]]


@pytest.mark.parametrize("text", ["", "nonsense", "[[]]", "[[a, b]]", "[[1, 2]"])
def test_what_stands_for_a_malformed_text(text: str) -> None:
    video = sample(150.0)
    for settings, expected in (
        ({}, [[0, 150]]),
        ({"malformed": "drop"}, []),
        ({"parser": "mr_blip", "malformed": "whole_video"}, [[0, 150]]),
    ):
        prediction = bound(**settings).decode(ModelOutput(text), video)
        assert [m.to_list() for m in prediction.moments] == expected
        assert prediction.malformed
        assert prediction.text == text
    marked = bound(parser="mr_blip").decode(ModelOutput(text), video)
    assert {(m.start, m.end) for m in marked.moments} == {(-1, -1)}
    assert marked.malformed


def test_a_bad_window_among_good_ones_is_marked_in_place() -> None:
    text, video = "[[5], [10, 20], ['a', 3], [1e999, 2]]", sample()
    marked = bound(parser="mr_blip").decode(ModelOutput(text, sequence_score=-0.5), video)
    assert [m.to_list() for m in marked.moments] == [[-1, -1], [10, 20], [-1, -1], [-1, -1]]
    assert not marked.malformed
    assert marked.scores == {"sequence": -0.5}
    assert read(bound(parser="mr_blip", malformed="drop"), text, video) == [[10, 20]]


def test_whole_floats_read_like_integers() -> None:
    assert read(bound(), "[[30, 1501]]", sample(150.0)) == [[1, 30]]


def test_labels_are_written_and_read() -> None:
    codec = bound(parser="mr_blip_labelled", target_replacement="none")
    truth = sample(150, [(0, 10)], extra={"labels": ["Long jump"]})
    assert target(codec, truth) == "[[0, 10, 'Long jump']]"
    assert read(codec, target(codec, truth), truth) == [[0, 10]]
    with pytest.raises(ValueError, match="as many labels"):
        codec.encode(replace(truth, extra={}))


@pytest.mark.parametrize(
    "settings", [{"num_indices": 0}, {"replace_below": -1}, {"style": "seconds_floats", "parser": "calce"}]
)
def test_settings_out_of_range(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"codec\."):
        SecondsText(**settings)


def test_resolution() -> None:
    assert bound().resolution(sample(60)) == 0.5
    assert bound().resolution(sample(150)) == 1.5
    assert bound(style="frame_indices").resolution(sample(60)) == 1.0
    assert bound(style="seconds_floats", parser="mr_blip").resolution(sample()) == 0.0

"""Times as parts of the video: what is written, and what is read back."""

from __future__ import annotations

from lavis.common.registry import registry
from lavis.models.codecs.relative_text import RelativeText
from lavis.structures import ModelOutput, Moment, VideoSample

VIDEO = VideoSample("a", "a.mp4", "q", 116.6, [Moment(35, 58.3)])


def read(codec: RelativeText, text: str, of: VideoSample = VIDEO) -> list[list[float]]:
    return [m.to_list() for m in codec.decode(ModelOutput(text), of).moments]


def test_it_is_registered() -> None:
    assert registry.codecs.get("relative_text") is RelativeText


def test_integers_are_cut_as_in_the_original() -> None:
    codec, video = RelativeText(), VideoSample("a", "a.mp4", "q", 100)
    assert [codec.format_time(t, video) for t in (0.0, 29.0, 57.0, 100.0)] == ["0", "28", "56", "100"]
    assert [RelativeText(truncate=False).format_time(t, video) for t in (29.0, 57.0)] == ["29", "57"]
    assert codec.format_duration(video) == "100"
    assert codec.format_subtitle_time(-1, video) == "-1"


def test_fractions_pass_through_single_precision() -> None:
    codec = RelativeText("relative_floats")
    assert codec.format_time(2.5, VIDEO) == "0.019999999552965164"
    assert codec.format_duration(VIDEO) == "116.5999984741211"
    assert codec.format_times([0.0, 2.5, 110.9], VIDEO) == "0.0>0.02>117"  # the last frame is left out
    assert RelativeText().format_times([0.0, 2.5, 110.9], VIDEO) == "0>2>95>117"


def test_truth_is_converted_unless_it_is_relative_already() -> None:
    assert RelativeText().encode(VIDEO)[0].text == "[[30, 50]]"
    assert RelativeText("relative_floats").encode(VIDEO)[0].text == "[[0.3, 0.5]]"
    assert RelativeText(convert_targets=False).encode(VIDEO)[0].text == "[[35, 58.3]]"
    assert RelativeText().format_windows([Moment(35, 58.3)], VIDEO) == "[[30, 50]]"


def test_answers_come_back_in_seconds() -> None:
    assert read(RelativeText(), "[[30, 50], [90, 80]]") == [[34.98, 58.3], [93.28, 104.94]]
    assert read(RelativeText("relative_floats"), "[[0.3, 0.5]]") == [[34.98, 58.3]]
    assert read(RelativeText(), "nothing") == [[-1, -1]]
    assert read(RelativeText(malformed="whole_video"), "nothing") == [[0, 116.6]]
    assert read(RelativeText(clamp=True), "[[30, 500]]") == [[34.98, 116.6]]

"""Windows in words, as HawkEye's script checks them."""

from __future__ import annotations

from typing import Any

import pytest

from lavis.scoring.base import ScoringError
from lavis.scoring.protocols.direct_grounding import DirectGrounding
from lavis.scoring.scorer import score

GOLD = "From second 3.0 to second 9.0."


def row(pred: Any, **fields: Any) -> dict[str, Any]:
    return {"task_type": "t", "video_fname": "a.mp4", "video_secs": 24.0, "pred": pred, "gt_answer": GOLD, **fields}


@pytest.mark.parametrize(
    ("unit", "text", "span"),
    [
        ("frames", "From frame 2 to frame 5.", (4, 12)),
        ("frames", "from 1.5 to 4.5", (2, 12)),  # whole numbers: 1 and 5
        ("frames", "From frame 20 to frame 1.", (24, 4)),  # no further than the last
        ("frames", "frame 2", None),
        ("frames", "9" * 5000 + " 0", (24, 2)),
        ("seconds", "at 3.0 and 4.5 and 9.0", (3, 4.5)),
        ("seconds", "from 3 to 9", None),  # decimal numbers only
        ("seconds", "", None),
    ],
)
def test_spans_of_texts(unit: Any, text: str, span: tuple[float, float] | None) -> None:
    assert DirectGrounding(unit).span(text, 24.0) == span


def test_unreadable_texts_are_left_out_and_counted() -> None:
    report = score("direct_grounding", [row("From 3.0 to 9.0"), row("somewhere"), row("From 9.0 to 3.0")])
    assert report.headline == {"mIoU": 0.5, "R1@0.3": 0.5, "R1@0.5": 0.5, "R1@0.7": 0.5}
    assert (report.pairs.tally.unparseable, report.pairs.tally.out_of_range) == (1, 1)
    assert score("direct_grounding", [row("From 3.0 to 9.0"), row("x")], missing="zero").headline["mIoU"] == 0.5
    with pytest.raises(ScoringError, match="two decimal numbers"):
        score("direct_grounding", [row("From 3.0 to 9.0"), row("x")], missing="error")


def test_frames() -> None:
    report = score("direct_grounding", [row("From frame 2 to frame 5.")], unit="frames")
    assert report.headline["mIoU"] == pytest.approx(5 / 9)
    halved = score("direct_grounding", [row("From frame 2 to frame 5.")], unit="frames", num_frames=24)
    assert halved.headline["mIoU"] == pytest.approx(3 / 7)


@pytest.mark.parametrize("seconds", [None, "24", float("nan")])
def test_frames_need_the_length(seconds: Any) -> None:
    report = score("direct_grounding", [row("1 and 2"), row("1 and 2", video_secs=seconds)], unit="frames")
    assert report.pairs.tally.unparseable == 1


@pytest.mark.parametrize("options", [{"unit": "minutes"}, {"num_frames": 0}])
def test_bad_options(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="direct_grounding"):
        score("direct_grounding", [row("3.0 4.0")], **options)


@pytest.mark.parametrize("pred", [None, 3, ["3.0", "4.0"], {"a": 3}])
def test_other_things_than_text(pred: Any) -> None:
    assert score("direct_grounding", [row("3.0 9.0"), row(pred)]).pairs.tally.unparseable == 1

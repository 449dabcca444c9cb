from __future__ import annotations

import json
from pathlib import Path

import pytest

from lavis.common.registry import registry
from lavis.scoring.captions.tools import captions_available
from lavis.scoring.protocols import dense_captioning
from lavis.scoring.scorer import score
from lavis.structures import Moment, Prediction, VideoSample
from lavis.tasks.dense_captioning import DenseCaptioning

SAMPLES = [
    VideoSample(
        "a",
        "a.mp4",
        "",
        60.0,
        [Moment(0, 20), Moment(20, 60)],
        extra={"captions": ["A man cooks.", "He eats the soup."]},
    ),
    VideoSample("b", "b.mp4", "", 30.0, [Moment(5, 12)], extra={"captions": ["A dog runs."]}),
]
PREDICTIONS = [
    Prediction("a", [Moment(0, 18), Moment(20, 60)], captions=["A man is cooking.", "He eats."]),
    Prediction("b", [], "From 5 to 12, A dog runs."),
]


@pytest.fixture
def no_java(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dense_captioning, "captions_available", lambda: "Java is absent")


def test_captions_or_text_are_scored(no_java: None) -> None:
    figures = DenseCaptioning().evaluate(SAMPLES, PREDICTIONS)
    assert figures == {"Recall": 93.75, "Precision": 93.75, "F1": 93.75, "total": 2}


def test_names_are_known_before_the_predictions(no_java: None) -> None:
    assert DenseCaptioning().names(SAMPLES) == {"Recall", "Precision", "F1", "total"}


def test_samples_without_truth_are_only_counted() -> None:
    unknown = [VideoSample("a", "a.mp4", "", 60.0)]
    assert DenseCaptioning().evaluate(unknown, [Prediction("a", [])]) == {"total": 1}


def test_truth_without_captions_is_refused(no_java: None) -> None:
    silent = [VideoSample("a", "a.mp4", "", 60.0, [Moment(0, 20)])]
    with pytest.raises(ValueError, match=r"sample a has no captions \(extra\['captions'\]"):
        DenseCaptioning().evaluate(silent, [Prediction("a", [])])


def test_result_rows_are_read_by_the_protocol(no_java: None, tmp_path: Path) -> None:
    rows = DenseCaptioning().result_rows(SAMPLES, PREDICTIONS)
    path = tmp_path / "results.json"
    path.write_text(json.dumps(rows))
    truth = {
        s.id: {"timestamps": [m.to_list() for m in s.moments or ()], "sentences": s.extra["captions"]} for s in SAMPLES
    }
    assert score("dense_captioning", path, truth).headline["F1"] == 93.75


def test_words_are_scored_where_java_is_there() -> None:
    reason = captions_available()
    if reason:
        pytest.skip(reason)
    metric = registry.metrics.get("dense_captioning")(variant="mmduet", corrected=True)
    figures = DenseCaptioning([metric]).evaluate(SAMPLES, PREDICTIONS)
    assert figures["SODA_c_2"] > 0 and figures["SODA_c_corrected"] > 0

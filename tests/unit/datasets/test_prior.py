"""Joining earlier predictions by id."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lavis.datasets.prior import PriorError, join_priors, read_priors
from lavis.structures import Moment, Prediction, VideoSample


def sample(identity: str, **extra: Any) -> VideoSample:
    return VideoSample(identity, "v", "q", 20, extra=extra)


def test_both_kinds_of_files(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "val.jsonl", tmp_path / "val_epochbest.json"
    predictions = [Prediction("a", [Moment(1, 5, 0.9), Moment(7, 9)]), Prediction("b", [])]
    ours.write_text("".join(json.dumps(p.to_json()) + "\n" for p in predictions))
    theirs.write_text(
        json.dumps(
            [{"qid": "a", "pred_windows": [[1, 5]], "raw_pred_windows": "[[1, 5]]", "query": "q", "duration": 9}]
        )
    )
    assert read_priors(ours) == {"a": [Moment(1, 5, 0.9), Moment(7, 9)], "b": []}
    assert read_priors(theirs) == {"a": [Moment(1, 5)]}
    assert type(read_priors(theirs)["a"][0].start) is int


def test_last_of_repeated_rows_counts(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "a.json"
    rows = [{"qid": "a", "pred_windows": w} for w in ([[1, 5]], [[1, 5]])]
    file.write_text(json.dumps(rows))
    with caplog.at_level(logging.WARNING):
        read_priors(file)
        assert caplog.text == ""
        file.write_text(json.dumps([*rows, {"qid": "a", "pred_windows": [[2, 3]]}]))
        assert read_priors(file) == {"a": [Moment(2, 3)]}
    assert "1 ids have several different predictions (such as a)" in caplog.text


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.jsonl", "", r"holds no predictions"),
        ("a.json", "[]", r"holds no predictions"),
        ("a.json", "{}", r"must hold a list of predictions, got dict"),
        ("a.json", "[3]", r"row 1: is no prediction but 3"),
        ("a.json", '[{"qid": "a"}]', r"row 1: a prediction needs 'id' and 'moments'"),
        ("a.json", '[{"qid": "a", "pred_windows": [[5, 1]]}]', r"row 1: prediction a: moment ends before it starts"),
        ("a.jsonl", '{"id": "a", "moments": []}\n{"id"', r"a.jsonl, line 2"),
    ],
)
def test_bad_files(tmp_path: Path, name: str, text: str, message: str) -> None:
    file = tmp_path / name
    file.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_priors(file)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(PriorError, match=r"there are no predictions .*Run the earlier stage"):
        read_priors(tmp_path / "none.jsonl")


def test_join() -> None:
    priors = {"a": [Moment(1, 2)], "b": [], "b#1": [Moment(3, 4)], "unused": []}
    samples = [sample("a"), sample("b#0", original_id="b"), sample("b#1", original_id="b")]
    joined = join_priors(samples, priors, "p.jsonl")
    assert joined == [replace(s, prior=p) for s, p in zip(samples, [[Moment(1, 2)], [], [Moment(3, 4)]], strict=True)]


def test_join_stops_on_missing_ids() -> None:
    samples = [sample(f"QVHighlight_{i}") for i in range(6)]
    with pytest.raises(
        PriorError,
        match=r"p.jsonl: no prediction for 5 of 6 samples, such as QVHighlight_1, QVHighlight_2, QVHighlight_3; "
        r"the file has ids such as QVHighlight_0",
    ):
        join_priors(samples, {"QVHighlight_0": []}, "p.jsonl")

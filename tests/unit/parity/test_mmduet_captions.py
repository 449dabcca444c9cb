"""Recorded evaluations of dense captioning are found by their form, whatever the files are called."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.parity_cases.mmduet_captions import cases

GOLD = [{"question_id": "q", "answer": [{"content": "cut. mix", "time": [0, 5]}, {"content": "fry", "time": [5, 9]}]}]
RECORDED: dict[str, Any] = {
    "error": None,
    "stdout": [],
    "reformatted_pred": {"q": [{"timestamp": [0.0, 4.5], "caption": "cut"}]},
    "reformatted_gold": {"annotations": [{"image_id": "q", "segments": [[0, 5], [5, 9]], "pure_cap": "cut, mix. fry"}]},
    "para_inputs": [["cut"], [["cut, mix. fry."]]],
    "predicted_segments": [[[0.0, 4.5]]],
    "gt_segments": [[[0, 5], [5, 9]]],
    "predicted_captions": [["cut"]],
    "gt_captions": [["cut, mix.", "fry."]],
    "keys": ["q"],
}
ANSWER = {"question_id": "q", "model_response": "0.0 - 4.5 seconds, cut", "video_duration": 9.0}


def written(folder: Path, files: dict[str, Any]) -> dict[str, Any]:
    (folder / "metrics").mkdir()
    for name, content in files.items():
        (folder / "metrics" / name).write_text(json.dumps(content))
    return dict(cases(folder))


def test_a_variant_with_its_own_predictions(tmp_path: Path) -> None:
    files = {"dvc_gold.json": GOLD, "dvc_text_pred.jsonl": ANSWER, "dvc_text_result.json": RECORDED}
    found = written(tmp_path, files)
    assert found["metrics/dvc_text_result reading"]() == 0.0
    assert found["metrics/dvc_text_result inputs"]() == 0.0
    assert {"metrics/dvc_text_result printed", "metrics/dvc_text_result per video and paragraphs"} <= set(found)


def test_percents_where_the_name_says_so(tmp_path: Path) -> None:
    answer = {**ANSWER, "model_response": "From 0 to 50, cut"}
    files = {"dvc_gold.json": GOLD, "dvc_vtimellm_pred.jsonl": answer, "dvc_vtimellm_result.json": RECORDED}
    assert written(tmp_path, files)["metrics/dvc_vtimellm_result reading"]() == 0.0


def test_a_difference_is_told(tmp_path: Path) -> None:
    wrong = {**RECORDED, "gt_captions": [["cut, mix.", "boil."]]}
    with pytest.raises(AssertionError, match="gt_captions"):
        written(tmp_path, {"dvc_result.json": wrong})["metrics/dvc_result inputs"]()


def test_several_results_in_one_file(tmp_path: Path) -> None:
    found = written(tmp_path, {"dvc_variants.json": {"plain": RECORDED, "other": RECORDED}})
    assert found["metrics/dvc_variants plain inputs"]() == 0.0


def test_an_evaluation_that_stopped(tmp_path: Path) -> None:
    files = {
        "dvc_bad_pred.jsonl": {"question_id": "z"},
        "dvc_gold.json": GOLD,
        "dvc_bad_result.json": {"error": "KeyError"},
    }
    assert written(tmp_path, files)["metrics/dvc_bad_result (the original stops)"]() == 0.0


def test_a_result_of_unknown_form_is_no_silence(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="no check is written"):
        written(tmp_path, {"dvc_new_result.json": {"figures": 1}})["metrics/dvc_new_result"]()

"""The cases of MMDuet's metrics take files of every form that its folder describes, and find what differs."""

from __future__ import annotations

import json
import unittest
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.parity_cases import mmduet_frames, mmduet_magqa

Row = dict[str, Any]


def lines(path: Path, rows: list[Row]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def frames(identity: str | int, scores: list[float | None], key: str = "video_time", plain: bool = False) -> Row:
    entries: list[Row] = []
    for i, score in enumerate(scores):
        given = {} if score is None else {"relevance_score": score if plain else [1 - score, score]}
        entries.append({key: i * 0.5, **given})
    return {"question_id": identity, "debug_data": entries}


def swept(rows: list[Row], spans: dict[str, list[list[float]]]) -> list[Row]:
    """The sweep of grounding in plain Python."""
    found = []
    for window in range(15):
        for threshold in np.arange(0.30, 0.71, 0.02).tolist():
            ious = [overlap(row, spans[row["question_id"]], window, threshold) for row in rows]
            recalls = [100 * np.mean([iou >= level for iou in ious]) for level in (0.3, 0.5, 0.7)]
            scores = [float(value) for value in (100 * np.mean(ious), *recalls)]
            found.append({"smooth_window_size": window, "threshold": threshold, "scores": scores})
    return found


def overlap(row: Row, spans: list[list[float]], window: int, threshold: float) -> float:
    values = [entry.get("relevance_score", [1, 0])[1] for entry in row["debug_data"]]
    smooth = [np.mean(values[max(0, i - window) : i + window + 1]) for i in range(len(values))]
    low, width = min(smooth), max(smooth) - min(smooth)
    taken = {i for i, value in enumerate(smooth) if width and (value - low) / width >= threshold}
    true = {i for i in range(len(values)) if any(start <= i * 0.5 <= end for start, end in spans)}
    return len(taken & true) / len(taken | true) if taken | true else 0


@pytest.fixture
def golden(tmp_path: Path) -> Path:
    folder = tmp_path / "metrics"
    folder.mkdir()
    spans = {name: [[2.0, 5.0]] for name in ("a", "b", "c")}
    gold = [{"question_id": name, "video": f"{name}.mp4", "timestamps": spans[name]} for name in spans]
    (folder / "grounding_gold.json").write_text(json.dumps(gold))
    rng = np.random.default_rng(0)
    noise = [rng.random(20).round(3).tolist() for _ in range(3)]
    files = {
        "const": [frames("a", [0.5] * 20), frames("b", [0.1] * 20), frames("c", noise[0])],
        "missing_score": [frames("a", [None, *noise[0][1:]]), frames("b", [None] * 20), frames("c", noise[1])],
    }
    summary: Row = {}
    for name, rows in files.items():
        lines(folder / f"grounding_{name}_pred.jsonl", rows)
        (folder / f"grounding_{name}_result.json").write_text(json.dumps(swept(rows, spans)))
        summary[f"grounding_{name}"] = {"returncode": 0}
    bad = {
        "empty_debug": (frames("a", []), "ValueError: max() arg is an empty sequence"),
        "unknown_qid": (frames("nope", noise[0]), "KeyError: 'nope'"),
        "inference_schema": (frames("a", noise[0], key="time", plain=True), "KeyError: 'video_time'"),
    }
    for name, (row, error) in bad.items():
        lines(folder / f"grounding_bad_{name}_pred.jsonl", [row])
        summary[f"grounding_bad_{name}"] = {"returncode": 1, "error": error}
    rated = {"vid": "v", "duration": 20, "relevant_clip_ids": [2, 3], "saliency_scores": [[4, 4, 4]] * 2}
    lines(folder / "qvh_gold.jsonl", [{"qid": 1, **rated}, {"qid": 2, **rated}])
    said = {"model_response": ["3.5 - 7.5 seconds"], "video_duration": 20.0}
    lines(folder / "qvh_baseline_pred.jsonl", [{"question_id": 1, **said}, {"question_id": 2, **said}])
    figures = [(f"HL-min-{level}-{kind}", 100.0) for level in ("Fair", "Good", "VeryGood") for kind in ("mAP", "Hit1")]
    summary["qvh_baseline"] = {"returncode": 0, "stdout_tail": f"OrderedDict([('brief', OrderedDict({figures}))])"}
    (folder / "summary_frames.json").write_text(json.dumps(summary))
    batches(folder)
    return tmp_path


def batches(folder: Path) -> None:
    """A batch of requests, its results (whole numbers, and not), and the lines made of them."""
    answer = {"question_id": "x*1", "conversation": [{"content": "q?"}], "answer": [{"content": "A", "time": [0, 3]}]}
    (folder / "magqa_gold.json").write_text(json.dumps([answer]))
    turns = [{"role": "assistant", "time": time, "content": text} for time, text in ((1, "p"), (2, "r"), (3, "p"))]
    lines(folder / "magqa_pred.jsonl", [{"question_id": "x*1", "model_response_list": turns}])
    requests, ids = [], ["x*1*0*0,2", "x*1*0*1"]
    for custom_id, text in zip(ids, "pr", strict=True):
        user = f"Question: q?\nGround Truth Answer: A\nPredicted Answer: {text}"
        messages = [{"role": "system", "content": "Rate it."}, {"role": "user", "content": user}]
        body = {"model": "judge", "messages": messages}
        requests.append({"custom_id": custom_id, "method": "POST", "url": "/v1/chat/completions", "body": body})
    lines(folder / "magqa_openai_input.jsonl", requests)
    for name, replies in (("output", "52"), ("nonint", ("5", "2."))):
        bodies = [{"body": {"choices": [{"message": {"content": reply}}]}} for reply in replies]
        rows = [{"custom_id": i, "response": body} for i, body in zip(ids, bodies, strict=True)]
        lines(folder / f"magqa_openai_{name}.jsonl", rows)
    judged = {"question_id": "x*1", "model_response_list": turns, "evaluator_output": [[5.0, 2.0, 5.0]]}
    lines(folder / "magqa_openai_eval.jsonl", [{**judged, "answer": ["A"], "answer_time": [[0, 3]]}])
    printed = {"returncode": 0, "last_line": "2.0 & 1.0/0.67 & \\"}
    (folder / "summary_magqa.json").write_text(json.dumps({"analyze_openai_num3": printed}))


def test_every_form_is_taken(golden: Path) -> None:
    found = dict(mmduet_frames.cases(golden))
    assert len(found) == 8
    assert {name: compare() for name, compare in found.items()} == dict.fromkeys(found, 0.0)
    found = dict(mmduet_magqa.cases(golden))
    assert len(found) == 4
    assert {name: compare() for name, compare in found.items()} == dict.fromkeys(found, 0.0)


def test_differences_are_found(golden: Path) -> None:
    folder = golden / "metrics"
    result = folder / "grounding_const_result.json"
    rows = json.loads(result.read_text())
    rows[200]["scores"][0] += 1e-6
    result.write_text(json.dumps(rows))
    with pytest.raises(AssertionError, match="row 200"):
        dict(mmduet_frames.cases(golden))["metrics/grounding_const_result.json"]()
    judged = folder / "magqa_openai_eval.jsonl"
    judged.write_text(judged.read_text().replace("[[5.0, 2.0, 5.0]]", "[[5.0, 2.0, 4.0]]"))
    with pytest.raises(AssertionError, match="evaluator_output"):
        dict(mmduet_magqa.cases(golden))["metrics/magqa_openai_output.jsonl"]()
    with pytest.raises(AssertionError, match="instead of"):
        dict(mmduet_magqa.cases(golden))["metrics/magqa analyze_openai_num3"]()
    judged.unlink()
    with pytest.raises(unittest.SkipTest):
        dict(mmduet_magqa.cases(golden))["metrics/magqa analyze_openai_num3"]()

"""Rows of grounding by similarities: MeCo's fields, read again by the scorer with the figures of the evaluation."""

from __future__ import annotations

import numpy as np
import pytest

from lavis.common.construct import build_part
from lavis.common.registry import registry
from lavis.scoring.scorer import score
from lavis.structures import Moment, Prediction, VideoSample
from lavis.tasks.base import build_task

FIELDS = ["qid", "query", "vid", "duration", "relevant_windows", "a", "ent_inds", "tst_inds", "vl_sims", "scale"]


def predictions(count: int, frames: int) -> list[Prediction]:
    """Answers with one or two events and a transition; the last has no token at all."""
    draws = np.random.default_rng(0)
    found = []
    for i in range(count):
        events, transitions = ([3, 9], [5]) if i % 2 else ([4], [])
        if i == count - 1:
            events, transitions = [], []
        rows = draws.uniform(-1, 1, (len(events) + len(transitions), frames)).round(3).tolist()
        details = {"ent_inds": events, "tst_inds": transitions, "vl_sims": rows, "scale": 14.5}
        found.append(Prediction(f"c_{i}", [Moment(0, frames, 0.0)], "it opens<ent>", details=details))
    return found


def samples(count: int, frames: int, saliency: bool = False) -> list[VideoSample]:
    ratings = [[i % 5, 4 - i % 5, 3] for i in range(frames // 2)]
    return [
        VideoSample(f"c_{i}", f"videos/v{i}.mp4", "a door opens", frames, [Moment(i, i + 6)],
                    saliency=ratings if saliency else None)
        for i in range(count)
    ]  # fmt: skip


@pytest.mark.parametrize("compare", [True, False])
@pytest.mark.parametrize("protocol", ["meco_charades", "meco_qvhighlights"])
def test_rows_have_the_figures_of_the_evaluation(protocol: str, compare: bool) -> None:
    asked = samples(9, 20, saliency=protocol == "meco_qvhighlights")
    answers = predictions(9, 20)
    task = build_task({"name": "similarity_grounding", "metrics": [{"name": protocol, "compare_tokens": compare}]})
    rows = task.result_rows(asked, answers)
    more = ["relevant_clip_ids", "saliency_scores"] if protocol == "meco_qvhighlights" else []
    assert sorted(rows[0]) == sorted(FIELDS + more)
    assert rows[0]["vid"] == "v0"
    report = score(protocol, rows, compare_tokens=compare)
    assert {**report.headline, "total": 9} == task.evaluate(asked, answers)
    assert any(name.startswith("HL") for name in report.headline) is bool(more)


def test_windows_where_there_are_no_similarities() -> None:
    asked = samples(2, 20)
    answers = [Prediction(s.id, [Moment(1, 4), Moment(5, 9, 0.5)], "1 - 4") for s in asked]
    task = build_task("similarity_grounding")
    rows = task.result_rows(asked, answers)
    assert rows[0]["pred_relevant_windows"] == [[1, 4, 1.0], [5, 9, 0.5]]
    assert {**score("meco_charades", rows).headline, "total": 2} == task.evaluate(asked, answers)


def test_a_split_without_truth() -> None:
    sample = VideoSample("c_0", "v.mp4", "q", 20)
    (row,) = build_task("similarity_grounding").result_rows([sample], predictions(2, 20)[:1])
    assert "relevant_windows" not in row


def test_threshold_and_suppression_reach_the_protocol() -> None:
    metric = build_part(registry.metrics, {"name": "meco_charades", "threshold": 0.2, "nms": 0.3}, "metric")
    assert (metric.protocol.threshold, metric.protocol.nms, metric.protocol.compare_tokens) == (0.2, 0.3, True)

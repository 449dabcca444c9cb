"""The protocol ``meco_charades``: comparison and growth as its path decides in the original, scale, and its ranges."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lavis.scoring.base import ScoringError
from lavis.scoring.scorer import score

Row = dict[str, Any]


def record(qid: int, event: list[float], transition: list[float], window: list[float], **fields: Any) -> Row:
    return {
        "qid": qid,
        "vid": f"v{qid}",
        "query": "a person sits",
        "duration": 9.7,
        "relevant_windows": [window],
        "a": "he sits<ent><tst>",
        "ent_inds": [4],
        "tst_inds": [5],
        "vl_sims": [event, transition],
        "scale": 14.285714,
        **fields,
    }


ROWS = [
    record(1, [0, 0, 0.8, 0.9, 1, 0.9, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0.95, 1, 0, 0, 0], [1.2, 5.0]),
    record(2, [0, 1, 0.9, 0, 0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0, 0, 0, 1, 1], [0.4, 3.3]),
]


def windows(**options: Any) -> list[list[float]]:
    return [answer.windows[0, :2].tolist() for answer in score("meco_charades", ROWS, **options).pairs.answers]


def test_tokens_are_compared_and_runs_grow() -> None:
    assert windows() == [[1, 5], [0, 3]]


def test_they_are_not_where_the_path_lacks_the_word() -> None:
    assert windows(compare_tokens=False) == [[2, 5], [1, 2]]
    assert windows(compare_tokens=False) == [
        answer.windows[0, :2].tolist() for answer in score("meco_qvhighlights", ROWS).pairs.answers
    ]


def test_figures() -> None:
    found = score("meco_charades", ROWS)
    ious = np.array([3.8 / 4, 2.6 / 3.3])
    assert found.headline["MR-full-mIoU"] == pytest.approx(100 * ious.mean(), abs=0.005)
    assert found.headline["MR-full-R1@0.7"] == 100
    assert list(found.figures) == ["brief", "full", "long", "middle", "short"]
    assert found.figures["long"] == found.figures["full"]
    assert set(found.scored.estimates) == set(found.headline)
    assert list(found.headline) == sorted(found.headline)


def test_no_highlights_though_there_are_clip_scores() -> None:
    found = score("meco_charades", ROWS)
    assert all(answer.clips is not None for answer in found.pairs.answers)
    assert not any(name.startswith("HL") for name in found.headline)


def test_scores_are_probabilities() -> None:
    answer = score("meco_charades", ROWS).pairs.answers[1]
    assert 0 < answer.windows[0, 2] < 1


def test_records_of_the_published_script_lack_a_scale() -> None:
    rows = [{key: value for key, value in row.items() if key != "scale"} for row in ROWS]
    with pytest.raises(ScoringError, match=r"2 unparseable[\s\S]*'scale' is missing.*set option scale"):
        score("meco_charades", rows)
    assert score("meco_charades", rows, scale=14.285714).figures == score("meco_charades", ROWS).figures


def test_our_own_predictions() -> None:
    ours = [{"id": "1", "moments": [[1, 5, 0.9]]}, {"id": "2", "moments": [[0, 3]]}]
    assert score("meco_charades", ours, ROWS).figures == score("meco_charades", ROWS).figures


def test_a_query_without_an_answer_is_missed_or_stops_the_scoring() -> None:
    with pytest.raises(ScoringError, match="1 missing"):
        score("meco_charades", ROWS[:1], ROWS)
    found = score("meco_charades", ROWS[:1], ROWS, missing="zero")
    assert found.headline["MR-full-R1@0.3"] == 50


def test_windows_outside_the_video_are_counted() -> None:
    ours = [{"id": 1, "moments": [[-1, 5]]}, {"id": 2, "moments": [[3, 1]]}]
    found = score("meco_charades", ours, ROWS)
    assert found.pairs.tally.counts()["out_of_range"] == 2
    assert found.headline["MR-full-R1@0.7"] == 0

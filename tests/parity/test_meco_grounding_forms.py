"""Cases of MeCo's grounding are found by their form, also those of files that are not beside every checkout."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lavis.scoring.base import Row as ScoringRow
from lavis.scoring.meco.structural_tokens import boundaries, read_structural_tokens
from lavis.scoring.scorer import score
from tests.parity_cases.meco_grounding import cases

Row = dict[str, Any]


def rows() -> list[Row]:
    source = np.random.default_rng(0)
    made = []
    for number in range(12):
        start = float(source.integers(0, 15))
        made.append(
            {
                "qid": number,
                "vid": f"v{number}",
                "duration": 30.5,
                "relevant_windows": [[start, start + float(source.integers(3, 15)) + 0.3]],
                "a": "x<ent>y<ent>",
                "ent_inds": [4, 9],
                "tst_inds": [2],
                "vl_sims": source.normal(0, 0.3, (3, 31)).round(6).tolist(),
                "scale": 14.285714,
            }
        )
    return made


def result(made: list[Row], **options: Any) -> Row:
    found = score("meco_charades", made, **options)
    samples = [
        {"qid": int(a.id), "pred_relevant_windows": a.windows.tolist(), "pred_saliency_scores": a.clips.tolist()}
        for a in found.pairs.answers
    ]
    return {"error": None, "metrics": found.figures, "per_sample": samples}


@pytest.fixture
def charades(tmp_path: Path) -> Path:
    folder = tmp_path / "metrics" / "charades"
    folder.mkdir(parents=True)
    made = rows()
    results = {
        "preds": made,
        "result": result(made),
        "result_other_path": result(made, compare_tokens=False),
        "result_nms0.3_th0.5": result(made, nms=0.3),
        "result_no_scale": {"error": "KeyError: 'scale'", "metrics": None, "per_sample": None},
    }
    for name, content in results.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return folder


def found(folder: Path) -> dict[str, Callable[[], float]]:
    return dict(cases(folder.parent.parent))


def test_every_result_of_a_folder_is_a_case(charades: Path) -> None:
    listed = found(charades)
    assert sorted(listed) == [
        "charades/result",
        "charades/result_nms0.3_th0.5",
        "charades/result_no_scale",
        "charades/result_other_path",
    ]
    assert [case() for case in listed.values()] == [0, 0, 0, 0]


def test_a_figure_in_the_last_digit_fails(charades: Path) -> None:
    for name in ("result", "result_other_path"):
        content = json.loads((charades / f"{name}.json").read_text())
        content["metrics"]["full"]["MR-R5"]["0.3"] += 0.01
        (charades / f"{name}.json").write_text(json.dumps(content))
        with pytest.raises(AssertionError, match=r"full\.MR-R5\.0\.3"):
            found(charades)[f"charades/{name}"]()


def test_a_window_of_one_sample_fails(charades: Path) -> None:
    content = json.loads((charades / "result.json").read_text())
    content["per_sample"][3]["pred_relevant_windows"][0][2] += 1e-5
    (charades / "result.json").write_text(json.dumps(content))
    with pytest.raises(AssertionError, match="pred_relevant_windows differs"):
        found(charades)["charades/result"]()


@pytest.mark.parametrize("change", [{"qid": 4}, {"pred_saliency_scores": [float("nan")] * 15}])
def test_a_sample_told_twice_or_without_a_number_fails(charades: Path, change: Row) -> None:
    content = json.loads((charades / "result.json").read_text())
    content["per_sample"][3] |= change
    (charades / "result.json").write_text(json.dumps(content))
    with pytest.raises(AssertionError, match="samples of|pred_saliency_scores differs"):
        found(charades)["charades/result"]()


def test_the_plain_result_must_hold_with_the_defaults(charades: Path) -> None:
    (charades / "result_other_path.json").rename(charades / "result.json")
    with pytest.raises(AssertionError):
        found(charades)["charades/result"]()


def test_unknown_rows_fail_loudly(charades: Path) -> None:
    (charades / "preds.json").write_text('[{"surprise": 1}]')
    with pytest.raises(AssertionError, match="surprise"):
        found(charades)["charades/result"]()


def recorded(row: Row, **options: Any) -> list[Any]:
    made = boundaries(read_structural_tokens(ScoringRow(row, 0, "row")), **options)
    return [made.boxes.tolist(), [c.tolist() for c in made.confidences], made.events.tolist()]


def edge_cases(folder: Path, content: Row) -> dict[str, Callable[[], float]]:
    (folder.parent / "edge_cases.json").write_text(json.dumps(content))
    return {name: case for name, case in found(folder).items() if name.startswith("edge")}


def test_edge_cases_in_several_layouts(charades: Path) -> None:
    row = {key: rows()[0][key] for key in ("ent_inds", "tst_inds", "vl_sims", "scale")}
    boxes, confidences, events = recorded(row)
    listed = edge_cases(
        charades,
        {
            "gb_flat": {**row, "boundary": boxes, "confidence": confidences, "inds": events},
            "gb_nested": {"input": row, "out": [boxes, confidences, events]},
            "gb_options": {"args": {**row, "th": 0.5, "nms_th": 0.3}, "out": recorded(row, threshold=0.5, nms=0.3)},
            "gb_no_tokens": [[], [], []],
            "gb_several": [{**row, "out": [boxes, confidences, events]}] * 2,
            "other": {"left": "alone"},
        },
    )
    assert len(listed) == 5
    assert [case() for case in listed.values()] == [0, 0, 0, 0, 0]


@pytest.mark.parametrize("content", [3, {"what": 1}, {"vl_sims": [[0, 1, 0]], "ent_inds": [0], "scale": 1, "odd": 2}])
def test_edge_cases_that_cannot_be_read_fail_loudly(charades: Path, content: Any) -> None:
    with pytest.raises(AssertionError, match="gb_odd"):
        edge_cases(charades, {"gb_odd": content})["edge_cases gb_odd"]()

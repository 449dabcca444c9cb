"""The cases of CALCE's recorded figures are found by the form of their files, also of files that come later."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lavis.scoring.scorer import score
from tests.parity_cases.calce_metrics import cases

ROWS: list[dict[str, Any]] = [
    {
        "qid": f"QVHighlight_{n}",
        "pred_relevant_windows": [[10, 20 + n, 0.2], [60, 90, 0.9]],
        "pred_saliency_scores": [0.1 * clip for clip in range(75)],
        "relevant_windows": [[10, 20], [60, 85 + n]],
    }
    for n in range(3)
]
TRUTH = [
    {
        **{key: row[key] for key in ("qid", "relevant_windows")},
        "duration": 150,
        "relevant_clip_ids": [5, 40],
        "saliency_scores": [[4, 3, 2], [1, 2, 4]],
    }
    for row in ROWS
]


def recorded() -> dict[str, Any]:
    """A file as the official evaluator's outputs are described: inputs, its output, and that with constant scores."""
    constant = [
        {
            "qid": row["qid"],
            "pred_relevant_windows": [[*window[:2], 1.0] for window in row["pred_relevant_windows"]],
        }
        for row in ROWS
    ]
    return {
        "submission": ROWS,
        "ground_truth": TRUTH,
        "expected": score("qvhighlights", ROWS, TRUTH).figures,
        "expected_constant_scores": score("qvhighlights", constant, TRUTH).figures,
    }


def outcomes(folder: Path, content: Any) -> dict[str, Any]:
    unit = folder / "golden" / "calce" / "unit"
    unit.mkdir(parents=True, exist_ok=True)
    (unit / "metrics_official.json").write_text(json.dumps(content))
    return dict(cases(folder / "golden" / "calce"))


@pytest.fixture(autouse=True)
def _no_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LAVIS_TEST_DATA", raising=False)


def test_official_outputs(tmp_path: Path) -> None:
    found = outcomes(tmp_path, recorded())
    assert sorted(found) == ["unit/metrics_official expected", "unit/metrics_official expected_constant_scores"]
    assert [case() for case in found.values()] == [0.0, 0.0]


def layouts() -> dict[str, Any]:
    """The same inputs and outputs, laid out otherwise."""
    flat = recorded()
    inputs = {key: flat[key] for key in ("submission", "ground_truth")}
    scored, constant = flat["expected"], flat["expected_constant_scores"]
    return {
        "outputs together": {**inputs, "expected": {"scores": scored, "constant_scores": constant}},
        "inputs and outputs": {"inputs": inputs, "outputs": {"scores": scored, "constant_scores": constant}},
        "cases by name": {
            "scores": {**inputs, "expected": scored},
            "constant_scores": {**inputs, "expected": constant},
        },
        "a list of cases": [
            {"name": "scores", **inputs, "expected": scored},
            {"name": "constant_scores", **inputs, "expected": constant},
        ],
    }


@pytest.mark.parametrize("name", layouts())
def test_other_layouts(tmp_path: Path, name: str) -> None:
    content = layouts()[name]
    assert [case() for case in outcomes(tmp_path, content).values()] == [0.0, 0.0]
    text = json.dumps(content).replace('"HL-mAP": ', '"HL-mAP": 1')
    with pytest.raises(AssertionError, match="HL-mAP"):
        next(iter(outcomes(tmp_path, json.loads(text)).values()))()


def test_a_figure_that_differs_is_found(tmp_path: Path) -> None:
    content = recorded()
    content["expected"]["HL-min-Good"]["HL-mAP"] += 0.01
    with pytest.raises(AssertionError, match="HL-min-Good.HL-mAP"):
        outcomes(tmp_path, content)["unit/metrics_official expected"]()


def test_a_file_of_unknown_form_is_a_failing_case(tmp_path: Path) -> None:
    (case,) = outcomes(tmp_path, {"something": 1}).values()
    with pytest.raises(AssertionError, match="no check is written"):
        case()

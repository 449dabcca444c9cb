"""Dense captioning by the evaluators that VTimeLLM ships, as recorded for Grounded-VideoLLM."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lavis.scoring.base import Estimate
from lavis.scoring.captions.soda import assignment
from lavis.scoring.scorer import ScoreReport, score
from tests.parity_cases.mmduet_captions import close, need_java

Case = tuple[str, Callable[[], float]]


def cases(golden: Path) -> Iterator[Case]:
    """All files with stories, predictions and their figures."""
    for path in sorted(golden.glob("metrics_dense_captioning*.json")):
        content = json.loads(path.read_text())
        for number, case in enumerate(content.get("dp_assignment", ())):
            yield f"{path.stem} assignment {number}", lambda case=case: _assignment(case)
        if "eval_dvc" in content:
            yield f"{path.stem} figures", lambda content=content: _figures(content)
            yield f"{path.stem} localisation without words", lambda content=content: _localisation(content)
        if "soda_c_single_video" in content:
            yield f"{path.stem} SODA_c of single videos", lambda content=content: _single(content)


def _assignment(case: Mapping[str, Any]) -> float:
    best, pairs = assignment(np.array(case["matrix"], dtype=float))
    assert [list(pair) for pair in pairs] == case["pairs"], f"matches {pairs} instead of {case['pairs']}"
    return close([best], [case["max"]], "the sum of the matches")


def _scored(content: Mapping[str, Any]) -> ScoreReport:
    return score("dense_captioning", content["pred"], content["gt"])


def _figures(content: Mapping[str, Any]) -> float:
    """The random words of the original need no drawing again: any word gives these figures."""
    need_java()
    recorded = {"soda_c": content["soda_c"], **content["eval_dvc"]}
    ours = _scored(content).figures
    assert list(ours) == list(recorded), f"{list(ours)} instead of {list(recorded)}"
    return close(list(ours.values()), list(recorded.values()), "figures")


def _localisation(content: Mapping[str, Any]) -> float:
    figures = _scored(content).figures
    names = [name for name in content["eval_dvc"] if name.startswith(("Recall", "Precision", "F1"))]
    return close([figures[name] for name in names], [content["eval_dvc"][name] for name in names], "localisation")


def _single(content: Mapping[str, Any]) -> float:
    need_java()
    report = _scored(content)
    soda = report.scored.estimates["soda_c"]
    assert isinstance(soda, Estimate)
    ours = dict(zip(report.pairs.ids, soda.values, strict=True))
    recorded = content["soda_c_single_video"]
    return close([ours[name] for name in recorded], list(recorded.values()), "SODA_c")

"""Recorded figures of the project's and the official evaluator, equal to the last digit."""

from __future__ import annotations

import itertools
import json
import os
import unittest
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from lavis.scoring.scorer import score

Case = tuple[str, Callable[[], float]]
Row = dict[str, Any]
Keys = tuple[str, ...]


def cases(golden: Path) -> Iterator[Case]:
    """All cases of a folder: for each recorded result the one evaluator whose form it has."""
    unit = golden / "unit"
    for path in sorted(unit.glob("metrics_*.json")):
        content = json.loads(path.read_text())
        name = f"unit/{path.stem}"
        inside = list(parts(content))
        if "shipped" in path.stem:
            for file, results in content.items():
                for kind, recorded in results.items():
                    yield f"{name} {file} {kind}", _shipped(golden, file, kind, recorded)
        elif any(_is_submission(part) for _, part in inside):
            yield from _given(name, inside)
        elif "iou_thresholds" in content:
            yield name, lambda content=content: _listed(unit, content)
        else:
            yield name, _unknown(name, content)
    folder = data_folder(golden)
    if folder is not None and (folder / "qvhighlights" / "sample_val_preds.jsonl").is_file():
        yield "qvhighlights sample_val_preds (official)", lambda: official_sample(folder)


def parts(content: Any, keys: Keys = ()) -> Iterator[tuple[Keys, Any]]:
    """Everything in a file that is rows or a result, or lies around them, with the keys that lead to it."""
    yield keys, content
    if isinstance(content, Mapping) and not _is_result(content):
        for key, value in content.items():
            yield from parts(value, (*keys, str(key)))
    elif isinstance(content, list) and not _is_submission(content) and not _is_truth(content):
        for number, value in enumerate(content):
            if isinstance(value, Mapping):
                yield from parts(value, (*keys, str(value.get("name", number))))


def _given(name: str, inside: list[tuple[Keys, Any]]) -> Iterator[Case]:
    """Cases of a file that holds its inputs: results, each with the predictions and the truth that lie nearest."""
    submissions = [(keys, part) for keys, part in inside if _is_submission(part)]
    truths = [(keys, part) for keys, part in inside if _is_truth(part)]
    results = [(keys, part) for keys, part in inside if _is_result(part)]
    if not results:
        yield name, _unknown(name, dict.fromkeys(" ".join(keys) for keys, _ in inside))
    for keys, recorded in results:
        rows = _nearest(keys, submissions)
        apart = [(at, part) for at, part in truths if part is not rows and not _is_submission(part)]
        truth = _nearest(keys, apart) if apart else rows
        key = " ".join(keys)
        yield f"{name} {key}", lambda k=key, r=rows, t=truth, c=recorded: _compare_given(k, r, t, c)


def _nearest(keys: Keys, candidates: list[tuple[Keys, Any]]) -> Any:
    """The candidate, the first of several, that shares most of the keys leading to it."""

    def shared(candidate: tuple[Keys, Any]) -> int:
        return sum(
            1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(keys, candidate[0], strict=False))
        )

    return max(candidates, key=shared)[1]


def _is_result(value: Any) -> bool:
    return isinstance(value, Mapping) and ("brief" in value or any(str(key).startswith("MR-") for key in value))


def _is_submission(value: Any) -> bool:
    rows = value if isinstance(value, list) else []
    return bool(rows) and isinstance(rows[0], Mapping) and "pred_relevant_windows" in rows[0]


def _is_truth(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], Mapping) and "relevant_windows" in value[0]


def _compare_given(key: str, rows: list[Row], truth: list[Row], recorded: Any) -> float:
    if "duplicated" in key:
        rows = rows + rows[:2]
    brief = recorded.get("brief", recorded)
    if "MR-full-R1-avg" in brief:
        return equal(score("calce", rows).figures, recorded)
    rows = [_official(row, brief, constant="constant" in key) for row in rows]
    return equal(score("qvhighlights", rows, truth).figures, recorded)


def _official(row: Row, brief: Mapping[str, Any], constant: bool) -> Row:
    """A row as the official evaluator takes it: scores on windows, clip scores only if they were scored."""
    windows = [[*w[:2], 1.0] if constant or len(w) < 3 else list(w) for w in row["pred_relevant_windows"]]
    kept = {**row, "pred_relevant_windows": windows}
    if not any(key.startswith("HL-") for key in brief):
        kept.pop("pred_saliency_scores", None)
    return kept


def _shipped(golden: Path, file: str, kind: str, recorded: Any) -> Callable[[], float]:
    """The predictions that CALCE ships with its annotations; the inputs are not among the recorded outputs."""

    def compare() -> float:
        samples = shipped_annotations(golden, file)
        if "stage1_result" not in samples[0]:
            raise unittest.SkipTest(f"the annotations of {file} here hold no predictions (stage1_result)")
        rows = [
            {
                "qid": s["qid"],
                "pred_relevant_windows": s["stage1_result"],
                "relevant_windows": s["relevant_windows"],
            }
            for s in samples
        ]
        if kind.startswith("official"):
            scored = [{**r, "pred_relevant_windows": [[*w, 1.0] for w in r["pred_relevant_windows"]]} for r in rows]
            ours = score("qvhighlights", scored, rows).figures
            return 0.0 if "error" in recorded else equal(ours, recorded)
        return equal(score("calce", rows + rows[:2] if "duplicated" in kind else rows).figures, recorded)

    return compare


def shipped_annotations(golden: Path, file: str) -> list[Row]:
    """Annotations with predictions: ``qvh/val_stage2.json`` is ``qvhighlights/calce_val_stage2.json`` of the data."""
    folder = data_folder(golden)
    dataset, name = file.split("/")
    long_name = {"qvh": "qvhighlights"}.get(dataset, dataset)
    for candidate in (f"{long_name}/calce_{name}", f"{long_name}/calce_{name.replace('_stage2', '')}", file):
        if folder is not None and (folder / candidate).is_file():
            rows: list[Row] = json.loads((folder / candidate).read_text())
            return rows
    raise unittest.SkipTest(f"{file}: no annotations; set LAVIS_TEST_DATA to the folder with {long_name}/")


def data_folder(golden: Path) -> Path | None:
    """Real inputs: named by the environment, or beside the recorded outputs."""
    if os.environ.get("LAVIS_TEST_DATA"):
        return Path(os.environ["LAVIS_TEST_DATA"])
    beside = golden.parent.parent / "data"
    return beside if beside.is_dir() else None


def official_sample(folder: Path) -> float:
    """Moment-DETR's own sample predictions: all 104 figures its repository prints for them."""
    files = [folder / "qvhighlights" / name for name in ("sample_val_preds.jsonl", "highlight_val_release.jsonl")]
    recorded = json.loads((folder / "qvhighlights" / "sample_val_preds_metrics_raw.json").read_text())
    return equal(score("qvhighlights", *files).figures, recorded)


def _listed(unit: Path, recorded: Row) -> float:
    rows = json.loads((unit / "metrics_project.json").read_text())["submission"]
    assert list(recorded["r1"]) == [str(level) for level in recorded["iou_thresholds"]], "figures of other thresholds"
    ours = score("moment_retrieval", rows).figures["listed"]
    return equal(ours, {key: recorded[key] for key in ("r1", "r1_avg", "mIoU", "invalid")})


def _unknown(name: str, content: Row) -> Callable[[], float]:
    def compare() -> float:
        raise AssertionError(f"no check is written for {name}.json with the keys {sorted(content)}")

    return compare


def equal(ours: Any, recorded: Any, at: str = "figures") -> float:
    """Largest difference, which is 0; a brief record is compared with the brief part of ours.

    Raises:
        AssertionError: at the first figure that differs in any digit.
    """
    if isinstance(recorded, Mapping):
        if "brief" in ours and "brief" not in recorded:
            ours = ours["brief"]
        assert sorted(ours) == sorted(recorded), f"{at}: {sorted(ours)} instead of {sorted(recorded)}"
        return max((equal(ours[key], value, f"{at}.{key}") for key, value in recorded.items()), default=0.0)
    assert ours == recorded, f"{at}: {ours!r} instead of {recorded!r}"
    return abs(ours - recorded)

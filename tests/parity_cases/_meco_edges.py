"""How single functions of E.T. Bench's scripts behave, as an ``edge_cases.json`` records it."""

from __future__ import annotations

import math
import re
import unittest
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from lavis.scoring.base import Pairs
from lavis.scoring.base import Row as ScoringRow
from lavis.scoring.etbench import captions_text
from lavis.scoring.etbench.captions_text import captions
from lavis.scoring.etbench.records import CAPTIONING, TASKS, Answer, Question, read_question, text_answer
from lavis.scoring.etbench.windows_text import windows
from lavis.scoring.protocols.etbench import ETBench

Case = tuple[str, Callable[[], float]]
Row = dict[str, Any]

INPUTS = ("a", "ans", "answer", "caption", "text", "paragraph", "sentence", "time_part", "input", "in", "x")
OUTPUTS = ("out", "output", "result", "expected", "value", "y")


def edge_cases(recorded: Row) -> Iterator[Case]:
    """Function-level behaviour: the functions that read texts, and those that score the samples they record."""
    for key, content in recorded.items():
        if not key.startswith("gb_"):
            yield f"edge_cases {key}", lambda key=key, content=content: _edge(key, content)


def _edge(key: str, content: Any) -> float:
    for name, check in TEXT_FUNCTIONS.items():
        if name in key or name.removesuffix("_format") == key:
            told = key.partition(name)[2].strip("|:_ ")
            known = [(told, content)] if told and not _is_listing(content) else list(_inputs(content))
            return max(check(text, output) for text, output in known)
    task = next((task for task in _tasks_named(key)), None)
    rows = _samples(content)
    if task is not None and rows:
        return _scored_edge(task, rows, content)
    if isinstance(content, str):
        raise unittest.SkipTest(f"records only that the original raises {content:.60}, and not on what")
    raise AssertionError(f"no check is written for {key!r} of edge_cases.json: {_shape(content)}")


def _is_listing(content: Any) -> bool:
    """Whether content is several cases, and not the outcome of one."""
    if isinstance(content, list):
        return bool(content) and all(isinstance(case, Mapping) or _is_pair(case) for case in content)
    return isinstance(content, Mapping) and "error" not in content


def _is_pair(case: Any) -> bool:
    return isinstance(case, list) and len(case) == 2 and isinstance(case[0], str)


def _inputs(content: Any) -> Iterator[tuple[str, Any]]:
    """Texts with what the original made of them, however they are written down."""
    if isinstance(content, Mapping):
        text = next((content[key] for key in INPUTS if isinstance(content.get(key), str)), None)
        if text is not None:
            yield text, _outcome(content)
            return
        yield from content.items()
        return
    for case in content:
        if _is_pair(case):
            yield case[0], case[1]
        else:
            yield from _inputs(case)


def _outcome(case: Row) -> Any:
    if case.get("error"):
        return {"error": case["error"]}
    outputs = [case[key] for key in OUTPUTS if key in case]
    if not outputs:
        raise AssertionError(f"no check is written for edge cases with {sorted(case)}")
    return outputs[0]


def _is_error(recorded: Any) -> bool:
    return isinstance(recorded, str) or (isinstance(recorded, Mapping) and "error" in recorded)


def _tasks_named(key: str) -> Iterator[str]:
    for word in re.split(r"[^a-z0-9]+", key.lower()):
        if word in TASKS:
            yield word


def _samples(content: Any) -> list[Row]:
    if isinstance(content, Mapping):
        for value in content.values():
            if isinstance(value, list) and value and isinstance(value[0], Mapping) and {"tgt", "o"} & value[0].keys():
                return value
    return []


def _scored_edge(task: str, rows: list[Row], content: Row) -> float:
    """Samples in the form in which the original's functions take them: with boxes, or with a text."""
    result = next((value for value in content.values() if isinstance(value, Mapping) and "Total" in value), None)
    pairs = [_sample(task, number, row) for number, row in enumerate(rows)]
    questions, answers = [question for question, _ in pairs], [answer for _, answer in pairs]
    ours = ETBench().score(Pairs(questions, list(answers))).figures[task]["edge"]
    if result is None:
        return 0.0
    shared = {key: ours[key] for key in result if key in ours}
    return equal(shared, result, {})


def _sample(task: str, number: int, row: Row) -> tuple[Question, Answer]:
    fields = {"task": task, "source": "edge", "idx": number, "video": f"{number}.mp4", **row}
    question = read_question(ScoringRow({**fields, "task": task, "source": "edge", "idx": number}, number, "edge"))
    if "boundary" not in row:
        return question, text_answer(question.id, task, row["a"])
    boxes = np.array(row["boundary"], dtype=np.float64).reshape(-1, 2)
    point = None
    if task == "vhd" and len(boxes):
        point = float(boxes[0, 0] + np.argmax(row["confidence"][0]))
    empty = not len(boxes) and task not in CAPTIONING
    answer = Answer(question.id, task, row.get("a", ""), None if empty else boxes, row.get("captions"), point, True)
    return question, answer


def _shape(content: Any) -> str:
    keys = f" with {sorted(content)}" if isinstance(content, Mapping) else ""
    return f"{type(content).__name__}{keys}"


def same_windows(answer: str, recorded: Any) -> float:
    """Where the original crashes, ours finds nothing, or reads digits up to the first dots."""
    found = windows(answer)
    if not _is_error(recorded):
        assert (None if found is None else found.tolist()) == _pairs_of(recorded), f"{answer!r}: {found}, {recorded}"
    return 0.0


def same_captions(answer: str, recorded: Any) -> float:
    found = captions(answer)
    if _is_error(recorded):
        assert found is None, f"{answer!r}: {found} where the original raises {recorded}"
        return 0.0
    ours = [None, None] if found is None else [found[0].tolist(), found[1]]
    assert ours == [_pairs_of(recorded[0]), recorded[1]], f"{answer!r}: {ours} instead of {recorded}"
    return 0.0


def _pairs_of(recorded: Any) -> Any:
    return None if recorded is None else [list(pair) for pair in recorded]


def _same_time_part(text: str, recorded: Any) -> float:
    """The time of one sentence: the original writes a range as text, and has other lists for no range."""
    found = captions_text._window(text)
    spans = [] if _is_error(recorded) else [re.fullmatch(r"(\S+)\s*-\s*(\S+)", span) for span in recorded]
    expected = [round(float(number), 2) for number in spans[0].groups()] if spans and spans[0] else None
    assert found == expected, f"{text!r}: {found} instead of {recorded}"
    return 0.0


def _same_paragraph(text: str, recorded: Any) -> float:
    """A list of captions with times as they are written, in their order."""
    try:
        found: Any = captions_text._listed(text.lower()) or ([], [])
    except ValueError:
        assert _is_error(recorded), f"{text!r} is refused instead of read as {recorded}"
        return 0.0
    assert not _is_error(recorded), f"{text!r}: {found} where the original raises {recorded}"
    assert [found[0], found[1]] == [_pairs_of(recorded[0]), recorded[1]], f"{text!r}: {found} instead of {recorded}"
    return 0.0


TEXT_FUNCTIONS: dict[str, Callable[[str, Any], float]] = {
    "tvg_format": same_windows,
    "dvc_format": same_captions,
    "extract_time_part": _same_time_part,
    "extract_time_from_paragraph": _same_paragraph,
}


def equal(ours: Any, recorded: Any, loose: Mapping[str, float], at: str = "") -> float:
    """Largest difference; 0 but for the figures named in ``loose``.

    Raises:
        AssertionError: if any digit differs.
    """
    if isinstance(recorded, Mapping):
        assert sorted(ours) == sorted(recorded), f"{at}: {sorted(ours)} instead of {sorted(recorded)}"
        return max((equal(ours[key], value, loose, f"{at}/{key}") for key, value in recorded.items()), default=0.0)
    allowed = loose.get("", loose.get(at.rpartition("/")[2], 0.0))
    if math.isnan(ours) and math.isnan(recorded):
        return 0.0
    assert abs(ours - recorded) <= allowed, f"{at}: {ours!r} instead of {recorded!r}"
    return float(abs(ours - recorded))

"""Questions and answers of E.T. Bench, as its files hold them.

A record is ``{version, idx, task, source, video, duration, q, src?, tgt?, p?, o?, g?}``; a prediction is the same with
the model's answer ``a``, and in MeCo's form also with ``ent_inds, tst_inds, vl_sims, scale``. A question's id is
``task/source/idx``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from lavis.scoring.base import Array, Row, RowError, window_array
from lavis.scoring.etbench.captions_text import captions
from lavis.scoring.etbench.windows_text import time_point, windows
from lavis.scoring.meco.structural_tokens import Boundaries, boundaries, event_captions, read_structural_tokens
from lavis.scoring.windows.text import require_times

CHOOSING = ("rar", "eca", "rvq")
GROUNDING = ("tvg", "epm", "tal", "evs", "vhd")
CAPTIONING = ("dvc", "slc")
COMPLEX = ("tem", "gvq")
TASKS = (*CHOOSING, *GROUNDING, *CAPTIONING, *COMPLEX)
NEVER_FROM_TOKENS = ("rar", "rvq")
"""Tasks that MeCo answers in text, too."""

NO_WINDOWS = np.zeros((0, 2))


@dataclass(frozen=True, slots=True)
class Reading:
    """How rows are read; see the protocol's options of the same names."""

    mode: Literal["auto", "text", "similarity"] = "auto"
    threshold: float = 0.7
    nms: float = 0.7
    suppressed: Literal["zero", "drop"] = "zero"
    confidences: Literal["found", "sorted"] = "found"
    strip: Literal["characters", "marker"] = "characters"
    tasks: tuple[str, ...] = TASKS
    subset: Mapping[str, Mapping[str, list[int]]] | None = None

    def wants(self, row: Row) -> bool:
        """Whether a row is of the tasks and the subset that are scored.

        Raises:
            RowError: for a task that the benchmark does not have.
        """
        task, source, index = place_of(row)
        if task not in self.tasks:
            return False
        return self.subset is None or index in map(str, self.subset.get(task, {}).get(source, ()))


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """What is asked, and the truth.

    Args:
        id: ``task/source/idx``.
        task: lower-case key, such as ``tvg``.
        source: data set that the video is from.
        index: of the record, as text.
        video: path of the file.
        duration: seconds; infinite if the record does not tell.
        windows: ``[N, 2]`` true windows; for ``vhd`` those of all annotators.
        options: of multiple choice, pairs of numbers written as ``s - e``.
        option: index of the right one, -1 without options.
        captions: one for each window (``dvc``, ``slc``).
    """

    id: str
    task: str
    source: str
    index: str
    video: str
    duration: float
    windows: Array
    options: list[str]
    option: int
    captions: list[str]


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What a model said, with the windows found in it.

    Args:
        id: the question's.
        task: the question's.
        text: as the model wrote it.
        windows: ``[N, 2]`` seconds, best first; ``None`` where the task wants windows and none can be read.
        captions: one for each window (``dvc``, ``slc``).
        point: the moment that ``vhd`` asks for.
        from_tokens: whether windows come from structural tokens, and not from the text.
    """

    id: str
    task: str
    text: str
    windows: Array | None = None
    captions: list[str] | None = None
    point: float | None = None
    from_tokens: bool = False


def identity(row: Row) -> str:
    """``task/source/idx``."""
    return "/".join(place_of(row))


def place_of(row: Row) -> tuple[str, str, str]:
    """Task, source and index of a record, or of a prediction line with these in its id.

    Raises:
        RowError: if they are not there, or the task is unknown.
    """
    if "task" in row:
        task, source, index = row.text("task"), row.text("source"), row.identity("idx")
    else:
        task, _, rest = row.identity("id").partition("/")
        source, _, index = rest.rpartition("/")
    if task not in TASKS:
        raise RowError(f"unknown task {task!r}; the benchmark has {', '.join(TASKS)}")
    return task, source, index


def read_question(row: Row) -> Question:
    """The question of a record.

    Raises:
        RowError: if what its task needs is missing or broken.
    """
    task, source, index = place_of(row)
    choosing = task in (*CHOOSING, "gvq")
    options = _options(row) if choosing else []
    truth = NO_WINDOWS if task in CHOOSING else _targets(row)
    if task not in CHOOSING and not len(truth):
        raise RowError("field 'tgt' holds no window")
    duration = row.number_of("duration") if row.fields.get("duration") is not None else float("inf")
    return Question(
        id=f"{task}/{source}/{index}",
        task=task,
        source=source,
        index=index,
        video=row.text("video"),
        duration=duration,
        windows=truth,
        options=options,
        option=_right_option(row, options) if choosing else -1,
        captions=_true_captions(row, len(truth)) if task in CAPTIONING else [],
    )


def _targets(row: Row) -> Array:
    """``tgt``: one window, a list of them, or a list for each annotator."""
    value = row.get("tgt")
    depth, inner = 0, value
    while isinstance(inner, (list, tuple)) and inner:
        depth, inner = depth + 1, inner[0]
    if depth == 1:
        value = [value]
    if depth == 3:
        value = [window for annotator in value if isinstance(annotator, (list, tuple)) for window in annotator]
    return require_times(window_array(value, "tgt"), "tgt")


def _options(row: Row) -> list[str]:
    value = row.get("o")
    if not isinstance(value, (list, tuple)) or not 2 <= len(value) <= 26:
        raise RowError(f"field 'o' must be a list of 2 to 26 options, got {value!r:.60}")
    options = []
    for option in value:
        if isinstance(option, (list, tuple)) and len(option) == 2:
            option = f"{option[0]} - {option[1]}"
        if not isinstance(option, str):
            raise RowError(f"field 'o': an option is text or a pair of numbers, got {option!r:.60}")
        options.append(option)
    return options


def _right_option(row: Row, options: list[str]) -> int:
    number = row.number_of("p")
    if number != int(number) or not 0 <= number < len(options):
        raise RowError(f"field 'p' must be the index of one of {len(options)} options, got {number!r}")
    return int(number)


def _true_captions(row: Row, count: int) -> list[str]:
    value: Any = row.get("g")
    if not isinstance(value, list) or len(value) != count or not all(isinstance(text, str) for text in value):
        raise RowError(f"field 'g' must hold {count} captions, one for each window, got {value!r:.60}")
    return value


def read_answer(row: Row, reading: Reading) -> Answer:
    """The answer of a record with ``a``.

    Raises:
        RowError: if the answer is no text, structural tokens are broken, or ``mode`` is ``similarity`` and there are
            none.
    """
    task = place_of(row)[0]
    text = row.text("a")
    has_tokens = "vl_sims" in row and "ent_inds" in row
    if reading.mode == "text" or (reading.mode == "auto" and not has_tokens):
        return text_answer(identity(row), task, text)
    if task in NEVER_FROM_TOKENS:
        return Answer(identity(row), task, text, from_tokens=True)
    found = boundaries(
        read_structural_tokens(row),
        reading.threshold,
        reading.nms,
        suppressed=reading.suppressed,
        confidence_order=reading.confidences,
    )
    texts = event_captions(text, found.events, strip=reading.strip) if task in CAPTIONING else None
    empty = not len(found.boxes) and task not in CAPTIONING
    point = _peak(found) if task == "vhd" else None
    return Answer(identity(row), task, text, None if empty else found.boxes, texts, point, from_tokens=True)


def _peak(found: Boundaries) -> float | None:
    """Where the first confidence is highest, counted from the first box: another box's, if they are not sorted."""
    if not len(found.boxes):
        return None
    return float(found.boxes[0, 0] + np.argmax(found.confidences[0]))


def text_answer(name: str, task: str, text: str) -> Answer:
    """An answer in words alone."""
    if task in CHOOSING:
        return Answer(name, task, text)
    if task == "vhd":
        return Answer(name, task, text, point=time_point(text))
    if task in CAPTIONING:
        windows_found, texts = captions(text) or (None, None)
        return Answer(name, task, text, windows_found, texts)
    return Answer(name, task, text, windows(text))


def read_line(row: Row) -> Answer:
    """A prediction line of this project: its text, or its moments where the text is empty.

    Raises:
        RowError: if the text is none, or a moment is broken.
    """
    name = identity(row)
    task = place_of(row)[0]
    text = row.text("text")
    if text.strip() or task in CHOOSING or task in CAPTIONING:
        return text_answer(name, task, text)
    moments = require_times(row.windows("moments", (2, 3))[:, :2], "moments")
    if not len(moments):
        return Answer(name, task, text)
    return Answer(name, task, text, moments, point=float(moments[0].mean()) if task == "vhd" else None)

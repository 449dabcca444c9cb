"""The protocol ``etbench``: all twelve tasks of E.T. Bench, from text answers or from MeCo's structural tokens.

Source: E.T. Bench (Liu et al., 2024), ``compute_metrics.py`` of PolyU-ChenLab/ETBench, and MeCo's variant
(pangzss/MeCo, arXiv 2503.09027). ``figures`` is the official ``metrics.json``: task, source, figures.

Differs: rows are told apart one by one (a file may hold text answers to some tasks and tokens for others); an answer
given twice counts once; tasks that are missing leave their columns out; letters are those of the question's own
options; fillers of captions without an event are constant unless drawn from a seed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lavis.common.io import FileFormatError, read_json
from lavis.common.registry import registry
from lavis.scoring.base import Array, Derived, Estimate, Form, Pairs, Protocol, Row, Scored, Tally, outside
from lavis.scoring.captions.tools import caption_tools, captions_available
from lavis.scoring.etbench import choosing, grounding
from lavis.scoring.etbench.captioning import Judges, Tokenized, captioned
from lavis.scoring.etbench.grounding import Result, Sample
from lavis.scoring.etbench.records import (
    CAPTIONING,
    CHOOSING,
    TASKS,
    Answer,
    Question,
    Reading,
    identity,
    read_answer,
    read_line,
    read_question,
)
from lavis.scoring.etbench.rules import Rules
from lavis.scoring.etbench.sentence_similarity import SentenceModelError, SentenceSimilarity
from lavis.scoring.etbench.table import COLUMNS, MERGED, derived, table
from lavis.scoring.etbench.windows_text import windows

_TOKEN_SLACK = 1.0
"""Seconds: the last frame of a video ends at the next whole second."""


@registry.protocols.register("etbench")
@dataclass(eq=False)
class ETBench(Rules, Protocol[Answer, Question]):
    """Referring, grounding, captioning and complex tasks, their table, and the merged figures.

    Args:
        mode to sentence_model: see ``Rules``.
        tokenized: ``together`` lets the tokeniser see the next caption, as the original does; ``apart`` does not.
        subset: file ``{task: {source: [idx]}}`` of the questions that count, such as the official ``subset.json``.

    Raises:
        ValueError: see ``Rules``.
        FileNotFoundError: if there is no such subset file.
        FileFormatError: if the subset is no mapping of the form above.
    """

    source = "Liu et al., 2024 (E.T. Bench); PolyU-ChenLab/ETBench and pangzss/MeCo, compute_metrics.py"
    keys = (*COLUMNS, *MERGED)
    missing = "drop"
    folders = True

    tokenized: Tokenized = "together"
    subset: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.reading = Reading(
            self.mode,
            self.threshold,
            self.nms,
            self.suppressed,
            self.confidences,
            self.strip,
            tuple(self.tasks or TASKS),
            _subset(self.subset),
        )
        self.similarity = SentenceSimilarity(self.sentence_model)

    @property
    def answer_forms(self) -> Sequence[Form[Answer]]:
        fields = ("task", "source", "idx", "a")
        line = '{"id": "task/source/idx", "text", "moments"}'
        return (
            Form(
                "E.T. Bench record", (*fields, "video"), self._recorded, identity, "{task, source, idx, video, tgt, a}"
            ),
            Form("E.T. Bench answer", fields, self._answered, identity, "{task, source, idx, a}"),
            Form("prediction line", ("id", "text"), self._line, identity, line),
        )

    @property
    def truth_forms(self) -> Sequence[Form[Question]]:
        fields = ("task", "source", "idx", "video")
        layout = "{task, source, idx, video, tgt?, p?, o?, g?}"
        return (Form("E.T. Bench record", fields, self._asked, identity, layout),)

    def _asked(self, row: Row) -> list[Question]:
        return [read_question(row)] if self.reading.wants(row) else []

    def _recorded(self, row: Row) -> list[Answer]:
        """Also refuses an answer whose own truth is broken: it belongs to no question."""
        if ("tgt" in row or "p" in row) and self.reading.wants(row):
            read_question(row)
        return self._answered(row)

    def _answered(self, row: Row) -> list[Answer]:
        return [read_answer(row, self.reading)] if self.reading.wants(row) else []

    def _line(self, row: Row) -> list[Answer]:
        return [read_line(row)] if self.reading.wants(row) else []

    def checked(self, answer: Answer, truth: Question, tally: Tally, place: str) -> None:
        if not _readable(answer):
            tally.add("unparseable", f"{place}: no answer can be read from {answer.text!r:.60}")
        found = answer.windows if answer.task != "vhd" else _as_windows(answer.point)
        slack = _TOKEN_SLACK if answer.from_tokens else 0.0
        if found is not None and outside(found, truth.duration, slack):
            tally.add("out_of_range", f"{place}: a time outside the video's {truth.duration:g} s")

    def score(self, pairs: Pairs[Answer, Question]) -> Scored:
        groups = _groups(pairs.truths)
        wanted = any(task in CAPTIONING for task, _ in groups)
        lacking = captions_available() if wanted else None
        notes = [f"captions of dvc and slc are not scored: {lacking}"] if lacking else []
        collected: dict[str, dict[str, dict[str, float]]] = {}
        estimates: dict[str, Estimate | Derived] = {}
        with caption_tools() if wanted and not lacking else nullcontext() as tools:
            judges = Judges(self.similarity, tools, self.random_captions, self.seed, self.tokenized)
            for (task, name), places in groups.items():
                result = self._result(task, [(pairs.truths[i], pairs.answers[i]) for i in places], judges)
                collected.setdefault(task, {})[name] = result.figures
                notes += [f"{task}, {name}: {note}" for note in result.notes]
                for part, values in result.parts.items():
                    estimates[f"{task}/{name}/{part}"] = Estimate(_spread(values, places, len(pairs.truths)))
        return Scored(collected, table(collected), {**estimates, **derived(collected)}, notes=notes)

    def _result(self, task: str, samples: Sequence[Sample], judges: Judges) -> Result:
        if task in CHOOSING or task == "gvq":
            return self._chosen(task, samples)
        if task in CAPTIONING:
            return captioned(samples, judges)
        if task == "evs":
            return grounding.summary(samples, self.evs_failures)
        arithmetic = {"tal": grounding.all_windows, "vhd": grounding.moments, "tem": grounding.any_window}
        return arithmetic.get(task, grounding.single_window)(samples)

    def _chosen(self, task: str, samples: Sequence[Sample]) -> Result:
        choices = [self._choice(task, question, answer) for question, answer in samples]
        options = [question.options for question, _ in samples]
        failed = sum(choice.failed for choice in choices)
        try:
            chosen = choosing.chosen_options(choices, options, self.similarity)
        except SentenceModelError as error:
            return Result({"Total": len(samples), "Failed": failed}, {}, [str(error)])
        right = [question.option == option for (question, _), option in zip(samples, chosen, strict=True)]
        if task == "gvq":
            return grounding.answered_window(samples, right, failed)
        hits = np.array(right, dtype=np.float64)
        return Result({"Total": len(samples), "Failed": failed, "Acc": round(grounding.mean(hits), 5)}, {"Acc": hits})

    def _choice(self, task: str, question: Question, answer: Answer | None) -> choosing.Choice:
        if answer is None:
            return choosing.Choice(None, None, failed=True)
        count = len(question.options)
        if task == "gvq" and answer.from_tokens:
            return choosing.meco_choice(answer.text, count, self.letters, self.strip)
        if task == "gvq":
            return choosing.grounded_choice(answer.text, count)
        if task == "eca" and answer.from_tokens:
            return choosing.Choice(grounding.option_of_window(question, answer, windows), None)
        go_on = answer.from_tokens if self.referring == "auto" else self.referring == "go_on"
        return choosing.referring_choice(answer.text, count, question.option, go_on)


def _groups(questions: Sequence[Question]) -> dict[tuple[str, str], list[int]]:
    """Places of the questions of each task and source, in the order of the benchmark, whatever that of the file."""
    order = sorted(range(len(questions)), key=lambda i: _rank(questions[i]))
    groups: dict[tuple[str, str], list[int]] = {}
    for i in order:
        groups.setdefault((questions[i].task, questions[i].source), []).append(i)
    return groups


def _rank(question: Question) -> tuple[int, str, int, str]:
    number = int(question.index) if question.index.isdecimal() else -1
    return TASKS.index(question.task), question.source, number, question.index


def _spread(values: Array, places: Iterable[int], total: int) -> Array:
    """Values of one source among all queries."""
    spread = np.full(total, np.nan)
    spread[list(places)] = values
    return spread


def _as_windows(point: float | None) -> Array | None:
    return None if point is None else np.array([[point, point]])


def _readable(answer: Answer) -> bool:
    if answer.task in CHOOSING and not (answer.task == "eca" and answer.from_tokens):
        return bool(answer.text.strip())
    return (answer.point if answer.task == "vhd" else answer.windows) is not None


def _subset(path: str | None) -> Mapping[str, Mapping[str, list[int]]] | None:
    if path is None:
        return None
    content: Any = read_json(Path(path))
    if not isinstance(content, Mapping) or not all(isinstance(sources, Mapping) for sources in content.values()):
        raise FileFormatError(f"{path}: a subset is a mapping {{task: {{source: [idx, ...]}}}}")
    return {task: {name: list(indices) for name, indices in sources.items()} for task, sources in content.items()}

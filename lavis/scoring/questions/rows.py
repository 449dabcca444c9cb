"""How questions with options, and answers to them, stand in files.

Forms in the wild: HawkEye's and MVBench's rows (``task_type, pred, gt_answer``: truth and answer in one), MVBench's
annotations (``video, question, candidates, answer``), NExT-QA's tables (``a0`` to ``a4``, the index of the answer) and
results (``{video_qid: {prediction, answer}}``), STAR, TVQA, Video-MME's file of videos with questions and responses,
MR.BLIP's result rows, and ours.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lavis.scoring.base import Form, Row, RowError
from lavis.scoring.questions.text import gold_index, gold_text, lettered_index, option_index

_NEXT_ID = re.compile(r"([CTD][A-Z])_(\d+)_(\d+)(?:_\d+)?")
_NEXT_VIDEO = re.compile(r"(?:.*/)?(\d+)\.mp4")
_LETTERED = re.compile(r"\(?[A-Z][.):]\s*")
_UNLABELLED = "(x) None"
"""What HawkEye's script writes for questions without an answer."""

_IDS = ("question_id", "qid", "id")
_ANSWERS = ("pred", "prediction", "response", "text", "answer", "choice")
_KINDS = ("task_type", "type", "kind", "question_type", "show_name")
_OPTION_LISTS = ("options", "candidates", "choices")
_VIDEOS = ("video_id", "video_fname", "video", "vid_name", "vid")


@dataclass(frozen=True, slots=True)
class Choice:
    """One answer.

    Args:
        id: of the question.
        text: as generated; ``None`` if the file holds an index, or nothing that can be read.
        index: of the option chosen, where the file holds it.
        number: of the row.
        named: false where the file has no ids, and ``id`` is the number of the row.
    """

    id: str
    text: str | None = None
    index: int | None = None
    number: int = 0
    named: bool = True


@dataclass(frozen=True, slots=True)
class Question:
    """The truth of one question.

    Args:
        id: unique.
        video: its video; the id where the file does not tell.
        options: texts without letters; empty where the file has only the right one.
        right: index of the right option, ``None`` if the answer is none of the options.
        gold: the right answer with its letter, ``(B) a dog``.
        labels: what to group by: ``kind``, for Video-MME ``duration``, ``domain`` and ``sub_category`` too.
    """

    id: str
    video: str
    options: tuple[str, ...]
    right: int | None
    gold: str
    labels: Mapping[str, str] = field(default_factory=dict)


def answer_forms() -> list[Form[Choice]]:
    """Answers of every benchmark."""
    return [
        Form("Video-MME results", ("video_id", "questions"), _responses, _by_number, "videos with questions, response"),
        Form("HawkEye rows", ("pred", "gt_answer"), _said("pred"), question_id, "task_type, pred, gt_answer"),
        Form("lavis predictions", ("id", "text"), _ours, question_id, "id, text, perhaps scores.option"),
        _WithAnswer("rows", (), _any, question_id, "an id; pred, prediction, response, text or answer"),
        Form("answers by id", ("value",), _said("value"), question_id, "{id: text or index}"),
    ]


def truth_forms() -> list[Form[Question]]:
    """Truth of every benchmark, and of rows of results that hold it."""
    return [
        Form("Video-MME", ("video_id", "questions"), _video, _by_number, "videos with questions: options, answer"),
        Form("HawkEye rows", ("pred", "gt_answer"), _hawkeye, question_id, "task_type, pred, gt_answer"),
        Form("MR.BLIP results", ("qid", "prediction", "target"), _target, question_id, "qid, prediction, target"),
        Form("TVQA", ("q", "a0", "answer_idx"), _numbered, question_id, "qid, q, a0 ... a4, answer_idx, show_name"),
        Form("NExT-GQA table", ("video_id", "a0", "answer"), _worded, question_id, "a0 ... a4, answer as text"),
        Form("NExT-QA", ("qid", "a0", "answer"), _numbered, question_id, "a0 ... a4, answer as index, type"),
        Form("NExT-QA results", ("prediction", "answer"), _result, question_id, "{video_qid: {prediction, answer}}"),
        Form("STAR", ("question_id", "choices", "answer"), _worded, question_id, "question_id, choices, answer"),
        Form("MVBench", ("candidates", "answer"), _worded, question_id, "question, candidates, answer; qid if any"),
        Form("MVBench by task", ("value",), _task, _by_number, "{task: [question, candidates, answer]}"),
        Form("questions", ("options", "answer"), _worded, question_id, "id, options, answer; kind if any"),
    ]


@dataclass(frozen=True, slots=True)
class _WithAnswer(Form[Choice]):
    """Rows with an answer under one of several names."""

    def fits(self, row: Row) -> bool:
        return any(name in row for name in _ANSWERS) and (row.key is not None or any(name in row for name in _IDS))


def question_id(row: Row) -> str:
    """The id of a question; the number of the row in files without ids.

    NExT-QA numbers questions within a video: its id is ``video_qid``, also where MR.BLIP puts the type in front and
    the place in the batch behind, and where HawkEye's conversion keeps path and number apart.
    """
    if not any(name in row for name in _IDS):
        return row.key if row.key is not None else str(row.number)
    identity = row.identity(*_IDS)
    named = _NEXT_ID.fullmatch(identity)
    if named:
        return f"{named[2]}_{named[3]}"
    video = str(row.fields.get("video", row.fields.get("video_id")))
    if "a0" in row and "type" in row:
        return f"{video}_{identity}"
    converted = _NEXT_VIDEO.fullmatch(video) if "candidates" in row and identity.isdigit() else None
    return f"{converted[1]}_{identity}" if converted else identity


def options_of(row: Row) -> tuple[str, ...]:
    """The options' texts, without the letters that Video-MME writes before them; none if the row has none.

    Raises:
        RowError: if they are no list of texts.
    """
    given = next((row.get(name) for name in _OPTION_LISTS if name in row), None)
    if given is None:
        given = [row.get(f"a{i}") for i in range(10) if f"a{i}" in row]
    if not isinstance(given, (list, tuple)):
        raise RowError(f"options must be a list of texts, got {given!r:.60}")
    texts: list[str] = []
    for option in given:
        text = option.get("choice") if isinstance(option, Mapping) else option
        if not isinstance(text, str):
            raise RowError(f"options must be texts, got {text!r:.60}")
        texts.append(text)
    if texts and all(_LETTERED.match(text) for text in texts):
        texts = [text[found.end() :] if (found := _LETTERED.match(text)) else text for text in texts]
    return tuple(texts)


def index_of(value: Any, name: str) -> int:
    """A whole number of 0 or more, also as text (tables know nothing else).

    Raises:
        RowError: for anything else.
    """
    if isinstance(value, str) and value.strip().isascii() and value.strip().isdigit() and len(value) < 4:
        return int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise RowError(f"field {name!r} must be the index of an option, got {value!r:.60}")
    return value


def choice(identity: str, value: Any, row: Row) -> Choice:
    """An answer as it stands in a file: a text, an index, or nothing that can be read."""
    named = row.key is not None or any(name in row for name in _IDS)
    if isinstance(value, str):
        return Choice(identity, value, None, row.number, named)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    index = value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
    return Choice(identity, None, index, row.number, named)


def _said(name: str) -> Callable[[Row], Choice]:
    return lambda row: choice(question_id(row), row.get(name), row)


def _any(row: Row) -> Choice:
    name = next((name for name in _ANSWERS if name in row), "prediction")
    value = row.get(name)
    numeral = isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 4
    return choice(question_id(row), int(value) if numeral and name == "prediction" else value, row)


def _ours(row: Row) -> Choice:
    scores = row.fields.get("scores")
    chosen = scores.get("option") if isinstance(scores, Mapping) else None
    return choice(question_id(row), row.get("text") if chosen is None else chosen, row)


def _responses(row: Row) -> list[Choice]:
    return [choice(inner.identity("question_id"), inner.fields.get("response"), inner) for inner in _questions(row)]


def _video(row: Row) -> list[Question]:
    names = {"duration": "duration_category", "domain": "video_category", "sub_category": "video_subcategory"}
    labels = {ours: str(row.fields.get(ours, row.fields.get(theirs, ""))) for ours, theirs in names.items()}
    found = []
    for inner in _questions(row):
        gold = inner.text("answer").strip()
        index = lettered_index(gold)
        if index is None:
            raise RowError(f"question {inner.identity('question_id')}: the answer must be a letter, got {gold!r:.60}")
        identity, options = inner.identity("question_id"), options_of(inner)
        kind = str(inner.fields.get("task_type", ""))
        known = {name: label for name, label in {**labels, "kind": kind}.items() if label}
        found.append(Question(identity, row.identity("video_id"), options, index, f"({gold[:1]})", known))
    return found


def _questions(row: Row) -> list[Row]:
    questions = row.get("questions")
    if not isinstance(questions, list) or not all(isinstance(question, Mapping) for question in questions):
        raise RowError(f"field 'questions' must be a list of mappings, got {questions!r:.60}")
    return [Row(question, row.number, row.place) for question in questions]


def _hawkeye(row: Row) -> Question:
    gold = row.text("gt_answer")
    if gold == _UNLABELLED:
        raise RowError(
            f"field 'gt_answer' is {gold!r}: the question has no right answer; give annotations that have it"
        )
    options = options_of(row)
    return Question(question_id(row), video_of(row), options, lettered_index(gold), gold, labels_of(row))


def _target(row: Row) -> Question:
    index = index_of(row.get("target"), "target")
    return _question(row, options_of(row), index, "")


def _numbered(row: Row) -> Question:
    options = options_of(row)
    name = "answer_idx" if "answer_idx" in row else "answer"
    index = index_of(row.get(name), name)
    if index >= len(options):
        raise RowError(f"field {name!r} is {index}, but there are only {len(options)} options")
    return _question(row, options, index, options[index])


def _result(row: Row) -> Question:
    if options_of(row):
        return _worded(row)
    return _question(row, (), index_of(row.get("answer"), "answer"), "")


def _worded(row: Row) -> Question:
    answer, options = row.get("answer"), options_of(row)
    if isinstance(answer, int) and not isinstance(answer, bool):
        return _numbered(row)
    if not isinstance(answer, str):
        raise RowError(f"field 'answer' must be text or an index, got {answer!r:.60}")
    index = gold_index(answer, options)
    if index is None:
        index = option_index(answer, options)
    text = gold_text(answer, options) if index is None else f"({chr(ord('A') + index)}) {answer}"
    return Question(question_id(row), video_of(row), options, index, text, labels_of(row))


def _task(row: Row) -> list[Question]:
    questions = row.get("value")
    if not isinstance(questions, list) or not all(isinstance(question, Mapping) for question in questions):
        raise RowError(f"must be a list of questions, got {questions!r:.60}")
    found = []
    for number, question in enumerate(questions):
        fields = {"task_type": row.key or "", "qid": f"{row.key}_{number}", **question}
        found.append(_worded(Row(fields, number, row.place)))
    return found


def _question(row: Row, options: tuple[str, ...], index: int, answer: str) -> Question:
    if index >= 26:
        raise RowError(f"there is no letter for option {index}")
    gold = f"({chr(ord('A') + index)}) {answer}"
    return Question(question_id(row), video_of(row), options, index, gold, labels_of(row))


def video_of(row: Row) -> str:
    """The video of a row, or else its id."""
    name = next((name for name in _VIDEOS if isinstance(row.fields.get(name), (str, int))), None)
    if name is not None:
        return str(row.fields[name])
    identity = question_id(row)
    return identity.rpartition("_")[0] if re.fullmatch(r"\d+_\d+", identity) else identity


def labels_of(row: Row) -> dict[str, str]:
    """``kind`` of a row: its type of question, or what stands before the first ``_`` of its id."""
    names = {"duration": "duration", "domain": "domain", "sub_category": "sub_category"}
    labels = {ours: row.fields[name] for ours, name in names.items() if isinstance(row.fields.get(name), str)}
    for name in _KINDS:
        if isinstance(row.fields.get(name), str) and row.fields[name]:
            return {**labels, "kind": row.fields[name]}
    written: Sequence[Any] = [row.fields[name] for name in _IDS if name in row] or [row.key]
    prefix = re.match(r"([A-Za-z]+)_", str(written[0]))
    return {**labels, "kind": prefix[1]} if prefix else labels


def _by_number(row: Row) -> str:
    return row.key if row.key is not None else str(row.number)

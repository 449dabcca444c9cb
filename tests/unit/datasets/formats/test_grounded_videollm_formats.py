"""Grounded-VideoLLM's annotation file, and grounded questions."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lavis.common.registry import registry
from lavis.datasets.formats._record import AnnotationError
from lavis.datasets.formats.base import Annotations
from lavis.structures import Turn

Read = Callable[..., Annotations]

ASK = {"from": "human", "value": "<image>\nWhen does the man sit down?"}
SAY = {"from": "gpt", "value": "From <3.2> to <7.0>."}
ROW = {
    "video_id": "v1",
    "question_id": 5,
    "video_file": "activitynet/v1.mp4",
    "conversation": [ASK, SAY],
    "dataset_name": "DiDeMo",
}
QUESTION = {"video": "anet/v1.mp4", "question": "What is red?", "answer": "The cup.", "temporal_span": [3.2, 7]}


@pytest.fixture
def read(tmp_path: Path) -> Read:
    lengths = tmp_path / "lengths.json"
    lengths.write_text(json.dumps({"activitynet/v1": {"duration": 40.5, "fps": 3}, "anet/v1.mp4": 40}))

    def read_as(name: str, value: Any, **options: Any) -> Annotations:
        file = tmp_path / "mix.json"
        file.write_text(json.dumps(value))
        options.setdefault("durations", str(lengths))
        return registry.formats.get(name)(**options).read(file)

    return read_as


def windows(sample: Any) -> Any:
    return sample.moments and [m.to_list() for m in sample.moments]


def changed(row: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in {**row, **changes}.items() if value is not ...}


def said(*texts: str) -> list[dict[str, str]]:
    """Messages in turns, the human first."""
    return [{"from": "gpt" if number % 2 else "human", "value": text} for number, text in enumerate(texts)]


def test_rows_of_all_stages(read: Read) -> None:
    several = {**ROW, "conversation": [ASK, {"from": "gpt", "value": "From <3> to <7.5>, <9> to <50>."}]}
    dense = {**ROW, "conversation": said("<image>\nDescribe.", "From <1> to <2>, a man sits.", "And <3>?", "He runs.")}
    text = {**changed(ROW, {"video_file": ...}), "video_id": "text", "conversation": said("<image>\nHi?", "Hello.")}
    one, two, three, four = read("grounded_videollm", [ROW, several, dense, text]).samples
    assert (one.id, one.video, one.duration, one.kind) == (
        "GroundedVideoLLM_0", "activitynet/v1.mp4", 40.5, "DiDeMo",
    )  # fmt: skip
    assert one.turns == [Turn("user", ASK["value"]), Turn("assistant", SAY["value"], learned=True)]
    assert (one.query, one.answer, windows(one)) == ("When does the man sit down?", SAY["value"], [[3.2, 7.0]])
    assert one.extra == {"video_id": "v1", "question_id": "5", "media": "video"}
    assert windows(two) == [[3.0, 7.5], [9.0, 50.0]]  # past the video, kept
    assert (three.moments, three.answer, len(three.turns)) == (None, None, 4)
    assert (four.video, four.duration, four.query, four.extra["media"]) == ("", 1, "Hi?", "text")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"conversation": ...}, r"'conversation': is missing"),
        ({"conversations": []}, r"'conversations': is not a field.*Did you mean 'conversation'"),
        ({"conversation": [ASK]}, r"'conversation': must be a list of messages in pairs of human and gpt, got 1 mess"),
        ({"conversation": "Hi"}, r"must be a list of messages in pairs of human and gpt, got str"),
        ({"conversation": [SAY, ASK]}, r"message 1.*'from': must be 'human' here, got 'gpt'"),
        ({"conversation": [ASK, 3]}, r"message 2 must be an object"),
        ({"conversation": [ASK, {**SAY, "time": 3}]}, r"message 2.*'time': is not a field"),
        ({"conversation": [ASK, {**SAY, "value": ""}]}, r"'value': must be a text that is not blank"),
        ({"conversation": said("When?", "Now.")}, r"message 1.*must hold <image> once here, not 0 times"),
        ({"conversation": said("<image>\n<image>\nWhen?", "Now.")}, r"once here, not 2 times"),
        ({"conversation": said("<image>\nWhen?", "<image>\n")}, r"message 2.*not at all here, not 1 times"),
        ({"conversation": said("When <image>?", "Now.")}, r"<image> must be followed by a line end"),
        ({"conversation": said("<image>\nWhen?", "At <-3.5>.")}, r"the time <-3.5> is before the start"),
        ({"conversation": said("<image>\nWhen?", "From <8> to <3>.")}, r"\[8.0, 3.0\] ends before it starts"),
        ({"conversation": said("<image>\nWhen?", "From <50> to <60>.")}, r"lies outside the video"),
        ({"dataset_name": 3}, r"'dataset_name': must be a text"),
        ({"question_id": 1.5}, r"'question_id': must be a text"),
        ({"video_file": ...}, r"'video_file': is missing"),
        ({"video_file": "../v1.mp4"}, r"leads outside"),
        ({"video_file": "v2.mp4"}, r"lengths.json has no video 'v2.mp4'"),
    ],
)
def test_bad_rows(read: Read, tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(AnnotationError, match=message) as raised:
        read("grounded_videollm", [ROW, changed(ROW, changes)])
    assert f"{tmp_path / 'mix.json'}, row 2" in str(raised.value)


def test_a_bad_window_takes_its_row_along(read: Read) -> None:
    bad = {**ROW, "conversation": said("<image>\nWhen?", "From <1> to <2>, <8> to <3>.")}
    result = read("grounded_videollm", [bad, ROW], on_bad_window="skip")
    assert [s.id for s in result.samples] == ["GroundedVideoLLM_1"]
    assert result.counts == {"rows": 2, "skipped_windows": 1, "skipped_rows": 1}


def test_grounded_questions(read: Read) -> None:
    choice = {**QUESTION, "options": ["A cup.", "The cup.", "A dog."], "question_id": 4, "duration": 60}
    lettered = {**choice, "options": {"A": "A cup.", "B": "The cup."}, "answer": "B", "question_id": "x"}
    several = {**QUESTION, "temporal_span": [[1, 2], [5, 9.5]], "source": "qvhighlights"}
    one, two, three, four = read("grounded_videoqa", [QUESTION, choice, lettered, several]).samples
    assert (one.id, one.video, one.duration, one.kind) == ("GroundedVideoQA_0", "anet/v1.mp4", 40, "open")
    assert (one.query, one.answer, one.options, windows(one)) == ("What is red?", "The cup.", [], [[3.2, 7]])
    assert (one.turns, one.extra) == ([], {})
    assert (two.id, two.duration, two.kind, two.answer) == ("v1_4", 60, "choice", "The cup.")
    assert (two.options, two.extra) == (["A cup.", "The cup.", "A dog."], {"answer_index": 1})
    assert (three.id, three.answer, three.extra) == ("v1_x", "The cup.", {"answer_index": 1})
    assert (windows(four), four.extra) == ([[1, 2], [5, 9.5]], {"source": "qvhighlights"})


def test_conversations_of_grounded_questions(read: Read) -> None:
    choice = {**QUESTION, "options": ["A cup.", "The cup."]}
    (plain,) = read("grounded_videoqa", [QUESTION], turns="answer").samples
    assert [t.text for t in plain.turns] == ["<image>\nWhat is red?", "The cup."]
    (first,) = read("grounded_videoqa", [choice], turns="time_first", time_question="When: {question}").samples
    assert [(t.role, t.learned) for t in first.turns] == [("user", False), ("assistant", True)] * 2
    assert [t.text for t in first.turns] == [
        "<image>\nWhen: What is red?",
        "From <3.2> to <7>.",
        "Question: What is red?\nOptions:\n(A) A cup.\n(B) The cup.",
        "Answer: (B) The cup.",
    ]
    with pytest.raises(ValueError, match=r"format.time_question must hold \{question\}"):
        registry.formats.get("grounded_videoqa")(time_question="When?")
    with pytest.raises(ValueError, match=r"format.turns must be one of 'none', 'answer', 'time_first'"):
        registry.formats.get("grounded_videoqa")(turns="both")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"temporal_span": ...}, r"'temporal_span': is missing"),
        ({"temporal_spam": []}, r"'temporal_spam': is not a field.*Did you mean 'temporal_span'"),
        ({"temporal_span": [7, 3]}, r"\[7, 3\] ends before it starts"),
        ({"temporal_span": [7, 41]}, r"\[7, 41\] ends past the video"),
        ({"temporal_span": "3-7"}, r"'temporal_span': must be a list of"),
        ({"answer": 3}, r"'answer': must be a text"),
        ({"options": ["A", "B"], "answer": "The cop."}, r"'answer': 'The cop.' is none of the 2 options"),
        ({"options": ["a", "b"], "answer": "C"}, r"'answer': must be a letter from A to B, got 'C'"),
        ({"options": {"A": "a", "C": "b"}}, r"'options': must be lettered in order from A, got A, C"),
        ({"options": {"A": "a", "B": 3}}, r"'options': must be a list of texts"),
        ({"options": ["a"]}, r"'options': must hold 2 to 26 options, got 1"),
        ({"video": "v2.mp4"}, r"lengths.json has no video 'v2.mp4'"),
        ({"question_id": 1.5}, r"row 2, field 'question_id': must be a whole number"),
    ],
)
def test_bad_grounded_questions(read: Read, tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(AnnotationError, match=message) as raised:
        read("grounded_videoqa", [QUESTION, changed(QUESTION, changes)])
    assert f"{tmp_path / 'mix.json'}, row 2" in str(raised.value)

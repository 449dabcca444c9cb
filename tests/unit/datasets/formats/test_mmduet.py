"""MMDuet's four forms, their bad rows, and the annotations that the original was run on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lavis.common.registry import registry
from lavis.datasets.formats._record import AnnotationError
from lavis.datasets.formats.base import Annotations
from lavis.metrics.magqa import MagQA
from lavis.structures import Prediction, Turn

Read = Callable[..., Annotations]

SAID = [
    {"time": 2.6, "text": "A man enters.", "timespan": [0.5, 3.2]},
    {"time": 5.2, "text": "He sits.", "timespan": [3.2, 6], "learn": False},
]
MAGQA = {
    "video_uid": "a.mp4",
    "video_start_time": 0.5,
    "conversation": [
        {"role": "user", "time": 2.2, "content": "What is added?"},
        {"role": "assistant", "time": 4.6, "content": "Salt.", "timespan": [2.5, 5.5]},
        {"role": "user", "time": 5.5, "content": "And now?"},
        {"role": "assistant", "time": 8.0, "content": "Pepper.", "timespan": [6, 9], "learn": False},
    ],
}
GROUNDING = {"video_uid": "a.mp4", "query": "a dog", "timestamps": [[0.0, 1.2], [6.1, 8.9]]}
ASKED = [{"role": "user", "content": "What is added?", "time": 0}]
QUESTION = {"question_id": "a.1", "video": "a.mp4", "conversation": ASKED}
ANSWERS = [{"role": "assistant", "content": "Salt.", "time": [2, 6]}, {"content": "Pepper.", "time": [6, 9]}]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    (tmp_path / "videos_metadata.json").write_text(
        json.dumps({"a.mp4": {"duration": 10.0, "fps": 25.0, "path": "videos/a.mp4", "frame_count": 250.0}})
    )

    def read_as(form: str, value: Any, **options: Any) -> Annotations:
        file = tmp_path / "file.json"
        file.write_text(json.dumps(value))
        durations = str(tmp_path / "videos_metadata.json")
        return registry.formats.get("mmduet")(form=form, durations=durations, **options).read(file)

    return read_as


def windows(sample: Any) -> Any:
    return sample.moments and [m.to_list() for m in sample.moments]


def magqa(k: int, **changes: Any) -> dict[str, Any]:
    """The row with one turn changed; ``...`` takes a field away."""
    turns: list[Any] = [dict(turn) for turn in MAGQA["conversation"]]  # type: ignore[attr-defined]
    turns[k] = {key: value for key, value in {**turns[k], **changes}.items() if value is not ...}
    return {**MAGQA, "conversation": turns}


def test_captions(read: Read) -> None:
    result = read("captions", {"a.mp4": {"a0": SAID, "a1": SAID[:1]}})
    first, second = result.samples
    assert (first.id, second.id) == ("a.mp4/a0", "a.mp4/a1")
    assert (first.video, first.query, first.duration, first.kind) == ("a.mp4", "", 10.0, "captions")
    assert first.turns == [
        Turn("assistant", "A man enters.", 2.6, learned=True),
        Turn("assistant", "He sits.", 5.2, learned=False),
    ]
    assert windows(first) == [[0.5, 3.2], [3.2, 6]]
    assert first.extra == {"captions": ["A man enters.", "He sits."]}


def test_magqa(read: Read) -> None:
    (sample,) = read("magqa", [MAGQA]).samples
    assert (sample.id, sample.query, sample.kind) == ("MMDuet_0", "What is added?", "magqa")
    assert [(t.role, t.time, t.learned) for t in sample.turns] == [
        ("user", 2.2, False),
        ("assistant", 4.6, True),
        ("user", 5.5, False),
        ("assistant", 8.0, False),
    ]
    assert windows(sample) == [[2.5, 5.5], [6, 9]]
    assert sample.extra == {"captions": ["Salt.", "Pepper."], "video_start_time": 0.5}


def test_grounding(read: Read) -> None:
    some, none = read("grounding", [GROUNDING, {**GROUNDING, "timestamps": []}]).samples
    assert (some.id, some.query, windows(some)) == ("MMDuet_0", "a dog", [[0.0, 1.2], [6.1, 8.9]])
    assert none.moments == []


def test_questions(read: Read) -> None:
    ratings = {"relevant_clip_ids": [1, 4], "saliency_scores": [[1, 2, 3], [0, 4, 4]]}
    rows = [{**QUESTION, "answer": ANSWERS}]
    (sample,) = read("questions", rows).samples
    assert (sample.id, sample.query, sample.turns) == ("a.1", "What is added?", [Turn("user", "What is added?", 0)])
    assert (windows(sample), sample.extra) == ([[2, 6], [6, 9]], {"captions": ["Salt.", "Pepper."]})
    _, truth = MagQA({"name": "recorded", "file": "none.jsonl"}).rows(sample, Prediction(id="a.1", moments=[]))
    assert truth["answer"] == [{"content": "Salt.", "time": [2, 6]}, {"content": "Pepper.", "time": [6, 9]}]
    (sample,) = read("questions", [{**QUESTION, "question_id": 7, "timestamps": [[0, 3]]}]).samples
    assert (sample.id, windows(sample)) == ("7", [[0, 3]])
    (sample,) = read("questions", [{**QUESTION, "answer": ratings}]).samples
    assert sample.saliency == [[0, 0, 0], [1, 2, 3], [0, 0, 0], [0, 0, 0], [0, 4, 4]]
    assert sample.moments is None
    (sample,) = read("questions", [QUESTION]).samples
    assert (sample.moments, sample.extra) == (None, {})
    (sample,) = read("questions", [{**QUESTION, "answer": []}]).samples
    assert (sample.moments, sample.extra) == ([], {"captions": []})


def test_what_lies_past_the_measured_end(read: Read) -> None:
    row = {**GROUNDING, "timestamps": [[8, 12], [12, 14]]}
    assert windows(read("grounding", [row]).samples[0]) == [[8, 12], [12, 14]]
    with pytest.raises(AnnotationError, match=r"file.json, row 1 .*'timestamps': the window \[8, 12\] ends past"):
        read("grounding", [row], beyond_end="bad")
    result = read("grounding", [row], beyond_end="clamp", on_bad_window="skip")
    assert windows(result.samples[0]) == [[8, 10.0]]
    assert result.counts == {"rows": 1, "clamped_windows": 1, "skipped_windows": 1}


def test_a_bad_time_span_takes_its_turn_with_it(read: Read) -> None:
    (sample,) = read("magqa", [magqa(1, timespan=[5.5, 2.5])], on_bad_window="skip").samples
    assert [turn.text for turn in sample.turns] == ["What is added?", "And now?", "Pepper."]
    assert (windows(sample), sample.extra["captions"]) == ([[6, 9]], ["Pepper."])
    result = read("grounding", [{**GROUNDING, "timestamps": [[3, 1]]}, GROUNDING], on_bad_window="skip")
    assert result.counts == {"rows": 2, "skipped_windows": 1, "skipped_rows": 1}


def test_videos_without_a_length(read: Read) -> None:
    rows = [GROUNDING, {**GROUNDING, "video_uid": "gone.mp4"}]
    with pytest.raises(AnnotationError, match=r"row 2 \(id MMDuet_1\).*videos_metadata.json has no video 'gone.mp4'"):
        read("grounding", rows)
    result = read("grounding", rows, on_missing_duration="skip")
    assert result.counts == {"rows": 2, "without_duration": 1, "skipped_rows": 1}


@pytest.mark.parametrize(
    ("form", "value", "message"),
    [
        ("captions", {"a.mp4": {"a0": []}}, r"video 'a.mp4', annotation 'a0' .*holds nothing that is said"),
        ("magqa", [{**MAGQA, "conversation": []}], r"row 1 .*'conversation': must be a list of turns"),
        ("magqa", [magqa(0, role="assistant")], r"must begin with a question of the user"),
        ("magqa", [magqa(0, content="")], r"must begin with a question of the user"),
        ("magqa", [magqa(0, time=0)], r"must begin between 0 and the end of the video \(10.0 s\), got 0"),
        ("magqa", [magqa(0, time=11)], r"must begin between 0 and the end"),
        ("questions", [{**QUESTION, "conversation": []}], r"'conversation': holds no question"),
    ],
)
def test_conversations_that_cannot_be_used(read: Read, form: str, value: Any, message: str) -> None:
    with pytest.raises(AnnotationError, match=rf"file.json, .*{message}.*on_bad_conversation"):
        read(form, value)
    assert read(form, value, on_bad_conversation="skip").counts == {
        "rows": 1,
        "skipped_rows": 1,
        "bad_conversations": 1,
    }


@pytest.mark.parametrize(
    ("form", "value", "message"),
    [
        ("captions", {"a.mp4": {"a0": "said"}}, r"annotation 'a0'.*must hold a list of narrations"),
        ("captions", {"a.mp4": {"a0": ["said"]}}, r"narration 1 must be an object"),
        ("captions", {"a.mp4": {"a0": [{**SAID[0], "time": -1}]}}, r"narration 1 .*'time': must be at least 0"),
        ("captions", {"a.mp4": {"a0": [{**SAID[0], "learn": "no"}]}}, r"'learn': must be true or false"),
        ("captions", {"a.mp4": {"a0": [*SAID, {"time": 1, "text": "a"}]}}, r"narration 3 .*'timespan': is missing"),
        ("captions", {"a.mp4": {"a0": [{**SAID[0], "timespan": [3, 1]}]}}, r"narration 1 .*ends before it starts"),
        ("captions", [SAID], r"must map videos"),
        ("magqa", [magqa(1, timespan=...)], r"turn 2 .*'timespan': is missing"),
        ("magqa", [magqa(1, timspan=[1, 2])], r"turn 2 .*'timspan': is not a field.*Did you mean 'timespan'"),
        ("magqa", [magqa(1, role="system")], r"turn 2 .*'role': must be 'user' or 'assistant'"),
        ("magqa", [magqa(2, time="5")], r"turn 3 .*'time': must be a finite number"),
        ("magqa", [{**MAGQA, "video_start_time": "0"}], r"'video_start_time': must be a finite number"),
        ("magqa", [{**MAGQA, "video": "a.mp4"}], r"'video': is not a field"),
        ("grounding", [{**GROUNDING, "timestamps": 3}], r"'timestamps': must be a list of"),
        ("grounding", [{**GROUNDING, "timestamps": [[2, 1]]}], r"'timestamps': the window \[2, 1\] ends before"),
        ("grounding", [{**GROUNDING, "timestamps": [["a", 1]]}], r"no finite number"),
        ("grounding", [{**GROUNDING, "query": " "}], r"'query': must be a text that is not blank"),
        ("grounding", [{"video_uid": "a.mp4", "timestamps": []}], r"'query': is missing"),
        ("questions", [{**QUESTION, "question_id": None}], r"row 1, field 'question_id': must be a text"),
        ("questions", [{**QUESTION, "answer": "Salt."}], r"must hold a list of answers"),
        ("questions", [{**QUESTION, "answer": [{"content": "Salt."}]}], r"answer 1 .*'time': is missing"),
        ("questions", [{**QUESTION, "answer": {"saliency_scores": []}}], r"'relevant_clip_ids': is missing"),
        ("questions", [{**QUESTION, "conversation": [{**ASKED[0], "role": "gpt"}]}], r"'role': must be 'user'"),
    ],
)
def test_bad_rows(read: Read, form: str, value: Any, message: str) -> None:
    with pytest.raises(AnnotationError, match=rf"file.json.*{message}"):
        read(form, value)


def test_names_of_videos_stay_inside(read: Read, tmp_path: Path) -> None:
    (tmp_path / "videos_metadata.json").write_text(json.dumps({"../../etc/passwd": 10}))
    with pytest.raises(AnnotationError, match=r"file.json, row 1 .*'../../etc/passwd' leads outside the folder"):
        read("grounding", [{**GROUNDING, "video_uid": "../../etc/passwd"}])


# ------------------------------------------------------------------ files the original was run on


@pytest.mark.parametrize(
    ("file", "form", "left_out", "kept"),
    [("dvc", "captions", 2, 6), ("magqa", "magqa", 4, 4), ("grounding", "grounding", 1, 7)],
)
def test_annotations_of_the_original(golden_dir: Path, file: str, form: str, left_out: int, kept: int) -> None:
    """It passes over videos that are missing and conversations that it cannot use, without a word."""
    folder = golden_dir / "mmduet" / "data"
    reader = registry.formats.get("mmduet")(
        form=form,
        durations=str(folder / "videos_metadata.json"),
        on_missing_duration="skip",
        on_bad_conversation="skip",
    )
    result = reader.read(folder / f"anno_{file}.json")
    assert (len(result.samples), result.counts["skipped_rows"]) == (kept, left_out)
    for sample in result.samples:
        assert len(sample.extra.get("captions", ())) == sum(turn.role == "assistant" for turn in sample.turns)


def test_questions_of_the_original(golden_dir: Path, tmp_path: Path) -> None:
    for name in ("dvc_gold", "magqa_gold", "grounding_gold"):
        file = golden_dir / "mmduet" / "metrics" / f"{name}.json"
        rows = json.loads(file.read_text())
        (tmp_path / "lengths.json").write_text(json.dumps({row["video"]: 200 for row in rows}))
        reader = registry.formats.get("mmduet")(form="questions", durations=str(tmp_path / "lengths.json"))
        result = reader.read(file)
        assert [s.id for s in result.samples] == [row["question_id"] for row in rows]
        for sample, row in zip(result.samples, rows, strict=True):
            truth = row.get("timestamps", [answer["time"] for answer in row.get("answer", [])])
            assert windows(sample) == truth

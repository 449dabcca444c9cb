"""Whatever stands in a row, a format reads it or says where it is wrong; it never fails in another way."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lavis.common.registry import registry
from lavis.datasets.formats._record import LONGEST_SECONDS, AnnotationError, leads_outside

TALK = [{"from": "human", "value": "<image>\nWhat at <vid>?"}, {"from": "gpt", "value": "From <vid> to <vid>."}]
ET = {"task": "tvg", "source": "s", "video": "a.mp4", "duration": 9.0, "src": [1], "tgt": [2, 3]}
BENCH = {"version": 1.0, "idx": 0, "source": "s", "video": "a.mp4", "duration": 9.0, "q": "Where?"}
ASKED = [{"role": "user", "content": "What?", "time": 1}]
ANSWERED = [*ASKED, {"role": "assistant", "content": "That.", "time": 3, "timespan": [2, 4], "learn": True}]
QUERY = {"query": "a dog", "duration": 9.5, "relevant_windows": [[0, 4]]}
RATED = {"relevant_clip_ids": [0, 1], "saliency_scores": [[1, 2, 3], [2, 2, 2]]}
GROUNDED = [{"from": "human", "value": "<image>\nWhen?"}, {"from": "gpt", "value": "From <1.0> to <2.5>."}]
KEYS = ("middle", "end", "throughout", "beginning")
SPAN = {"start_sec": 2.0, "end_sec": 3.0, "neg_start_sec": 0.0, "neg_end_sec": 9.0}
LETTERED = [[key, f"({letter}) {key}."] for key, letter in zip(KEYS, "ABCD", strict=True)]
CASES: list[tuple[str, dict[str, Any], Any]] = [
    ("calce", {}, [{"video": "a", "qid": "a_1", "items": ["dog"], "stage1_result": [[0, 9]], **QUERY, **RATED}]),
    ("calce", {"windows_in": "percent"}, [{"video": "a", "qid": "a_1", "items": [], **QUERY, "start": 0, "end": 9}]),
    ("mr_blip", {"windows_in": "fraction"}, [
        {"video": "a", "qid": "a_1", **QUERY, "relevant_windows": [[0, 0.5]], "labels": ["run"]}]),
    ("mr_blip", {}, [{"video": "a", "qid": "a_1", "question": "why?", "duration": 9, "num_option": 2, "a0": "x",
                      "a1": "y", "answer": 1}]),
    ("qvhighlights", {}, [{"qid": 1, "vid": "a", **QUERY, **RATED}]),
    ("charades_sta", {}, [{"qid": 1, "vid": "a", **QUERY}]),
    ("activitynet_captions", {}, {"v_a": {"duration": 9, "timestamps": [[1, 2]], "sentences": ["cut"]}}),
    ("tacos", {}, {"a.avi": {"timestamps": [[10, 200]], "sentences": ["cut"], "fps": 29.4, "num_frames": 1402}}),
    ("hawkeye_it", {}, [{"video": "a.mp4", "QA": [{"i": "Do.", "q": "What?", "a": "x"}], "start": 1, "end": 3}]),
    ("hawkeye_it", {}, [{"video": "a.mp4", "QA": [{"i": "Do.", "q": "When?", "a": LETTERED, **SPAN}]}]),
    ("hawkeye_it", {}, [{"video": "a.mp4", "QA": [{"q": [[key, f"{key}."] for key in KEYS], "a": "x", **SPAN}]}]),
    ("hawkeye_it", {}, [{"video": "a.mp4", "QA": [{"q": "When?", "a": "From %d to %d.", **SPAN}]}]),
    ("recursive_grounding", {}, [{"video": "a.mp4", "question": "x", "answer": [[1, 2]], "qid": "3"}]),
    ("star", {}, [{"question_id": "Interaction_T1_13", "question": "Which?", "video_id": "a", "start": 1.1, "end": 2,
                   "answer": "x", "choices": [{"choice_id": 0, "choice": "x"}, {"choice_id": 1, "choice": "y"}]}]),
    ("tvqa", {}, [{**{f"a{i}": "abcde"[i] for i in range(5)}, "answer_idx": 1, "q": "What?", "qid": 12,
                   "show_name": "Friends", "ts": "2.3-5.4", "vid_name": "a"}]),
    ("candidates", {}, [{"video": "a.mp4", "question": "x?", "candidates": ["a", "b"], "answer": 1, "qid": "3",
                         "start": 1, "end": 2, "type": "t"}]),
    ("video_mme", {}, [{"video_id": "1", "duration": "short", "domain": "K", "sub_category": "H", "videoID": "a",
                        "questions": [{"question_id": "1-1", "task_type": "t", "question": "x?",
                                       "options": ["A. a", "B. b"], "answer": "B"}]}]),
    ("grounded_videollm", {}, [{"video_id": "a", "question_id": 1, "video_file": "a.mp4", "conversation": GROUNDED,
                                "dataset_name": "n"}]),
    ("grounded_videoqa", {}, [{"video": "a.mp4", "question": "x?", "answer": "B", "temporal_span": [1, 2],
                               "options": {"A": "a", "B": "b"}, "question_id": "1", "source": "s"}]),
    ("conversations", {}, [{"id": "a", "image": "a.jpg", "conversations": TALK}]),
    ("conversations", {}, [{"video": "a.mp4", "duration": 9, "conversations": TALK}]),
    ("et_instruct", {}, [{**ET, "conversations": TALK}]),
    ("et_instruct", {"style": "txt", "on_reversed": "swap"}, [{**ET, "conversations": TALK, "windows": [[1, 2]]}]),
    ("et_bench", {}, [{**BENCH, "task": "vhd", "tgt": [[[1, 2]], [[3, 4]]]}]),
    ("et_bench", {}, [{**BENCH, "task": "dvc", "tgt": [[1, 2]], "g": ["cut"]}]),
    ("et_bench", {}, [{**BENCH, "task": "gvq", "tgt": [1, 2], "o": ["a", "b"], "p": 1}]),
    ("youcook2", {}, {"database": {"a": {"duration": 9, "subset": "training", "annotations": [
        {"segment": [1, 2], "id": 0, "sentence": "cut"}]}}}),
    ("youcook2", {"each": "sentence"}, {"database": {"a": {"duration": 9, "subset": "training", "annotations": [
        {"segment": [1, 2], "id": 0, "sentence": "cut"}]}}}),
    ("dense_captions", {}, {"v_a": {"duration": 9, "timestamps": [[1, 2]], "sentences": ["cut"]}}),
    ("mmduet", {"form": "captions"}, {"a.mp4": {"a0": [{"time": 1, "text": "cut", "timespan": [0, 2]}]}}),
    ("mmduet", {"form": "magqa"}, [{"video_uid": "a.mp4", "video_start_time": 0.5, "conversation": ANSWERED}]),
    ("mmduet", {"form": "grounding"}, [{"video_uid": "a.mp4", "query": "cut", "timestamps": [[0, 2]]}]),
    ("mmduet", {"form": "questions"}, [{"question_id": "1", "video": "a.mp4", "conversation": ASKED,
                                        "answer": [{"content": "That.", "time": [1, 2]}]}]),
    ("mmduet", {"form": "questions"}, [{"question_id": 1, "video": "a.mp4", "conversation": ASKED,
                                        "answer": {"relevant_clip_ids": [1], "saliency_scores": [[1, 2, 3]]}}]),
]  # fmt: skip

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-3, 12)
    | st.sampled_from(
        [
            10**400,
            1e308,
            -0.0,
            float("nan"),
            float("inf"),
            "",
            " ",
            "<vid>",
            "<image>",
            "../a",
            "a.mp4",
            10**19,
            "\ud800",
            "a\0b",
            "/a",
            [[1, 1e30]],
        ]
    )
    | st.floats(-2, 12)
    | st.text(max_size=4)
)
TIMED = {
    "mmduet", "hawkeye_it", "recursive_grounding", "star", "tvqa", "candidates", "video_mme", "grounded_videollm",
    "grounded_videoqa",
}  # fmt: skip

values = st.recursive(scalars, lambda each: st.lists(each, max_size=3) | st.dictionaries(st.text(max_size=4), each))


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where in a file something can be replaced."""
    found = [path]
    keys = value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        found += places(value[key], (*path, key))
    return found


def lengths(folder: Path, name: str) -> dict[str, str]:
    """The option that names the file of lengths, for formats whose rows may have none."""
    if name not in TIMED:
        return {}
    (folder / "videos_metadata.json").write_text('{"a.mp4": {"duration": 9.0}, "friends_frames/a": 9.0}')
    return {"durations": str(folder / "videos_metadata.json")}


def replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    changed = copy.copy(value)
    changed[path[0]] = replaced(value[path[0]], path[1:], new)
    return changed


@pytest.mark.parametrize(("name", "options", "good"), CASES)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_changed_row_is_read_or_refused(
    tmp_path: Path, name: str, options: dict[str, Any], good: Any, data: st.DataObject
) -> None:
    durations = lengths(tmp_path, name)
    path = data.draw(st.sampled_from(places(good)), label="path")
    file = tmp_path / "file.json"
    file.write_text(json.dumps(replaced(good, path, data.draw(values, label="value"))))
    reader = registry.formats.get(name)(**options, **durations)
    try:
        result = reader.read(file)
    except AnnotationError as error:
        assert "file.json" in str(error)
        return
    for sample in result.samples:
        assert 0 < sample.duration <= LONGEST_SECONDS
        texts = [sample.id, sample.query, sample.answer or "", *sample.options, *(turn.text for turn in sample.turns)]
        assert "".join(texts).encode(), "whole characters"
        assert not leads_outside(sample.video)
        assert len(sample.extra.get("captions", sample.moments or [])) == len(sample.moments or [])


@pytest.mark.parametrize(("name", "options", "good"), CASES)
def test_the_rows_are_good(tmp_path: Path, name: str, options: dict[str, Any], good: Any) -> None:
    durations = lengths(tmp_path, name)
    (tmp_path / "file.json").write_text(json.dumps(good))
    if options.get("style") == "txt":
        good[0]["conversations"] = [{**m, "value": m["value"].replace("<vid>", "2")} for m in TALK]
        (tmp_path / "file.json").write_text(json.dumps(good))
    assert registry.formats.get(name)(**options, **durations).read(tmp_path / "file.json").samples

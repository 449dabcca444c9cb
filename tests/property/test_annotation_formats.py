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
from lavis.datasets.formats._record import AnnotationError, leads_outside

TALK = [{"from": "human", "value": "<image>\nWhat at <vid>?"}, {"from": "gpt", "value": "From <vid> to <vid>."}]
ET = {"task": "tvg", "source": "s", "video": "a.mp4", "duration": 9.0, "src": [1], "tgt": [2, 3]}
BENCH = {"version": 1.0, "idx": 0, "source": "s", "video": "a.mp4", "duration": 9.0, "q": "Where?"}
ASKED = [{"role": "user", "content": "What?", "time": 1}]
ANSWERED = [*ASKED, {"role": "assistant", "content": "That.", "time": 3, "timespan": [2, 4], "learn": True}]
CASES: list[tuple[str, dict[str, Any], Any]] = [
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
    | st.sampled_from([10**400, 1e308, -0.0, float("nan"), float("inf"), "", " ", "<vid>", "<image>", "../a", "a.mp4"])
    | st.floats(-2, 12)
    | st.text(max_size=4)
)
values = st.recursive(scalars, lambda each: st.lists(each, max_size=3) | st.dictionaries(st.text(max_size=4), each))


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where in a file something can be replaced."""
    found = [path]
    keys = value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        found += places(value[key], (*path, key))
    return found


def replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    changed = copy.copy(value)
    changed[path[0]] = replaced(value[path[0]], path[1:], new)
    return changed


@pytest.mark.parametrize(("name", "options", "good"), CASES)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_changed_row_is_read_or_refused(
    tmp_path: Path, name: str, options: dict[str, Any], good: Any, data: st.DataObject
) -> None:
    durations = {}
    if name == "mmduet":
        (tmp_path / "videos_metadata.json").write_text('{"a.mp4": {"duration": 9.0}}')
        durations = {"durations": str(tmp_path / "videos_metadata.json")}
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
        assert sample.duration > 0
        assert not leads_outside(sample.video)
        assert len(sample.extra.get("captions", sample.moments or [])) == len(sample.moments or [])
        json.dumps(sample.query)


@pytest.mark.parametrize(("name", "options", "good"), CASES)
def test_the_rows_are_good(tmp_path: Path, name: str, options: dict[str, Any], good: Any) -> None:
    (tmp_path / "videos_metadata.json").write_text('{"a.mp4": {"duration": 9.0}}')
    durations = {"durations": str(tmp_path / "videos_metadata.json")} if name == "mmduet" else {}
    (tmp_path / "file.json").write_text(json.dumps(good))
    if options.get("style") == "txt":
        good[0]["conversations"] = [{**m, "value": m["value"].replace("<vid>", "2")} for m in TALK]
        (tmp_path / "file.json").write_text(json.dumps(good))
    assert registry.formats.get(name)(**options, **durations).read(tmp_path / "file.json").samples

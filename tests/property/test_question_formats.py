"""Formats of questions, HawkEye's and Grounded-VideoLLM's: a file is read, or refused with the place that is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lavis.common.registry import registry
from lavis.datasets.formats._record import AnnotationError, leads_outside

A = {f"a{i}": f"o{i}" for i in range(5)}
PAIRS = [
    [key, f"({letter}) x"] for letter, key in zip("ABCD", ("end", "middle", "beginning", "throughout"), strict=True)
]
SEGMENT = {"start_sec": 2, "end_sec": 3, "neg_start_sec": 1, "neg_end_sec": 8.5}
QUESTION = {"question_id": "1-1", "task_type": "t", "question": "q", "options": ["A. x", "B. y"], "answer": "B"}
TALK = [{"from": "human", "value": "<image>\nWhen?"}, {"from": "gpt", "value": "From <1> to <2.5>."}]
GOOD: dict[str, Any] = {
    "star": {"question_id": "Sequence_1", "question": "q", "video_id": "a", "start": 1, "end": 2, "answer": "x",
             "choices": [{"choice_id": 0, "choice": "x"}, {"choice_id": 1, "choice": "y"}]},
    "tvqa": {"qid": 1, "q": "q", **A, "vid_name": "a", "show_name": "Castle", "ts": "1-2.5", "answer_idx": 1},
    "candidates": {"video": "a.mp4", "question": "q", "candidates": ["x", "y"], "answer": "y", "qid": 1, "start": 1,
                   "end": 2},
    "mvbench": {"video": "a.mp4", "question": "q", "candidates": ["x", "y"], "answer": "y", "start": 1, "end": 2,
                "duration": 9},
    "video_mme": {"video_id": "1", "videoID": "a", "duration": "long", "domain": "d", "sub_category": "s",
                  "questions": [QUESTION]},
    "recursive_grounding": {"video": "a.mp4", "question": "q", "answer": [1, 2], "qid": "1"},
    "hawkeye_it": {"video": "a.mp4", "QA": [{"i": "", "q": "q", "a": PAIRS, **SEGMENT}]},
    "grounded_videollm": {"video_id": "v", "question_id": 1, "video_file": "a.mp4", "conversation": TALK,
                          "dataset_name": "d"},
    "grounded_videoqa": {"video": "a.mp4", "question": "q", "answer": "B", "temporal_span": [1, 2],
                         "options": {"A": "x", "B": "y"}},
}  # fmt: skip
TABLE = "video,video_id,question,answer,qid,type,a0,a1,a2,a3,a4,frame_count"
LINE = "a,a,q,1,0,CW,x,y,z,v,w,3"
LENGTHS = {"a": 9, "castle_frames/a": 9.0, "star/Charades_v1_480/a": 9}

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-3, 12)
    | st.sampled_from([10**400, -0.0, float("nan"), float("inf"), "", " ", "<-1>", "<image>\n", "../a", "B", "1-", "x"])
    | st.floats(-2, 12)
    | st.text(max_size=4)
)
values = st.recursive(scalars, lambda each: st.lists(each, max_size=3) | st.dictionaries(st.text(max_size=4), each))


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where in a row something can be replaced."""
    keys = value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    return [path, *(place for key in keys for place in places(value[key], (*path, key)))]


def replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    changed = value.copy()
    changed[path[0]] = replaced(value[path[0]], path[1:], new)
    return changed


def read_or_refuse(file: Path, name: str, **options: Any) -> int:
    """How many samples were read; checks them, or the message."""
    lengths = file.with_name("lengths.json")
    lengths.write_text(json.dumps(LENGTHS))
    try:
        samples = registry.formats.get(name)(durations=str(lengths), **options).read(file).samples
    except AnnotationError as error:
        assert str(file) in str(error)
        return 0
    for sample in samples:
        assert sample.duration > 0
        assert not leads_outside(sample.video)
        index = sample.extra.get("answer_index")
        assert index is None or sample.options[index] == sample.answer
    return len(samples)


@pytest.mark.parametrize("name", GOOD)
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_changed_row_is_read_or_refused(tmp_path: Path, name: str, data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(places(GOOD[name])), label="path")
    row = replaced(GOOD[name], path, data.draw(values, label="value"))
    file = tmp_path / "action_sequence.json"
    file.write_text(json.dumps([row]))
    read_or_refuse(file, name, on_bad_window=data.draw(st.sampled_from(["raise", "skip", "clamp"])))


@pytest.mark.parametrize("name", GOOD)
def test_the_rows_are_good(tmp_path: Path, name: str) -> None:
    file = tmp_path / "action_sequence.json"
    file.write_text(json.dumps([GOOD[name]]))
    assert read_or_refuse(file, name) == 1


@pytest.mark.parametrize("name", ["nextqa", "nextgqa"])
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(start=st.integers(0, 110), length=st.integers(0, 5), new=st.text('a1,"\n \r;-', max_size=5))
def test_a_changed_table_is_read_or_refused(tmp_path: Path, name: str, start: int, length: int, new: str) -> None:
    column = "video_id" if name == "nextqa" else "video"
    text = f"{TABLE}\n{LINE}\n{LINE.replace(',0,CW', ',1,CW')}\n".replace(f"{column},", "", 1).replace("a,a,", "a,")
    text = text if name == "nextqa" else text.replace(",q,1,", ",q,y,")
    file = tmp_path / "val.csv"
    file.write_text(text[:start] + new + text[start + length :])
    read_or_refuse(file, name)
    file.write_text(text)
    assert read_or_refuse(file, name) == 2

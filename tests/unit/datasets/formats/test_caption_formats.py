"""Formats with several sentences of one video: ``dense_captions`` and ``youcook2``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lavis.common.registry import registry
from lavis.datasets.formats._record import AnnotationError
from lavis.datasets.formats.base import Annotations
from lavis.metrics.dense_captioning import DenseCaptioning
from lavis.structures import Prediction

Read = Callable[..., Annotations]

ACTIVITYNET = {"duration": 55.15, "timestamps": [[0, 4.14], [4.14, 55.16]], "sentences": ["Two men.", " One man."]}
STEPS = [
    {"segment": [41, 54], "id": 0, "sentence": "melt butter"},
    {"segment": [60, 72], "id": 1, "sentence": "add flour"},
]
TRAINING = {
    "duration": 311.77,
    "subset": "training",
    "recipe_type": "113",
    "video_url": "https://www.example.org/watch?v=a",
    "annotations": STEPS,
}
YOUCOOK2 = {"database": {"a": TRAINING, "b": {**TRAINING, "subset": "validation"}}}


@pytest.fixture
def read(tmp_path: Path) -> Read:
    def read_as(name: str, value: Any, split: str = "", **options: Any) -> Annotations:
        file = tmp_path / "file.json"
        file.write_text(json.dumps(value))
        return registry.formats.get(name)(**options).read(file, split)

    return read_as


def youcook2(**changes: Any) -> dict[str, Any]:
    return {"database": {"a": {k: v for k, v in {**TRAINING, **changes}.items() if v is not ...}}}


def windows(sample: Any) -> list[list[float]]:
    return [m.to_list() for m in sample.moments or []]


def test_dense_captions(read: Read) -> None:
    result = read("dense_captions", {"v_a": ACTIVITYNET})
    (sample,) = result.samples
    assert (sample.id, sample.video, sample.query, sample.duration) == ("v_a", "v_a", "", 55.15)
    assert windows(sample) == [[0, 4.14], [4.14, 55.15]]
    assert sample.extra == {"captions": ["Two men.", " One man."]}
    assert result.counts == {"rows": 1, "clamped_windows": 1}


def test_the_metric_reads_the_captions(read: Read) -> None:
    (sample,) = read("dense_captions", {"v_a": ACTIVITYNET}).samples
    prediction = Prediction(id="v_a", moments=list(sample.moments or []), captions=list(sample.extra["captions"]))
    _, truth = DenseCaptioning().rows(sample, prediction)
    assert truth["captions"] == ["Two men.", " One man."]
    assert truth["moments"] == [[0, 4.14], [4.14, 55.15]]


def test_a_bad_window_takes_its_sentence_with_it(read: Read) -> None:
    entry = {**ACTIVITYNET, "timestamps": [[4, 1], [5, 6]]}
    result = read("dense_captions", {"v_a": entry}, on_bad_window="skip")
    assert (windows(result.samples[0]), result.samples[0].extra["captions"]) == ([[5, 6]], [" One man."])
    entry = {**ACTIVITYNET, "timestamps": [[4, 1], [6, 5]]}
    result = read("dense_captions", {"v_a": entry, "v_b": ACTIVITYNET}, on_bad_window="skip")
    assert [s.id for s in result.samples] == ["v_b"]
    assert result.counts == {"rows": 2, "skipped_windows": 2, "skipped_rows": 1, "clamped_windows": 1}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"timestamps": [[4, 1], [5, 6]]}, r", sentence 1 .*'timestamps': the window \[4, 1\] ends before it starts"),
        ({"timestamps": [[0, 1]]}, r"'timestamps': must be a list with one window for each of 'sentences'"),
        ({"timestamps": [[0, 1], [2, "3"]]}, r", sentence 2 .*no finite number"),
        ({"sentences": ["a", ""]}, r", sentence 2 .*'sentences': must be a text that is not blank"),
        ({"sentences": [], "timestamps": []}, r"'sentences': holds no sentence"),
        ({"duraton": 3}, r"'duraton': is not a field.*Did you mean 'duration'"),
        ({"duration": "55"}, r"'duration': must be a finite number"),
    ],
)
def test_bad_dense_captions(read: Read, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(AnnotationError, match=rf"file.json, video 'v_a'.*{message}"):
        read("dense_captions", {"v_a": {**ACTIVITYNET, **changes}})


def test_youcook2_videos(read: Read) -> None:
    (sample,) = read("youcook2", YOUCOOK2, "train").samples
    assert (sample.id, sample.video, sample.query, sample.duration) == ("a", "a", "", 311.77)
    assert windows(sample) == [[41, 54], [60, 72]]
    assert sample.extra == {"recipe_type": "113", "captions": ["melt butter", "add flour"]}
    assert [s.id for s in read("youcook2", YOUCOOK2, "val").samples] == ["b"]
    assert [s.id for s in read("youcook2", YOUCOOK2).samples] == ["a", "b"]


def test_youcook2_sentences(read: Read) -> None:
    result = read("youcook2", YOUCOOK2, "val", each="sentence", video_names="folders")
    assert [(s.id, s.query, windows(s)) for s in result.samples] == [
        ("YouCook2_b_0", "melt butter", [[41, 54]]),
        ("YouCook2_b_1", "add flour", [[60, 72]]),
    ]
    assert {s.video for s in result.samples} == {"validation/113/b"}


@pytest.mark.parametrize("each", ["video", "sentence"])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"duration": ...}, r"'duration': is missing"),
        ({"recipe": "113"}, r"'recipe': is not a field.*Did you mean 'recipe_type'"),
        ({"annotations": []}, r"'annotations': must be a list of segments"),
        ({"annotations": ["melt"]}, r"annotation 1 must be an object"),
        ({"annotations": [{"segment": [1, 2]}]}, r", annotation 1.*'sentence': is missing"),
        ({"annotations": [STEPS[0], {**STEPS[1], "segmnt": 1}]}, r", annotation 2.*'segmnt'.*Did you mean 'segment'"),
        ({"annotations": [STEPS[0], {**STEPS[1], "segment": [9, 2]}]}, r", annotation 2.*'segment'.*ends before it"),
        ({"annotations": [{**STEPS[0], "segment": [1, None]}]}, r", annotation 1.*'segment'.*no finite number"),
        ({"annotations": [{**STEPS[0], "sentence": 4}]}, r", annotation 1.*'sentence': must be a text"),
    ],
)
def test_bad_youcook2(read: Read, each: str, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(AnnotationError, match=rf"file.json, video 'a'.*{message}"):
        read("youcook2", youcook2(**changes), "train", each=each)


def test_another_file_than_youcook2s(read: Read) -> None:
    for value in ([], {"a": TRAINING}):
        with pytest.raises(AnnotationError, match=r"file.json: must be an object with 'database'"):
            read("youcook2", value)
    with pytest.raises(AnnotationError, match=r"has no video of subset 'testing', which is split .test."):
        read("youcook2", YOUCOOK2, "test")
    with pytest.raises(AnnotationError, match=r"leads outside the folder of the videos"):
        read("youcook2", youcook2(recipe_type=".."), video_names="folders")
    for option in ("each", "video_names"):
        with pytest.raises(ValueError, match=rf"format.{option} must be one of"):
            registry.formats.get("youcook2")(**{option: "all"})

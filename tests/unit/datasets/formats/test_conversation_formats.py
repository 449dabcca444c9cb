"""Formats with written conversations: LLaVA's (``conversations``) and E.T. Instruct's (``et_instruct``)."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lavis.common.registry import registry
from lavis.datasets.formats._conversation import Filters
from lavis.datasets.formats._record import AnnotationError
from lavis.datasets.formats.base import Annotations
from lavis.structures import Turn

Read = Callable[..., Annotations]

TALK = [{"from": "human", "value": "<image>\nWhat is it?"}, {"from": "gpt", "value": "A red cup."}]
IMAGE = {"id": "000000033471", "image": "coco/train2017/000000033471.jpg", "conversations": TALK}
VIDEO = {"id": "v_k", "video": "activitynet/v_k.mp4", "duration": 12.5, "conversations": TALK}
TEXT = {
    "id": "wgByO4Y_0",
    "model": "",
    "conversations": [
        {"from": "human", "value": "Hello"},
        {"from": "gpt", "value": "Hi there"},
        {"from": "human", "value": "Bye"},
        {"from": "gpt", "value": "Good bye now"},
    ],
}
ET = {
    "task": "tvg",
    "source": "how_to_step",
    "video": "how_to_step/a.mp4",
    "duration": 12.0,
    "tgt": [3.4, 7.8],
    "conversations": [
        {"from": "human", "value": "<image>\nFind the clip."},
        {"from": "gpt", "value": "<vid> - <vid> seconds."},
    ],
}


@pytest.fixture
def read(tmp_path: Path) -> Read:
    def read_as(name: str, rows: Any, **options: Any) -> Annotations:
        file = tmp_path / "train.json"
        file.write_text(json.dumps(rows))
        return registry.formats.get(name)(**options).read(file)

    return read_as


def changed(row: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {key: value for key, value in {**row, **changes}.items() if value is not ...}


def windows(sample: Any) -> Any:
    return sample.moments and [m.to_list() for m in sample.moments]


def talk(*texts: str) -> list[dict[str, str]]:
    return [{"from": "gpt" if i % 2 else "human", "value": text} for i, text in enumerate(texts)]


# ------------------------------------------------------------------ conversations


def test_images_videos_and_text(read: Read) -> None:
    result = read("conversations", [IMAGE, VIDEO, TEXT], image_folder="llava_instruct", video_folder="video_chatgpt/")
    image, video, text = result.samples
    assert [s.id for s in result.samples] == ["Conversation_0", "Conversation_1", "Conversation_2"]
    assert [s.extra["media"] for s in result.samples] == ["image", "video", "text"]
    assert image.video == "llava_instruct/coco/train2017/000000033471.jpg"
    assert video.video == "video_chatgpt/activitynet/v_k.mp4"
    assert text.video == ""
    assert [s.duration for s in result.samples] == [1, 12.5, 1]
    assert image.turns == [Turn("user", "<image>\nWhat is it?"), Turn("assistant", "A red cup.", learned=True)]
    assert (image.query, image.answer, image.moments) == ("What is it?", "A red cup.", None)
    assert image.extra["source_id"] == "000000033471"
    assert [turn.role for turn in text.turns] == ["user", "assistant", "user", "assistant"]
    assert (text.query, text.answer) == ("Hello", None)
    assert text.extra["model"] == ""
    assert result.counts == {"rows": 3}


def test_lengths_come_from_the_metadata(read: Read, tmp_path: Path) -> None:
    row = changed(VIDEO, duration=...)
    metadata = tmp_path / "videos_metadata.json"
    metadata.write_text(json.dumps({"activitynet/v_k.mp4": {"duration": 9.5, "fps": 30.0}, "b.mp4": 3}))
    (sample,) = read("conversations", [row], durations=str(metadata)).samples
    assert sample.duration == 9.5
    (sample,) = read("conversations", [changed(row, video="b.mp4")], durations=str(metadata)).samples
    assert sample.duration == 3
    (tmp_path / "lengths.csv").write_text("id,length\nb.mp4,4.5\n")
    (sample,) = read("conversations", [changed(row, video="b.mp4")], durations=str(tmp_path / "lengths.csv")).samples
    assert sample.duration == 4.5
    cases = [
        (
            {"video": "c.mp4"},
            str(metadata),
            r"train.json, row 1 .*'duration'.*videos_metadata.json has no video 'c.mp4'",
        ),
        ({}, None, r"train.json, row 1 .*'duration': is missing. and these rows.*Set format.durations"),
        ({}, str(tmp_path / "none.json"), r"there is no file of durations"),
    ]
    for changes, path, message in cases:
        with pytest.raises(AnnotationError, match=message):
            read("conversations", [changed(row, **changes)], durations=path)
    for content, message in [
        ("[]", r"must map videos"),
        ('{"activitynet/v_k.mp4": {"duration": 0}}', r"must be above 0"),
    ]:
        metadata.write_text(content)
        with pytest.raises(AnnotationError, match=message):
            read("conversations", [row], durations=str(metadata))


def test_videos_without_a_length_may_be_left_out(read: Read, tmp_path: Path) -> None:
    (tmp_path / "lengths.json").write_text('{"b.mp4": 3}')
    rows = [changed(VIDEO, duration=...), changed(VIDEO, duration=..., video="b.mp4"), VIDEO, IMAGE, TEXT]
    result = read("conversations", rows, durations=str(tmp_path / "lengths.json"), on_missing_duration="skip")
    assert [s.id for s in result.samples] == [f"Conversation_{k}" for k in (1, 2, 3, 4)]
    assert result.counts == {"rows": 5, "without_duration": 1, "skipped_rows": 1}
    with pytest.raises(ValueError, match=r"format.on_missing_duration must be one of"):
        read("conversations", rows, on_missing_duration="ignore")


BAD_TALKS = [
    ([], r"'conversations': must be a list of messages in pairs of human and gpt, got 0 messages"),
    ("hello", r"must be a list of messages in pairs of human and gpt, got str"),
    (talk("a", "b", "c"), r"must be a list of messages in pairs.*got 3 messages"),
    (["a", "b"], r"message 1 must be an object with named fields"),
    ([TALK[1], TALK[0]], r", message 1 .*'from': must be 'human' here, got 'gpt'"),
    (talk("a", " "), r", message 2 .*'value': must be a text that is not blank"),
    (talk("<image> and <image>", "b"), r"message 1.*'value': has places for 2 times frames, a row with image for 1"),
    ([{"from": "human", "vlaue": "a"}, TALK[1]], r"message 1.*'value': is missing.*did you mean its field 'vlaue'"),
    ([{**TALK[0], "weight": 1}, TALK[1]], r"message 1.*'weight': is not a field"),
]


@pytest.mark.parametrize(("messages", "message"), BAD_TALKS)
def test_bad_conversations(read: Read, messages: Any, message: str) -> None:
    row = changed(IMAGE, conversations=messages)
    with pytest.raises(AnnotationError, match=rf"train.json, row 1.*{message}"):
        read("conversations", [row])
    result = read("conversations", [row, TEXT], on_bad_conversation="skip")
    assert [s.id for s in result.samples] == ["Conversation_1"]
    assert result.counts == {"rows": 2, "skipped_rows": 1, "bad_conversations": 1}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (changed(IMAGE, video="a.mp4"), r"'image': a row has an image or a video"),
        (changed(TEXT, conversations=TALK), r"has places for 1 times frames, a row with text for 0"),
        (changed(IMAGE, conversations=...), r"'conversations': is missing"),
        (changed(IMAGE, imgae="a.jpg"), r"'imgae': is not a field.*Did you mean 'image'"),
        (changed(IMAGE, image=["a.jpg", "b.jpg"]), r"'image': must be a text"),
        (changed(VIDEO, duration="12"), r"'duration': must be a finite number"),
        (changed(VIDEO, duration=0), r"'duration': must be above 0"),
        (changed(IMAGE, image="/etc/passwd"), r"'image': the file name '/etc/passwd' leads outside"),
    ],
)
def test_bad_rows(read: Read, row: Any, message: str) -> None:
    with pytest.raises(AnnotationError, match=rf"train.json, row 2.*\(id Conversation_1\).*{message}"):
        read("conversations", [TEXT, row])


@pytest.mark.parametrize(
    ("filters", "kept"),
    [
        ({}, [0, 1, 2]),
        ({"min_num_words": 4}, [2]),
        ({"min_num_words": 3, "words_of": "first"}, [0, 1]),
        ({"max_num_words": 3}, [0, 1]),
        ({"max_num_words": 0}, None),
        ({"max_video_len": 12}, [0, 2]),
        ({"min_video_len": 13}, [0, 2]),
        ({"max_video_len": 12.5, "min_video_len": 0}, [0, 1, 2]),
    ],
)
def test_filters(read: Read, filters: dict[str, Any], kept: list[int] | None) -> None:
    if kept is None:
        with pytest.raises(AnnotationError, match=r"format.filters leave none of 3 rows"):
            read("conversations", [IMAGE, VIDEO, TEXT], filters=Filters(**filters))
        return
    result = read("conversations", [IMAGE, VIDEO, TEXT], filters=Filters(**filters))
    assert [s.id for s in result.samples] == [f"Conversation_{k}" for k in kept]
    assert result.counts["filtered_rows"] == 3 - len(kept)


def test_filters_are_checked() -> None:
    with pytest.raises(ValueError, match=r"words_of must be one of"):
        Filters(words_of="last")  # type: ignore[arg-type]


# ------------------------------------------------------------------ et_instruct


def test_et_instruct_with_marks(read: Read) -> None:
    region = changed(ET, task="rvq", src=[2.0, 5.5], tgt=[])
    region["conversations"] = talk("<image>\nWhat is between <vid> and <vid>?", "A cup.")
    result = read("et_instruct", [ET, region])
    first, second = result.samples
    assert (first.id, first.video, first.kind, first.duration) == ("ETInstruct_0", "how_to_step/a.mp4", "tvg", 12.0)
    assert windows(first) == [[3.4, 7.8]]
    assert first.extra == {"source": "how_to_step", "tgt": [3.4, 7.8], "media": "video"}
    assert (first.query, first.answer) == ("Find the clip.", "<vid> - <vid> seconds.")
    assert second.moments is None
    assert second.extra["src"] == [2.0, 5.5]


def test_et_instruct_in_text(read: Read) -> None:
    row = changed(ET, tgt=..., conversations=talk("<image>\nFind it.", "3.4 - 7.8 seconds."))
    (sample,) = read("et_instruct", [row], style="txt").samples
    assert sample.moments is None
    with pytest.raises(AnnotationError, match=r"row 1 .*'conversations': holds <vid>.*style to 'vid'"):
        read("et_instruct", [ET], style="txt")


@pytest.mark.parametrize(
    ("task", "changes", "expected"),
    [
        ("dvc", {"tgt": [1, 2, 3, 4]}, [[1, 2], [3, 4]]),
        ("vhd", {"tgt": [4.0, 11]}, [[4.0, 6.0], [11, 12.0]]),
        ("tvc", {"tgt": [2.0, 8.0]}, [[2.0, 8.0], [8.0, 11.0]]),
        ("tvc", {"tgt": [11.5]}, [[11.5, 12.0]]),
        ("tvc", {"tgt": []}, []),
        ("rvc", {"tgt": ..., "src": [5.0, 9.0]}, [[5.0, 9.0]]),
        ("cap", {"tgt": [1, 2], "windows": [[3, 4]]}, [[3, 4]]),
        ("cap", {"tgt": [1, 2]}, None),
    ],
)
def test_windows_by_task(read: Read, task: str, changes: dict[str, Any], expected: Any) -> None:
    row = changed(ET, task=task, conversations=talk("a", "b"), **changes)
    assert windows(read("et_instruct", [row], style="txt").samples[0]) == expected


MECO = changed(ET, conversations=talk("<image>\nFind it.", "<tst>\na cup<ent>\n<tst>"))


def test_meco_marks(read: Read) -> None:
    row = changed(MECO, tst_windows=[[0, 3.4], [7.8, 12]])
    (sample,) = read("et_instruct", [row], style="meco").samples
    assert sample.extra["tst_windows"] == [[0, 3.4], [7.8, 12]]
    cases: list[tuple[dict[str, Any], str]] = [
        ({"task": "cap"}, r"'task': 'cap' with these fields has no windows"),
        ({"tgt": [1, 2, 3, 4]}, r"'tgt': must have one entry for each <ent>, got 2 for 1"),
        ({"tst_windows": [[0, 3]]}, r"'tst_windows': must have one entry for each <tst>, got 1 for 2"),
        ({"tst_windows": [[0, 3], [4]]}, r"'tst_windows': holds \[4\], which is no \[start, end\]"),
        ({"tst_windows": "all"}, r"'tst_windows': must be a list of"),
    ]
    for changes, message in cases:
        with pytest.raises(AnnotationError, match=rf"row 1 \(id ETInstruct_0\).*{message}"):
            read("et_instruct", [changed(MECO, **changes)], style="meco")


def test_reversed_windows(read: Read) -> None:
    row = changed(ET, tgt=[7.8, 3.4])
    with pytest.raises(
        AnnotationError, match=r"train.json, row 1 .*'tgt': the window \[7.8, 3.4\] ends before it starts"
    ):
        read("et_instruct", [row])
    result = read("et_instruct", [row, ET], on_bad_window="skip")
    assert result.counts == {"rows": 2, "skipped_windows": 1, "skipped_rows": 1}
    result = read("et_instruct", [row, ET], on_reversed="swap")
    assert [windows(s) for s in result.samples] == [[[3.4, 7.8]], [[3.4, 7.8]]]
    assert result.samples[0].extra["tgt"] == [7.8, 3.4], "as annotated"
    assert result.counts == {"rows": 2, "swapped_windows": 1}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": ...}, r"'task': is missing"),
        ({"taks": "tvg"}, r"'taks': is not a field.*Did you mean 'task'"),
        ({"tgt": [3.4]}, r"'tgt': must hold a start and an end for each window, got 1 times"),
        ({"tgt": 3.4}, r"'tgt': must be a list of seconds"),
        ({"tgt": [3.4, "7.8"]}, r"'tgt': must be a finite number, got '7.8'"),
        ({"tgt": [3.4, 7.8, 8, 9]}, r"'tgt': must have one entry for each <vid> of the gpt, got 4 for 2"),
        ({"src": [1]}, r"'src': must have one entry for each <vid> of the human, got 1 for 0"),
        ({"tgt": [13, 14]}, r"the window \[13, 14\] lies outside the video"),
        ({"windows": 3}, r"'windows': must be a list of"),
        ({"windows": [[1, 2, 3]]}, r"is not \[start, end\]"),
        ({"video": "../../etc/passwd"}, r"'video': the file name '../../etc/passwd' leads outside the folder"),
        ({"duration": None}, r"'duration': must be a finite number"),
    ],
)
def test_bad_et_instruct(read: Read, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(AnnotationError, match=rf"train.json, row 2 \(id ETInstruct_1\).*{message}"):
        read("et_instruct", [ET, changed(ET, **changes)])


def test_windows_past_the_end_are_cut(read: Read) -> None:
    result = read("et_instruct", [changed(ET, tgt=[3, 50])])
    assert windows(result.samples[0]) == [[3, 12.0]]
    assert result.counts["clamped_windows"] == 1


# ------------------------------------------------------------------ files the originals were run on


def test_etchat_records(golden_dir: Path) -> None:
    file = golden_dir / "meco" / "data" / "etchat_train_annos.json"
    result = registry.formats.get("et_instruct")(style="vid").read(file)
    rows = json.loads(file.read_text())
    assert len(result.samples) == len(rows) == 5
    for sample, row in zip(result.samples, rows, strict=True):
        assert [sample.extra.get(name) for name in ("src", "tgt")] == [row.get(name) for name in ("src", "tgt")]
        assert [turn.text for turn in sample.turns] == [message["value"] for message in row["conversations"]]


def test_meco_records(golden_dir: Path) -> None:
    """Windows are those that MeCo trains with, once they are tied to its frames, one a second, as it does."""
    folder = golden_dir / "meco" / "data"
    result = registry.formats.get("et_instruct")(style="meco", on_reversed="swap").read(folder / "train_annos.json")
    recorded = json.loads((folder / "dataset_items.json").read_text())
    assert result.counts == {"rows": 13, "swapped_windows": 1}
    assert {s.kind for s in result.samples} == {"tvg", "epm", "tal", "evs", "vhd", "dvc", "slc", "gvq", "tvc", "rvc"}
    for item in recorded:
        sample = result.samples[item["index"]]
        assert sample.kind == item["task"]
        for ours, theirs in zip(windows(sample), item["windows"], strict=True):
            assert bound_to_frames(ours, item["num_frames"]) == pytest.approx(theirs, abs=1e-5), sample.id


def bound_to_frames(window: list[float], frames: int) -> list[float]:
    """Within the frames, and at least one of them long."""
    start, end = (min(max(second, 0), frames) for second in window)
    if end - start >= 1:
        return [start, end]
    middle = min(max((start + end) / 2, 0.5), frames - 0.5)
    return [middle - 0.5, middle + 0.5]


def test_times_that_no_video_has(read: Read) -> None:
    for seconds in (-1.0, 1e12):
        row = changed(
            ET, task="rvq", src=[seconds], conversations=talk("<image>\nWhat at <vid>?", "A <vid> <vid> cup.")
        )
        with pytest.raises(AnnotationError, match=r"'src': holds .* which is no time of a video.*on_bad_window"):
            read("et_instruct", [row])
        left = read("et_instruct", [row, ET], on_bad_window="skip")
        assert (len(left.samples), left.counts["skipped_rows"], left.counts["skipped_windows"]) == (1, 1, 1)

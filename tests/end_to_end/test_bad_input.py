"""Faulty data in whole runs: videos, subtitles and annotations.

Each fault either stops the run with a message that says what, where and what to do, or is left out and counted where
the configuration says so. Either way what was computed before stays, and the next run goes on from there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lavis.common.config import load_config
from lavis.processors.readers.base import VideoDecodeError
from lavis.processors.subtitles import SubtitleError
from lavis.runners.run import evaluate, train
from tests.end_to_end.tiny import SRT, Corpus, experiment, metrics, predictions, put_predictions, write_corpus
from tests.video_factory import truncate, write_audio, write_video

TEST = 4
BAD = 2  # number of the test row, and of its video, that is spoilt


@pytest.fixture(scope="module")
def _whole(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return write_corpus(tmp_path_factory.mktemp("whole"), train=2, val=1, test=TEST, rows_of_video=1)


@pytest.fixture
def corpus(_whole: Corpus, tmp_path: Path) -> Corpus:
    """A corpus of its own for every test, to be spoilt."""
    return _whole.copied(tmp_path / "corpus")


def evaluated(corpus: Corpus, run: dict[str, Any] | None = None, **dataset: Any) -> Path:
    """Evaluates the test split, one sample at a time; ``dataset`` are options of the data set."""
    settings = {"batch_size": 1, "test_splits": ["test"], **(run or {})}
    return evaluate(load_config(experiment(corpus, "tiny/bad", dataset=dataset, run=settings)))


def answered(corpus: Corpus) -> list[str]:
    """Ids of the test split that have a prediction, in the order of the file."""
    file = corpus.results / "tiny" / "bad" / "predictions" / "clips_test.jsonl"
    return [row["id"] for row in predictions(file.parents[1], "clips_test")] if file.is_file() else []


def mark(folder: Path) -> None:
    """Makes answers recognisable, to see whether they are kept."""
    rows = [{**row, "text": f"kept {row['text']}"} for row in predictions(folder, "clips_test")]
    put_predictions(folder, "clips_test", rows)


def others(corpus: Corpus) -> list[str]:
    return [identity for i, identity in enumerate(corpus.ids("test")) if i != BAD]


# Videos


def zero_bytes(path: Path) -> None:
    path.write_bytes(b"")


def garbage(path: Path) -> None:
    path.write_bytes(bytes(range(256)) * 40)


def no_frames(path: Path) -> None:
    import av

    with av.open(str(path), "w", format="avi") as output:
        stream = output.add_stream("libx264", rate=8)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        output.start_encoding()


def only_sound(path: Path) -> None:
    path.unlink()
    write_audio(path)


def cut_off(path: Path) -> None:
    whole = write_video(path.with_name("whole.mp4"), num_frames=30, fps=1, options={"movflags": "faststart"})
    truncate(whole, path)


def cut_off_before_its_index(path: Path) -> None:
    whole = path.with_name("whole.mp4")
    truncate(path.rename(whole), path)


def a_page(path: Path) -> None:
    path.write_text("<html><body>404 not found</body></html>")


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


UNREADABLE: dict[Callable[[Path], None], str] = {
    zero_bytes: r"is empty.*fetch it again",
    garbage: r"not a readable video.*(fetch|re-encode)",
    no_frames: r"not one frame can be decoded.*(fetch|re-encode)",
    only_sound: r"no video in it.*fetch",
    cut_off: r"the file ends after \d+ of 30 frames.*on_truncated(: | to )warn",
    cut_off_before_its_index: r"not a readable video.*(fetch|re-encode)",
    a_page: r"not a readable video.*(fetch|re-encode)",
    a_folder: r"is a folder.*frame_folder",
}


def spoil_video(corpus: Corpus, how: Callable[[Path], None]) -> Path:
    path = corpus.videos / f"test_{BAD}.mp4"
    how(path)
    return path


def mend_video(path: Path) -> None:
    if path.is_dir():
        path.rmdir()
    write_video(path, num_frames=30, fps=1)


@pytest.mark.parametrize("how", UNREADABLE, ids=lambda how: how.__name__)
def test_an_unreadable_video_stops_the_run_and_loses_nothing(corpus: Corpus, how: Callable[[Path], None]) -> None:
    path = spoil_video(corpus, how)
    with pytest.raises(VideoDecodeError, match=UNREADABLE[how]) as caught:
        evaluated(corpus)
    assert str(path) in str(caught.value)
    assert f"sample {corpus.ids('test')[BAD]}" in str(caught.value)
    before = answered(corpus)
    assert before == corpus.ids("test")[:BAD]

    mend_video(path)
    mark(corpus.results / "tiny" / "bad")
    folder = evaluated(corpus)
    assert answered(corpus) == corpus.ids("test")
    kept = [row["id"] for row in predictions(folder, "clips_test") if row["text"].startswith("kept ")]
    assert kept == before


@pytest.mark.parametrize("how", UNREADABLE, ids=lambda how: how.__name__)
def test_an_unreadable_video_is_left_out_and_counted(corpus: Corpus, how: Callable[[Path], None]) -> None:
    spoil_video(corpus, how)
    folder = evaluated(corpus, on_decode_error="skip")
    assert answered(corpus) == others(corpus)
    figures = metrics(folder)["clips_test"]
    assert (figures["skipped"], figures["total"]) == (1, TEST - 1)


def test_loader_processes_tell_the_same(corpus: Corpus) -> None:
    path = spoil_video(corpus, garbage)
    with pytest.raises(VideoDecodeError, match=rf"^sample {corpus.ids('test')[BAD]}: {path}: not a readable video.*"):
        evaluated(corpus, {"num_workers": 1})
    assert answered(corpus) == corpus.ids("test")[:BAD]
    folder = evaluated(corpus, {"num_workers": 1}, on_decode_error="skip")
    assert answered(corpus) == others(corpus)
    assert metrics(folder)["clips_test"]["skipped"] == 1


def test_turning_to_skip_keeps_what_was_answered(corpus: Corpus) -> None:
    spoil_video(corpus, garbage)
    with pytest.raises(VideoDecodeError):
        evaluated(corpus)
    mark(corpus.results / "tiny" / "bad")
    folder = evaluated(corpus, on_decode_error="skip")
    assert answered(corpus) == others(corpus)
    assert sum(row["text"].startswith("kept ") for row in predictions(folder, "clips_test")) == BAD


def test_other_subtitles_ask_their_video_again(corpus: Corpus) -> None:
    folder = evaluated(corpus)
    mark(folder)
    (corpus.subtitles / f"test_{BAD}.srt").write_text(SRT.replace("man", "dog"))
    evaluated(corpus)
    kept = [row["id"] for row in predictions(folder, "clips_test") if row["text"].startswith("kept ")]
    assert kept == others(corpus)


def test_missing_videos_are_found_before_the_first_step(corpus: Corpus) -> None:
    (corpus.videos / f"test_{BAD}.mp4").unlink()
    with pytest.raises(ValueError, match=rf"1 of {TEST} videos are missing in .*, such as test_{BAD}\.mp4.*skip"):
        evaluated(corpus)
    assert answered(corpus) == []
    folder = evaluated(corpus, on_missing_video="skip")
    assert answered(corpus) == others(corpus)
    assert metrics(folder)["clips_test"]["skipped"] == 1


def test_a_video_that_vanishes_is_unreadable(corpus: Corpus) -> None:
    (corpus.videos / f"test_{BAD}.mp4").unlink()
    with pytest.raises(VideoDecodeError, match=r"No such file.*check the folder of videos"):
        evaluated(corpus, check_files=False)
    evaluated(corpus, check_files=False, on_decode_error="skip")
    assert answered(corpus) == others(corpus)


def test_a_truncated_video_can_be_used_as_far_as_it_goes(corpus: Corpus) -> None:
    spoil_video(corpus, cut_off)
    reader = {"name": "pyav", "on_truncated": "warn"}
    model = {"processor": {"views": {"frames": {"reader": reader}}}}
    settings = {"batch_size": 1, "test_splits": ["test"]}
    evaluate(load_config(experiment(corpus, "tiny/bad", model=model, run=settings)))
    assert answered(corpus) == corpus.ids("test")


def test_no_readable_video_at_all(corpus: Corpus) -> None:
    for i in range(TEST):
        garbage(corpus.videos / f"test_{i}.mp4")
    folder = evaluated(corpus, {"decode": {"max_errors": None}}, on_decode_error="skip")
    figures = metrics(folder)["clips_test"]
    assert (figures["skipped"], figures["total"]) == (TEST, 0)
    assert answered(corpus) == []


def test_training_leaves_unreadable_videos_out(corpus: Corpus) -> None:
    garbage(corpus.videos / "train_1.mp4")
    options = {"test_splits": [], "valid_splits": [], "batch_size": 1, "epochs": 2}
    folder = train(load_config(experiment(corpus, dataset={"on_decode_error": "skip"}, run=options)))
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    assert sum(row["loss"] > 0 for row in rows) == 2
    assert "item left out" in (folder / "run.log").read_text()


def test_training_without_any_readable_video(corpus: Corpus) -> None:
    for i in range(2):
        garbage(corpus.videos / f"train_{i}.mp4")
    options = {"test_splits": [], "valid_splits": [], "decode": {"max_errors": None}}
    file = experiment(corpus, dataset={"on_decode_error": "skip"}, run=options)
    with pytest.raises(ValueError, match=r"not one of 2 training samples can be read"):
        train(load_config(file))


def test_training_that_meets_an_unreadable_video_goes_on_after_its_repair(corpus: Corpus) -> None:
    options = {"test_splits": [], "valid_splits": [], "batch_size": 2}
    file = experiment(corpus, run=options)
    folder = train(load_config(file))
    garbage(corpus.videos / "train_1.mp4")
    with pytest.raises(VideoDecodeError, match=r"train_1\.mp4"):
        train(load_config(file, ["run.epochs=2"]))
    assert "train_1.mp4" in (folder / "run.log").read_text()
    mend_video(corpus.videos / "train_1.mp4")
    train(load_config(file, ["run.epochs=2"]))
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2]


# Subtitles


def spoil_subtitles(corpus: Corpus, content: bytes) -> Path:
    path = corpus.subtitles / f"test_{BAD}.srt"
    path.write_bytes(content)
    return path


def test_missing_subtitles(corpus: Corpus) -> None:
    (corpus.subtitles / f"test_{BAD}.srt").unlink()
    with pytest.raises(ValueError, match=rf"1 of {TEST} subtitles are missing.*test_{BAD}\.srt.*skip.*empty"):
        evaluated(corpus)
    folder = evaluated(corpus, on_missing_subtitles="skip")
    assert answered(corpus) == others(corpus)
    assert metrics(folder)["clips_test"]["skipped"] == 1
    folder = evaluated(corpus, on_missing_subtitles="empty")
    assert answered(corpus) == corpus.ids("test")
    assert metrics(folder)["clips_test"]["skipped"] == 0


MALFORMED = {
    "no times": (b"1\nThe man talks.\n", r":2: text without times.*; correct the file"),
    "half a time": (b"1\n00:00:02,000 -->\nThe man talks.\n", r":2: no times: .*00:01:02,500 --> 00:01:04,000"),
    "reversed": (b"1\n00:00:05,000 --> 00:00:02,000\nHi.\n", r":2: the entry ends before it starts.*; correct"),
    "a page": (b"<html>not found</html>", r":1: text without times.*; correct the file"),
    "bytes": (bytes(range(256)), r":\d+: text without times.*; correct the file"),
}


@pytest.mark.parametrize("fault", MALFORMED)
def test_malformed_subtitles(corpus: Corpus, fault: str) -> None:
    content, message = MALFORMED[fault]
    path = spoil_subtitles(corpus, content)
    with pytest.raises(SubtitleError, match=re.escape(str(path)) + message):
        evaluated(corpus)
    assert answered(corpus) == corpus.ids("test")[:BAD]
    evaluated(corpus, on_malformed_subtitles="skip")
    assert answered(corpus) == corpus.ids("test")


ODD = {
    "empty": b"",
    "byte order mark": b"\xef\xbb\xbf" + SRT.encode(),
    "utf-16": SRT.encode("utf-16"),
    "latin-1": "1\n00:00:02,000 --> 00:00:05,000\nUn café déjà vu\n".encode("latin-1"),
    "windows line ends": SRT.replace("\n", "\r\n").encode(),
    "no entry numbers": b"00:00:02,000 --> 00:00:05,000\nThe man talks.\n",
    "unordered": b"2\n00:00:09,000 --> 00:00:11,000\ntwo\n\n1\n00:00:02,000 --> 00:00:05,000\none\n",
    "beyond the end": b"1\n00:58:02,000 --> 00:59:05,000\nThe man talks.\n",
    "without text": b"1\n00:00:02,000 --> 00:00:05,000\n\n",
    "what tokenizers mark": b"1\n00:00:02,000 --> 00:00:05,000\n[DEC] [SEP] </s> <extra_id_0> {i}\n",
    "a very long line": b"1\n00:00:02,000 --> 00:00:05,000\n" + b"man talks " * 2000 + b"\n",
}


@pytest.mark.parametrize("kind", ODD)
def test_odd_subtitles_are_read(corpus: Corpus, kind: str) -> None:
    spoil_subtitles(corpus, ODD[kind])
    folder = evaluated(corpus, fix=[corpus.ids("test")[BAD]])
    assert metrics(folder)["clips_test"]["skipped"] == 0


# Annotations


def row_with(**fields: Any) -> Callable[[list[dict[str, Any]]], None]:
    def spoil(rows: list[dict[str, Any]]) -> None:
        rows[BAD].update(fields)

    return spoil


def row_without(field: str) -> Callable[[list[dict[str, Any]]], None]:
    def spoil(rows: list[dict[str, Any]]) -> None:
        del rows[BAD][field]

    return spoil


NAN = float("nan")
SPOILT_ROWS: dict[str, tuple[Callable[[list[dict[str, Any]]], None], str]] = {
    "unknown field": (row_with(relevant_window=[[0, 1]]), r"field 'relevant_window'.*Did you mean 'relevant_windows'"),
    "missing field": (row_without("query"), r"field 'query': is missing.*Add the field"),
    "reversed window": (row_with(relevant_windows=[[9, 3]]), r"\[9, 3\] ends before it starts.*on_bad_window"),
    "window of NaN": (row_with(relevant_windows=[[NAN, 3]]), r"no finite number.*on_bad_window"),
    "window past the end": (row_with(relevant_windows=[[40, 50]]), r"outside the video.*30 s.*on_bad_window"),
    "window of text": (row_with(relevant_windows=[["0", "3"]]), r"no finite number.*on_bad_window"),
    "three bounds": (row_with(relevant_windows=[[1, 2, 3]]), r"is not \[start, end\]"),
    "no windows": (row_with(relevant_windows=[]), r"must be a list of \[start, end\]"),
    "blank query": (row_with(query="  "), r"field 'query': must be a text that is not blank"),
    "duration of zero": (row_with(duration=0), r"field 'duration': must be above 0"),
    "duration of NaN": (row_with(duration=NAN), r"field 'duration': must be a finite number"),
    "duration of text": (row_with(duration="30"), r"field 'duration': must be a finite number"),
    "half a character": (row_with(query="a \ud800 man"), r"field 'query': holds half a character \(\\ud800\)"),
    "half an item": (row_with(items=["\ud800"]), r"field 'items': holds half a character"),
    "id of a number": (row_with(qid=7), r"field 'qid': must be a text"),
}


@pytest.mark.parametrize("fault", SPOILT_ROWS)
def test_a_spoilt_row_is_named(corpus: Corpus, fault: str) -> None:
    spoil, message = SPOILT_ROWS[fault]
    spoil(corpus.rows["test"])
    corpus.write_annotations()
    with pytest.raises(ValueError, match=message) as caught:
        evaluated(corpus)
    assert f"{corpus.annotations('test')}, row {BAD + 1}" in str(caught.value)


def test_a_repeated_id_is_named(corpus: Corpus) -> None:
    corpus.rows["test"][BAD]["qid"] = corpus.rows["test"][0]["qid"]
    corpus.write_annotations()
    with pytest.raises(ValueError, match=rf"row {BAD + 1} .*used before, in row 1.*unique"):
        evaluated(corpus)


def test_bad_windows_are_left_out_and_counted(corpus: Corpus) -> None:
    row_with(relevant_windows=[[9, 3]])(corpus.rows["test"])
    corpus.write_annotations()
    folder = evaluated(corpus, format={"name": "calce", "on_bad_window": "skip"})
    assert answered(corpus) == others(corpus)
    assert metrics(folder)["clips_test"]["skipped"] == 1


FILES = {
    "absent": (None, r"there is no annotation file .*LAVIS_DATA"),
    "empty": (b"", r"is empty\. Download or make the file again"),
    "no rows": (b"[]", r"holds no annotations"),
    "cut off": (b'[{"qid": "Clip_1", "vi', r"no valid JSON \(.*line 1 column"),
    "no list": (b'{"Clip_1": {}}', r"must hold a list of rows, got dict"),
    "no rows but text": (b'["Clip_1"]', r"row 1: must be an object with named fields"),
    "key twice": (b'[{"qid": "a", "qid": "b"}]', r"the key 'qid' occurs twice"),
    "not text": (b"\xff\xfe\x00\x80\x81", r"UTF-8"),
    "nested": (b"[" * 100_000, r"(no valid JSON|nested)"),
}


@pytest.mark.parametrize("fault", FILES)
def test_a_spoilt_file_is_named(corpus: Corpus, fault: str) -> None:
    content, message = FILES[fault]
    file = corpus.annotations("test")
    file.unlink()
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        evaluated(corpus)
    assert str(file) in str(caught.value)


def test_spoilt_annotations_of_one_split_lose_nothing_of_another(corpus: Corpus) -> None:
    evaluated(corpus)
    corpus.annotations("val").write_bytes(b"[")
    with pytest.raises(ValueError, match=r"no valid JSON"):
        evaluated(corpus, {"test_splits": ["test", "val"]})
    assert answered(corpus) == corpus.ids("test")
    assert metrics(corpus.results / "tiny" / "bad")["clips_test"]["total"] == TEST

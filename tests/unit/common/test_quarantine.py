"""The list of unreadable videos: who sees it, what counts, and how much may be on it."""

from __future__ import annotations

import json
import multiprocessing
import os
import pickle
from pathlib import Path
from typing import Any

import pytest

from lavis.common.quarantine import BudgetError, Found, Quarantine, Source

SOURCE = Source("clips", "val", 50)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "run" / "quarantine.jsonl"


@pytest.fixture
def video(tmp_path: Path) -> str:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"broken")
    return str(path)


def rows(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_what_is_listed_is_not_tried_again_by_anyone(file: Path, video: str) -> None:
    one, other = Quarantine(file), Quarantine(file)
    assert one.reason(video) is None and not file.exists()
    one.add(video, "it is empty", SOURCE, ["q1", "q2"], whole=True)
    assert one.reason(video) == other.reason(video) == "it is empty"
    assert pickle.loads(pickle.dumps(other)).reason(video) == "it is empty"
    assert Quarantine(file).reason(video) == "it is empty"  # when the run is resumed
    assert other.found(SOURCE) == Found(1, 2)
    assert other.found(Source("clips", "test", 50)) == Found(0, 0)
    (row,) = rows(file)
    assert (row["path"], row["reason"], row["samples"], row["size"]) == (video, "it is empty", ["q1", "q2"], 6)
    assert row["mtime_ns"] == os.stat(video).st_mtime_ns and row["when"].startswith("20")


def test_the_same_finding_is_one_line(file: Path, video: str) -> None:
    for _ in range(3):
        Quarantine(file).add(video, "empty", SOURCE, ["q1"], whole=True)
    assert len(rows(file)) == 1
    Quarantine(file).add(video, "empty", Source("other", "val", 3), ["x"], whole=True)
    assert len(rows(file)) == 2
    assert Quarantine(file).found(SOURCE) == Found(1, 1)


def test_a_file_that_changed_is_tried_again(file: Path, video: str) -> None:
    quarantine = Quarantine(file)
    quarantine.add(video, "empty", SOURCE, ["q1"], whole=True)
    Path(video).write_bytes(b"mended by now")
    assert quarantine.reason(video) is None
    assert quarantine.found(SOURCE) == Found(0, 0)
    quarantine.add(video, "still broken", SOURCE, ["q1"], whole=True)
    assert quarantine.reason(video) == "still broken"
    assert quarantine.found(SOURCE) == Found(1, 1)


def test_a_file_that_was_missing_is_tried_once_it_is_there(file: Path, video: str) -> None:
    quarantine = Quarantine(file)
    os.unlink(video)
    quarantine.add(video, "no such file", SOURCE, ["q1"], whole=True)
    assert quarantine.reason(video) == "no such file"
    Path(video).write_bytes(b"x")
    assert quarantine.reason(video) is None


def test_another_way_of_reading_tries_again(file: Path, video: str) -> None:
    Quarantine(file, reader="decord").add(video, "unknown codec", SOURCE, ["q1"], whole=True)
    assert Quarantine(file, reader="decord").reason(video) == "unknown codec"
    other = Quarantine(file, reader="pyav")
    assert other.reason(video) is None
    assert other.found(SOURCE) == Found(0, 0)


def test_what_could_be_read_after_all_is_off_the_list(file: Path, video: str) -> None:
    quarantine = Quarantine(file)
    quarantine.release(video, "q1")
    assert not file.exists()
    quarantine.add(video, "disk was away", SOURCE, ["q1"], whole=True)
    quarantine.release(video, "q2")
    quarantine.release(video, "q2")
    assert len(rows(file)) == 2
    assert quarantine.reason(video) is None and Quarantine(file).found(SOURCE) == Found(0, 0)
    quarantine.add(video, "and again", SOURCE, ["q1"], whole=True)
    assert Quarantine(file).reason(video) == "and again"


def test_a_sample_alone_does_not_condemn_its_video(file: Path, video: str) -> None:
    quarantine = Quarantine(file)
    quarantine.add(video, "no frame in the clip", SOURCE, ["q1"], whole=False)
    quarantine.add(video, "no frame in the clip", SOURCE, ["q2"], whole=False)
    assert quarantine.reason(video) is None
    assert quarantine.found(SOURCE) == Found(0, 2)
    quarantine.release(video, "q3")
    assert quarantine.found(SOURCE) == Found(0, 2) and len(rows(file)) == 2
    quarantine.release(video, "q1")
    assert quarantine.found(SOURCE) == Found(0, 1)


@pytest.mark.parametrize(("allowed", "fine"), [(0.0, 0), (0.01, 1), (0.06, 3), (0, 0), (2, 2), (1.0, 1), (None, 9)])
def test_the_budget(allowed: float | None, fine: int, file: Path, tmp_path: Path) -> None:
    quarantine = Quarantine(file, allowed)
    for number in range(9):
        path = tmp_path / f"{number}.mp4"
        path.touch()
        quarantine.add(str(path), "empty", SOURCE, [f"q{number}"], whole=True)
        if number < fine:
            quarantine.check(SOURCE)
            continue
        with pytest.raises(
            BudgetError, match=rf"{number + 1} of 50 samples .*max_errors=.* allows {fine}\. "
        ) as caught:
            quarantine.check(SOURCE)
        assert str(file) in str(caught.value)
        assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_rows_taken_out_by_hand_are_forgotten(file: Path, video: str) -> None:
    quarantine = Quarantine(file)
    quarantine.add(video, "empty", SOURCE, ["q1"], whole=True)
    assert quarantine.reason(video)
    file.write_text("")
    assert quarantine.reason(video) is None
    quarantine.add(video, "empty", SOURCE, ["q1"], whole=True)
    file.unlink()
    assert quarantine.reason(video) is None


def test_torn_and_foreign_lines_are_passed_over(file: Path, video: str, caplog: pytest.LogCaptureFixture) -> None:
    Quarantine(file).add(video, "empty", SOURCE, ["q1"], whole=True)
    whole = file.read_text()
    file.write_text('[1]\n{"path": "b"}\nno json\n' + whole + whole[: len(whole) // 2])
    quarantine = Quarantine(file)
    assert quarantine.reason(video) == "empty"
    assert sum("says nothing of a video" in row.getMessage() for row in caplog.records) == 3
    quarantine.add(f"{video}2", "gone", SOURCE, ["q2"], whole=True)  # which cuts the torn line off
    assert Quarantine(file).found(SOURCE) == Found(2, 2)


def _add_many(file: Path, folder: Path, worker: int) -> None:
    quarantine = Quarantine(file)
    for number in range(25):
        path = str(folder / f"{number % 20}_{worker % 2}.mp4")
        quarantine.add(path, "gone", SOURCE, [path], whole=True)


def test_processes_do_not_get_in_each_others_way(file: Path, tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_add_many, args=(file, tmp_path, worker)) for worker in range(4)]
    for process in workers:
        process.start()
    for process in workers:
        process.join()
    assert all(process.exitcode == 0 for process in workers)
    assert len(rows(file)) == 40
    assert Quarantine(file).found(SOURCE) == Found(40, 40)

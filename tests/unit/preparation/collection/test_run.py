"""The executor: every item once, failures in quarantine, nothing lost by SIGKILL, one run at a time."""

from __future__ import annotations

import importlib.util
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lavis.common.io import FileFormatError
from lavis.common.locking import BusyError
from lavis.preparation.collection import pool
from lavis.preparation.collection.command_line import budget_of
from lavis.preparation.collection.items import Item, Shard, find_videos
from lavis.preparation.collection.outcome import UnwritableError
from lavis.preparation.collection.pool import StartError
from lavis.preparation.collection.run import TooManyFailures, run_collection
from lavis.preparation.collection.state import State
from lavis.preparation.collection.summary import Summary
from tests.collection_work import SlowCopy, as_told, files_of, starts_a_program
from tests.started_work import Started

ROOT = Path(__file__).resolve().parents[4]
BOTH = pytest.mark.parametrize("executor", ["serial", "pool"])


def items_of(folder: Path, told: dict[str, str]) -> list[Item]:
    folder.mkdir(exist_ok=True)
    for name, text in told.items():
        (folder / name).write_text(text)
    return files_of(folder)


def run(items: list[Item], out: Path, **options: Any) -> Summary:
    options = {"executor": "serial", "workers": 2, **options}
    return run_collection(items, as_told, out, name="test", **options)


def journal(out: Path) -> list[dict[str, Any]]:
    rows = []
    for path in sorted((out / ".collection" / "test").glob("journal-*.jsonl")):
        rows += [json.loads(line) for line in path.read_text().splitlines()]
    return rows


@BOTH
def test_every_item_once_and_again_only_what_changed(executor: str, tmp_path: Path) -> None:
    items = items_of(tmp_path / "in", {f"{i}.txt": str(i) for i in range(5)})
    first = run(items, tmp_path, executor=executor)
    assert [(each.item, (each.result or {})["told"]) for each in first.outcomes] == [
        (f"{i}.txt", str(i)) for i in range(5)
    ]
    assert (first.new, first.before, first.video_s) == (5, 0, 5 * 3600)
    assert first.core_s > 0
    again = run(items, tmp_path, executor=executor)
    assert (again.new, again.before) == (0, 5)
    assert [each.result for each in again.outcomes] == [each.result for each in first.outcomes]
    (tmp_path / "in" / "3.txt").write_text("other")
    changed = run(items, tmp_path, executor=executor)
    assert changed.new == 1
    assert (changed.outcomes[3].result or {})["told"] == "other"
    assert run(items, tmp_path, executor=executor, options={"size": 2}).new == 5
    assert run(items, tmp_path, executor=executor, options={"size": 2}, resume=False).new == 5
    assert Counter(row["item"] for row in journal(tmp_path))["3.txt"] == 4


def test_an_output_that_is_gone_is_made_again(tmp_path: Path) -> None:
    items = items_of(tmp_path / "in", {"a": "1", "b": "2"})
    run(items, tmp_path)
    assert run(items, tmp_path, is_done=lambda item, result: item.name != "a" and result["told"] == "2").new == 1


def time_goes_on(monkeypatch: pytest.MonkeyPatch, when: Callable[[], bool]) -> None:
    """Has no time pass for a pool before something has happened: on a busy machine no other item takes too long."""
    clock = SimpleNamespace(monotonic=lambda: 1e6 + time.monotonic() if when() else 0.0)
    monkeypatch.setattr(pool, "time", clock)


def test_one_item_that_dies_or_hangs_fails_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = {"a": "1", "b": "die", "c": "exit", "d": "hang", "e": "raise", "f": "fault", "g": "odd", "h": "2", "i": "3"}
    lines = tmp_path / ".collection" / "test" / "journal-all.jsonl"
    time_goes_on(monkeypatch, lambda: lines_in(lines) == len(told) - 1 and (tmp_path / "hangs").exists())
    summary = run(items_of(tmp_path / "in", told), tmp_path, executor="pool", budget=6, time_limit_s=3.0)
    failed = {each.item: (each.failure, each.error) for each in summary.failed}
    assert set(failed) == set("bcdefg")
    assert failed["b"] == ("died", "the process that worked on it ended (signal SIGKILL)")
    assert failed["c"] == ("died", "the process that worked on it ended (exit code 3)")
    assert failed["d"] == ("time_limit", "it took longer than 3 s (--time-limit)")
    assert failed["e"] == ("error", f"{tmp_path / 'in' / 'e'}: told to raise")
    assert failed["f"] == ("error", "KeyError: 'a fault of a library'")
    assert "has no JSON form" in failed["g"][1]
    listed = [json.loads(line)["item"] for line in summary.quarantine.read_text().splitlines()]
    assert sorted(listed) == list("bcdefg")
    text = summary.to_text()
    assert "3 of 9 done" in text and "6 in quarantine" in text and "... and 1 more" in text
    # They stay in quarantine until they change, or are asked for.
    (tmp_path / "in" / "b").write_text("mended")
    again = run(files_of(tmp_path / "in"), tmp_path, budget=6)
    assert (again.new, len(again.failed)) == (1, 5)
    (tmp_path / "in" / "d").unlink()
    items = [item for item in files_of(tmp_path / "in") if item.name != "c"]
    assert (run(items, tmp_path, budget=6, retry=True).new, len(items)) == (3, 7)


def test_the_quarantine_goes_when_all_is_mended(tmp_path: Path) -> None:
    items = items_of(tmp_path / "in", {"a": "raise", "b": "1"})
    assert run(items, tmp_path, budget=1).quarantine.is_file()
    (tmp_path / "in" / "a").write_text("1")
    assert not run(items, tmp_path).quarantine.exists()


@BOTH
def test_a_full_disk_stops_the_job_and_blames_no_item(executor: str, tmp_path: Path) -> None:
    items = items_of(tmp_path / "in", {"a": "1", "b": "folder", "c": "full", "d": "2"})
    with pytest.raises(UnwritableError, match=r"c: cannot write .*No space left .*the same command goes on"):
        run(items, tmp_path, executor=executor, workers=1, budget=4)
    assert [(row["item"], row["outcome"]) for row in journal(tmp_path)] == [("a", "done"), ("b", "error")]
    stamp = (tmp_path / "in" / "c").stat()
    (tmp_path / "in" / "c").write_text("room")
    os.utime(tmp_path / "in" / "c", ns=(stamp.st_atime_ns, stamp.st_mtime_ns))  # the same file, on a disk with room
    summary = run(items, tmp_path, executor=executor, budget=4)
    assert (summary.new, [each.item for each in summary.failed]) == (2, ["b"])


def test_a_hanging_item_takes_the_programs_it_started_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = items_of(tmp_path / "in", {"a.txt": ""})
    time_goes_on(monkeypatch, (tmp_path / "in" / "a.pid").exists)
    summary = run_collection(items, starts_a_program, tmp_path, name="test", budget=1, time_limit_s=1.0)
    assert summary.failed[0].failure == "time_limit"
    assert_ends(int((tmp_path / "in" / "a.pid").read_text()))


def assert_ends(pid: int) -> None:
    for _ in range(2000):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        state = Path(f"/proc/{pid}/stat")
        if state.exists() and state.read_text().rpartition(")")[2].split()[0] == "Z":
            return  # dead, and not yet noticed by whoever adopted it
        time.sleep(0.05)
    raise AssertionError(f"process {pid} is still there")


@BOTH
def test_the_budget(executor: str, tmp_path: Path) -> None:
    items = items_of(tmp_path / "in", {f"{i}": "raise" if i % 2 else "1" for i in range(8)})
    with pytest.raises(TooManyFailures, match=r"2 items failed, of which 1 are allowed \(--budget\)") as problem:
        run(items, tmp_path, executor=executor, workers=1)
    assert "told to raise" in str(problem.value)
    assert [row["outcome"] for row in journal(tmp_path)] == ["done", "error", "done", "error"]
    with pytest.raises(TooManyFailures, match="2 items failed"):  # before anything is done
        run(items, tmp_path, executor=executor)
    assert len(journal(tmp_path)) == 4
    assert len(run(items, tmp_path, executor=executor, budget=0.5).failed) == 4


def test_links_in_circles_show_every_video_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "above" / "videos"
    (root / "deep").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    for place in (root / "a.mp4", root / "deep" / "b.mp4", tmp_path / "elsewhere" / "c.mp4"):
        place.write_text("")
    (root / "loop").symlink_to(".")
    (root / "deep" / "up").symlink_to("../..")
    (root / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(root)
    monkeypatch.chdir(root.parent)
    for folder in (root, Path("videos")):
        assert [item.name for item in find_videos(folder)] == ["a.mp4", "deep/b.mp4", "linked/c.mp4"]


def test_budgets_of_the_command_line() -> None:
    assert (budget_of("20"), budget_of("5%"), budget_of("0")) == (20, 0.05, 0)
    for text in ("", "x", "-1", "100%", "0.5", "nan", "nan%"):
        with pytest.raises(Exception, match="a number of files, or a share"):
            budget_of(text)


def test_shards_are_parts_of_the_whole(tmp_path: Path) -> None:
    items = items_of(tmp_path / "in", {f"{i}": str(i) for i in range(20)})
    parts = [run(items, tmp_path, shard=f"{number}/3") for number in (1, 2, 3)]
    names = [each.item for part in parts for each in part.outcomes]
    assert sorted(names) == sorted(item.name for item in items)
    assert all(part.new for part in parts)
    whole = run(items, tmp_path)
    assert (whole.new, len(whole.outcomes)) == (0, 20)
    more = [*items, Item("new", tmp_path / "in" / "1")]
    assert [Shard.of("2/3").share(more)[i].name for i in range(3)] == [each.item for each in parts[1].outcomes[:3]]
    for text in ("0/3", "4/3", "3", "a/b", "1/0", "-1/2"):
        with pytest.raises(ValueError, match="a shard is I/N"):
            Shard.of(text)


def test_two_runs_on_one_folder_are_refused(tmp_path: Path) -> None:
    items = items_of(tmp_path / "in", {"a": "1"})
    with State(tmp_path, "test", Shard()).held():
        with pytest.raises(BusyError, match="being written by another run"):
            run(items, tmp_path)
        with pytest.raises(BusyError, match="a run of the whole job"):
            run(items, tmp_path, shard="1/2")
        assert run_collection(items, as_told, tmp_path, name="other", executor="serial").new == 1
    with State(tmp_path, "test", Shard.of("1/2")).held():
        with pytest.raises(BusyError, match="parts of this job"):
            run(items, tmp_path)
        with pytest.raises(BusyError, match="being written by another run"):
            run(items, tmp_path, shard="1/2")
        run(items, tmp_path, shard="2/2")
    assert run(items, tmp_path).outcomes[0].result is not None


def test_options_that_make_no_sense(tmp_path: Path) -> None:
    items = items_of(tmp_path / "in", {"a": "1"})
    for options, message in (
        ({"executor": "threads"}, "no executor 'threads'"),
        ({"workers": 0}, "at least 1"),
        ({"budget": -1}, "budget"),
        ({"budget": float("nan")}, "budget"),
        ({"time_limit_s": 0}, "time limit"),
    ):
        with pytest.raises(ValueError, match=message):
            run(items, tmp_path, **options)
    with pytest.raises(ValueError, match="two items are called 'a'"):
        run([*items, *items], tmp_path)
    gone = run([*items, Item("gone", tmp_path / "gone")], tmp_path)
    assert "No such file" in gone.failed[0].error


def test_a_journal_that_is_no_journal(tmp_path: Path) -> None:
    items = items_of(tmp_path / "in", {"a": "1"})
    path = run(items, tmp_path).journal
    path.write_text(path.read_text() + '{"item": "b"')  # a torn last line, as a crash leaves it
    assert run(items, tmp_path).new == 0
    path.write_text('{"item": "b"}\n')
    with pytest.raises(FileFormatError, match=r"journal-all.jsonl, row 1: not a row of a journal"):
        run(items, tmp_path)


def test_the_projection(tmp_path: Path) -> None:
    summary = Summary("test", [], -10, 7200.0, 60.0, 30.0, 2, tmp_path, tmp_path)
    assert summary.hours_per_core_hour == 120
    assert (
        "120 h of it per core-hour: 10,000 h would take 83.3 core-hours, or 1.74 days at the speed of"
        in summary.to_text()
    )
    assert summary.to_json()["video_hours_per_core_hour"] == 120
    assert Summary("test", [], -10, 0.0, 60.0, 30.0, 2, tmp_path, tmp_path).hours_per_core_hour is None


@pytest.fixture
def files(tmp_path: Path) -> dict[str, bytes]:
    """24 files in ``in``, and an empty folder ``out``."""
    made = {f"{i:02d}.bin": bytes([i]) * (1000 + i) for i in range(24)}
    for folder in ("in", "out"):
        (tmp_path / folder).mkdir()
    for name, data in made.items():
        (tmp_path / "in" / name).write_bytes(data)
    return made


def killed_after(lines: int, pid: int, journal: Path, seconds: float = 0.0) -> int:
    """Kills a process so many seconds after the journal has so many lines; its exit status."""
    while lines_in(journal) < lines:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    time.sleep(seconds)
    os.kill(pid, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def check_copied(out: Path, files: dict[str, bytes], journal: Path, under_way: int) -> None:
    assert {file.name: file.read_bytes() for file in out.glob("*.bin")} == files
    done = Counter(json.loads(line)["item"] for line in journal.read_text().splitlines())
    assert done == Counter(files.keys())  # nothing is done again that was through
    starts = Counter((out / "starts.txt").read_text().split())
    assert sum(starts.values()) <= len(files) + under_way
    assert not list((out / ".collection").rglob("*.bin"))


def test_killed_at_any_time_and_run_again(tmp_path: Path, files: dict[str, bytes]) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    path = out / ".collection" / "copy" / "journal-all.jsonl"
    moments, kills, code = random.Random(5), 0, 1
    while code != 0:
        before, most = lines_in(path), moments.randint(1, 6)
        pid = os.fork()
        if pid == 0:
            run_collection(files_of(source), SlowCopy(out, 0.02, most), out, name="copy", executor="serial")
            os._exit(0)
        code = killed_after(before + most, pid, path, moments.uniform(0, 0.02))
        assert code in (0, -signal.SIGKILL)
        kills += code != 0
        for file in out.glob("*.bin"):
            assert file.read_bytes() == files[file.name]
    assert kills > 3
    check_copied(out, files, path, kills)


def test_a_killed_pool_leaves_no_process_behind(tmp_path: Path, files: dict[str, bytes]) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    path = out / ".collection" / "copy" / "journal-all.jsonl"
    process = subprocess.Popen([sys.executable, "-m", "tests.collection_work", str(source), str(out), "3"], cwd=ROOT)
    assert killed_after(4, process.pid, path) == -signal.SIGKILL
    process.returncode = -signal.SIGKILL
    for worker in (out / "processes.txt").read_text().split():
        assert_ends(int(worker))
    summary = run_collection(files_of(source), SlowCopy(out, 0), out, name="copy", executor="serial")
    assert len(summary.done) == 24 and 4 <= summary.before < 24
    check_copied(out, files, path, 2)


def lines_in(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


@pytest.mark.skipif(importlib.util.find_spec("ray") is not None, reason="Ray is installed")
def test_without_ray_the_extra_is_named(tmp_path: Path) -> None:
    with pytest.raises(ImportError, match=r"pip install 'lavis\[ray\]'"):
        run(items_of(tmp_path / "in", {"a": "1"}), tmp_path, executor="ray")


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs Ray: pip install 'lavis[ray]'")
def test_a_local_ray_does_the_same(tmp_path: Path) -> None:
    told = {"a": "1", "b": "die", "c": "raise", "e": "2", "f": "3"}
    assert run(items_of(tmp_path / "in", told), tmp_path, executor="ray", budget=3, time_limit_s=600.0).new == 5
    items = items_of(tmp_path / "in", {"d": "hang"})  # alone under a short limit, which the others might overrun too
    summary = run(items, tmp_path, executor="ray", budget=3, time_limit_s=2.0)
    assert {each.item: each.failure for each in summary.failed} == {"b": "died", "c": "error", "d": "time_limit"}
    assert [(each.result or {})["told"] for each in summary.done] == ["1", "2", "3"]
    again = run(items, tmp_path, executor="pool", budget=3)
    assert again.new == 0
    unable = Started(tmp_path / "notes", "there is no model")
    with pytest.raises(StartError, match=r"^there is no model$"):
        run_collection(items, unable, tmp_path, name="start", executor="ray", workers=1)

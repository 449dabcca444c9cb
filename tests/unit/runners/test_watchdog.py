"""Who holds up a run, from what every process says of itself."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from lavis.common import distributed, liveness
from lavis.common.liveness import Doing
from lavis.runners import watchdog as watchdogs
from lavis.runners.watchdog import Sight, Watchdog, verdict

LIMIT = 100.0
NOW = 1000.0


def sight(rank: int, doing: Doing, still: float, **more: object) -> Sight:
    facts = {"host": "node", "pid": 10 + rank, "seq": 1, "silent_since": NOW, "what": f"step {rank}", **more}
    return Sight(rank, doing=doing, still_since=NOW - still, **facts)  # type: ignore[arg-type]


def judged(*sights: Sight) -> str | None:
    return verdict(sights, NOW, LIMIT, grace=10.0)


def test_the_one_with_work_of_its_own_is_at_fault() -> None:
    found = judged(sight(0, Doing.BACKWARD, 300), sight(1, Doing.OWN, 200))
    assert found == "process 1 (node, pid 11) has made no progress for 200 s; last seen in step 1"


def test_of_processes_that_all_wait_the_hindmost_is_at_fault() -> None:
    found = judged(sight(0, Doing.BACKWARD, 300), sight(1, Doing.FORWARD, 200), sight(2, Doing.WAITING, 200))
    assert found is not None and found.startswith("process 1 (") and "process 2" not in found
    found = judged(sight(0, Doing.WAITING, 300), sight(1, Doing.WAITING, 300))
    assert found is not None and "process 0" in found and "process 1" in found and "waiting for a message" in found


@pytest.mark.parametrize("other", [sight(1, Doing.PATIENT, 9000), sight(1, Doing.OWN, 50)])
def test_who_waits_for_one_that_works_does_not_hang(other: Sight) -> None:
    assert judged(sight(0, Doing.BACKWARD, 300), other) is None
    assert judged(sight(0, Doing.WAITING, 9000), other) is None


def test_a_phase_that_may_take_any_time() -> None:
    assert judged(sight(0, Doing.PATIENT, 9000), sight(1, Doing.PATIENT, 9000)) is None


def test_lost_processes_are_named_at_once() -> None:
    lost = sight(1, Doing.PATIENT, 0, gone=True)
    found = judged(sight(0, Doing.BACKWARD, 0), lost)
    assert found is not None and "process 1 (node, pid 11) is gone without a word" in found
    silent = sight(1, Doing.PATIENT, 0, silent_since=NOW - 200)
    assert "gives no sign of life" in (judged(sight(0, Doing.BACKWARD, 0), silent) or "")


def test_failed_processes_leave_the_others_some_time() -> None:
    failed = sight(1, Doing.OWN, 0, end="ValueError: no such file")
    assert judged(sight(0, Doing.BACKWARD, 0), failed) is None
    failed.silent_since = NOW - 11
    assert "ended with an error in step 1: ValueError: no such file" in (judged(sight(0, Doing.OWN, 0), failed) or "")


def test_one_that_is_done_needs_no_progress() -> None:
    done = sight(1, Doing.OWN, 9000, end="", gone=True)
    assert judged(sight(0, Doing.OWN, 0), done) is None


@pytest.fixture
def two(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    monkeypatch.setattr(distributed, "barrier", lambda: None)
    before = liveness.current()
    yield
    liveness.now(before.doing, before.what)


def test_notes_of_a_killed_process_lead_to_it(two: None, tmp_path: Path) -> None:
    ends: list[int] = []
    with Watchdog(tmp_path, 1000.0, end=ends.append) as watchdog:
        assert watchdog.look() is None
        other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(100)"])
        row = (tmp_path / ".alive" / "process0.json").read_text().replace(str(os.getpid()), str(other.pid))
        (tmp_path / ".alive" / "process1.json").write_text(row)
        assert watchdog.look() is None
        other.kill()
        other.wait()
        assert watchdog.look() is None  # its last word may have come just now
        found = watchdog.look()
    assert found is not None and f"process 1 ({row.split(chr(34))[3]}, pid {other.pid}) is gone" in found
    assert ends == []


def test_who_is_asked_to_end_tells_first_who_is_lost(
    two: None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A launcher that sees a lost process ends the others, mostly before they notice by themselves."""
    asked: list[int] = []
    other = subprocess.Popen([sys.executable, "-c", "pass"])
    other.wait()
    before = signal.signal(signal.SIGTERM, lambda number, frame: asked.append(number))
    try:
        with Watchdog(tmp_path, 1000.0):
            note = json.loads((tmp_path / ".alive" / "process0.json").read_text())
            (tmp_path / ".alive" / "process1.json").write_text(json.dumps({**note, "pid": other.pid}))
            os.kill(os.getpid(), signal.SIGTERM)
            assert asked == [signal.SIGTERM], "then it ends as it would have without a watchdog"
        os.kill(os.getpid(), signal.SIGTERM)
        assert asked == [signal.SIGTERM] * 2, "what was there before is there again"
    finally:
        signal.signal(signal.SIGTERM, before)
    assert [record.message for record in caplog.records if f"pid {other.pid}) is gone without a word" in record.message]
    assert json.loads((tmp_path / ".alive" / "process0.json").read_text())["end"] == "", "it is not lost itself"


@pytest.fixture
def asked() -> Iterator[list[int]]:
    """Wishes to end that reach what was there before a watchdog."""
    numbers: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: numbers.append(number))
    yield numbers
    signal.signal(signal.SIGTERM, before)


def lose_process_1(folder: Path) -> None:
    other = subprocess.Popen([sys.executable, "-c", "pass"])
    other.wait()
    note = json.loads((folder / ".alive" / "process0.json").read_text())
    (folder / ".alive" / "process1.json").write_text(json.dumps({**note, "pid": other.pid}))


def test_a_wish_at_the_very_end_of_a_run_is_heard(
    two: None, tmp_path: Path, asked: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    with Watchdog(tmp_path, 1000.0) as watchdog:
        lose_process_1(tmp_path)
        plain = watchdog._write
        monkeypatch.setattr(watchdog, "_write", lambda: (plain(), os.kill(os.getpid(), signal.SIGTERM)))
    assert asked == [signal.SIGTERM]


def test_a_wish_that_comes_while_the_log_is_written_does_not_hang(
    two: None, tmp_path: Path, asked: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread waits for the log, which what was interrupted holds."""
    monkeypatch.setattr(watchdogs, "_GRACE", 0.0)
    lock, waits = threading.RLock(), threading.Event()

    def log(*_: object) -> None:
        waits.set()
        with lock:
            pass

    with Watchdog(tmp_path, 1.0, end=lambda status: None) as watchdog:
        lose_process_1(tmp_path)
        monkeypatch.setattr(watchdog, "_give_up", log)
        with lock:
            waits.wait()
            os.kill(os.getpid(), signal.SIGTERM)
            assert asked == [signal.SIGTERM]


def test_one_process_has_no_watchdog(tmp_path: Path) -> None:
    with Watchdog(tmp_path, 1.0):
        assert not list(tmp_path.iterdir())


def test_items_are_noted_while_read_and_while_worked_on() -> None:
    notes = []

    def items() -> Iterator[int]:
        for number in range(2):
            notes.append((liveness.current().doing, liveness.current().what))
            yield number

    for _ in liveness.each(items(), lambda n: f"item {n}", "the end"):
        notes.append((liveness.current().doing, liveness.current().what))
        with liveness.waiting():
            assert liveness.current().doing == Doing.WAITING
        assert liveness.current().doing == Doing.OWN
    assert notes == [
        (Doing.OWN, "the data of item 0"),
        (Doing.OWN, "item 0"),
        (Doing.OWN, "the data of item 1"),
        (Doing.OWN, "item 1"),
    ]
    assert liveness.current().what == "the end"
    assert liveness.current().doing == Doing.PATIENT

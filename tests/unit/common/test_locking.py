"""One writer a folder, and none once it is dead."""

from __future__ import annotations

import fcntl
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lavis.common import locking
from lavis.common.io import WriteError
from lavis.common.locking import BusyError, sole_writer


def forked(work: Callable[[int], None]) -> int:
    """Another process that does ``work`` and then waits to be killed; returns when ``work`` wrote to its pipe."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            work(writer)
        finally:
            os._exit(1)
    os.close(writer)
    assert os.read(reader, 1) == b"+"
    os.close(reader)
    return child


def killed(process: int) -> None:
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)


def test_the_second_is_told_who_is_first_and_the_next_may(tmp_path: Path) -> None:
    with sole_writer(tmp_path / "run", "this training"):
        with (
            pytest.raises(BusyError, match=rf"another run \(process {os.getpid()} on .*so this evaluation was not"),
            sole_writer(tmp_path / "run", "this evaluation"),
        ):
            pass
        with sole_writer(tmp_path / "other", "this training"):
            pass
    with sole_writer(tmp_path / "run", "this training"):
        pass


def test_a_killed_process_leaves_no_lock_even_if_its_loaders_live_on(tmp_path: Path) -> None:
    reader, writer = os.pipe()

    def hold(ready: int) -> None:
        with sole_writer(tmp_path, "this training"):
            loader = os.fork()
            if loader == 0:
                os.write(writer, f"{os.getpid()}\n".encode())
                time.sleep(600)
                os._exit(0)
            os.write(ready, b"+")
            time.sleep(600)

    process = forked(hold)
    loader = int(os.read(reader, 20))
    try:
        with pytest.raises(BusyError, match=f"process {process}"), sole_writer(tmp_path, "this training"):
            pass
        killed(process)
        os.kill(loader, 0)  # is alive
        with sole_writer(tmp_path, "this training"):
            pass
    finally:
        os.kill(loader, signal.SIGKILL)


@pytest.mark.parametrize("left", ["a note", "no note", "half a note", "a dead entry"])
def test_what_a_killed_process_was_just_forking_is_waited_for(
    left: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between a fork and its first step in Python, or the start of another program, a child has the lock too."""
    monkeypatch.setattr(locking, "ORPHANS", 600.0)
    orphan_is_there, locked = os.pipe()
    go_on, may_end = os.pipe()
    ended = threading.Event()

    def hold(ready: int) -> None:
        with sole_writer(tmp_path, "this training"):
            second = os.open(tmp_path / ".lock", os.O_RDWR)  # stands for such a child's
            if os.fork() == 0:
                os.close(may_end)
                fcntl.flock(second, fcntl.LOCK_EX)
                os.write(locked, b"+")
                os.read(go_on, 1)
                os._exit(0)
            os.write(ready, b"+")
            time.sleep(600)

    def end() -> None:
        time.sleep(0.3)  # in which whoever does not wait has the lock, or an error
        ended.set()
        os.write(may_end, b"+")

    process = forked(hold)
    os.kill(process, signal.SIGKILL)
    os.waitid(os.P_PID, process, os.WEXITED | (os.WNOWAIT if left == "a dead entry" else 0))
    assert os.read(orphan_is_there, 1) == b"+"
    if left == "no note":
        (tmp_path / ".lock.json").unlink()
    elif left == "half a note":
        (tmp_path / ".lock.json").write_text('{"proc')
    thread = threading.Thread(target=end)
    thread.start()
    with sole_writer(tmp_path, "this training"):
        assert ended.is_set()
    thread.join()
    if left == "a dead entry":
        os.waitpid(process, 0)


def test_a_forked_process_that_ends_leaves_the_lock_to_its_parent(tmp_path: Path) -> None:
    with sole_writer(tmp_path, "this training"):
        child = os.fork()
        if child == 0:
            os._exit(0)
        os.waitpid(child, 0)
        with pytest.raises(BusyError), sole_writer(tmp_path, "this training"):
            pass


def test_a_folder_that_cannot_be_had(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(WriteError, match=r"cannot write .*run: Not a directory"),
        sole_writer(tmp_path / "file" / "run", "this training"),
    ):
        pass


def test_a_folder_of_somebody_else(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir(mode=0o555)
    user = os.geteuid()
    if user == 0:
        os.chmod(tmp_path, 0o755)
        os.seteuid(65534)
    try:
        with (
            pytest.raises(WriteError, match=r"cannot write .*: Permission denied"),
            sole_writer(tmp_path / "theirs" / "run", "this training"),
        ):
            pass
    finally:
        os.seteuid(user)

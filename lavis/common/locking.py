"""One writer a folder: a lock that a killed process cannot leave behind.

Built on the system's own file lock (``flock``), which goes with the process that holds it; a note beside it says who
that is, for the message to whoever comes second. Not on ``filelock``: before its version 4, loader processes forked by
the holder keep the lock after it was killed, and nobody can resume until they have noticed.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lavis.common import distributed
from lavis.common.io import WriteError, explained

ORPHANS = 60.0
"""Seconds for which a lock is waited for whose holder is dead: what it had forked has still to notice, or to begin,
which takes a moment on an idle machine."""

_held: set[int] = set()
_forgets = False


class BusyError(ValueError):
    """A folder that another run is writing to."""


ANOTHER_NAME = ", or give this one another name (name: in its configuration, or run.output_dir)"


@contextmanager
def sole_writer(folder: Path, what: str, instead: str = ANOTHER_NAME) -> Iterator[None]:
    """Holds the folder's lock; of several processes of one run the main one holds it, and all learn if it is taken.

    Args:
        folder: made if it is missing; the lock is its ``.lock``.
        what: what writes there, such as ``this run``, for the message.
        instead: what the user may do but wait, as the end of the message.

    Raises:
        BusyError: in every process, if another run holds it; names its process and host. At once, unless that process
            is dead and only its children are left, which are waited for.
        WriteError: likewise, if the folder cannot be written to.
    """
    lock: int | None = None
    problem: BusyError | WriteError | None = None
    if distributed.is_main():
        try:
            lock = _acquired(folder, what, instead)
        except (BusyError, WriteError) as error:
            problem = error
    problem = distributed.broadcast_object(problem)
    if problem is not None:
        raise problem
    try:
        yield
    finally:
        if lock is not None and lock in _held:  # not in a forked process that comes by here
            _note(folder).unlink(missing_ok=True)
            _release(lock)


@contextmanager
def exclusive(file: Path) -> Iterator[None]:
    """Waits until no other process is in such a block for the same file, for writes of a moment.

    Args:
        file: what is written; the lock is ``.<name>.lock`` beside it, whose folder is made if it is missing.

    Raises:
        WriteError: if that folder cannot be written to.
    """
    import fcntl

    with explained(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(file.with_name(f".{file.name}.lock"), os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        fcntl.flock(lock, fcntl.LOCK_UN)  # closing would not do where another thread has forked meanwhile
        os.close(lock)


def _acquired(folder: Path, what: str, instead: str) -> int:
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        _forget_in_forked()
        lock = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o666)
        _held.add(lock)
        try:
            _lock(lock, folder)
            _note(folder).write_text(json.dumps({"process": os.getpid(), "host": socket.gethostname()}))
        except BlockingIOError:
            _release(lock)
            raise BusyError(
                f"{folder} is being written by another run ({_holder(folder)}), so {what} was not started. Wait for it "
                f"or stop it{instead}"
            ) from None
        except OSError:
            _release(lock)
            raise
    return lock


def _lock(lock: int, folder: Path) -> None:
    """Takes the lock; at once, or once the processes have gone that a dead holder left behind."""
    import fcntl  # no part of Python on Windows, where the rest may still be used

    until = time.monotonic() + ORPHANS
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > until or not _holder_is_dead(folder):
                raise
        time.sleep(0.05)


def _holder_is_dead(folder: Path) -> bool:
    """Whether the note names a process of this host that is gone, or the holder had no time to leave a whole one."""
    try:
        facts = json.loads(_note(folder).read_text())
        return facts["host"] == socket.gethostname() and not runs(int(facts["process"]))
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return True
    except OSError:
        return False


def runs(process: int) -> bool:
    """Whether a process of this host is there, and no mere entry of one that was killed."""
    try:
        os.kill(process, 0)
        state = Path(f"/proc/{process}/stat")
        return not state.is_file() or state.read_text().rpartition(")")[2].split()[0] != "Z"
    except ProcessLookupError:
        return False
    except OSError:
        return True


def _release(lock: int) -> None:
    _held.remove(lock)
    os.close(lock)


def _forget_in_forked() -> None:
    """Lets processes forked from now on close what they inherit: open in one of them, the lock would outlive this one.

    Closing is not unlocking, so this one keeps it.
    """
    global _forgets
    if not _forgets:
        os.register_at_fork(after_in_child=_forget)
        _forgets = True


def _forget() -> None:
    for lock in list(_held):
        _release(lock)


def _note(folder: Path) -> Path:
    return folder / ".lock.json"


def _holder(folder: Path) -> str:
    try:
        facts = json.loads(_note(folder).read_text())
        return f"process {facts['process']} on {facts['host']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "it did not leave its name"

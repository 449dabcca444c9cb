"""Ends a run of several processes when one hangs or dies, and says which one, where it was, and on which machine.

Ours. Without it the others wait for a message that never comes, for half an hour or for ever, and then fail with an
error about the network. Every process writes what it is doing (``common/liveness.py``) into a file of
``<run>/.alive`` now and then, from a thread; the same thread reads the notes of the others. A process that is gone, or
that stands still while all others wait for it, is named, and every process ends itself with the status ``STALLED``.
Clocks of different machines are never compared: what counts is how long a note has not changed for the process that
reads it.
"""

from __future__ import annotations

import faulthandler
import json
import logging
import os
import shutil
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from lavis.common import distributed, liveness
from lavis.common.liveness import Doing
from lavis.common.locking import runs
from lavis.common.logging import get_logger

STALLED = 75
"""Exit status of a run that a process held up: the system's "try again later", so that a job may be queued again."""

FOLDER = ".alive"
_GRACE = 10.0
_LOOKS = 3
"""As many show that a process is gone: it is missed in two, of which the first reads its last word."""
logger = get_logger(__name__)


@dataclass(slots=True)
class Sight:
    """What one process sees of another: its last note, and since when (own clock, seconds) it has not changed."""

    rank: int
    host: str = ""
    pid: int = 0
    count: int = -1
    what: str = "starting"
    doing: Doing = Doing.PATIENT
    end: str | None = None
    seq: int = -1
    still_since: float = 0.0
    silent_since: float = 0.0
    missed: int = 0
    gone: bool = False

    def __str__(self) -> str:
        return f"process {self.rank} ({self.host or 'unknown host'}, pid {self.pid})"


def verdict(sights: Sequence[Sight], now: float, limit: float, grace: float = _GRACE) -> str | None:
    """Who holds up the run, as a message; ``None`` if nobody does.

    Args:
        sights: one of every process.
        now: time, in seconds.
        limit: seconds a process may stand still.
        grace: seconds the others have to end by themselves after one ended with an error.
    """
    lost = [s for s in sights if s.gone and s.end is None]
    if lost:
        return "; ".join(f"{s} is gone without a word (killed, or out of memory?); last seen in {s.what}" for s in lost)
    failed = [s for s in sights if s.end and now - s.silent_since > grace]
    if failed:
        return "; ".join(f"{s} ended with an error in {s.what}: {s.end}" for s in failed)
    alive = [s for s in sights if s.end is None]
    silent = [s for s in alive if s.seq >= 0 and now - s.silent_since > limit]
    if silent:
        return "; ".join(f"{s} gives no sign of life; last seen in {s.what}" for s in silent)
    still = [s for s in alive if s.doing != Doing.PATIENT and now - s.still_since > limit]
    guilty = [s for s in still if s.doing == Doing.OWN]
    if not guilty and still and len(still) == len(alive):
        guilty = [s for s in still if s.doing == min(each.doing for each in still)]
    if not guilty:
        return None
    return "; ".join(
        f"{s} has made no progress for {now - s.still_since:.0f} s; last seen in {s.what}"
        f"{' (waiting for a message of the others)' if s.doing == Doing.WAITING else ''}"
        for s in guilty
    )


class Watchdog:
    """Watches the processes of one run while the block lasts; nothing happens if there is only one.

    Args:
        folder: of the run, on a disk that all processes share.
        limit: seconds without progress after which the run ends; ``None`` watches nothing.
        end: what ends this process, called with the exit status.
    """

    def __init__(self, folder: Path, limit: float | None, end: Callable[[int], Any] = os._exit) -> None:
        self.folder = folder / FOLDER
        self.limit = limit
        self._end = end
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._sights: list[Sight] = []
        self._seq = 0
        self._word: str | None = None
        self._before: Any = None
        self._pid = os.getpid()

    def __enter__(self) -> Watchdog:
        if self.limit is None or distributed.world_size() == 1:
            return self
        if distributed.is_main():
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder.mkdir(parents=True)
        distributed.barrier()
        started = time.monotonic()
        self._sights = [
            Sight(rank, still_since=started, silent_since=started) for rank in range(distributed.world_size())
        ]
        self._write()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        self._thread.start()
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGTERM, self._asked_to_end) or signal.SIG_DFL
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if self._thread is None:
            return
        # The launcher, which sees a lost process too, asks the others to end at once; it kills half a minute later.
        # Who asks a run that did not fail is no launcher, and is heard.
        if self._before is not None and error is not None:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        failed = isinstance(error, Exception)
        self._leave(f"{type(error).__name__}: {error}".splitlines()[0][:300] if failed else "")
        # An error that a lost process causes in the others is about the network; who was lost is what helps.
        if isinstance(error, RuntimeError):
            self._tell_who_is_lost()
        if self._before is not None:
            signal.signal(signal.SIGTERM, self._before)

    def _asked_to_end(self, number: int, frame: FrameType | None) -> None:
        """Ends as without a watchdog; but if the launcher asks because another process is lost, that is told first.

        While a training takes such a wish itself (``failures.StopRequest``) it does not come here.
        """
        signal.signal(number, signal.SIG_IGN)
        if os.getpid() == self._pid:  # and not a child that was just forked, such as a loader's
            # What was interrupted may hold a lock that the thread waits for, such as that of the log.
            self._leave("", patience=2 * (2 * self.interval + _GRACE))
            self._tell_who_is_lost()
            for handler in logging.getLogger("lavis").handlers:
                handler.flush()
        signal.signal(number, self._before)
        os.kill(os.getpid(), number)

    def _leave(self, word: str, patience: float | None = None) -> None:
        """Watches no longer, and leaves a last word to the others: the error, or nothing.

        Args:
            word: the error.
            patience: seconds to wait for the thread, which may be about to end this process; ``None``: as it takes.
        """
        self._stop.set()
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.join(patience)
        self._word = word
        self._write()

    def _tell_who_is_lost(self) -> None:
        if found := self._blame(seconds=5.0):
            logger.error("%s", found)

    def look(self) -> str | None:
        """Reads all notes, and says who holds up the run."""
        assert self.limit is not None
        now = time.monotonic()
        for sight in self._sights:
            self._read(sight, now)
        return verdict(self._sights, now, self.limit, min(_GRACE, self.limit))

    @property
    def interval(self) -> float:
        """Seconds between two looks."""
        assert self.limit is not None
        return min(10.0, max(0.2, self.limit / 20))

    def _watch(self) -> None:
        while not self._stop.wait(self.interval):
            self._write()
            found = self.look()
            if found is not None and not self._stop.is_set():
                self._give_up(found)
                return

    def _give_up(self, found: str) -> None:
        logger.error("%s. The run ends; start it again to go on from its last checkpoint", found)
        at_fault = [sight for sight in self._sights if f"process {sight.rank} (" in found]
        if distributed.rank() in [sight.rank for sight in at_fault]:
            faulthandler.dump_traceback(file=sys.stderr, all_threads=True)  # where it hangs
            at_fault = []
        time.sleep(self.interval * 2)  # the others come to the same verdict, and should tell it too
        self._after(at_fault)
        for handler in logging.getLogger("lavis").handlers:
            handler.flush()
        sys.stderr.flush()
        self._end(STALLED)

    def _after(self, at_fault: Sequence[Sight]) -> None:
        """Lets those at fault end first if they are of this machine: a launcher ends all of them with the first one,
        and with them what they have to say.
        """
        until = time.monotonic() + _GRACE
        pids = [sight.pid for sight in at_fault if sight.pid and sight.host == socket.gethostname()]
        while any(runs(pid) for pid in pids) and time.monotonic() < until:
            time.sleep(0.1)

    def _blame(self, seconds: float) -> str | None:
        """Which other process is gone or failed, waiting a little for it to show."""
        others = [sight for sight in self._sights if sight.rank != distributed.rank()]
        until = time.monotonic() + seconds
        looks = 0
        while looks < _LOOKS or time.monotonic() < until:  # a process that was stopped meanwhile looks all the same
            looks += 1
            now = time.monotonic()
            for sight in others:
                self._read(sight, now)
            if found := verdict(others, now, float("inf"), grace=0.0):
                return found
            time.sleep(0.1)
        return None

    def _write(self) -> None:
        note = liveness.current()
        self._seq += 1
        row = {
            "host": socket.gethostname(), "pid": os.getpid(), "count": note.count, "what": note.what,
            "doing": int(note.doing), "end": self._word, "seq": self._seq,
        }  # fmt: skip
        path = self.folder / f"process{distributed.rank()}.json"
        try:
            part = path.with_suffix(".part")
            part.write_text(json.dumps(row))
            part.replace(path)
        except OSError as error:
            logger.warning("%s cannot be written (%s): the other processes will miss this one", path, error)

    def _read(self, sight: Sight, now: float) -> None:
        try:
            row = json.loads((self.folder / f"process{sight.rank}.json").read_text())
        except (OSError, ValueError):
            row = {}
        if row and row["seq"] != sight.seq:
            if row["count"] != sight.count or row["doing"] != sight.doing:
                sight.still_since = now
            sight.silent_since = now
            sight.host, sight.pid, sight.count, sight.seq = row["host"], row["pid"], row["count"], row["seq"]
            sight.what, sight.doing, sight.end = row["what"], Doing(row["doing"]), row["end"]
        if sight.pid and sight.host == socket.gethostname() and sight.end is None:
            # Twice, since a process that has just ended may have left its last word after it was read.
            sight.missed = 0 if runs(sight.pid) else sight.missed + 1
            sight.gone = sight.missed > 1

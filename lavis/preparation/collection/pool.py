"""Processes that work on one item each, of which any may die or hang without harm to the others.

Own, since the executors of the standard library give up all their work when one process dies, and can stop none that
hangs. Every process leads a group of its own, so that programs which it started end with it; and it ends when the one
that started it does, however that ended.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from lavis.preparation.collection.items import Item
from lavis.preparation.collection.outcome import Outcome, Work, attempt

_READY = "ready"
START_S = 300.0
"""Seconds a process may take to start: importing torch from a slow network disk takes minutes."""

_END_S = 10.0
"""Seconds that idle processes have in all to end by themselves."""

_GONE_S = 60.0
"""Seconds in which one that has ended, or was killed, is known to have: on a busy machine that may take some."""


class StartError(ValueError):
    """Work that could not be started in a process of its own, such as for a model that cannot be loaded."""


class Worker:
    """A process that does one item after the other.

    Args:
        work: what it does.
        scratch: folder for unfinished files.
        time_limit_s: seconds an item may take; ``None`` sets no limit.
        number: of the process, from 0, for work that has a ``start``.
    """

    def __init__(self, work: Work, scratch: Path, time_limit_s: float | None, number: int = 0) -> None:
        self.work, self.scratch, self.time_limit_s, self.number = work, scratch, time_limit_s, number
        self.item: Item | None = None
        self._started = 0.0
        self._launch()

    def _launch(self) -> None:
        context: Any = _context(self.work)
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, self.work, self.scratch, self.number), daemon=True)
        self.process.start()
        theirs.close()
        self._ready = False
        self._launched = time.monotonic()

    def begin(self, item: Item) -> None:
        """Gives it an item."""
        self.item = item
        self._started = time.monotonic()
        with suppress(OSError):  # a process that is gone is seen in ``poll``
            self.connection.send(item)

    @property
    def deadline(self) -> float:
        """When its item, or its start, has taken too long, by ``time.monotonic``."""
        if not self._ready:
            return self._launched + float(getattr(self.work, "start_s", START_S))
        return float("inf") if self.time_limit_s is None else self._started + self.time_limit_s

    def poll(self) -> Outcome | None:
        """What came of its item, if that is known by now; a process that died or took too long is replaced.

        Raises:
            StartError: if its work cannot be started there.
            RuntimeError: if the process cannot even start.
        """
        assert self.item is not None
        try:
            while self.connection.poll():
                message = self.connection.recv()
                if message == _READY:
                    self._ready, self._started = True, time.monotonic()
                    continue
                if isinstance(message, StartError):
                    self.stop()
                    raise message
                self.item = None
                assert isinstance(message, Outcome)
                if message.failure == "memory_limit":  # what is left of it counts against the following items
                    self.stop()
                    self._launch()
                return message
        except (EOFError, OSError):
            self.process.join(timeout=_GONE_S)
            return self._lost("died", f"the process that worked on it ended ({_end_of(self.process.exitcode)})")
        if time.monotonic() > self.deadline:
            limit = self.time_limit_s or 0.0
            return self._lost("time_limit", f"it took longer than {limit:g} s (--time-limit)")
        return None

    def _lost(self, failure: Any, error: str) -> Outcome:
        item, ready, spent = self.item, self._ready, time.monotonic() - self._started
        assert item is not None
        self.stop()
        self.item = None
        if not ready:
            raise RuntimeError(
                f"a worker process could not start: {error}. Its own message is above; a script that uses the pool "
                "needs `if __name__ == '__main__':`, and --executor serial works without processes"
            )
        self._launch()
        return Outcome(item.name, None, failure, error, spent, 0.0)

    def stop(self) -> None:
        """Ends the process and the programs it started, at once."""
        pid = self.process.pid
        if pid is not None and self.process.exitcode is None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)  # before it leads a group there is none; then it is killed alone
            self.process.kill()
        self.process.join(timeout=_GONE_S)
        self.connection.close()

    def dismiss(self) -> bool:
        """Lets a process end by itself if it is idle, which tidies up after it (semaphores, temporary files)."""
        idle = self._ready and self.item is None
        if idle:
            self.connection.close()
        return idle

    def call(self, item: Item) -> Outcome:
        """Does one item and waits for it."""
        self.begin(item)
        while True:
            wait([self.connection], max(0.0, min(1.0, self.deadline - time.monotonic())))
            outcome = self.poll()
            if outcome is not None:
                return outcome


def run_pool(
    items: Sequence[Item], work: Work, scratch: Path, workers: int, time_limit_s: float | None
) -> Iterator[Outcome]:
    """Does all items in processes of this machine; outcomes come as they are ready."""
    left = iter(items)
    team: list[Worker] = []
    try:
        for item in _first(left, workers):
            team.append(Worker(work, scratch, time_limit_s, len(team)))
            team[-1].begin(item)
        while busy := [worker for worker in team if worker.item is not None]:
            soonest = min(worker.deadline for worker in busy) - time.monotonic()
            wait([worker.connection for worker in busy], max(0.0, min(1.0, soonest)))
            for worker in busy:
                outcome = worker.poll()
                if outcome is None:
                    continue
                following = next(left, None)
                if following is not None:
                    worker.begin(following)
                yield outcome
    finally:
        until = time.monotonic() + _END_S
        for worker in [worker for worker in team if worker.dismiss()]:
            worker.process.join(max(0.0, until - time.monotonic()))
        for worker in team:
            worker.stop()


def _first(items: Iterator[Item], count: int) -> Iterator[Item]:
    for _ in range(count):
        item = next(items, None)
        if item is None:
            return
        yield item


def _context(work: Work) -> Any:
    """A server that forks processes where there is one: it imports what the work needs once, and holds no locks."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    module = getattr(getattr(work, "work", work), "__module__", None)  # of what is done, and not of a limit around it
    context.set_forkserver_preload([__name__, *([module] if module not in (None, "__main__") else [])])
    return context


def _serve(connection: Connection, work: Work, scratch: Path, number: int) -> None:
    with suppress(OSError):
        os.setsid()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    start = getattr(work, "start", None)
    if start is not None:
        try:
            start(number)
        except (ValueError, OSError, ImportError) as error:  # what a user can mend; others show a traceback and end it
            connection.send(StartError(str(error)))
            return
    connection.send(_READY)
    while True:
        try:
            item = connection.recv()
        except EOFError:
            return
        connection.send(attempt(work, item, scratch))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os.killpg(0, signal.SIGKILL)


def _end_of(code: int | None) -> str:
    if code is not None and code < 0:
        try:
            return f"signal {signal.Signals(-code).name}"
        except ValueError:
            return f"signal {-code}"
    return f"exit code {code}"

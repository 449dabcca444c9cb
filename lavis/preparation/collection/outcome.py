"""What came of one item, and doing one item such that whatever goes wrong is an outcome."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lavis.common.io import WriteError, to_plain
from lavis.preparation.collection.items import Item

Work = Callable[[Item, Path], Mapping[str, Any]]
"""What is done for an item: gets it and a folder for unfinished files, gives what JSON can hold.

It must be picklable (a function or a dataclass of a module), since it is sent to other processes. ``duration_s`` of its
result, if there is one, is counted as seconds of video worked through.

Work that needs a model has a method ``start(worker: int)``, which each process calls once before its first item, with
its number from 0 (which tells them which device is theirs); what it raises ends the job. ``start_s`` may give it more
than the usual seconds for that, and ``gpus`` tells a cluster how many of them a process wants.
"""

Failure = Literal["error", "died", "time_limit", "memory_limit", "unwritable"]

_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM})
"""Reasons for which what is made of other items could not be written either."""


class UnwritableError(OSError):
    """What was made of an item cannot be kept, for a reason that holds for all of them; it ends the job."""


class OverMemory(MemoryError):
    """An item that took more memory than it may; raised by ``memory.LimitedMemory``."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of an item.

    Args:
        item: its name.
        result: what the work gave, ``None`` where it failed.
        failure: how it failed: the work raised an error, its process died, or it took too long or too much memory.
            ``unwritable`` is no fault of the item, such as a full disk, and comes into no journal.
        error: what was wrong.
        wall_s: seconds it took.
        core_s: processor seconds it took, programs that it started included.
    """

    item: str
    result: dict[str, Any] | None = None
    failure: Failure | None = None
    error: str = ""
    wall_s: float = 0.0
    core_s: float = 0.0

    def to_row(self, key: str) -> dict[str, Any]:
        """A row of the journal."""
        row: dict[str, Any] = {"item": self.item, "key": key, "outcome": self.failure or "done"}
        row |= {"wall_s": round(self.wall_s, 4), "core_s": round(self.core_s, 4)}
        return row | ({"error": self.error} if self.failure else {"result": self.result})

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Outcome:
        """The reverse."""
        failure = None if row["outcome"] == "done" else row["outcome"]
        return cls(row["item"], row.get("result"), failure, row.get("error", ""), row["wall_s"], row["core_s"])


def attempt(work: Work, item: Item, scratch: Path) -> Outcome:
    """Does the work for one item; an error that it raises is its outcome."""
    wall, core = time.monotonic(), _core_seconds()
    result: dict[str, Any] | None = None
    error = ""
    failed: Failure = "error"
    try:
        result = to_plain(work(item, scratch), item.name)
    except OverMemory as problem:
        failed, error = "memory_limit", str(problem)
    except (WriteError, UnwritableError) as problem:
        failed = "unwritable" if isinstance(problem, UnwritableError) or problem.errno in _NO_ROOM else "error"
        error = str(problem)
    except (ValueError, OSError) as problem:  # what the project and the system say is meant to be read
        error = str(problem) or type(problem).__name__
    except Exception as problem:  # a fault of a library in one file of thousands stops no job; it is kept and counted
        error = f"{type(problem).__name__}: {problem}"
    failure: Failure | None = failed if result is None else None
    return Outcome(item.name, result, failure, error, time.monotonic() - wall, _core_seconds() - core)


def _core_seconds() -> float:
    programs = os.times()
    return time.process_time() + programs.children_user + programs.children_system

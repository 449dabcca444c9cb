"""What this process is doing: a note that the work keeps, for the watchdog (``runners/watchdog.py``) to pass on.

Ours. A process that waits for another looks exactly like one that hangs, so the note says which of the two it may be:
work of its own, a part of a step where processes wait for each other, a message to all, or a phase that may take any
time. Keeping it costs nothing to speak of, and without a watchdog nobody reads it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum
from typing import TypeVar

T = TypeVar("T")


class Doing(IntEnum):
    """Kinds of work; of several that stand still, those of the lowest kind hold up the others."""

    OWN = 0  # needs no other process: reading data, answering
    FORWARD = 1  # may wait for weights or buffers of others
    BACKWARD = 2  # waits for the gradients of others
    WAITING = 3  # waits for a message of others
    PATIENT = 4  # may take any time, such as building a model or scoring


@dataclass(slots=True)
class Note:
    """The newest note: how many there were before, ``what`` in words, and its kind."""

    count: int = 0
    what: str = "starting"
    doing: Doing = Doing.PATIENT


_note = Note()


def current() -> Note:
    """The newest note of this process."""
    return Note(_note.count, _note.what, _note.doing)


def now(doing: Doing, what: str | None = None) -> None:
    """Notes that work goes on, with something else; without ``what`` only its kind changes."""
    _note.what = _note.what if what is None else what
    _note.doing = doing
    _note.count += 1


@contextmanager
def waiting() -> Iterator[None]:
    """Within the block this process waits for others; afterwards it goes on with what it did."""
    before = _note.doing
    now(Doing.WAITING)
    try:
        yield
    finally:
        now(before)


def each(items: Iterable[T], name: Callable[[int], str], afterwards: str) -> Iterator[T]:
    """Iterates and notes every item twice: while it is read, and while it is worked on.

    Args:
        items: such as a loader.
        name: what an item is called, by its number from 0.
        afterwards: what comes after the last one, which may take any time.
    """
    iterator = iter(items)
    number = 0
    while True:
        now(Doing.OWN, f"the data of {name(number)}")
        try:
            item = next(iterator)
        except StopIteration:
            now(Doing.PATIENT, afterwards)
            return
        now(Doing.OWN, name(number))
        yield item
        number += 1

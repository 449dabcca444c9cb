"""What a file holds, as a short digest: the same for a copy, another after a change.

A file is read once in each process, and again when its size or a time changes, or another one takes its place. Up to
``WHOLE`` bytes all of it counts; of a longer one its size and ``BLOCKS`` blocks spread evenly from first to last byte.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable
from pathlib import Path

WHOLE = 64 * 2**20
"""Bytes up to which a file is read completely."""

BLOCKS = 64
BLOCK = 2**20
"""How many blocks of a longer file are read, and how long they are in bytes."""

TICK = 0.1
"""Seconds, more than those by which the clocks of file systems go: a file changed just now may be changed once more at
the same time, so it is read again when it is next asked for.
"""

_KNOWN: dict[str, tuple[tuple[int, ...], str]] = {}


def content_digest(path: str | Path) -> str:
    """32 hexadecimal digits that stand for the content of a file.

    Raises:
        OSError: if it cannot be read.
    """
    real = os.path.realpath(path)
    facts = os.stat(real)
    # The time of change and the number of the file: the time of writing can be set to any, as by cp -p and rsync -t.
    stamp = (facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns, facts.st_ino, facts.st_dev)
    known = _KNOWN.get(real)
    if known is not None and known[0] == stamp:
        return known[1]
    asked = time.time()  # before it is read: a long file may change once more meanwhile
    found = _digest(real, facts.st_size)
    if asked - facts.st_ctime > TICK:
        _KNOWN[real] = (stamp, found)
    return found


def _digest(path: str, size: int) -> str:
    found = hashlib.blake2b(str(size).encode(), digest_size=16)
    with open(path, "rb") as file:
        for start, length in _parts(size):
            file.seek(start)
            found.update(file.read(length))
    return found.hexdigest()


def _parts(size: int) -> Iterable[tuple[int, int]]:
    if size <= WHOLE:
        return ((start, BLOCK) for start in range(0, size, BLOCK))
    return ((i * (size - BLOCK) // (BLOCKS - 1), BLOCK) for i in range(BLOCKS))

"""What a job is done for: the files below a folder, which part of them is one job's, and what each of them is now."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lavis.common.io import to_plain
from lavis.preparation.audit_videos import SUFFIXES


@dataclass(frozen=True, slots=True)
class Item:
    """One file to work on.

    Args:
        name: what the journal and the results call it, such as its path below its folder with ``/``; no two are equal.
        path: where it is.
    """

    name: str
    path: Path


def find_videos(folder: str | Path, suffixes: Sequence[str] = SUFFIXES) -> list[Item]:
    """The videos in a folder and the folders in it, by name; hidden files and folders are passed over.

    Args:
        folder: where to look.
        suffixes: what the names of videos end with, in lower case.

    Raises:
        FileNotFoundError: if there is no such folder.
        ValueError: if there is no video in it.
    """
    root = Path(folder).expanduser()
    if not root.is_dir():
        raise FileNotFoundError(f"there is no folder of videos {root}")
    found = []
    for place, folders, files in os.walk(root, followlinks=True):
        real = Path(os.path.realpath(place))
        within = {str(each) for each in (real, *real.parents, *map(os.path.realpath, Path(place).parents))}
        # A link to a folder that it is in would show everything forty times, until the system gives up.
        folders[:] = sorted(
            name for name in folders if not name.startswith(".") and os.path.realpath(Path(place, name)) not in within
        )
        for name in files:
            if not name.startswith(".") and name.lower().endswith(tuple(suffixes)):
                path = Path(place, name)
                found.append(Item(path.relative_to(root).as_posix(), path))
    if not found:
        raise ValueError(f"there is no video in {root}; looked for {', '.join(suffixes)}")
    return sorted(found, key=lambda item: item.name)


@dataclass(frozen=True, slots=True)
class Shard:
    """One of ``count`` parts of a job, that run side by side on several machines: ``number`` counts from 1."""

    number: int = 1
    count: int = 1

    @classmethod
    def of(cls, text: str | None) -> Shard:
        """``I/N``, such as ``3/8``; ``None`` is all of the job.

        Raises:
            ValueError: if it is not of that form, or I is not from 1 to N.
        """
        if text is None:
            return cls()
        number, _, count = text.partition("/")
        if not (number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
            raise ValueError(f"a shard is I/N with I from 1 to N, such as 3/8; got {text!r}")
        return cls(int(number), int(count))

    def share(self, items: Iterable[Item]) -> list[Item]:
        """The items of this part. By name, so that files that come later move no other to another part."""
        return [item for item in items if _number(item.name) % self.count == self.number - 1]

    def __str__(self) -> str:
        return "all" if self.count == 1 else f"{self.number}-of-{self.count}"


def _number(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(os.fsencode(name), digest_size=8).digest(), "big")


def options_digest(options: Mapping[str, Any]) -> str:
    """16 hexadecimal digits that stand for the options of a job."""
    text = json.dumps(to_plain(options, "options"), sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def content_key(path: Path, options: str) -> str:
    """What a file is now, and what is done with it: done again when its size or time of writing or an option changes.

    Args:
        path: the file, or a folder.
        options: what ``options_digest`` gave.

    Raises:
        OSError: if it is gone.
    """
    facts = path.stat()
    return f"{facts.st_size}-{facts.st_mtime_ns}-{options}"

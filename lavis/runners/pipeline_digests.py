"""Digests of what the stages of a pipeline read and write, remembered as long as size and modification time stay.

Files are read in full, once for each size and time they have; of a video above 1 MiB the size and three pieces of
256 KiB are read, since nobody should read a terabyte to learn that nothing happened.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lavis.common.checkpoint import file_digest
from lavis.common.io import FileFormatError, read_json, write_json
from lavis.common.logging import get_logger

PIECE = 256 * 1024
RACY_SECONDS = 1.0
logger = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Source:
    """Something a stage reads.

    Args:
        path: file, or the folder of ``names``.
        names: files below the folder; ``None`` for a file, or for a folder as a whole.
        kind: ``annotations``, ``prior``, ``videos``, ``subtitles``, ``weights``, ``model`` or ``file``.
    """

    path: Path
    kind: str
    names: tuple[str, ...] | None = None


class Digests:
    """SHA-256 of files and folders, remembered in a file as long as size and modification time stay.

    Args:
        path: where they are remembered; one that cannot be read is begun anew, which costs time and nothing else.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            known = read_json(path) if path.is_file() else {}
        except FileFormatError as error:
            logger.warning("%s; files are read again to learn whether they have changed", error)
            known = {}
        self._files: dict[str, list[Any]] = dict(known.get("files", {}))
        self._listings: dict[str, dict[str, str | None]] = dict(known.get("listings", {}))
        self._names: dict[str, list[str]] = dict(known.get("names", {}))
        self._used: set[str] = set()

    def of(self, source: Source) -> str | None:
        """The digest of a file or folder; ``None`` if there is none."""
        if source.names is None and not source.path.is_dir():
            return self.file(source.path)
        if not source.path.is_dir():
            return None
        names = source.names if source.names is not None else tuple(_files_below(source.path))
        sampled = source.kind == "videos"
        listing: dict[str, str | None] = {}
        for name in names:
            path = source.path / name
            inner = [path / each for each in _files_below(path)] if path.is_dir() else [path]  # a folder of frames
            listing.update({str(p.relative_to(source.path)): self.file(p, sampled) for p in inner})
        digest = text_digest(listing)
        self._listings[digest] = listing
        self._used.add(digest)
        return digest

    def file(self, path: Path, sampled: bool = False) -> str | None:
        """The digest of a file; of a large one, if ``sampled``, that of its size and three pieces."""
        try:
            facts = path.stat()
        except OSError:
            return None
        key = f"{path.absolute()}{'*' if sampled else ''}"
        known = self._files.get(key)
        if known is None or known[:2] != [facts.st_size, facts.st_mtime_ns]:
            digest = _sampled_digest(path, facts.st_size) if sampled else file_digest(path)
            known = [facts.st_size, facts.st_mtime_ns, digest]
            # Clocks of files are coarse: one written a moment ago might change once more under the same time.
            if time.time() - facts.st_mtime > RACY_SECONDS:
                self._files[key] = known
        return str(known[2])

    def changed_names(self, before: str, after: str) -> list[str]:
        """What differs between two folders known by their digests: ``v1.mp4 was changed``; empty if not remembered."""
        old, new = self._listings.get(before), self._listings.get(after)
        if old is None or new is None:
            return []
        rows = []
        for name in sorted({*old, *new}):
            if old.get(name) != new.get(name):
                verb = "is new" if old.get(name) is None else "is gone" if new.get(name) is None else "was changed"
                rows.append(f"{name} {verb}")
        return rows

    def names(self, key: str, make: Callable[[], Iterable[str]]) -> list[str]:
        """Names that follow from content, made once: ``key`` is a digest of all they depend on."""
        if key not in self._names:
            self._names[key] = sorted(set(make()))
        self._used.add(key)
        return self._names[key]

    def save(self, keep: Iterable[str]) -> None:
        """Writes what is remembered; listings and names that nothing uses any more are dropped."""
        used = {*self._used, *keep}
        content = {
            "files": self._files,
            "listings": {key: value for key, value in self._listings.items() if key in used},
            "names": {key: value for key, value in self._names.items() if key in used},
        }
        write_json(self.path, content, indent=None)


def text_digest(content: Any) -> str:
    """SHA-256 of JSON-ready content, keys in any order."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()


def _files_below(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def _sampled_digest(path: Path, size: int) -> str:
    if size <= 4 * PIECE:
        return file_digest(path)
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        for start in (0, (size - PIECE) // 2, size - PIECE):
            file.seek(start)
            digest.update(file.read(PIECE))
    return digest.hexdigest()

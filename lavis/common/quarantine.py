"""Videos that cannot be read: a list with reasons beside the results, and how many there may be.

Ours. The list is JSON lines, one row a finding, so that it can be looked at while a run goes on, and mended by hand;
all processes of a run add to it and see what others have added. A file on it is not tried again, in this run or when it
is resumed, until its size or time changes, or it is read in another way, such as with more memory. Taking its rows out
has it tried again, too.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from lavis.common.io import append_jsonl
from lavis.common.locking import exclusive
from lavis.common.logging import get_logger

logger = get_logger(__name__)


class BudgetError(ValueError):
    """More samples cannot be read than are allowed to."""


@dataclass(frozen=True, slots=True)
class Source:
    """Whose videos they are: key of the data set, split, and how many samples it has."""

    dataset: str
    split: str
    total: int


@dataclass(frozen=True, slots=True)
class Found:
    """How much a source lacks: videos that cannot be read, and samples that need them."""

    videos: int
    samples: int


@dataclass(frozen=True, slots=True)
class _Row:
    """A finding, as a line of the list.

    ``whole`` tells whether nobody can read the video; otherwise these samples alone cannot, such as for a clip without
    a frame. ``size`` in bytes and ``mtime_ns`` are the file's, or those of the shard it is in, 0 where there is none;
    ``reader`` is how it was read.
    """

    path: str
    reason: str
    dataset: str
    split: str
    samples: Sequence[str]
    whole: bool
    size: int
    mtime_ns: int
    reader: str
    when: str

    def cleared_by(self, sample: str) -> bool:
        """Whether it is no longer true once the video was read for a sample."""
        return self.whole or list(self.samples) == [sample]

    @property
    def stamp(self) -> tuple[int, int]:
        return self.size, self.mtime_ns

    @property
    def key(self) -> tuple[Any, ...]:
        return self.dataset, self.split, None if self.whole else tuple(self.samples)


class Quarantine:
    """The list of one run; copies of it in other processes are the same list.

    Args:
        file: JSON lines; made with the first finding.
        max_errors: samples of a source that may be left out: below 1 a share of them, rounded up, otherwise a number;
            ``None`` for any number.
        reader: how videos are read, limits included; findings of another way do not count.
    """

    def __init__(self, file: Path, max_errors: float | None = None, reader: str = "") -> None:
        self.file = file
        self.max_errors = max_errors
        self.reader = reader
        self._file_number = 0
        self._read = 0
        self._rows: dict[str, dict[tuple[Any, ...], _Row]] = {}

    def reason(self, path: str) -> str | None:
        """Why a video is not to be tried again; ``None`` if it may be."""
        self._refresh()
        stamp = _stamp(path)
        rows = (row for row in self._rows.get(path, {}).values() if row.reader == self.reader)
        return next((row.reason for row in rows if row.whole and row.stamp == stamp), None)

    def add(self, path: str, reason: str, source: Source, samples: Sequence[str], *, whole: bool) -> None:
        """Puts a video on the list.

        Args:
            path: of the video.
            reason: what is wrong with it.
            source: whose video it is.
            samples: ids of those that need it.
            whole: whether nobody can read it; otherwise only these samples cannot.

        Raises:
            WriteError: if the list cannot be written.
        """
        when = datetime.now(timezone.utc).isoformat(timespec="seconds")
        facts = (path, reason, source.dataset, source.split, list(samples), whole, *_stamp(path), self.reader, when)
        row = _Row(*facts)
        with exclusive(self.file):
            self._refresh()
            known = self._rows.get(path, {}).get(row.key)
            if known is None or (known.stamp, known.reader) != (row.stamp, row.reader):
                append_jsonl(self.file, [asdict(row)])
                self._refresh()

    def release(self, path: str, sample: str) -> None:
        """Notes that a video could be read after all, for this sample."""
        self._refresh()
        if any(row.cleared_by(sample) for row in self._rows.get(path, {}).values()):
            with exclusive(self.file):
                append_jsonl(self.file, [{"path": path, "readable": True, "sample": sample}])
                self._refresh()

    def found(self, source: Source) -> Found:
        """How much a source lacks for what is on the list."""
        self._refresh()
        found = [
            row
            for rows in self._rows.values()
            for row in rows.values()
            if (row.dataset, row.split, row.reader) == (source.dataset, source.split, self.reader)
            and row.stamp == _stamp(row.path)
        ]
        samples = {identity for row in found for identity in row.samples}
        return Found(len({row.path for row in found if row.whole}), len(samples))

    def check(self, source: Source) -> None:
        """That no more is lacking than may be.

        Raises:
            BudgetError: otherwise; names the list.
        """
        if self.max_errors is None:
            return
        allowed = math.ceil(self.max_errors * source.total) if self.max_errors < 1 else int(self.max_errors)
        found = self.found(source)
        if found.samples > allowed:
            raise BudgetError(
                f"datasets.{source.dataset}, {source.split}: {found.samples} of {source.total} samples cannot be read "
                f"({found.videos} videos), and run.decode.max_errors={self.max_errors:g} allows {allowed}. {self.file} "
                "lists them with reasons. Mend these files, or raise run.decode.max_errors (null: any number)"
            )

    def _refresh(self) -> None:
        """Reads the lines that have come since the last time; all of them where the file has been changed by hand."""
        try:
            facts = os.stat(self.file)
            size, number = facts.st_size, facts.st_ino
        except FileNotFoundError:
            size, number = 0, 0
        if size < self._read or number != self._file_number:
            self._rows, self._read, self._file_number = {}, 0, number
        if size == self._read:
            return
        with open(self.file, "rb") as file:
            file.seek(self._read)
            lines = file.read()
        whole = lines[: lines.rfind(b"\n") + 1]
        self._read += len(whole)
        for line in whole.splitlines():
            self._take(line)

    def _take(self, line: bytes) -> None:
        try:
            row: Mapping[str, Any] = json.loads(line)
            if row.get("readable"):
                known = self._rows.get(row["path"], {})
                self._rows[row["path"]] = {key: r for key, r in known.items() if not r.cleared_by(row["sample"])}
                return
            entry = _Row(**row)
            self._rows.setdefault(entry.path, {})[entry.key] = entry
        except (ValueError, TypeError, KeyError, AttributeError):
            logger.warning("%s: a line that says nothing of a video is passed over: %.80r", self.file, line)


def _stamp(path: str) -> tuple[int, int]:
    try:
        try:
            facts = os.stat(path)
        except NotADirectoryError:  # a member of a shard, <shard>/<member>: it changes when the shard does
            facts = os.stat(os.path.dirname(path))
    except OSError:
        return 0, 0
    return facts.st_size, facts.st_mtime_ns

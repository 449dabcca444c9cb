"""What a job keeps beside its output: a journal of what is done, the quarantine, unfinished files, and its locks.

All of it is in ``<out>/.collection/<name of the job>``. Rows of the journal are written when an item is through and its
output is whole, so a job that is killed at any moment repeats at most what was being worked on.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lavis.common.io import FileFormatError, append_jsonl, explained, read_jsonl, write_jsonl
from lavis.preparation.collection.items import Shard
from lavis.preparation.collection.outcome import Outcome

_FIELDS: dict[str, Any] = {"item": str, "key": str, "outcome": str, "wall_s": (int, float), "core_s": (int, float)}


class State:
    """The files of one job.

    Args:
        out: folder of the output.
        name: of the job.
        shard: the part that this process does.
    """

    def __init__(self, out: str | Path, name: str, shard: Shard) -> None:
        self.folder = Path(out) / ".collection" / name
        self.shard = shard
        self.journal = self.folder / f"journal-{shard}.jsonl"
        self.quarantine = self.folder / f"quarantine-{shard}.jsonl"
        self.scratch = self.folder / f"unfinished-{shard}"

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keeps others out: a second run of the whole, or of the same part; and a run of parts out of one of the whole.

        Unfinished files of a run that was killed are removed.

        Raises:
            BusyError: if another run is at it.
            WriteError: if the folder cannot be written to.
        """
        from lavis.common.locking import sole_writer

        whole = self.shard.count == 1
        place = self.folder if whole else self.folder / str(self.shard)
        lock = sole_writer(place, "this one", ", or write to another folder")
        with lock, beside_others(self.folder, whole):
            with explained(self.scratch):
                shutil.rmtree(self.scratch, ignore_errors=True)
                self.scratch.mkdir(parents=True)
            try:
                yield
            finally:
                shutil.rmtree(self.scratch, ignore_errors=True)

    def outcomes(self) -> dict[str, tuple[str, Outcome]]:
        """Key and outcome by item, of all parts of the job; of an item that was done again the last counts.

        Raises:
            FileFormatError: if a journal holds anything else; names file and line.
        """
        known: dict[str, tuple[str, Outcome]] = {}
        for path in sorted(self.folder.glob("journal-*.jsonl"), key=lambda path: (path.stat().st_mtime_ns, path.name)):
            for number, row in enumerate(read_jsonl(path, drop_torn=True), start=1):
                _check_row(path, number, row)
                known[row["item"]] = row["key"], Outcome.from_row(row)
        return known

    def add(self, outcome: Outcome, key: str) -> None:
        """Puts an outcome into the journal."""
        append_jsonl(self.journal, [outcome.to_row(key)])

    def write_quarantine(self, failed: Iterable[Outcome]) -> None:
        """Writes which items failed, and why; without any there is no file."""
        rows = [{"item": each.item, "failure": each.failure, "error": each.error} for each in failed]
        if rows:
            write_jsonl(self.quarantine, rows)
        else:
            self.quarantine.unlink(missing_ok=True)


def _check_row(path: Path, number: int, row: Any) -> None:
    if not isinstance(row, Mapping) or not all(isinstance(row.get(name), kind) for name, kind in _FIELDS.items()):
        raise FileFormatError(
            f"{path}, row {number}: not a row of a journal: {row!r:.80}; remove the line, and its item is done again"
        )


@contextmanager
def beside_others(folder: Path, whole: bool) -> Iterator[None]:
    """Parts of a job share a lock that a run of the whole wants for itself.

    Args:
        folder: of the job, made if it is missing.
        whole: whether this run is one of the whole.

    Raises:
        BusyError: if a run of the other kind is under way.
        WriteError: if the folder cannot be written to.
    """
    import fcntl  # no part of Python on Windows, where the rest may still be used

    from lavis.common.locking import BusyError

    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / ".parts", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        try:
            fcntl.flock(handle, (fcntl.LOCK_EX if whole else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        except BlockingIOError:
            other = "parts of this job are" if whole else "a run of the whole job, without parts, is"
            raise BusyError(
                f"{folder} is being written by another run, so this one was not started: {other} under way. Wait for "
                "it or stop it"
            ) from None
        yield
    finally:
        os.close(handle)

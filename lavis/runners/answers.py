"""Predictions of a split on disk: appended batch by batch, kept over an interruption, and known from forgeries.

Beside ``<name>.jsonl`` lies ``.<name>.fingerprint.json``: the fingerprint of weights and settings, that of each sample,
and a digest of each row. A row counts only if its digest is known, so a file that was edited by hand is noticed: what
was not touched is kept, the rest is asked again, and the file as it was found stays as ``.<name>.edited.jsonl``.
Digests are written before their rows; a crash in between leaves digests without rows. Such a batch is asked again as a
whole: with other companions, scores would differ in their last digits.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lavis.common import distributed
from lavis.common.io import (
    FileFormatError,
    append_jsonl,
    read_json,
    read_jsonl,
    to_plain,
    write_bytes,
    write_json,
    write_jsonl,
)
from lavis.common.logging import get_logger
from lavis.structures import Prediction

_SHOWN = 5
logger = get_logger(__name__)


class AnswerFiles:
    """Where the predictions of one split lie.

    Args:
        folder: of the predictions.
        name: ``<dataset>_<split>``.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self.name = name
        self.path = folder / f"{name}.jsonl"
        self.mark = folder / f".{name}.fingerprint.json"

    def known(self, fingerprint: str, samples: Mapping[str, str]) -> dict[str, Prediction]:
        """Predictions that an interrupted evaluation of the same thing left; all others are removed.

        Args:
            fingerprint: of weights, configuration and precision.
            samples: id of each sample to its fingerprint.
        """
        before = self._mark()
        same = before.get("fingerprint") == fingerprint
        asked = before.get("samples", {}) if same else {}
        finished = before.get("rows", {}) if same else {}
        parts, journals = self._glob("process*"), self._glob("digests*")
        files = [file for file in (self.path, *parts) if file.is_file()]
        recorded, last = _recorded(journals)
        written = {**finished, **recorded}
        found, faults = _read(files, written) if asked else ({}, [])
        lost = [identity for identity in finished if identity not in found]
        if files and lost:
            faults.append(f"{len(lost)} rows were changed or are missing ({', '.join(lost[:_SHOWN])})")
        if faults:
            self._say(files, faults)
        torn = set() if faults else {identity for batch in last if not batch <= found.keys() for identity in batch}
        known = {
            identity: row
            for identity, row in found.items()
            if samples.get(identity, 0) == asked.get(identity) and identity not in torn
        }
        if files and (parts or faults or asked != samples or len(known) < len(found)):
            # Before the new fingerprint: an interruption in between must not make old answers pass for new ones.
            write_jsonl(self.path, known.values())
            _remove(parts)
        rows = {identity: digest(row)[:16] for identity, row in known.items()}
        write_json(self.mark, {"fingerprint": fingerprint, "samples": dict(samples), "rows": rows}, indent=None)
        _remove(journals)
        return {identity: Prediction.from_json(row) for identity, row in known.items()}

    def add(self, predictions: Iterable[Prediction]) -> None:
        """Appends the predictions of one batch of this process."""
        rows = [to_plain(prediction.to_json()) for prediction in predictions]
        journal = self.folder / f".{self.name}.digests{distributed.rank()}.jsonl"
        append_jsonl(journal, [{row["id"]: digest(row)[:16] for row in rows}])
        append_jsonl(self._part(), rows)

    def finish(self, ordered: Sequence[Prediction], rows: Sequence[Mapping[str, Any]]) -> None:
        """Writes all predictions in the order of the data, and ``<name>.json`` with the rows the task's users know."""
        plain = [to_plain(prediction.to_json()) for prediction in ordered]
        digests = {row["id"]: digest(row)[:16] for row in plain}
        write_json(self.path.with_suffix(".json"), list(rows), indent=None)
        write_json(self.mark, {**self._mark(), "rows": digests}, indent=None)
        write_jsonl(self.path, plain)
        _remove(self._glob("process*"))
        _remove(self._glob("digests*"))

    def _part(self) -> Path:
        """Where this process appends; a file of its own if there are several."""
        if distributed.world_size() == 1:
            return self.path
        return self.folder / f".{self.name}.process{distributed.rank()}.jsonl"

    def _glob(self, kind: str) -> list[Path]:
        return sorted(self.folder.glob(f".{self.name}.{kind}.jsonl"))

    def _mark(self) -> dict[str, Any]:
        try:
            mark = read_json(self.mark) if self.mark.is_file() else {}
        except FileFormatError as error:
            logger.warning("%s; so nobody knows what its predictions belong to, and all are asked again", error)
            mark = {}
        return mark if isinstance(mark, dict) else {}

    def _say(self, files: Sequence[Path], faults: Sequence[str]) -> None:
        kept = self.folder / f".{self.name}.edited.jsonl"
        write_bytes(kept, b"".join(file.read_bytes() for file in files))
        logger.warning(
            "%s was not left as it was written: %s%s. Rows that were not touched are kept, the others are asked again; "
            "the file as it was found is %s",
            self.path,
            "; ".join(faults[:_SHOWN]),
            f" and {len(faults) - _SHOWN} more" if len(faults) > _SHOWN else "",
            kept,
        )


def digest(content: Any) -> str:
    """SHA-256 of JSON-ready content, keys in any order."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()


def _read(files: Iterable[Path], written: Mapping[str, str]) -> tuple[dict[str, Any], list[str]]:
    """Rows whose digest is known by id, and what is wrong with the others.

    A last line that a crash cut short is no fault, nor a row that two files hold.
    """
    rows: dict[str, Any] = {}
    faults: list[str] = []
    for file in files:
        seen: set[str] = set()
        lines = file.read_bytes().split(b"\n")
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            where = f"{file.name}, line {number}"
            try:
                row = json.loads(line)
                identity = row["id"]
            except (ValueError, TypeError, KeyError, RecursionError):
                if number < len(lines):
                    faults.append(f"{where} is no prediction")
                continue
            if not isinstance(identity, str) or identity not in written:
                faults.append(f"{where}: {identity!r} was not answered here")
            elif written[identity] != digest(row)[:16]:
                faults.append(f"{where}: the answer to {identity} was changed")
            elif identity in seen:
                faults.append(f"{where}: {identity} comes twice")
            else:
                seen.add(identity)
                rows[identity] = row
    return rows, faults


def _recorded(journals: Iterable[Path]) -> tuple[dict[str, str], list[set[str]]]:
    """Digest of each row by id, and the ids of the last batch of each process, which a crash may have cut short."""
    recorded: dict[str, str] = {}
    last: list[set[str]] = []
    for journal in journals:
        try:
            batches = [dict(line) for line in read_jsonl(journal, drop_torn=True)]
            for batch in batches:
                recorded.update(batch)
            last += [set(batch) for batch in batches[-1:]]
        except (ValueError, TypeError) as error:
            logger.warning("%s; the predictions it vouches for are asked again", error)
    return recorded, last


def _remove(files: Iterable[Path]) -> None:
    for file in files:
        file.unlink(missing_ok=True)

"""Annotations as CALCE has them, made from the data sets' own releases.

Source: ``process_data/data_preprocess.py`` of CALCE (tjhd1475/CALCE); the files made are equal to the published ones
byte for byte. Unlike it: nothing happens at import, paths are arguments, and Charades-STA may be read as it was
released (text and table of lengths) besides the JSON lines that CALCE started from.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from lavis.common.io import read_text, write_text
from lavis.datasets.formats._charades_text import read_durations, release_records
from lavis.datasets.formats._record import AnnotationError, Record, load_json, read_records

Row = dict[str, Any]
Unit = Literal["seconds", "fraction", "percent"]
Extractor = Callable[[Sequence[str]], list[list[str]]]
"""Queries to their nouns, such as ``noun_phrases.extract``."""
Items = str | Path | Extractor
"""Where nouns come from: the folder of published ones, ``<split>.json``, or what extracts them from the queries."""

DUMMY_WINDOWS = [[0, 150]]
"""What CALCE and MR.BLIP give the rows of QVHighlights' test split, whose truth is not public."""
QVHIGHLIGHTS_ID = "QVHighlight_{}"
CHARADES_ID = "Charades_{}"
CHARADES_FIRST_TEST_QID = 12404
"""Queries are numbered through both splits of Charades-STA; train has 12,404 that are no reversed windows."""


@dataclass(frozen=True)
class Prepared:
    """One file that was written.

    Args:
        path: where.
        rows: how many.
        notes: what was changed on the way, such as ``ends cut``, and how often.
    """

    path: Path
    rows: int
    notes: Mapping[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        notes = "".join(f", {count} {what}" for what, count in self.notes.items() if count)
        return f"{self.path}: {self.rows} rows{notes}"


def prepare_qvhighlights(
    release: str | Path, items: Items, out: str | Path, splits: Sequence[str] = ("train", "val", "test")
) -> list[Prepared]:
    """CALCE's annotations of QVHighlights: ``train.json``, ``val.json``, ``test_dummy.json``.

    Args:
        release: folder of ``highlight_<split>_release.jsonl``.
        items: folder of ``<split>.json``, the nouns of each query, as CALCE publishes them; or what extracts them.
        out: folder to write to.
        splits: which.

    Raises:
        AnnotationError: if a file is absent or a row does not fit; names file and row.
    """
    done = []
    for split in splits:
        records = list(read_records(Path(release) / f"highlight_{split}_release.jsonl"))
        nouns = items_from(items, split, records, QVHIGHLIGHTS_ID)
        rows = list(qvhighlights_rows(records, nouns, test=split == "test"))
        name = "test_dummy" if split == "test" else split
        done.append(Prepared(write_rows(Path(out) / f"{name}.json", rows), len(rows)))
    return done


def prepare_charades(
    release: str | Path, items: Items, out: str | Path, splits: Sequence[str] = ("train", "test")
) -> list[Prepared]:
    """CALCE's annotations of Charades-STA: ``train.json`` (whole seconds), ``test.json`` (as annotated).

    Args:
        release: folder of ``charades_sta_<split>_tvr_format.jsonl`` or ``charades_<split>_release.jsonl``, or else of
            ``charades_sta_<split>.txt`` with ``Charades_v1_<split>.csv``.
        items: folder of ``<split>.json``, the nouns of each query, as CALCE publishes them; or what extracts them.
        out: folder to write to.
        splits: which.

    Raises:
        AnnotationError: if a file is absent or a row does not fit; names file and row.
    """
    done = []
    for split in splits:
        notes: Counter[str] = Counter()
        records = list(charades_records(Path(release), split, notes))
        nouns = items_from(items, split, records, CHARADES_ID)
        rows = list(charades_rows(records, nouns, round_windows=split == "train"))
        done.append(Prepared(write_rows(Path(out) / f"{split}.json", rows), len(rows), notes))
    return done


def qvhighlights_rows(
    records: Iterable[Record], items: Mapping[str, Sequence[str]], *, test: bool = False, unit: Unit = "seconds"
) -> Iterator[Row]:
    """CALCE's rows of QVHighlights.

    Args:
        records: rows of the release.
        items: id to nouns.
        test: whether to write ``DUMMY_WINDOWS``.
        unit: of the windows; CALCE uses seconds.
    """
    for record in records:
        qid = QVHIGHLIGHTS_ID.format(record.whole_number("qid"))
        yield {
            "video": record.text("vid"),
            "qid": qid,
            "query": record.text("query"),
            "duration": record.positive("duration"),
            "items": nouns_of(record, qid, items),
            "relevant_windows": DUMMY_WINDOWS if test else in_unit(windows_of(record), record, unit),
        }


def charades_rows(
    records: Iterable[Record], items: Mapping[str, Sequence[str]], *, round_windows: bool
) -> Iterator[Row]:
    """CALCE's rows of Charades-STA; durations are rounded, so a window may end past its video.

    Args:
        records: rows ``qid, query, duration, vid, relevant_windows``.
        items: id to nouns.
        round_windows: whole seconds (train; halves go to the even number), or floats (test).
    """
    for record in records:
        qid = CHARADES_ID.format(record.whole_number("qid"))
        windows = [[float(bound) for bound in window] for window in windows_of(record)]
        yield {
            "qid": qid,
            "video": record.text("vid"),
            "duration": round(float(record.positive("duration"))),
            "relevant_windows": [[round(bound) for bound in window] for window in windows]
            if round_windows
            else windows,
            "query": record.text("query"),
            "items": nouns_of(record, qid, items),
        }


def charades_records(release: Path, split: str, notes: Counter[str]) -> Iterator[Record]:
    """Rows of Charades-STA from whichever form of the release is there; see ``prepare_charades``.

    Args:
        release: folder.
        split: ``train`` or ``test``.
        notes: gets ``ends cut`` and ``reversed windows left out``.
    """
    forms = [release / f"charades_sta_{split}_tvr_format.jsonl", release / f"charades_{split}_release.jsonl"]
    for form in forms:
        if form.exists():
            return read_records(form)
    text, table = release / f"charades_sta_{split}.txt", release / f"Charades_v1_{split}.csv"
    if not text.exists():
        names = ", ".join(path.name for path in [*forms, text])
        raise AnnotationError(f"{release} has no annotations of the split {split!r}. Put one of {names} there")
    first = CHARADES_FIRST_TEST_QID if split == "test" else 0
    return charades_release(release_records(text, read_durations(table), str(table)), first, notes)


def charades_release(lines: Iterable[Record], first_qid: int, notes: Counter[str]) -> Iterator[Record]:
    """The text release in the form of TVR: ends cut to the video, reversed windows left out, the rest numbered."""
    qid = first_qid
    for line in lines:
        [[start, end]] = windows_of(line)
        if end < start:
            notes["reversed windows left out"] += 1
            continue
        duration = line.positive("duration")
        notes["ends cut"] += end > duration
        fields = {**line.fields, "qid": qid, "relevant_windows": [[start, min(end, duration)]]}
        yield Record(fields, line.path, line.row, line.id)
        qid += 1


def items_from(items: Items, split: str, records: Sequence[Record], identity: str) -> dict[str, list[str]]:
    """Id to nouns, read or extracted.

    Args:
        items: where from.
        split: which file of a folder.
        records: rows of the release, for extraction.
        identity: how a row's number becomes its id.

    Raises:
        AnnotationError: if the file is absent or has another shape.
    """
    if isinstance(items, str | Path):
        return read_items(Path(items) / f"{split}.json")
    ids = [identity.format(record.whole_number("qid")) for record in records]
    return dict(zip(ids, items([record.text("query") for record in records]), strict=True))


def read_items(path: Path) -> dict[str, list[str]]:
    """Id to nouns, from CALCE's items file (id to ``{"query": ..., "items": [...]}``).

    Raises:
        AnnotationError: if the file is absent or has another shape.
    """
    try:
        entries = load_json(read_text(path), str(path))
    except FileNotFoundError:
        raise AnnotationError(
            f"there is no items file {path}. CALCE publishes the nouns of its queries (docs/data.md says where); "
            "or have them extracted from the queries (data_preprocess.py --items extract, extra nouns)"
        ) from None
    if not isinstance(entries, dict) or not all(isinstance(entry, dict) for entry in entries.values()):
        raise AnnotationError(f'{path}: must map ids to {{"query": ..., "items": [...]}}. Choose another file')
    return {qid: Record(entry, path, f"entry {qid!r}", qid).texts("items") for qid, entry in entries.items()}


def nouns_of(record: Record, qid: str, items: Mapping[str, Sequence[str]]) -> list[str]:
    """The nouns of a query.

    Raises:
        AnnotationError: if there is no entry for its id.
    """
    if qid not in items:
        raise record.with_id(qid).error("items", "the items file has no entry", "Take the items file of the same split")
    return list(items[qid])


def windows_of(record: Record) -> list[list[float]]:
    """Raw windows of a row.

    Raises:
        AnnotationError: if they are no list of pairs of numbers.
    """
    windows = record.get("relevant_windows")
    if not isinstance(windows, list) or not all(isinstance(w, list) and len(w) == 2 for w in windows):
        raise record.error(
            "relevant_windows", f"must be a list of [start, end], got {windows!r:.80}", "Correct the row"
        )
    for bound in (bound for window in windows for bound in window):
        Record({"bound": bound}, record.path, record.row, record.id).number("bound")
    return windows


def in_unit(windows: list[list[float]], record: Record, unit: Unit) -> list[list[float]]:
    """Windows in seconds as they are, or relative to the duration.

    ``percent`` truncates after rounding to hundredths, as the originals do: 0.29 becomes 28.
    """
    if unit == "seconds":
        return windows
    duration = record.positive("duration")
    fractions = [[round(bound / duration, 2) for bound in window] for window in windows]
    return fractions if unit == "fraction" else [[int(bound * 100) for bound in window] for window in fractions]


def write_rows(path: Path, rows: Sequence[Row]) -> Path:
    """Rows as one line of ASCII JSON, the form of all published annotation files; in one step."""
    return write_text(path, json.dumps(rows))

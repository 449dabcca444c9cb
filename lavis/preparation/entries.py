"""Annotation files as they stand, unjudged: one entry a query, whatever is wrong with it.

The formats of ``lavis.datasets`` stop at the first fault, as training should; here faults are what is looked for, so
values stay raw and a row is refused only where it is no row at all. Rows come from ``lavis.scoring.reading`` (JSON
lines, JSON list, mapping from ids, text, table); which layout they have is found by their fields, and said.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from lavis.common.io import FileFormatError, read_text
from lavis.preparation.entry_layouts import LAYOUTS, ROWS, SAME_AS_ROWS, Entry, Layout, rows_layout
from lavis.scoring.base import Row, RowError, ScoringError
from lavis.scoring.reading import Fault, Source, open_rows


@dataclass(slots=True)
class AnnotationFile:
    """All entries of a file, and what could not be read.

    Args:
        path: the file.
        container: how rows lie in it, such as ``JSON lines``.
        layout: name of the layout taken.
        columns: which part of an entry came from which field.
        expects: parts that every entry should have.
        rows: number of rows, broken ones too.
        entries: in order.
        broken: place and problem of each row that cannot be read.
        torn: place and problem of a last line that was cut short; not in ``broken``.
        repeated_keys: keys that one JSON object of the file holds twice (all but the last value are lost).
    """

    path: str
    container: str = ""
    layout: str = ""
    columns: dict[str, str] = field(default_factory=dict)
    expects: frozenset[str] = frozenset()
    rows: int = 0
    entries: list[Entry] = field(default_factory=list)
    broken: list[tuple[str, str]] = field(default_factory=list)
    torn: tuple[str, str] | None = None
    repeated_keys: list[str] = field(default_factory=list)


def read_entries(
    path: str | Path,
    layout: str | None = None,
    columns: Mapping[str, str] | None = None,
    durations: Mapping[str, float] | None = None,
) -> AnnotationFile:
    """All entries of a file.

    Args:
        path: annotation file.
        layout: name in ``LAYOUTS`` or ``rows``, or of an annotation format; ``None`` finds it by the fields.
        columns: for ``rows``: part of an entry to the name of its field, where that is unusual.
        durations: seconds of videos, for entries that have none.

    Raises:
        FileNotFoundError: if there is no such file.
        ScoringError: if its rows are of no known layout; names the fields found.
        FileFormatError: if it is no text.
    """
    file = AnnotationFile(str(path))
    try:
        source = _source(Path(path), file)
    except _BrokenJson as error:
        file.broken.append((str(path), str(error)))
        return file
    if source is None:
        return file
    file.container = source.container
    chosen = _chosen(source, layout, columns or {})
    if chosen is not None:
        file.layout, file.columns, file.expects = chosen.form.name, dict(chosen.columns), chosen.expects
    _read_rows(source, chosen, file)
    for entry in file.entries if durations else ():
        if entry.duration is None and isinstance(entry.video, str):
            entry.duration = (durations or {}).get(entry.video)
    return file


class _BrokenJson(ValueError):
    """A JSON file that is cut short or broken; the message has line and column."""


def _source(path: Path, file: AnnotationFile) -> Source | None:
    """The rows; ``None`` if there are none."""
    if path.is_file() and not path.stat().st_size:
        return None
    if path.suffix != ".json" or not path.is_file():
        return open_rows(path, "annotations")
    try:
        # Not open_rows: JSON alone keeps the last of equal keys, and says nothing.
        value = json.loads(read_text(path), object_pairs_hook=partial(_noting_repeats, file.repeated_keys))
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":
            return open_rows(path, "annotations")  # JSON lines by another name
        problem = f"not JSON: {error.msg} (line {error.lineno}, column {error.colno}); the file may be cut short"
        raise _BrokenJson(problem) from error
    except (ValueError, RecursionError) as error:
        raise _BrokenJson(f"not JSON: {error or 'nested too deeply'}") from error
    if isinstance(value, Mapping) and isinstance(value.get("videos"), list):
        value = value["videos"]  # Ego4D
    if not isinstance(value, (list, dict)):
        raise FileFormatError(f"{path}: must hold rows (a list, or a mapping from ids), got {value!r:.60}")
    return open_rows(value, str(path)) if value else None


def _noting_repeats(repeated: list[str], pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                repeated.append(key)
            seen.add(key)
    return result


def _chosen(source: Source, name: str | None, columns: Mapping[str, str]) -> Layout | None:
    """The layout asked for, or the first that most of the first rows have; ``None`` if no row can be read at all.

    Raises:
        ScoringError: if there is no such layout, or none fits.
    """
    objects = [row for row in source.peek() if set(row.fields) != {"value"}]
    if name is not None and name in LAYOUTS:
        return LAYOUTS[name]
    if name not in (None, ROWS, *SAME_AS_ROWS):
        raise ScoringError(f"there is no layout {name!r}; known: {', '.join([ROWS, *LAYOUTS, *SAME_AS_ROWS])}")
    if not objects:
        return None
    if name is None and not columns:
        for layout in LAYOUTS.values():
            if 2 * sum(layout.form.fits(row) for row in objects) > len(objects):
                return layout
    return rows_layout(objects, columns, source.name, table=Path(source.name).suffix == ".csv")


def _read_rows(source: Source, layout: Layout | None, file: AnnotationFile) -> None:
    last: Row | Fault | None = None
    for last in source.rows:
        file.rows += 1
        if isinstance(last, Fault):
            file.broken.append((last.place, last.problem))
        elif layout is None:
            file.broken.append((last.place, f"no row of a known layout: {dict(last.fields)!r:.80}"))
        else:
            try:
                file.entries.extend(layout.form.records(last))
            except RowError as error:
                file.broken.append((last.place, str(error)))
    if isinstance(last, Fault) and source.container == "JSON lines" and not _ends_with_newline(Path(file.path)):
        file.torn = file.broken.pop()


def _ends_with_newline(path: Path) -> bool:
    with path.open("rb") as stream:
        stream.seek(-1, 2)
        return stream.read() == b"\n"

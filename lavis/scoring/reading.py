"""Rows of files as they are found: JSON lines, a JSON list, a JSON mapping from ids, a list inside a mapping, lines
of text (``.txt``: rows with the one field ``line``), or a table (``.csv``).

Rows are handed on one at a time, so a file of JSON lines never lies in memory as a whole. A line that is no JSON is
handed on as a fault with its place: whoever reads on decides what that means. Byte order marks and both line ends are
taken; compressed files are not, and say so.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from lavis.common.io import FileFormatError, read_json, read_text
from lavis.scoring.base import Form, Row, ScoringError

R = TypeVar("R")
Given = str | Path | Sequence[Any] | Mapping[str, Any]
"""A file, or rows in memory."""

_PEEK = 20
_WRAPPERS = ("results", "annotations", "predictions", "data", "submission", "database", "videos")
_BESIDE_WRAPPERS = ("version", "VERSION", "external_data", "taxonomy", "info", "meta", "config", "args")
_ID_FIELDS = ("id", "qid", "query_id", "question_id", "annotation_uid", "vid", "video", "video_id")
_COMPRESSED = {b"\x1f\x8b": "gzip", b"PK": "zip", b"\xfd7": "xz", b"BZ": "bzip2", b"(\xb5": "zstandard"}


@dataclass(frozen=True, slots=True)
class Fault:
    """A row that is not even JSON."""

    place: str
    problem: str


@dataclass(slots=True)
class Source:
    """Rows of one file or list, to be gone through once.

    Args:
        name: for messages: the file's path, or ``predictions``.
        container: how they lie there, such as ``JSON lines``.
        rows: rows and faults, in order.
    """

    name: str
    container: str
    rows: Iterator[Row | Fault]

    def peek(self) -> list[Row]:
        """The first rows that are no faults; all stay to be read."""
        passed: list[Row | Fault] = []
        first: list[Row] = []
        for row in self.rows:
            passed.append(row)
            if isinstance(row, Row):
                first.append(row)
                if len(first) == _PEEK:
                    break
        self.rows = itertools.chain(passed, self.rows)
        return first


def open_rows(given: Given, name: str) -> Source:
    """Rows of a file or of memory.

    Args:
        given: path, list of rows, or mapping from ids to rows.
        name: what to call rows in memory.

    Raises:
        FileNotFoundError: if there is no such file.
        ScoringError: if the file is empty or holds no rows.
        FileFormatError: if a ``.json`` file is no JSON (names line and column), or a file is compressed.
    """
    if not isinstance(given, (str, Path)):
        return _of_value(given, name, name)
    path = Path(given)
    if path.is_dir():
        raise FileNotFoundError(f"{path} is a folder; name the file of {name} in it")
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path} ({name})")
    if path.stat().st_size == 0:
        raise ScoringError(f"{path} is empty; expected rows as JSON, or JSON lines")
    _require_plain(path)
    if path.suffix == ".txt":
        return Source(str(path), "lines of text", _text_lines(path))
    if path.suffix == ".csv":
        return Source(str(path), "table (CSV)", _table(path))
    if path.suffix == ".jsonl" or _is_lines(path):
        return Source(str(path), "JSON lines", _lines(path))
    return _of_value(_json(path), name, str(path))


def rows_of_folder(folder: Path, name: str) -> list[Any]:
    """Rows of all JSON files of a folder, in the order of their names.

    Args:
        folder: hidden files and folders in it are passed over.
        name: what the rows are, for messages.

    Raises:
        ScoringError: if there is no such file, or one holds what is no JSON.
        FileFormatError: see ``open_rows``.
    """
    files = sorted(p for p in folder.glob("*.json*") if p.suffix in (".json", ".jsonl") and p.name[0] != ".")
    if not files:
        raise ScoringError(f"{folder} holds no .json or .jsonl files with {name}")
    rows = [row for file in files for row in open_rows(file, name).rows]
    faults = [row for row in rows if isinstance(row, Fault)]
    if faults:
        raise ScoringError(f"{faults[0].place}: {faults[0].problem}")
    return [row.fields for row in rows if isinstance(row, Row)]


def _require_plain(path: Path) -> None:
    with path.open("rb") as stream:
        start = stream.read(2)
    if start in _COMPRESSED:
        raise FileFormatError(f"{path} is compressed ({_COMPRESSED[start]}); unpack it first")


def _json(path: Path) -> Any:
    try:
        return read_json(path)
    except FileFormatError:
        raise
    except ValueError as error:  # numbers of thousands of digits
        raise FileFormatError(f"{path}: {error}") from error


def chosen_form(source: Source, forms: Sequence[Form[R]], what: str) -> Form[R]:
    """The first form that the first rows have, all of them or at least most.

    Raises:
        ScoringError: if none fits; names the fields found and the forms known.
    """
    first = source.peek()
    if not first:
        faults = [row for row in itertools.islice(source.rows, 1) if isinstance(row, Fault)]
        seen = "".join(f" ({fault.place}: {fault.problem})" for fault in faults)
        raise ScoringError(f"{source.name} holds no readable row{seen}; expected {what} as JSON, or JSON lines")
    counts = [sum(form.fits(row) for row in first) for form in forms]
    best = max(counts, default=0)
    if best:
        return forms[counts.index(best)]
    known = "\n".join(f"  {form.name}: {', '.join(form.fields)}" for form in forms)
    found = ", ".join(sorted(map(str, first[0].fields))) or "no fields"
    raise ScoringError(f"{first[0].place}: rows of no known form ({found}). {what} are taken as\n{known}")


def has_form(source: Source, forms: Sequence[Form[R]]) -> Form[R] | None:
    """The form that most of the first rows have, of those that are not kept apart, or ``None``.

    A row that lacks it is one that cannot be read, and no reason to refuse the others.
    """
    first = source.peek()
    joint = [form for form in forms if not form.apart]
    return next((form for form in joint if 2 * sum(map(form.fits, first)) > len(first)), None)


def _is_lines(path: Path) -> bool:
    """Whether the first line that is not blank is a JSON value of its own, and another line follows."""
    with path.open("rb") as stream:
        first = next((line for line in stream if line.strip()), b"")
        if not next((line for line in stream if line.strip()), b""):
            return False
    try:
        return isinstance(json.loads(first), (dict, list))
    except (ValueError, RecursionError):
        return False


def _lines(path: Path) -> Iterator[Row | Fault]:
    number = 0
    with path.open("rb") as stream:
        for line_number, line in enumerate(stream, start=1):
            text = line.strip().removeprefix(b"\xef\xbb\xbf")
            if not text:
                continue
            place = f"{path}, line {line_number}"
            try:
                value = json.loads(text)
            except (ValueError, RecursionError) as error:
                torn = "" if line.endswith(b"\n") else " (the last line was cut short)"
                yield Fault(place, f"not JSON{torn}: {str(error) or 'nested too deeply'}")
            else:
                yield _row(value, number, place, None)
            number += 1


def _text_lines(path: Path) -> Iterator[Row | Fault]:
    numbered = ((n, line.rstrip("\r")) for n, line in enumerate(read_text(path).split("\n"), start=1) if line.strip())
    for number, (line_number, line) in enumerate(numbered):
        yield _row({"line": line}, number, f"{path}, line {line_number}", None)


def _table(path: Path) -> Iterator[Row | Fault]:
    reader = csv.DictReader(io.StringIO(read_text(path), newline=""))
    try:
        for number, fields in enumerate(reader):
            place = f"{path}, line {reader.line_num}"
            if None in fields or None in fields.values():
                yield Fault(place, f"has another number of columns than the head ({len(reader.fieldnames or ())})")
            else:
                yield _row(fields, number, place, None)
    except csv.Error as error:  # what follows cannot be told into rows
        raise FileFormatError(f"{path}, line {reader.line_num}: not CSV: {error}") from error


def _of_value(value: Any, name: str, place: str) -> Source:
    if isinstance(value, Mapping):
        for wrapper in _WRAPPERS:
            inner = value.get(wrapper)
            if isinstance(inner, (list, Mapping)) and not _looks_like_row(value, wrapper):
                source = _of_value(inner, name, place)
                source.container = f"{source.container} under {wrapper!r}"
                return source
        _not_empty(value, name, place)
        if any(isinstance(value.get(name), (str, int)) for name in _ID_FIELDS):
            return Source(place, "a single row", iter([_row(value, 0, place, None)]))
        return Source(place, "JSON mapping from ids", _of_items(value.items(), place))
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        _not_empty(value, name, place)
        return Source(place, "JSON list", _of_list(value, place))
    raise FileFormatError(f"{place}: {name} must be a list of rows or a mapping from ids, got {value!r:.60}")


def _looks_like_row(value: Mapping[str, Any], wrapper: str) -> bool:
    """A mapping from ids may hold the id ``results``; then its other values are rows, too."""
    others = [v for k, v in value.items() if k != wrapper and k not in _BESIDE_WRAPPERS]
    return bool(others) and all(isinstance(v, type(value[wrapper])) for v in others)


def _not_empty(value: Mapping[str, Any] | Sequence[Any], name: str, place: str) -> None:
    if not value:
        raise ScoringError(f"{place} holds no rows: there are no {name} to score")


def _of_list(values: Sequence[Any], place: str) -> Iterator[Row]:
    for number, value in enumerate(values):
        yield _row(value, number, f"{place}, row {number + 1}", None)


def _of_items(items: Iterable[tuple[Any, Any]], place: str) -> Iterator[Row]:
    for number, (key, value) in enumerate(items):
        yield _row(value, number, f"{place}, {str(key)!r}", str(key))


def _row(value: Any, number: int, place: str, key: str | None) -> Row:
    return Row(value if isinstance(value, Mapping) else {"value": value}, number, place, key)

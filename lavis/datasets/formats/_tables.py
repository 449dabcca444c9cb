"""Tables (CSV) as checked rows that know their lines."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

from lavis.datasets.formats._record import AnnotationError, Record, read_whole


def read_table(path: Path) -> Iterator[Record]:
    """Rows of a CSV file with a header; values are texts, ``Record.row`` is the line where a row begins.

    Raises:
        AnnotationError: if the file is absent, its header repeats a column, a row has more or fewer values than the
            header, or a quotation does not end.
    """
    reader = csv.reader(io.StringIO(read_whole(path), newline=""), strict=True)
    header: list[str] | None = None
    last = 0
    try:
        for values in reader:
            line, last = last + 1, reader.line_num
            if not values:
                continue
            if header is None:
                header = values
                _check_header(header, path)
                continue
            record = Record({}, path, f"line {line}")
            if len(values) != len(header):
                problem = f"has {len(values)} values for {len(header)} columns"
                raise record.error(None, problem, "Quote values that hold commas, or repair the line")
            yield Record(dict(zip(header, values, strict=True)), path, record.row)
    except csv.Error as error:
        raise AnnotationError(f"{path}, line {last + 1}: no valid CSV ({error}). Repair the file") from error


def _check_header(header: list[str], path: Path) -> None:
    twice = next((name for name in header if header.count(name) > 1), None)
    if twice is not None:
        raise AnnotationError(f"{path}, line 1: has two columns {twice!r}. Remove one of them")


def digits(record: Record, field: str) -> int:
    """A whole number of 0 or more, which tables hold as text.

    Raises:
        AnnotationError: for anything else.
    """
    value = record.get(field)
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 16:
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise record.error(field, f"must be a whole number of 0 or more, got {value!r:.40}", "Correct the row")
    return value

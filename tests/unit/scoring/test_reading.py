"""Rows as they are found: containers, line ends, torn and broken files."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from lavis.common.io import FileFormatError
from lavis.scoring.base import Row, ScoringError
from lavis.scoring.reading import Fault, chosen_form, has_form, open_rows
from tests.toy_protocol import Toy

ROWS = [{"id": 1, "guess": 2.0}, {"id": 2, "guess": 3.0}]


def written(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def fields(given: Any) -> list[dict[str, Any]]:
    source = open_rows(given, "predictions")
    assert all(isinstance(row, Row) for row in source.peek())
    return [dict(row.fields) for row in source.rows if isinstance(row, Row)]


@pytest.mark.parametrize(
    ("name", "content", "container"),
    [
        ("a.jsonl", "".join(json.dumps(row) + "\n" for row in ROWS), "JSON lines"),
        ("a.jsonl", "\ufeff" + "\r\n".join(map(json.dumps, ROWS)), "JSON lines"),
        ("a.jsonl", "\n\n".join(map(json.dumps, ROWS)), "JSON lines"),
        ("a.json", "\n".join(map(json.dumps, ROWS)), "JSON lines"),
        ("a", "\n".join(map(json.dumps, ROWS)), "JSON lines"),
        ("a.json", json.dumps(ROWS), "JSON list"),
        ("a.json", "\ufeff" + json.dumps(ROWS, indent=1), "JSON list"),
        ("a.json", json.dumps({"results": ROWS}), "JSON list under 'results'"),
        ("a.json", json.dumps({"version": "1", "results": ROWS, "external_data": {"used": False}}),
         "JSON list under 'results'"),
    ],
)  # fmt: skip
def test_containers(name: str, content: str, container: str, tmp_path: Path) -> None:
    path = written(tmp_path, name, content)
    assert open_rows(path, "predictions").container == container
    assert fields(path) == ROWS


def test_a_mapping_from_ids() -> None:
    rows = {"7": {"guess": 1}, "x": {"guess": 2}}
    source = open_rows(rows, "predictions")
    assert source.container == "JSON mapping from ids"
    assert [(row.key, dict(row.fields)) for row in source.peek()] == [("7", {"guess": 1}), ("x", {"guess": 2})]
    wrapped = {"version": "1", "external_data": {"used": 1}, "results": rows}
    assert open_rows(wrapped, "p").container == "JSON mapping from ids under 'results'"
    # The id of a video may be "results", too.
    assert [row.key for row in open_rows({"results": {"a": 1}, "other": {"a": 2}}, "p").peek()] == ["results", "other"]
    assert [dict(row.fields) for row in open_rows({"7": "text"}, "p").peek()] == [{"value": "text"}]


def test_a_single_row_is_no_mapping_from_ids(tmp_path: Path) -> None:
    source = open_rows(written(tmp_path, "a.json", json.dumps(ROWS[0])), "predictions")
    assert source.container == "a single row"
    assert [dict(row.fields) for row in source.peek()] == ROWS[:1]


def test_tables_and_text(tmp_path: Path) -> None:
    path = written(tmp_path, "a.csv", "\ufeffid,guess\r\n1,2.0\r\n2\r\n3,4,5\r\n")
    rows = list(open_rows(path, "predictions").rows)
    assert isinstance(rows[0], Row)
    assert dict(rows[0].fields) == {"id": "1", "guess": "2.0"}
    assert [isinstance(row, Fault) for row in rows] == [False, True, True]
    assert rows[1].place.endswith("a.csv, line 3")
    text = written(tmp_path, "a.txt", "1: 2\r\n\r\n2: 3\n")
    assert [(row.fields["line"], row.place[-6:]) for row in open_rows(text, "p").peek()] == [
        ("1: 2", "line 1"), ("2: 3", "line 3"),
    ]  # fmt: skip


def test_a_torn_line_is_a_fault_with_its_place(tmp_path: Path) -> None:
    path = written(tmp_path, "a.jsonl", '{"id": 1, "guess": 2}\n\n{"id": 2, "gue')
    first, second = open_rows(path, "predictions").rows
    assert isinstance(first, Row)
    assert isinstance(second, Fault)
    assert second.place == f"{path}, line 3"
    assert "cut short" in second.problem


def test_faults_before_the_first_rows_are_passed_over(tmp_path: Path) -> None:
    path = written(tmp_path, "a.jsonl", "garbled\n" * 50 + '{"id": 1, "guess": 2}\n')
    source = open_rows(path, "predictions")
    assert chosen_form(source, Toy().answer_forms, "predictions").name == "guesses"
    assert len(list(source.rows)) == 51


@pytest.mark.parametrize(
    ("name", "content", "error", "message"),
    [
        ("a.jsonl", b"", ScoringError, "is empty"),
        ("a.jsonl", b'{"id": 1, "gue', ScoringError, r"no readable row \(.*line 1: not JSON \(the last line was cut"),
        ("a.jsonl", b"\n \n", ScoringError, "no readable row"),
        ("a.json", b"[]", ScoringError, "holds no rows"),
        ("a.json", b"{}", ScoringError, "holds no rows"),
        ("a.json", b'{"results": []}', ScoringError, "holds no rows"),
        ("a.json", b"3", FileFormatError, "must be a list of rows or a mapping"),
        ("a.json", b'[{"id": 1,]', FileFormatError, "line 1, column"),
        ("a.json", b"\xff\xfe\x00", FileFormatError, "not UTF-8"),
        ("a.json", b"[" + b"9" * 5000 + b"]", FileFormatError, "digits"),
        ("a.json", b"[" * 100_000, FileFormatError, "nested too deeply"),
        ("a.json", gzip.compress(b"[]", mtime=0), FileFormatError, r"compressed \(gzip\); unpack it first"),
        ("a.jsonl.gz", gzip.compress(b"[]", mtime=0), FileFormatError, r"compressed \(gzip\)"),
        ("a.csv", b"id,guess\n", ScoringError, "no readable row"),
        ("a.csv", b"id,guess\n1," + b"9" * 200_000, FileFormatError, "not CSV"),
    ],
)  # fmt: skip
def test_no_rows(name: str, content: bytes, error: type[Exception], message: str, tmp_path: Path) -> None:
    path = written(tmp_path, name, content)
    with pytest.raises(error, match=message):
        chosen_form(open_rows(path, "predictions"), Toy().answer_forms, "predictions")


def test_no_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no file .*nowhere"):
        open_rows(tmp_path / "nowhere.jsonl", "predictions")
    with pytest.raises(FileNotFoundError, match=r"is a folder; name the file of predictions in it"):
        open_rows(tmp_path, "predictions")


def test_an_unknown_form_is_told_with_the_known_ones() -> None:
    with pytest.raises(ScoringError, match=r"row 1: rows of no known form \(answer, id\)(.|\n)*guesses: guess"):
        chosen_form(open_rows([{"id": 1, "answer": 2}], "predictions"), Toy().answer_forms, "predictions")


def test_the_form_of_most_rows_is_taken() -> None:
    forms = Toy().answer_forms
    rows = [{"line": "1: 2"}, {"id": 2, "guess": 1}, {"id": 3, "guess": 1}]
    assert chosen_form(open_rows(rows, "predictions"), forms, "predictions").name == "guesses"
    found = has_form(open_rows(rows, "predictions"), forms)
    assert found is not None and found.name == "guesses"
    assert has_form(open_rows([*rows, {"x": 1}], "predictions"), forms) is None

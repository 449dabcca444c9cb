from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from lavis.common import io


def test_json_round_trip(tmp_path: Path) -> None:
    value = {"a": [1, 2.5, None, True], "b": {"c": "é"}}
    file = io.write_json(tmp_path / "new" / "x.json", value)
    assert io.read_json(file) == value
    assert [p.name for p in file.parent.iterdir()] == ["x.json"]


def test_plain_forms(tmp_path: Path) -> None:
    plain = io.to_plain({1: (1, 2), "p": Path("a/b"), "n": np.float32(2.0), "v": np.arange(2), "nan": float("nan")})
    assert plain == {"1": [1, 2], "p": os.path.join("a", "b"), "n": 2.0, "v": [0, 1], "nan": None}
    with pytest.raises(ValueError, match=r"value\.a\[1\]: object has no JSON form"):
        io.to_plain({"a": [1, object()]})


def test_failed_write_leaves_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.write_text(tmp_path / "x.txt", "old")

    def full(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="disk full"):
        io.write_text(file, "new")
    assert file.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["x.txt"]


def test_written_files_follow_umask(tmp_path: Path) -> None:
    mask = os.umask(0o022)
    try:
        assert io.write_text(tmp_path / "x", "").stat().st_mode & 0o777 == 0o644
    finally:
        os.umask(mask)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("{", "line 1, column 2"),
        ('{"a": 1,\n "b" 2}', "line 2, column 6"),
        ("", "line 1, column 1"),
        ("NaN]", "column 4"),
    ],
)
def test_read_json_names_place(tmp_path: Path, text: str, place: str) -> None:
    file = tmp_path / "x.json"
    file.write_text(text)
    with pytest.raises(io.FileFormatError, match=r"x\.json, line .*not JSON") as caught:
        io.read_json(file)
    assert place in str(caught.value)


def test_read_rejects_other_encodings(tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    file.write_bytes('{"a": "é"}'.encode("latin-1"))
    with pytest.raises(io.FileFormatError, match="not UTF-8"):
        io.read_json(file)
    file.write_bytes(b"\xef\xbb\xbf{}")
    assert io.read_json(file) == {}
    file.write_text("[" * 100_000)
    with pytest.raises(io.FileFormatError):
        io.read_json(file)


def test_jsonl_round_trip_and_errors(tmp_path: Path) -> None:
    file = io.write_jsonl(tmp_path / "x.jsonl", [{"a": 1}, {"b": "u\u2028v"}])
    io.append_jsonl(file, [{"c": 3}])
    assert io.read_jsonl(file) == [{"a": 1}, {"b": "u\u2028v"}, {"c": 3}]
    file.write_text('{"a": 1}\n\n{"b": }\n')
    with pytest.raises(io.FileFormatError, match=r"x\.jsonl, line 3, column 7"):
        io.read_jsonl(file)


@pytest.mark.parametrize("torn", ['{"b": ', "\u00e9"[:1] + '{"', "x" * 200_000])
def test_torn_last_line_is_cut(tmp_path: Path, torn: str) -> None:
    file = tmp_path / "x.jsonl"
    io.write_jsonl(file, [{"a": 1}, {"a": "\u00e9"}])
    whole = file.read_bytes()
    with file.open("ab") as stream:
        stream.write(torn.encode())
    with pytest.raises(io.FileFormatError):
        io.read_jsonl(file)
    assert io.read_jsonl(file, drop_torn=True) == [{"a": 1}, {"a": "\u00e9"}]
    assert io.recover_jsonl(file) == len(torn.encode())
    assert file.read_bytes() == whole
    assert io.recover_jsonl(file) == 0


def test_every_cut_of_a_file_can_be_read_and_continued(tmp_path: Path) -> None:
    rows = [{"id": "a", "text": "é"}, {"id": "b", "n": [1, 2]}]
    whole = io.write_jsonl(tmp_path / "whole.jsonl", rows).read_bytes()
    for cut in range(len(whole) + 1):
        file = tmp_path / "cut.jsonl"
        file.write_bytes(whole[:cut])
        kept = io.read_jsonl(file, drop_torn=True)
        assert kept == rows[: len(kept)]
        io.append_jsonl(file, [{"id": "c"}])
        assert io.read_jsonl(file) == [*kept, {"id": "c"}]


def test_complete_last_line_without_end_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "x.jsonl"
    file.write_text('{"a": 1}')
    io.append_jsonl(file, [2])
    assert io.read_jsonl(file) == [{"a": 1}, 2]


def test_append_makes_folder_and_file(tmp_path: Path) -> None:
    file = io.append_jsonl(tmp_path / "a" / "b.jsonl", [])
    assert file.read_text() == ""
    assert json.loads(io.append_jsonl(file, [{"x": float("inf")}]).read_text()) == {"x": None}


def full(path: object, *_: object, **__: object) -> None:
    raise OSError(28, "No space left on device")


def test_a_full_disk_is_named_with_its_free_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = io.write_json(tmp_path / "a.json", {"a": 1})
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(
        io.WriteError, match=rf"cannot write {path}: No space left on device \([\d,]+ MiB free"
    ) as caught:
        io.write_json(path, {"a": 2})
    assert caught.value.errno == 28
    assert io.read_json(path) == {"a": 1}
    assert os.listdir(tmp_path) == ["a.json"]


def test_rows_that_do_not_fit_leave_no_part_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = io.append_jsonl(tmp_path / "a.jsonl", [{"a": 1}])
    plain = io._write_all

    def half(stream: object, data: bytes) -> None:
        plain(stream, data[: len(data) // 2])
        full(path)

    monkeypatch.setattr(io, "_write_all", half)
    with pytest.raises(io.WriteError, match="No space left"):
        io.append_jsonl(path, [{"a": 2}, {"a": 3}])
    assert path.read_text() == '{"a": 1}\n'


def test_a_folder_in_place_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(io.WriteError, match=r"cannot write .*a\.json: (Not a directory|File exists)"):
        io.write_text(tmp_path / "file" / "a.json", "")

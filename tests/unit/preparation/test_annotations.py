"""CALCE's annotations from the releases: rounding, dummies, and equality with the published files."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from lavis.datasets.formats._record import AnnotationError, Record
from lavis.preparation.annotations import (
    charades_release,
    charades_rows,
    in_unit,
    prepare_charades,
    prepare_qvhighlights,
    qvhighlights_rows,
)


def record(**fields: Any) -> Record:
    row = {"qid": 7, "query": "a dog runs", "duration": 150, "vid": "v1", "relevant_windows": [[2, 8]], **fields}
    return Record(row, Path("release.jsonl"), "line 1")


def test_qvhighlights_row() -> None:
    (row,) = qvhighlights_rows([record(saliency_scores=[[1]])], {"QVHighlight_7": ["dog"]})
    assert list(row.items()) == [
        ("video", "v1"),
        ("qid", "QVHighlight_7"),
        ("query", "a dog runs"),
        ("duration", 150),
        ("items", ["dog"]),
        ("relevant_windows", [[2, 8]]),
    ]


def test_test_split_gets_a_dummy_window() -> None:
    row = {key: value for key, value in record(duration=120).fields.items() if key != "relevant_windows"}
    (made,) = qvhighlights_rows([Record(row, Path("r"), "line 1")], {"QVHighlight_7": []}, test=True)
    assert made["relevant_windows"] == [[0, 150]]


def test_charades_row_in_train_and_test() -> None:
    source = record(duration=30.5, relevant_windows=[[0.5, 24.5], [1.5, 31]])
    (train,) = charades_rows([source], {"Charades_7": ["dog"]}, round_windows=True)
    (test,) = charades_rows([source], {"Charades_7": ["dog"]}, round_windows=False)
    assert list(train) == ["qid", "video", "duration", "relevant_windows", "query", "items"]
    assert (train["duration"], str(train["relevant_windows"])) == (30, "[[0, 24], [2, 31]]"), "halves go to even"
    assert str(test["relevant_windows"]) == "[[0.5, 24.5], [1.5, 31.0]]"


def test_relative_windows_truncate_after_rounding() -> None:
    source = record(duration=100)
    assert in_unit([[29, 57]], source, "seconds") == [[29, 57]]
    assert in_unit([[29, 57]], source, "fraction") == [[0.29, 0.57]]
    assert in_unit([[29, 57]], source, "percent") == [[28, 56]], "0.29 * 100 is 28.999..."


def test_charades_release_cuts_ends_and_leaves_reversed_windows_out() -> None:
    notes: Counter[str] = Counter()
    lines = [
        record(duration=10.0, relevant_windows=[[1.0, 11.5]]),
        record(duration=10.0, relevant_windows=[[8.0, 7.0]]),
        record(duration=10.0, relevant_windows=[[2.0, 3.0]]),
    ]
    made = list(charades_release(lines, 12404, notes))
    assert [(r.fields["qid"], r.fields["relevant_windows"]) for r in made] == [
        (12404, [[1.0, 10.0]]),
        (12405, [[2.0, 3.0]]),
    ]
    assert notes == {"ends cut": 1, "reversed windows left out": 1}


def test_text_release_with_its_table(tmp_path: Path) -> None:
    (tmp_path / "charades_sta_train.txt").write_text("AO8RW 0.0 6.9##person reads.\nAO8RW 8.0 7.0##person sits.\n")
    (tmp_path / "Charades_v1_train.csv").write_text("id,length\nAO8RW,33.67\n")
    (tmp_path / "train.json").write_text(json.dumps({"Charades_0": {"query": "x", "items": ["person"]}}))
    (prepared,) = prepare_charades(tmp_path, tmp_path, tmp_path / "out", ["train"])
    assert str(prepared) == f"{tmp_path}/out/train.json: 1 rows, 1 reversed windows left out"
    assert json.loads(prepared.path.read_text())[0]["relevant_windows"] == [[0, 7]]


@pytest.mark.parametrize(
    ("release", "items", "message"),
    [
        ({}, {}, r"has no annotations of the split 'test'. Put one of charades_sta_test_tvr_format.jsonl, .*\.txt"),
        ({"charades_test_release.jsonl": "{"}, {}, r"line 1: no valid JSON"),
        (
            {"charades_test_release.jsonl": json.dumps(record().fields)},
            {"Charades_8": {"items": []}},
            r"line 1 \(id Charades_7\), field 'items': the items file has no entry",
        ),
        ({"charades_test_release.jsonl": json.dumps(record().fields)}, ["x"], r"must map ids to"),
        ({"charades_test_release.jsonl": json.dumps(record().fields)}, None, r"there is no items file"),
        (
            {"charades_test_release.jsonl": json.dumps(record(relevant_windows=[[1]]).fields)},
            {"Charades_7": {"items": []}},
            r"'relevant_windows': must be a list of \[start, end\]",
        ),
    ],
)
def test_bad_releases(tmp_path: Path, release: dict[str, str], items: Any, message: str) -> None:
    for name, text in release.items():
        (tmp_path / name).write_text(text)
    if items is not None:
        (tmp_path / "test.json").write_text(json.dumps(items))
    with pytest.raises(AnnotationError, match=message):
        prepare_charades(tmp_path, tmp_path, tmp_path / "out", ["test"])
    assert not (tmp_path / "out").exists()


# ------------------------------------------------------------------ published files


def test_charades_test_equals_the_published_file(data_dir: Path, tmp_path: Path) -> None:
    published = (data_dir / "charades" / "calce_test.json").read_text()
    items = {row["qid"]: {"query": row["query"], "items": row["items"]} for row in json.loads(published)}
    (tmp_path / "test.json").write_text(json.dumps(items))
    (prepared,) = prepare_charades(data_dir / "charades", tmp_path, tmp_path / "out", ["test"])
    assert prepared.path.read_text() == published


def test_qvhighlights_val_equals_the_published_file(data_dir: Path, tmp_path: Path) -> None:
    folder = data_dir / "qvhighlights"
    (tmp_path / "val.json").write_text((folder / "calce_items_val.json").read_text())
    (prepared,) = prepare_qvhighlights(folder, tmp_path, tmp_path / "out", ["val"])
    stage2 = json.loads((folder / "calce_val_stage2.json").read_text())
    published = [{key: value for key, value in row.items() if key != "stage1_result"} for row in stage2]
    assert prepared.path.read_text() == json.dumps(published)


def test_script(root: Path, data_dir: Path, tmp_path: Path) -> None:
    items = tmp_path / "items"
    items.mkdir()
    (items / "val.json").write_text((data_dir / "qvhighlights" / "calce_items_val.json").read_text())
    command = [sys.executable, str(root / "process_data" / "data_preprocess.py"), "qvhighlights", "--splits", "val"]
    command += ["--items", str(items), "--out", str(tmp_path / "out")]

    def run(release: Path) -> subprocess.CompletedProcess[str]:
        env = {"PYTHONPATH": str(root), "PATH": ""}
        return subprocess.run([*command, "--release", str(release)], capture_output=True, text=True, env=env)

    done = run(data_dir / "qvhighlights")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{tmp_path}/out/val.json: 1550 rows\n"
    failed = run(tmp_path)
    assert failed.returncode == 1
    assert "data_preprocess.py: there is no annotation file" in failed.stderr

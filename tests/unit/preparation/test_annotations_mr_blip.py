"""MR.BLIP's annotations from the releases, with the rounding of its notebook."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lavis.common.registry import registry
from lavis.datasets.formats._record import AnnotationError, Record, read_videos
from lavis.preparation import annotations_mr_blip as mr_blip


@pytest.fixture
def charades(tmp_path: Path) -> tuple[Path, Path]:
    text, table = tmp_path / "charades_sta_train.txt", tmp_path / "Charades_v1_train.csv"
    text.write_text(
        "AO8RW 0.5 6.9##person reads.\nBO8RW 1.0 2.0##person sits.\nAO8RW 2.5 99##person leaves.\n"
        "BO8RW 8.0 7.0##person turns.\n"
    )
    table.write_text('id,objects,length\nAO8RW,"book;shelf",33.67\nBO8RW,,10\n')
    return text, table


def test_charades(charades: tuple[Path, Path]) -> None:
    rows = list(mr_blip.charades_rows(*charades))
    assert list(rows[0].items()) == [
        ("video", "AO8RW"),
        ("qid", "CharadesSTA_AO8RW_0"),
        ("query", "person reads."),
        ("duration", 33.67),
        ("relevant_windows", [[0, 7]]),
        ("objects", ["book", "shelf"]),
    ]
    assert [row["qid"] for row in rows[1:]] == ["CharadesSTA_BO8RW_0", "CharadesSTA_AO8RW_1", "CharadesSTA_BO8RW_1"]
    assert rows[2]["relevant_windows"] == [[2, 34]], "cut to 33.67, then rounded; 2.5 goes to the even number"
    assert rows[3]["relevant_windows"] == [[8, 7]], "reversed windows stay"
    assert (rows[1]["objects"], rows[1]["duration"]) == ([], 10.0)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"round_windows": False}, [[2.5, 33.67]]),
        ({"unit": "fraction"}, [[0.07, 1.0]]),
        ({"unit": "percent"}, [[7, 100]]),
    ],
)
def test_charades_in_other_units(charades: tuple[Path, Path], options: dict[str, Any], expected: list[Any]) -> None:
    rows = list(mr_blip.charades_rows(*charades, **options))
    assert rows[2]["relevant_windows"] == expected


def test_charades_own_split(charades: tuple[Path, Path], tmp_path: Path) -> None:
    train, val = mr_blip.charades_split(charades[1], num_videos=1)
    assert sorted([*train, *val]) == ["AO8RW", "BO8RW"]
    assert mr_blip.charades_split(charades[1], num_videos=1) == (train, val)
    rows = list(mr_blip.charades_rows(*charades, videos=val))
    assert {row["video"] for row in rows} == set(val)
    names = [p.path.name for p in mr_blip.prepare_charades(tmp_path, tmp_path / "out", ["train"], own_split=True)]
    assert names == ["train.json", "new_train.json", "new_val_float.json"]


def test_charades_errors(charades: tuple[Path, Path], tmp_path: Path) -> None:
    text, table = charades
    table.write_text("id,objects,length\nAO8RW,book,33.67\n")
    with pytest.raises(AnnotationError, match=r"line 2.*has no video 'BO8RW'"):
        list(mr_blip.charades_rows(text, table))
    table.write_text("id,length\nAO8RW,33.67\n")
    with pytest.raises(AnnotationError, match=r"has no column objects; it has id, length"):
        list(mr_blip.charades_rows(text, table))
    table.write_text("id,objects,length\nAO8RW,book,33.67\n")
    text.write_text("AO8RW 1 2 person\n")
    with pytest.raises(AnnotationError, match=r"line 1: must be 'video start end##query'"):
        list(mr_blip.charades_rows(text, table))
    with pytest.raises(AnnotationError, match=r"there is no table"):
        list(mr_blip.charades_split(tmp_path / "none.csv"))


def test_qvhighlights(tmp_path: Path) -> None:
    row = {"qid": 3, "query": "q", "duration": 150, "vid": "v", "relevant_windows": [[0, 44]], "saliency_scores": []}
    for split in ("train", "val", "test"):
        (tmp_path / f"highlight_{split}_release.jsonl").write_text(json.dumps(row))
    done = mr_blip.prepare_qvhighlights(tmp_path, tmp_path / "out")
    assert [p.path.name for p in done] == ["train.json", "val.json", "test_dummy.json"]
    made = [json.loads(p.path.read_text())[0] for p in done]
    assert made[0] == {
        "video": "v", "qid": "QVHighlight_3", "query": "q", "duration": 150, "relevant_windows": [[0, 44]],
    }  # fmt: skip
    assert made[2]["relevant_windows"] == [[0, 150]]
    (percent,) = mr_blip.qvhighlights_rows([Record(row, Path("r"), "line 1")], unit="percent")
    assert percent["relevant_windows"] == [[0, 28]], "44 / 150 is 0.29, which truncates to 28"


def test_activitynet(tmp_path: Path) -> None:
    entry = {"duration": 55.15, "timestamps": [[0, 4.5], [4.14, 55.16]], "sentences": ["Two men.", " One man."]}
    for name in ("train", "val_1", "val_2"):
        (tmp_path / f"{name}.json").write_text(json.dumps({"v_a": entry}))
    done = mr_blip.prepare_activitynet(tmp_path, tmp_path / "out")
    assert [p.path.name for p in done] == ["train.json", "val_float.json", "test_float.json"]
    train, val, test = (json.loads(p.path.read_text()) for p in done)
    assert train[0] == {
        "video": "v_a", "qid": "ActivityNet_v_a_0", "query": "Two men.", "duration": 55.15,
        "relevant_windows": [[0, 4]],
    }  # fmt: skip
    assert val == test
    assert str(val[1]["relevant_windows"]) == "[[4.14, 55.16]]"
    rows = list(mr_blip.activitynet_rows(read_videos(tmp_path / "train.json"), unit="percent"))
    assert [row["relevant_windows"] for row in rows] == [[[0, 8]], [[8, 100]]]


def test_tacos(tmp_path: Path) -> None:
    entry = {
        "timestamps": [[10, 47], [50, 107]],
        "sentences": ["He cuts.", "He washes."],
        "fps": 10.0,
        "num_frames": 100,
    }
    for split in ("train", "val", "test"):
        (tmp_path / f"{split}.json").write_text(json.dumps({"s1-d2.avi": entry}))
    train, val, _ = mr_blip.prepare_tacos(tmp_path, tmp_path / "out")
    assert [row["relevant_windows"] for row in json.loads(train.path.read_text())] == [[[1, 5]], [[5, 10]]]
    assert [row["relevant_windows"] for row in json.loads(val.path.read_text())] == [[[1.0, 4.7]], [[5.0, 10.0]]]
    samples = registry.formats.get("mr_blip")().read(val.path).samples
    assert [(s.id, s.video, s.duration) for s in samples] == [
        ("TACoS_s1-d2_0", "s1-d2", 10.0),
        ("TACoS_s1-d2_1", "s1-d2", 10.0),
    ]

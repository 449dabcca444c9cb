"""MR.BLIP's question answering annotations from the releases of NExT-QA and NExT-GQA."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lavis.common.registry import registry
from lavis.datasets.formats._record import AnnotationError
from lavis.preparation.annotations_qa import (
    FileDurations,
    nextgqa_rows,
    nextqa_rows,
    prepare_nextgqa,
    prepare_nextqa,
)

OPTIONS = "a0,a1,a2,a3,a4"


def test_next_qa(tmp_path: Path) -> None:
    table = tmp_path / "train.csv"
    table.write_text(f"video,question,answer,qid,type,{OPTIONS}\n4010,why is he here,1,6,CW,a,b,c,d,e\n")
    (row,) = nextqa_rows(table, {"4010": "1164/4010"}, {"1164/4010": 12.5})
    assert list(row.items())[:4] == [
        ("video", "1164/4010"),
        ("duration", 12.5),
        ("num_option", 5),
        ("qid", "CW_4010_6"),
    ]
    assert (row["a1"], row["answer"], row["question"]) == ("b.", 1, "why is he here?")
    (tmp_path / "train.json").write_text(json.dumps([row]))
    (sample,) = registry.formats.get("mr_blip")().read(tmp_path / "train.json").samples
    assert (sample.query, sample.answer) == ("why is he here?", "b.")
    with pytest.raises(AnnotationError, match=r"line 2 \(id 6\), field 'video': the map of videos has no '4010'"):
        list(nextqa_rows(table, {}, {}))
    with pytest.raises(AnnotationError, match=r"the table of durations has no 'x'"):
        list(nextqa_rows(table, {"4010": "x"}, {}))
    with pytest.raises(AnnotationError, match=r"line 2 \(id 6\), field 'video': the file name '\.\./x' leads outside"):
        list(nextqa_rows(table, {"4010": "../x"}, FileDurations(tmp_path / "videos")))
    table.write_text(table.read_text().replace(",1,6,", ",b,6,"))
    with pytest.raises(AnnotationError, match=r"'answer': must be an index below 5"):
        list(nextqa_rows(table, {"4010": "x"}, {"x": 3.0}))


def test_next_gqa(tmp_path: Path) -> None:
    table = tmp_path / "val.csv"
    table.write_text(f"video_id,question,answer,qid,type,{OPTIONS}\n4010,why is he here,b,6,CW,a,b,c,d,e\n")
    spans: dict[str, Any] = {"4010": {"location": {"6": [[1.5, 4.0]]}, "duration": 12.5}}
    (row,) = nextgqa_rows(table, {"4010": "1164/4010"}, spans)
    assert (row["answer"], row["relevant_windows"], row["duration"]) == (1, [[1.5, 4.0]], 12.5)
    with pytest.raises(AnnotationError, match=r"the spans have no moments for this question"):
        list(nextgqa_rows(table, {"4010": "x"}, {}))
    with pytest.raises(AnnotationError, match=r"field 'video_id': the file name '/x' leads outside"):
        list(nextgqa_rows(table, {"4010": "/x"}, spans))
    table.write_text(table.read_text().replace(",b,6,", ",z,6,"))
    with pytest.raises(AnnotationError, match=r"'z' is none of the options"):
        list(nextgqa_rows(table, {"4010": "x"}, spans))


def release(folder: Path) -> None:
    (folder / "map_vid_vidorID.json").write_text('{"4010": "sub/clip"}')
    (folder / "val.csv").write_text(f"video,question,answer,qid,type,{OPTIONS}\n4010,why is he here,1,6,CW,a,b,c,d,e\n")
    (folder / "test.csv").write_text(
        f"video_id,question,answer,qid,type,{OPTIONS}\n4010,why is he here,b,6,CW,a,b,c,d,e\n"
    )
    (folder / "gsub_test.json").write_text('{"4010": {"location": {"6": [[1.5, 4.0]]}, "duration": 12.5}}')


def test_files(tmp_path: Path) -> None:
    release(tmp_path)
    (tmp_path / "durations.json").write_text('{"sub/clip": 12}')
    (questions,) = prepare_nextqa(tmp_path, tmp_path / "videos", tmp_path / "out", ["val"])
    (grounded,) = prepare_nextgqa(tmp_path, tmp_path / "out", ["test"])
    first, second = (registry.formats.get("mr_blip")().read(p.path).samples[0] for p in (questions, grounded))
    assert (first.video, first.duration, first.moments) == ("sub/clip", 12.0, None)
    assert (second.duration, [m.to_list() for m in second.moments or []]) == (12.5, [[1.5, 4.0]])


def test_durations_of_files(tmp_path: Path, data_dir: Path) -> None:
    durations = FileDurations(data_dir / "video")
    assert durations["yoga"] == pytest.approx(10.0, abs=0.05)
    assert "yoga" in durations
    assert "absent" not in durations
    release(tmp_path)
    with pytest.raises(AnnotationError, match=r"the table of durations has no 'sub/clip'"):
        prepare_nextqa(tmp_path, data_dir / "video", tmp_path / "out", ["val"])
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    with pytest.raises(AnnotationError, match=r"broken.mp4: cannot be opened"):
        FileDurations(tmp_path)["broken"]


def test_missing_files(tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match=r"there is no file .*map_vid_vidorID.json"):
        prepare_nextgqa(tmp_path, tmp_path / "out")
    (tmp_path / "map_vid_vidorID.json").write_text("[]")
    with pytest.raises(AnnotationError, match=r"must be an object, got list"):
        prepare_nextqa(tmp_path, tmp_path, tmp_path / "out")

"""Data sets of every format are checked by it: counts, missing videos, durations, faults with their place."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import pytest

from lavis.common.layouts import LAYOUTS, looking_in
from lavis.common.registry import registry
from lavis.preparation.collection.check import Source, check_data, configured
from lavis.preparation.collection.formatted import AUDITED
from tests.layout_folders import MAKERS, Folder
from tests.video_factory import write_video

TURNS = [
    {"role": "user", "time": 1, "content": "What?"},
    {"role": "assistant", "time": 2, "content": "A man.", "timespan": [1, 3]},
]


@pytest.fixture
def mmduet(tmp_path: Path) -> Source:
    """Two rows of MMDuet's form ``magqa``, one video of 3 seconds that is said to have 9, one that is not there."""
    folder = Folder(tmp_path)
    (tmp_path / "videos" / "sub").mkdir(parents=True)
    write_video(tmp_path / "videos" / "sub" / "a.mp4", 24, 8)
    write_video(tmp_path / "videos" / "sub" / "nobody.mp4", 8, 8)
    rows = [{"video_uid": video, "conversation": TURNS} for video in ("sub/a.mp4", "sub/gone.mp4")]
    folder.rows("magqa.json", *rows)
    folder.value("lengths.json", {"sub/a.mp4": 9.0, "sub/gone.mp4": 8.0})
    form = {"name": "mmduet", "form": "magqa", "durations": str(tmp_path / "lengths.json")}
    return Source("mine", {"train": tmp_path / "magqa.json"}, {}, tmp_path / "videos", None, form)


def test_everything_is_counted(mmduet: Source) -> None:
    found = check_data(mmduet, executor="serial")
    assert found.counts == {"named": 2, "present": 1, "missing": 1, "unreadable": 0, "unnamed": 1}
    assert found.faults == {"video_missing": 1, "duration_wrong": 1}
    assert found.lengths()["hours"] == pytest.approx(3 / 3600)
    text = found.to_text()
    assert "magqa.json: read as mmduet: 2 rows" in text
    assert "sub/a.mp4: 9 s, the file has 3 s" in text
    assert json.loads(json.dumps(found.to_json()))["reading"] == {str(mmduet.annotations["train"]): {"rows": 2}}


def test_a_fault_has_its_row_and_what_was_left_out_is_counted(mmduet: Source, tmp_path: Path) -> None:
    rows = [{"video_uid": "sub/a.mp4", "conversation": TURNS}, {"video_uid": "sub/a.mp4", "conversation": TURNS[1:]}]
    (tmp_path / "magqa.json").write_text(json.dumps(rows))
    found = check_data(mmduet, executor="serial")
    assert found.faults == {"unparseable": 1}
    assert "row 2" in found.to_text()
    assert isinstance(mmduet.format, dict)
    lenient = Source(
        "mine", mmduet.annotations, {}, mmduet.videos, None, {**mmduet.format, "on_bad_conversation": "skip"}
    )
    assert check_data(lenient, executor="serial").reading == {
        str(tmp_path / "magqa.json"): {"rows": 2, "bad_conversations": 1, "skipped_rows": 1}
    }


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_data_set_of_the_projects_is_checked(layout: str, tmp_path: Path) -> None:
    folder = tmp_path / layout
    folder.mkdir()
    MAKERS[layout](Folder(folder))
    formats = set()
    for name in LAYOUTS[layout].sets:
        with looking_in(str(folder), layout):
            sources = configured(name)
        for source in sources:
            found = check_data(source, executor="serial")
            assert found.counts["named"] >= 1
            assert found.counts["missing"] == 0
            # The videos of these folders are empty files, and the splits hold the same row.
            faults = {fault for fault in found.faults if not fault.endswith("_in_both")}
            assert faults <= {"video_unreadable", "absent"}, found.to_text()
            if source.format is not None:
                assert isinstance(source.format, dict)
                formats.add(source.format["name"])
                assert found.reading
    assert not formats & AUDITED


def test_formats_that_the_audit_reads_are_registered() -> None:
    assert set(registry.formats.names()) > AUDITED


def test_script(root: Path, mmduet: Source, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main: Any = runpy.run_path(str(root / "process_data" / "check_data.py"))["main"]
    files = [str(tmp_path / "magqa.json"), "--videos", str(mmduet.videos), "--executor", "serial"]
    lengths = ["--durations", str(tmp_path / "lengths.json")]
    assert main([*files, *lengths, "--format", "{name: mmduet, form: magqa}"]) == 0
    assert "2 named, 1 present, 1 missing" in capsys.readouterr().out
    assert main([*files, *lengths, "--format", "mmduett"]) == 1
    assert "mmduett" in capsys.readouterr().err

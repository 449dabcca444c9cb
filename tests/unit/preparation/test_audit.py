"""Audits: every kind of fault is found where it is, in every layout, and nothing else is."""

from __future__ import annotations

import json
import os
import random
import shutil
import string
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from lavis import cli
from lavis.common.io import FileFormatError
from lavis.preparation.audit import Audit, audit, columns_of
from lavis.preparation.audit_findings import BETWEEN, KINDS
from lavis.scoring.base import ScoringError

ROOT = Path(__file__).resolve().parents[3]


def row(number: int = 1, **fields: Any) -> dict[str, Any]:
    base = {"qid": number, "query": f"query {number}", "duration": 150, "vid": f"v{number}"}
    return {**base, "relevant_windows": [[2, 10]], **fields}


def lines(path: Path, *rows: Any) -> Path:
    path.write_text("".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in rows), encoding="utf-8")
    return path


def as_json(path: Path, value: Any) -> Path:
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


def faults_of(path: Path, **options: Any) -> dict[str, int]:
    return audit([path], **options).faults()


def test_a_clean_file_has_no_findings(tmp_path: Path) -> None:
    found = audit([lines(tmp_path / "a.jsonl", row(1), row(2), row(3, vid="v1"))])
    assert found.faults() == {}
    assert found.files[0].sizes == {"rows": 3, "queries": 3, "videos": 2, "windows": 3}
    text = found.to_text()
    assert "0 findings" in text
    assert "none of: no_rows" in text
    assert "past_end" in text


@pytest.mark.parametrize(
    ("changed", "kinds"),
    [
        ({"qid": None}, {"missing_id"}),
        ({"qid": ""}, {"missing_id"}),
        ({"qid": True}, {"missing_id"}),
        ({"vid": None}, {"missing_video"}),
        ({"vid": 7}, {"missing_video"}),
        ({"query": "  "}, {"missing_query"}),
        ({"query": None}, {"missing_query"}),
        ({"query": 3.5}, {"missing_query"}),
        ({"duration": None}, {"missing_duration"}),
        ({"duration": 0}, {"bad_duration"}),
        ({"duration": -3}, {"bad_duration"}),
        ({"duration": "150"}, {"bad_duration"}),
        ({"duration": float("nan")}, {"bad_duration"}),
        ({"duration": 10**400}, {"bad_duration"}),
        ({"relevant_windows": None}, {"missing_windows"}),
        ({"relevant_windows": []}, {"no_windows"}),
        ({"relevant_windows": "0-5"}, {"not_a_window"}),
        ({"relevant_windows": [["0", "5"]]}, {"not_a_window"}),
        ({"relevant_windows": [[True, 5]]}, {"not_a_window"}),
        ({"relevant_windows": [[3]]}, {"not_a_window"}),
        ({"relevant_windows": [{"start": 1}]}, {"not_a_window"}),
        ({"relevant_windows": [[1, float("inf")]]}, {"not_finite"}),
        ({"relevant_windows": [[1, 10**400]]}, {"not_finite"}),
        ({"relevant_windows": [[10, 2]]}, {"reversed"}),
        ({"relevant_windows": [[5, 5]]}, {"zero_length"}),
        ({"relevant_windows": [[-1, 5]]}, {"negative"}),
        ({"relevant_windows": [[140, 150.01]]}, {"past_end"}),
        ({"relevant_windows": [[200, 151]]}, {"past_end", "outside", "reversed"}),
        ({"relevant_windows": [[150, 160]]}, {"past_end", "outside"}),
        ({"relevant_windows": [[1, 5], [1, 5]]}, {"window_twice"}),
    ],
)
def test_faults_of_a_row(tmp_path: Path, changed: dict[str, Any], kinds: set[str]) -> None:
    path = lines(tmp_path / "a.jsonl", row(1), row(2, **changed))
    found = audit([path])
    assert found.faults() == dict.fromkeys(kinds, 1)
    (place,) = found.files[0].findings.places[next(iter(kinds))]
    assert place.place == f"{path}, line 2"
    assert place.id == ("" if "missing_id" in kinds else "2")


def test_a_single_window_needs_no_list_around_it(tmp_path: Path) -> None:
    assert faults_of(lines(tmp_path / "a.jsonl", row(relevant_windows=[2, 10]))) == {}
    assert faults_of(lines(tmp_path / "b.jsonl", row(relevant_windows=[12, 10]))) == {"reversed": 1}


def test_slack_lets_windows_end_a_little_past_the_duration(tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", row(relevant_windows=[[140, 150.01]]))
    assert faults_of(path, slack=0.02) == {}
    assert faults_of(path, slack=0.001) == {"past_end": 1}


def test_ids_and_queries_that_come_twice(tmp_path: Path) -> None:
    again = {"query": " Query  1. ", "vid": "v1"}
    found = audit([lines(tmp_path / "a.jsonl", row(1), row("1"), row(2, **again),
                         row(3, **again, relevant_windows=[[7, 9]]), row(4, vid="v1"))])  # fmt: skip
    assert found.faults() == {"id_twice": 1, "query_twice": 2, "query_other_windows": 1}
    assert "line 1" in found.files[0].findings.places["id_twice"][0].detail


def test_keys_that_one_mapping_holds_twice(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    body = json.dumps({"vid": "v", "query": "q", "duration": 9, "relevant_windows": [[1, 2]]})
    path.write_text(f'{{"7": {body}, "7": {body}}}', encoding="utf-8")
    found = audit([path])
    assert found.faults() == {"key_twice": 1}
    assert found.files[0].findings.places["key_twice"][0].id == "7"
    assert found.files[0].file.entries[0].id == "7"


def test_durations_that_differ_between_rows(tmp_path: Path) -> None:
    found = audit([lines(tmp_path / "a.jsonl", row(1), row(2, vid="v1", duration=149), row(3, vid="v1", duration=148))])
    assert found.faults() == {"durations_differ": 1}  # of one video


@pytest.mark.parametrize(
    ("changed", "kinds"),
    [
        ({}, set()),
        ({"saliency_scores": [[1, 2, 3]] * 3}, {"ratings_mismatch"}),
        ({"saliency_scores": [[1, 2, 3]] * 3 + [[1]]}, {"ratings_mismatch"}),
        ({"saliency_scores": [[1, 2, 5]] * 4}, {"bad_rating"}),
        ({"saliency_scores": [[1, 2, 2.5]] * 4}, {"bad_rating"}),
        ({"saliency_scores": None}, {"ratings_mismatch"}),
        ({"relevant_clip_ids": [1, 2, 3, 75]}, {"clip_outside"}),
        ({"relevant_clip_ids": [1, 2, 3, -1]}, {"clip_outside"}),
        ({"relevant_clip_ids": [1, 2, 3, "4"]}, {"clip_outside"}),
        ({"relevant_clip_ids": [1, 2, 3, 9]}, {"clips_off_windows"}),
        ({"relevant_windows": [[2, 1e300]]}, {"past_end"}),
    ],
)
def test_faults_of_ratings(tmp_path: Path, changed: dict[str, Any], kinds: set[str]) -> None:
    rated = {"relevant_clip_ids": [1, 2, 3, 4], "saliency_scores": [[1, 2, 3]] * 4}
    assert faults_of(lines(tmp_path / "a.jsonl", row(1, **{**rated, **changed}))) == dict.fromkeys(kinds, 1)


def test_rows_that_cannot_be_read_and_a_torn_end(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(
        f'{json.dumps(row(1))}\n{{"qid": \n[1, 2]\n\xff\n{json.dumps(row(2))}\n{{"qid": 3, "que'.encode("latin1")
    )
    found = audit([path])
    assert found.faults() == {"unparseable": 3, "torn_last_line": 1}
    places = found.files[0].findings.places
    assert [place.place.rpartition(" ")[2] for place in places["unparseable"]] == ["2", "3", "4"]
    assert places["torn_last_line"][0].place.endswith("line 6")
    assert found.files[0].sizes["rows"] == 6


@pytest.mark.parametrize(
    "text", ["", " \n", "[]", "{}", "{", '[{"qid": 1}', "null", '"text"', "[1, 2]", "[[1, 2]]", '{"a": 3}']
)
@pytest.mark.parametrize("suffix", [".json", ".jsonl"])
def test_files_that_are_none(tmp_path: Path, text: str, suffix: str) -> None:
    """A finding or a message, never a crash."""
    path = tmp_path / f"a{suffix}"
    path.write_text(text, encoding="utf-8")
    try:
        found = audit([path])
    except (ScoringError, FileFormatError) as error:
        assert str(path) in str(error)
    else:
        assert found.faults()


def test_rows_without_a_layout_are_unreadable(tmp_path: Path) -> None:
    path = as_json(tmp_path / "a.json", {**{f"key{number}": number for number in range(20)}, "late": {"0": "x"}})
    assert faults_of(path) == {"unparseable": 21}


def test_a_missing_file_and_one_given_twice(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="none.json"):
        audit([tmp_path / "none.json"])
    path = lines(tmp_path / "a.jsonl", row())
    with pytest.raises(ValueError, match="twice"):
        audit([path, path])


LAYOUTS: dict[str, tuple[Any, dict[str, int]]] = {
    "rows": ([{"video_id": "v", "sentence": "s", "timestamps": [1, 12], "length": 10}], {"past_end": 1}),
    "activitynet_captions": (
        {"v": {"duration": 10, "timestamps": [[0, 5], [4, 2]], "sentences": ["a", " "]}},
        {"reversed": 1, "missing_query": 1},
    ),
    "tacos": (
        {"v.avi": {"timestamps": [[0, 60], [30, 400]], "sentences": ["a", "b"], "fps": 30.0, "num_frames": 300}},
        {"past_end": 1},
    ),
    "segments": (
        {"version": "1", "database": {"v": {"duration": 9, "annotations": [{"segment": [1, 99], "label": "jump"}]}}},
        {"past_end": 1},
    ),
    "nextgqa": ({"v": {"duration": 10, "location": {"0": [[1, 2]], "6": [[3, 3]]}}}, {"zero_length": 1}),
    "ego4d_nlq": (
        {"version": "1", "videos": [{"video_uid": "v", "clips": [{
            "clip_uid": "c", "video_start_sec": 10, "video_end_sec": 20, "annotations": [{
                "annotation_uid": "a", "language_queries": [
                    {"query": "q", "clip_start_sec": 1, "clip_end_sec": 11}, {"clip_start_sec": 1, "clip_end_sec": 2},
                ]}]}]}]},
        {"past_end": 1, "missing_query": 1},
    ),
    "didemo": (
        [{"annotation_id": 1, "times": [[0, 0], [0, 0], [5, 6]], "description": "d", "video": "v", "num_segments": 6}],
        {"past_end": 1},
    ),
    "etbench": (
        [
            {"task": "tvg", "source": "s", "idx": 0, "q": "q", "video": "v", "duration": 9, "tgt": [1, 12]},
            {"task": "vhd", "source": "s", "idx": 0, "q": "p", "video": "v", "duration": 9, "tgt": [[[3, 2]]]},
            {"task": "rar", "source": "s", "idx": 0, "q": "o", "video": "v", "duration": 9, "p": 1},
        ],
        {"past_end": 1, "reversed": 1},  # questions to choose an answer to have no windows
    ),
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_are_found_and_said(tmp_path: Path, layout: str) -> None:
    value, faults = LAYOUTS[layout]
    found = audit([as_json(tmp_path / "a.json", value)])
    assert found.files[0].file.layout == layout
    assert found.faults() == faults
    assert f"layout {layout}" in found.to_text()
    assert audit([as_json(tmp_path / "a.json", value)], layout=layout).faults() == faults


def test_the_text_release_of_charades(tmp_path: Path) -> None:
    path = tmp_path / "charades_sta_test.txt"
    path.write_text("AA 24.3 30.4##light on.\nBB 9 3##no\nno line\nAA x 3##q\n", encoding="utf-8")
    assert faults_of(path) == {"unparseable": 1, "reversed": 1, "not_a_window": 1, "missing_duration": 3}
    durations = tmp_path / "lengths.csv"
    durations.write_text("id,length\nAA,30\nBB,31\n", encoding="utf-8")
    assert faults_of(path, durations=durations) == {"unparseable": 1, "reversed": 1, "not_a_window": 1, "past_end": 1}


def test_a_table_holds_numbers_as_text(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("video_id,query,start,end,duration\nv,q,1,12.5,10\nw,q,x,2,10\n", encoding="utf-8")
    assert faults_of(path) == {"past_end": 1, "not_a_window": 1}


def test_fields_of_ones_own(tmp_path: Path) -> None:
    path = as_json(tmp_path / "a.json", [{"clip": "v", "words": "q", "secs": 9, "spans2": [[1, 10]]}])
    with pytest.raises(ScoringError, match="clip, secs, spans2, words"):
        audit([path])
    columns = columns_of(["video=clip", "query=words", "duration=secs", "windows=spans2"])
    assert faults_of(path, columns=columns) == {"past_end": 1}
    with pytest.raises(ValueError, match="part=field"):
        columns_of(["video"])
    with pytest.raises(ScoringError, match="no part 'span'"):
        audit([path], columns={"span": "clip"})
    with pytest.raises(ScoringError, match="no layout"):
        audit([path], layout="nothing")


def test_predictions_need_no_duration(tmp_path: Path) -> None:
    rows = [{"qid": 1, "query": "q", "vid": "v", "pred_relevant_windows": [[0, 3, 0.9], [5, 2, 0.1]]}]
    assert faults_of(lines(tmp_path / "a.jsonl", *rows)) == {"reversed": 1}


def test_a_test_split_has_no_windows_and_that_is_said(tmp_path: Path) -> None:
    without = {key: value for key, value in row().items() if key != "relevant_windows"}
    found = audit([lines(tmp_path / "a.jsonl", without)])
    assert found.faults() == {}
    assert "no windows" in found.to_text()


def test_what_splits_share(tmp_path: Path) -> None:
    train = lines(tmp_path / "train.jsonl", row(1), row(2), row(3))
    val = lines(tmp_path / "val.jsonl", row(4), row(5, vid="v2", query="Query 2"))
    test = lines(tmp_path / "test.jsonl", row("1", vid="v9"))
    found = audit([train, val, test])
    counts = {
        tuple(Path(p).stem for p in pair): {k: len(v) for k, v in f.places.items()} for pair, f in found.between.items()
    }
    assert counts == {
        ("train", "val"): {"video_in_both": 1, "query_in_both": 1}, ("train", "test"): {"id_in_both": 1},
        ("val", "test"): {},
    }  # fmt: skip
    assert "share no video" in found.to_text()


# --- Real files -------------------------------------------------------------------------------------------------------


def test_published_charades_files(data_dir: Path) -> None:
    rounded, released = data_dir / "charades/calce_test.json", data_dir / "charades/charades_test_release.jsonl"
    assert faults_of(rounded) == {"past_end": 278}
    assert faults_of(released) == {}


def test_published_qvhighlights_files(data_dir: Path) -> None:
    folder = data_dir / "qvhighlights"
    found = audit([folder / "highlight_val_release.jsonl"])
    assert found.faults() == {}
    assert found.files[0].sizes == {"rows": 1550, "queries": 1550, "videos": 1519, "windows": 2803}
    assert "clips_off_windows" in found.files[0].looked_for
    assert faults_of(folder / "calce_val_stage2.json") == {}
    assert faults_of(folder / "sample_val_preds.jsonl") == {"window_twice": 75}
    with pytest.raises(ScoringError, match="no known layout"):
        audit([folder / "sample_val_preds_metrics_raw.json"])


def test_names_that_lead_out_of_the_folder_are_not_looked_at(tmp_path: Path) -> None:
    (tmp_path / "videos" / "deep").mkdir(parents=True)
    (tmp_path / "secret.mp4").write_bytes(b"not to be read")
    names = [str(tmp_path / "secret.mp4"), str(tmp_path / "secret"), "../secret.mp4", "deep/../../secret"]
    path = lines(tmp_path / "a.jsonl", *(row(number, vid=name) for number, name in enumerate(names)))
    found = audit([path], videos=tmp_path / "videos")
    assert found.faults() == {"video_missing": 4}
    places = found.files[0].findings.places["video_missing"]
    assert [place.detail for place in places] == [f"{name} leads out of {tmp_path / 'videos'}" for name in names]


def test_durations_against_real_videos(data_dir: Path, tmp_path: Path) -> None:
    pytest.importorskip("av")
    videos = tmp_path / "videos"
    videos.mkdir()
    shutil.copy(data_dir / "video/yoga.mp4", videos / "yoga.mp4")
    shutil.copy(data_dir / "video/charades_sample.mp4", videos / "charades.sample.mp4")
    cut = (data_dir / "video/yoga.mp4").read_bytes()
    (videos / "broken.mp4").write_bytes(cut[: len(cut) // 3])
    (videos / "empty.mp4").write_bytes(b"")
    path = lines(
        tmp_path / "a.jsonl",
        row(1, vid="yoga", duration=10),
        row(2, vid="yoga.mp4", duration=14, relevant_windows=[[2, 13]]),
        row(3, vid="charades.sample", duration=31),
        row(4, vid="gone", duration=31),
        row(5, vid="gone", duration=31, query="other"),
        row(6, vid="broken", duration=10),
        row(7, vid="empty", duration=10),
    )
    found = audit([path], videos=videos)
    assert found.faults() == {"duration_wrong": 1, "past_real_end": 1, "video_missing": 1, "video_unreadable": 2}
    places = found.files[0].findings.places
    assert places["duration_wrong"][0].id == "2"
    assert "10" in places["duration_wrong"][0].detail
    assert places["past_real_end"][0].place.endswith("line 2")
    assert {place.id for place in places["video_unreadable"]} == {"6", "7"}
    assert audit([path], videos=videos, tolerance=0.1).faults()["duration_wrong"] == 2
    with pytest.raises(FileNotFoundError, match="--videos"):
        audit([path], videos=tmp_path / "none")


# --- Whatever comes ---------------------------------------------------------------------------------------------------


def _anything(rng: random.Random, depth: int = 0) -> Any:
    choice = rng.randrange(11 if depth < 2 else 8)
    if choice < 8:
        return [None, True, rng.randrange(-5, 200), rng.uniform(-5, 200), float("nan"), float("-inf"), 10**400,
                "".join(rng.choices(string.printable + "\ud800\u2028é", k=rng.randrange(6)))][choice]  # fmt: skip
    if choice == 8:
        return {rng.choice("abc"): _anything(rng, depth + 1) for _ in range(rng.randrange(3))}
    return [_anything(rng, depth + 1) for _ in range(rng.randrange(4))]


def test_ten_thousand_random_rows(tmp_path: Path) -> None:
    rng = random.Random(0)
    names = ["relevant_clip_ids", "saliency_scores", *row()]
    rows: list[Any] = [row()]
    for number in range(10_000):
        fields: Any = row(number)
        for name in rng.sample(names, rng.randrange(1, 4)):
            fields[name] = _anything(rng)
        if rng.random() < 0.1:
            del fields[rng.choice(list(row()))]
        text = json.dumps(fields if rng.random() < 0.97 else _anything(rng))
        rows.append(text if rng.random() < 0.97 else text[: rng.randrange(len(text))])
    path = lines(tmp_path / "a.jsonl", *rows)
    start = time.process_time()  # which does not go on while other programs have the machine
    found = audit([path])
    assert time.process_time() - start < 15
    blank = sum(isinstance(r, str) and not r.strip() for r in rows)
    assert found.files[0].sizes["rows"] == 10_001 - blank
    assert found.files[0].sizes["queries"] + found.faults()["unparseable"] == 10_001 - blank
    assert set(found.faults()) <= set(KINDS)
    assert len(found.faults()) > 15
    found.to_text().encode("utf-8")
    _check_json(found, tmp_path)


def _check_json(found: Audit, folder: Path) -> None:
    from lavis.common.io import read_json, write_json

    content = read_json(write_json(folder / "audit.json", found.to_json()))
    counts = {kind: each["count"] for kind, each in content["files"][0]["findings"].items() if each["count"]}
    assert counts == found.faults()


# --- Command ----------------------------------------------------------------------------------------------------------


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = str(lines(tmp_path / "good.jsonl", row(1)))
    bad = str(lines(tmp_path / "bad.jsonl", row(2, relevant_windows=[[9, 3]])))
    output = tmp_path / "audit.json"
    assert cli.main(["audit", good, bad, "--output", str(output)]) == 0
    assert "reversed" in capsys.readouterr().out
    content = json.loads(output.read_text("utf-8"))
    assert [each["path"] for each in content["files"]] == [good, bad]
    assert content["files"][0]["findings"]["reversed"]["count"] == 0
    assert content["files"][1]["findings"]["reversed"]["places"][0]["id"] == "2"
    assert set(content["between"][0]["findings"]) == set(BETWEEN)
    assert cli.main(["audit", good, bad, "--strict"]) == 1
    assert cli.main(["audit", good, bad, "--strict", "--allow", "reversed"]) == 0
    assert cli.main(["audit", good, "--strict"]) == 0
    capsys.readouterr()
    assert cli.main(["audit", good, "--strict", "--allow", "reserved"]) == 2
    assert "no kind of finding 'reserved'" in capsys.readouterr().err
    assert cli.main(["audit", str(tmp_path / "none.json")]) == 2


def test_no_torch_is_imported(tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", row())
    code = "import sys; from lavis import cli; cli.main(sys.argv[1:]); assert 'torch' not in sys.modules"
    command = [sys.executable, "-c", code, "audit", str(path)]
    subprocess.run(command, check=True, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=600)

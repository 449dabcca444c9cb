"""What each format makes of good rows, and real annotation files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lavis.common.registry import registry
from lavis.datasets.formats.base import window_problem
from lavis.structures import Moment


def write(path: Path, value: Any) -> Path:
    path.write_text(json.dumps(value))
    return path


def windows(sample: Any) -> list[list[float]]:
    return [m.to_list() for m in sample.moments or []]


def test_calce_row(tmp_path: Path) -> None:
    row = {
        "video": "v1",
        "qid": "QVHighlight_7",
        "query": "A  man talks.",
        "duration": 21,
        "items": ["man"],
        "relevant_windows": [[2, 8], [9.5, 22]],
        "start": 1,
        "end": 20.5,
        "rewrite": ["someone speaks"],
        "kind": "said",
        "relevant_clip_ids": [1, 9],
        "saliency_scores": [[1, 2, 3], [0, 4, 4]],
        "stage1_result": [[0, 10]],
    }
    (sample,) = registry.formats.get("calce")().read(write(tmp_path / "a.json", [row])).samples
    assert (sample.id, sample.video, sample.query, sample.items) == ("QVHighlight_7", "v1", "A  man talks.", ["man"])
    assert str(windows(sample)) == "[[2, 8], [9.5, 22]]"  # types as annotated, end past the video kept
    assert type(sample.duration) is int
    assert sample.clip == Moment(1, 20.5)
    assert sample.prior == [Moment(0, 10)]
    assert sample.kind == "said"
    assert sample.extra == {"rewrite": ["someone speaks"]}
    assert sample.saliency is not None
    assert len(sample.saliency) == 10
    assert (sample.saliency[0], sample.saliency[1], sample.saliency[9]) == ([0, 0, 0], [1, 2, 3], [0, 4, 4])


def test_empty_prior_is_not_no_prior(tmp_path: Path) -> None:
    row = {"video": "v", "qid": "a", "query": "q", "duration": 9, "items": [], "stage1_result": []}
    (sample,) = registry.formats.get("calce")().read(write(tmp_path / "a.json", [row])).samples
    assert sample.prior == []
    assert sample.moments is None


@pytest.mark.parametrize(("unit", "raw"), [("fraction", [[0.1, 0.5]]), ("percent", [[10, 50]])])
@pytest.mark.parametrize("name", ["calce", "mr_blip"])
def test_relative_windows_become_seconds(tmp_path: Path, name: str, unit: str, raw: list[list[float]]) -> None:
    row = {"video": "v", "qid": "a", "query": "q", "duration": 150, "relevant_windows": raw}
    if name == "calce":
        row["items"] = ["q"]
    (sample,) = registry.formats.get(name)(windows_in=unit).read(write(tmp_path / "a.json", [row])).samples
    assert windows(sample) == [[15.0, 75.0]]


def test_mr_blip_rows(tmp_path: Path) -> None:
    rows = [
        {"video": "a", "qid": "q1", "query": "x", "duration": 30.96, "relevant_windows": [[2, 9]], "objects": ["bed"]},
        {
            "video": "b", "qid": "CH_1_2", "question": "why?", "duration": 20.0, "num_option": 5, "answer": 1,
            **{f"a{i}": f"o{i}." for i in range(5)}, "relevant_windows": [[1.5, 3.0]],
        },
    ]  # fmt: skip
    first, second = registry.formats.get("mr_blip")().read(write(tmp_path / "a.json", rows)).samples
    assert (first.duration, windows(first), first.extra) == (30.96, [[2, 9]], {"objects": ["bed"]})
    assert (second.query, second.options, second.answer) == ("why?", ["o0.", "o1.", "o2.", "o3.", "o4."], "o1.")
    assert second.extra == {"answer_index": 1}


def test_mr_blip_actions(tmp_path: Path) -> None:
    row = {"video": "v", "qid": "q1", "query": "", "duration": 60, "labels": ["Run", "Jump", "Run"]}
    row["relevant_windows"] = [[0, 10], [30, 20], [40, 55]]
    read = registry.formats.get("mr_blip")(on_bad_window="skip").read(write(tmp_path / "a.json", [row]))
    (sample,) = read.samples
    assert (sample.query, windows(sample), sample.extra) == ("", [[0, 10], [40, 55]], {"labels": ["Run", "Run"]})
    assert read.counts == {"rows": 1, "skipped_windows": 1}
    del row["query"]
    assert registry.formats.get("mr_blip")(on_bad_window="skip").read(write(tmp_path / "b.json", [row])).samples


def test_activitynet_captions(tmp_path: Path) -> None:
    entry = {"duration": 55.15, "timestamps": [[0, 4.14], [4.14, 55.16]], "sentences": ["Two men.", " One man."]}
    result = registry.formats.get("activitynet_captions")().read(write(tmp_path / "val_1.json", {"v_a": entry}))
    assert [(s.id, s.video, s.query, windows(s)) for s in result.samples] == [
        ("ActivityNet_v_a_0", "v_a", "Two men.", [[0, 4.14]]),
        ("ActivityNet_v_a_1", "v_a", " One man.", [[4.14, 55.15]]),
    ]
    assert result.counts == {"rows": 2, "clamped_windows": 1}


def test_tacos_frames_become_seconds(tmp_path: Path) -> None:
    entry = {
        "timestamps": [[10, 40], [50, 107]],
        "sentences": ["He cuts.", "He washes."],
        "fps": 10.0,
        "num_frames": 100,
    }
    first, second = registry.formats.get("tacos")().read(write(tmp_path / "a.json", {"s1-d2.avi": entry})).samples
    assert (first.id, first.video, first.duration, windows(first)) == ("TACoS_s1-d2_0", "s1-d2", 10.0, [[1.0, 4.0]])
    assert windows(second) == [[5.0, 10.0]]


def test_charades_text_release(tmp_path: Path) -> None:
    (tmp_path / "c_test.csv").write_text("id,objects,length\nAO8RW,book;shelf,33.67\n")
    text = tmp_path / "charades_sta_test.txt"
    text.write_text("AO8RW 0.0 6.9##a person puts ## a book.\r\n\nAO8RW 30.0 35.2##person leaves.\n")
    result = registry.formats.get("charades_sta")(durations=str(tmp_path / "c_{split}.csv")).read(text, "test")
    assert [(s.id, s.query, s.duration, windows(s)) for s in result.samples] == [
        ("CharadesSTA_AO8RW_0", "a person puts ## a book.", 33.67, [[0.0, 6.9]]),
        ("CharadesSTA_AO8RW_1", "person leaves.", 33.67, [[30.0, 33.67]]),
    ]
    assert result.counts["clamped_windows"] == 1


@pytest.mark.parametrize(
    ("pair", "problem"),
    [
        ([0, 10], None),
        ([10, 10], None),
        ([0, 10.5], "ends past the video"),
        ([10, 10.5], "lies outside the video"),
        ([-2, 0], "lies outside the video"),
        ([-2, 1], "starts before 0"),
        ([3, 2], "ends before it starts"),
        ((1, 2), None),
        ("12", "is not [start, end]"),
        ([1, None], "holds something that is no finite number"),
        ([1, True], "holds something that is no finite number"),
    ],
)
def test_window_problem(pair: Any, problem: str | None) -> None:
    assert window_problem(pair, 10) == problem


# ------------------------------------------------------------------ real files


def test_qvhighlights_release(data_dir: Path) -> None:
    folder = data_dir / "qvhighlights"
    result = registry.formats.get("qvhighlights")(items=str(folder / "calce_items_{split}.json")).read(
        folder / "highlight_val_release.jsonl", "val"
    )
    assert result.counts == {"rows": 1550}
    assert len({s.video for s in result.samples}) == 1519
    assert sum(len(s.moments or []) for s in result.samples) == 2803
    assert all(len(s.saliency or []) == s.duration // 2 for s in result.samples)
    assert all(type(bound) is int for s in result.samples for window in windows(s) for bound in window)


def test_calce_and_the_release_agree(data_dir: Path) -> None:
    folder = data_dir / "qvhighlights"
    calce = registry.formats.get("calce")().read(folder / "calce_val_stage2.json")
    release = registry.formats.get("qvhighlights")(items=str(folder / "calce_items_val.json")).read(
        folder / "highlight_val_release.jsonl"
    )
    assert calce.counts == {"rows": 1550}
    for ours, theirs in zip(calce.samples, release.samples, strict=True):
        fields = ("id", "video", "query", "duration", "moments", "items")
        assert [getattr(ours, f) for f in fields] == [getattr(theirs, f) for f in fields]
        assert ours.prior
    assert sum(s.prior == [Moment(0, s.duration)] for s in calce.samples) == 106


def test_charades_in_both_forms(data_dir: Path) -> None:
    folder = data_dir / "charades"
    calce = registry.formats.get("calce")().read(folder / "calce_test.json")
    release = registry.formats.get("charades_sta")().read(folder / "charades_test_release.jsonl")
    assert calce.counts == release.counts == {"rows": 3720}
    late = [s for s in calce.samples if any(m.end > s.duration for m in s.moments or [])]
    assert len(late) == 278
    for ours, theirs in zip(calce.samples, release.samples, strict=True):
        assert (ours.id, ours.video, ours.query, ours.moments) == (
            theirs.id,
            theirs.video,
            theirs.query,
            theirs.moments,
        )
        assert ours.duration == round(theirs.duration)
        assert type(ours.duration) is int


def test_charades_text_equals_its_json_lines(data_dir: Path, tmp_path: Path) -> None:
    rows = [json.loads(line) for line in (data_dir / "charades" / "charades_test_release.jsonl").open()]
    (tmp_path / "lengths.json").write_text(json.dumps({row["vid"]: row["duration"] for row in rows}))
    text = tmp_path / "charades_sta_test.txt"
    text.write_text("".join("{} {} {}##{}\n".format(r["vid"], *r["relevant_windows"][0], r["query"]) for r in rows))
    result = registry.formats.get("charades_sta")(durations=str(tmp_path / "lengths.json")).read(text)
    assert result.counts == {"rows": 3720}
    for sample, row in zip(result.samples, rows, strict=True):
        assert (sample.video, sample.query, windows(sample)) == (row["vid"], row["query"], row["relevant_windows"])


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("calce", "charades/charades_test_release.jsonl"),
        ("qvhighlights", "charades/calce_test.json"),
        ("mr_blip", "charades/calce_test.json"),
        ("tacos", "charades/calce_test.json"),
        ("activitynet_captions", "qvhighlights/calce_items_val.json"),
    ],
)
def test_the_wrong_format_says_so(data_dir: Path, name: str, path: str) -> None:
    with pytest.raises(ValueError, match=r"field|format"):
        registry.formats.get(name)().read(data_dir / path)

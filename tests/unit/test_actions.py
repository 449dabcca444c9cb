"""Actions of pipelines: what they write, and settings that do not fit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lavis.actions import more_actions
from lavis.common.config import ConfigError
from lavis.runners.pipeline import Stage


def stage(action: str, **settings: object) -> Stage:
    return Stage(name="mine", action=action, settings=settings)


def test_generate_makes_a_corpus_and_names_its_annotations(tmp_path: Path) -> None:
    settings = {
        "generator": {"name": "synthetic_moments", "seed": 3, "max_duration": 20, "compact": True},
        "out": str(tmp_path),
        "counts": {"val": 1},
    }
    files = more_actions()["generate"](stage("generate", **settings))
    assert tmp_path / "annotations" / "val.json" in files
    assert len(list((tmp_path / "videos").glob("*.mp4"))) == 1


def test_merge_writes_annotations_for_the_second_stage(tmp_path: Path) -> None:
    row = {"video": "v", "qid": "Q_1", "query": "q", "duration": 9, "items": ["q"], "relevant_windows": [[0, 2]]}
    for name in ("val", "test_dummy"):
        (tmp_path / f"{name}.json").write_text(json.dumps([row]))
    for split in ("val", "test"):
        (tmp_path / f"corpus_{split}.jsonl").write_text(json.dumps({"id": "Q_1", "moments": [[1, 3]]}) + "\n")
    settings = {"datasets": ["qvh"], "results": str(tmp_path), "annotations": str(tmp_path), "eval_only": True}
    files = more_actions()["merge"](stage("merge", **settings))
    assert [file.name for file in files] == ["val_stage2.json", "test_dummy_stage2.json"]
    assert json.loads(files[0].read_text())[0]["stage1_result"] == [[1, 3]]


@pytest.mark.parametrize(
    ("action", "settings", "message"),
    [
        ("generate", {"out": "x"}, "missing: counts"),
        ("generate", {"out": "x", "counts": {}, "count": 3}, "unknown: count; the action 'generate' takes counts, out"),
        ("generate", {"generator": {"name": "synthetic_moment"}}, "Did you mean 'synthetic_moments'"),
        ("merge", {"dataset": ["qvh"]}, "unknown: dataset"),
        ("report", {"runs": []}, "missing: out"),
    ],
)
def test_settings_that_do_not_fit(action: str, settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        more_actions()[action](stage(action, **settings))


def test_files_that_are_read_follow_from_the_settings(tmp_path: Path) -> None:
    for name in ("val.json", "test.json", "corpus_val.jsonl", "corpus_test.jsonl"):
        (tmp_path / name).write_text("")
    settings = {"datasets": ["qvh"], "results": str(tmp_path), "annotations": str(tmp_path), "eval_only": True}
    merging: Any = more_actions()["merge"]
    names = [path.name for path in merging.reads(stage("merge", **settings))]
    assert names == ["val.json", "corpus_val.jsonl", "test.json", "corpus_test.jsonl"]
    (tmp_path / "corpus_val.jsonl").unlink()
    assert merging.reads(stage("merge", **settings)) == [], "as long as they are not there"
    (tmp_path / "run" / "predictions").mkdir(parents=True)
    (tmp_path / "run" / "metrics.json").write_text("{}")
    (tmp_path / "run" / "predictions" / "corpus_val.jsonl").write_text("")
    reporting: Any = more_actions()["report"]
    read = reporting.reads(stage("report", runs={"One": str(tmp_path / "run")}, out="x"))
    assert [path.name for path in read] == ["corpus_val.jsonl", "metrics.json"]


def test_messages_name_the_stage() -> None:
    with pytest.raises(ConfigError, match="settings of stage 'mine'"):
        more_actions()["merge"](stage("merge", nothing=1))

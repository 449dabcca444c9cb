"""Out-of-fold predictions: which stages they are, and how their parts are joined."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from lavis.common.config import load_config
from lavis.runners import pipeline as pipelines
from lavis.runners.pipeline import run_pipeline
from lavis.runners.pipeline_folds import expanded, join_stage
from lavis.runners.pipeline_stages import Stage, read_stages

Seen = list[tuple[str, str, Any, list[str]]]


@pytest.fixture
def seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Seen:
    """What was asked for: action, name of the run, its ``fold``, splits."""
    found: Seen = []

    def train(config: Any) -> Path:
        fold = config["datasets"]["qvh"].get("fold")
        found.append(("train", config.name, fold, config.find("run.test_splits", ["test"])))
        folder = Path(config["run"]["output_dir"]) / config.name
        (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
        (folder / "checkpoints" / "best.safetensors").write_text(json.dumps(fold))
        if config.find("run.fail", 0) == (fold or {}).get("index"):
            raise OSError("disk on fire")
        return folder

    def evaluate(config: Any, splits: Sequence[str]) -> Path:
        fold = config["datasets"]["qvh"].get("fold")
        found.append(("evaluate", config.name, fold, list(splits)))
        folder = Path(config["run"]["output_dir"]) / config.name
        (folder / "predictions").mkdir(exist_ok=True)
        for split in splits:
            row = {"id": f"{split}_{fold['index'] if fold else 0}", "moments": [[0, 1]]}
            (folder / "predictions" / f"qvh_{split}.jsonl").write_text(json.dumps(row) + "\n")
        return folder

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pipelines, "require_valid", lambda config: None)
    monkeypatch.setattr(pipelines.runs, "train", train)
    monkeypatch.setattr(pipelines.runs, "evaluate", evaluate)
    for split in ("train", "val"):
        Path(f"{split}.json").write_text("[]")
    data = {"qvh": {"annotations": {"train": "train.json", "val": "val.json"}}}
    Path("one.yaml").write_text(yaml.safe_dump({"name": "one", "run": {"output_dir": "results"}, "datasets": data}))
    stages = [
        {"name": "stage1", "action": "train", "config": "one"},
        {"name": "hints", "action": "infer", "config": "one", "splits": ["train", "val"], "folds": 2},
    ]
    Path("both.yaml").write_text(yaml.safe_dump({"name": "both", "stages": stages}))
    return found


NAMES = ["stage1", "hints", "hints/fold_1_training", "hints/fold_1", "hints/fold_2_training", "hints/fold_2"]


def test_every_part_is_a_stage_with_a_run_of_its_own(seen: Seen) -> None:
    results = run_pipeline("both.yaml")
    assert [result.name for result in results] == [*NAMES, "hints/joined"]
    fold = [{"index": index, "count": 2, "splits": ["train"]} for index in (1, 2)]
    assert seen == [
        ("train", "one", None, ["test"]),
        ("evaluate", "one", None, ["val"]),
        ("train", "one/fold_1", fold[0], []),
        ("evaluate", "one/fold_1", fold[0], ["train"]),
        ("train", "one/fold_2", fold[1], []),
        ("evaluate", "one/fold_2", fold[1], ["train"]),
    ]
    joined = Path("results/one/out_of_fold/qvh_train.jsonl").read_text().splitlines()
    assert [json.loads(line)["id"] for line in joined] == ["train_1", "train_2"]
    whole = Path("results/one/out_of_fold/qvh_val.jsonl").read_text()
    assert whole == Path("results/one/predictions/qvh_val.jsonl").read_text()
    assert all(result.skipped for result in run_pipeline("both.yaml"))


def test_an_interruption_costs_one_part(seen: Seen) -> None:
    with pytest.raises(OSError, match="fire"):
        run_pipeline("both.yaml", ["run.fail=2"])
    seen.clear()
    run_pipeline("both.yaml", ["run.fail=2", "stages.hints.run.fail=3", "stages.hints.run.num_workers=1"])
    assert [(kind, name) for kind, name, _, _ in seen][-2:] == [("train", "one/fold_2"), ("evaluate", "one/fold_2")]
    seen.clear()
    assert all(result.skipped for result in run_pipeline("both.yaml", ["run.fail=2", "stages.hints.run.fail=3"]))


def test_a_lost_part_is_made_again_and_nothing_else(seen: Seen) -> None:
    run_pipeline("both.yaml")
    seen.clear()
    Path("results/one/fold_2/predictions/qvh_train.jsonl").unlink()
    assert [result.name for result in run_pipeline("both.yaml") if not result.skipped] == ["hints/fold_2"]


def test_only_the_training_split(seen: Seen) -> None:
    stages = expanded(read_stages(load_config("both.yaml"), [], ["train", "infer"]))
    lone = Stage("hints", "infer", stages[0].config, splits=["train"], folds=3)
    names = [stage.name for stage in expanded([lone])]
    assert names[0] == "hints/fold_1_training" and names[-1] == "hints/joined" and len(names) == 7


def test_a_sample_in_two_parts_is_an_error(tmp_path: Path) -> None:
    for part in ("a", "b"):
        (tmp_path / part).write_text('{"id": "Q_1", "moments": []}\n')
    files = {str(tmp_path / "out.jsonl"): [str(tmp_path / "a"), str(tmp_path / "b")]}
    with pytest.raises(ValueError, match="Q_1 was answered in another fold, too.*--from 'hints/fold_1_training'"):
        join_stage(Stage("hints/joined", "join folds", settings={"files": files}))
    assert not (tmp_path / "out.jsonl").exists()

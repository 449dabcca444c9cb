"""Runners with a small model, and a pipeline whose trainings and evaluations are fakes that write what real ones do."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from lavis.runners import pipeline as pipelines
from lavis.runners.pipeline import run_pipeline
from lavis.runners.runner import Runner
from tests.fake_run import FakeModel, fake_runner

Run = Callable[..., list[tuple[str, bool]]]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was trained and evaluated, by fakes that write what the real ones do."""
    done: list[str] = []

    def train(config: Any) -> Path:
        done.append(f"train {config.name} {config['run'].get('resume', 'auto')}")
        if config.find("run.fail"):
            raise OSError("disk on fire")
        folder = Path(config["run"]["output_dir"]) / config.name
        (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
        (folder / "checkpoints" / "best.safetensors").write_text(json.dumps(config["run"].get("learning_rate")))
        return folder

    def evaluate(config: Any, splits: Sequence[str]) -> Path:
        done.append(f"evaluate {config.name} {','.join(splits)}")
        folder = Path(config["run"]["output_dir"]) / config.name
        weights = (folder / "checkpoints" / "best.safetensors").read_text()
        (folder / "predictions").mkdir(exist_ok=True)
        for split in splits:
            (folder / "predictions" / f"qvh_{split}.jsonl").write_text(f"{weights} {split}\n")
        return folder

    monkeypatch.setattr(pipelines, "require_valid", lambda config: None)
    monkeypatch.setattr(pipelines.runs, "train", train)
    monkeypatch.setattr(pipelines.runs, "evaluate", evaluate)
    return done


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calls: list[str]) -> Run:
    """Writes a two-stage pipeline and runs it; returns name and whether it was skipped."""
    monkeypatch.chdir(tmp_path)
    annotations = {"train": "train.json", "val": "val.json"}
    for file in annotations.values():
        Path(file).write_text("[]")
    base = {"run": {"output_dir": "results", "learning_rate": 1}, "datasets": {"qvh": {"annotations": annotations}}}
    prior = "results/one/predictions/qvh_{split}.jsonl"
    two = {
        **base,
        "name": "two",
        "model": {"weights": ["results/one/checkpoints/best.safetensors"]},
        "datasets": {"qvh": {"annotations": annotations, "prior": prior}},
    }
    Path("one.yaml").write_text(yaml.safe_dump({**base, "name": "one"}))
    Path("two.yaml").write_text(yaml.safe_dump(two))
    stages = [
        {"name": "stage1", "action": "train", "config": "one"},
        {"name": "predictions", "action": "infer", "config": "one", "splits": ["train", "val"]},
        {"name": "stage2", "action": "train", "config": "two"},
        {"name": "evaluation", "action": "evaluate", "config": "two", "options": ["run.test_splits=[val]"]},
    ]

    def start(*options: str, change: Callable[[list[dict[str, Any]]], object] = len, **more: Any) -> Any:
        own = [dict(stage) for stage in stages]
        change(own)
        Path("both.yaml").write_text(yaml.safe_dump({"name": "calce/both", "stages": own}))
        return [(result.name, result.skipped) for result in run_pipeline("both.yaml", options, **more)]

    return start


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Runner]]:
    """Makes runners with a small model of their own; their engines are closed behind the test."""
    made: list[Runner] = []

    def build(folder: str = "run", model: FakeModel | None = None, **settings: Any) -> Runner:
        made.append(fake_runner(tmp_path / folder, model, **settings))
        return made[-1]

    yield build
    for runner in made:
        runner.engine.close()

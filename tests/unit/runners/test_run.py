"""From a configuration to a run folder, with fakes in place of model and data."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from lavis.common.checkpoint import CheckpointError
from lavis.common.config import Config, load_config
from lavis.common.io import WriteError
from lavis.common.locking import BusyError, sole_writer
from lavis.runners import run as runs
from lavis.runners.environment import environment
from tests.fake_run import FakeData, FakeModel, StartError

SIZES = {"train": 8, "val": 5, "test": 3}


@pytest.fixture
def models(monkeypatch: pytest.MonkeyPatch) -> list[FakeModel]:
    """The models that were built."""
    from lavis.tasks.base import Task

    made: list[FakeModel] = []

    def build_model(node: Any) -> FakeModel:
        model = FakeModel()
        model.processor = torch.nn.Identity()
        made.append(model)
        return model

    def build_dataset(name: str, node: Any, split: str, processor: Any, train: bool) -> FakeData:
        return FakeData(SIZES[split], split, train)

    monkeypatch.setattr(runs, "require_valid", lambda config: None)
    monkeypatch.setattr("lavis.models.build.build_model", build_model)
    monkeypatch.setattr("lavis.datasets.build.build_dataset", build_dataset)
    monkeypatch.setattr("lavis.tasks.base.build_task", lambda node: Task([StartError()]))
    return made


@pytest.fixture
def config(tmp_path: Path) -> Callable[..., Config]:
    def make(**run: Any) -> Config:
        settings = {
            "output_dir": str(tmp_path / "results"), "device": "cpu", "batch_size": 2, "epochs": 2,
            "learning_rate": 1e-2, "log_every": 2, **run,
        }  # fmt: skip
        data = {"annotations": {split: f"{split}.json" for split in SIZES}}
        return Config.from_mapping(
            {"name": "calce/tiny", "model": {"name": "fake"}, "datasets": {"fake": data}, "task": {}, "run": settings}
        )

    return make


def test_training_fills_the_folder(models: list[FakeModel], config: Callable[..., Config], tmp_path: Path) -> None:
    folder = runs.train(config())
    assert folder == tmp_path / "results" / "calce" / "tiny"
    files = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    assert files >= {
        *("config.yaml", "environment.json", "run.log", "metrics.jsonl", "metrics.json"),
        *("checkpoints/best.safetensors", "checkpoints/step_000008/manifest.json"),
        *("predictions/fake_val.jsonl", "predictions/fake_test.jsonl"),
    }
    assert load_config(folder / "config.yaml").tree == config().tree
    assert set(json.loads((folder / "metrics.json").read_text())) == {"fake_val", "fake_test"}
    facts = json.loads((folder / "environment.json").read_text())
    assert facts["packages"]["torch"] == torch.__version__
    log = (folder / "run.log").read_text()
    assert "learning: " in log
    assert "fake_test: error" in log
    assert logging.getLogger("lavis").handlers == []


def test_evaluation_takes_the_best_weights(models: list[FakeModel], config: Callable[..., Config]) -> None:
    folder = runs.train(config())
    before = (folder / "metrics.json").read_text()
    runs.evaluate(config(), ["val", "test"])
    assert models[-1].asked == []  # answered in training already, by the same weights
    assert (folder / "metrics.json").read_text() == before
    runs.evaluate(config(), ["train"])
    assert len(models[-1].asked) == 8
    assert set(json.loads((folder / "metrics.json").read_text())) == {"fake_val", "fake_test", "fake_train"}


def test_a_later_evaluation_is_no_point_of_the_learning_curve(
    models: list[FakeModel], config: Callable[..., Config]
) -> None:
    folder = runs.train(config())
    runs.evaluate(config(), ["val"])
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    validations = [row for row in rows if row.get("split") == "fake_val"]
    assert [row["epoch"] for row in validations if "epoch" in row] == sorted({row["epoch"] for row in validations[:-1]})
    assert "epoch" not in validations[-1]


def test_evaluation_without_training_says_so(models: list[FakeModel], config: Callable[..., Config]) -> None:
    folder = runs.train(config(evaluate_only=True))
    assert "was not trained here: evaluating the weights of model.weights" in (folder / "run.log").read_text()
    assert not (folder / "checkpoints").exists()
    assert len(models[-1].asked) == 3


def test_a_training_without_best_weights_is_not_evaluated_as_untrained(
    models: list[FakeModel], config: Callable[..., Config]
) -> None:
    folder = runs.train(config())
    (folder / "checkpoints" / "best.safetensors").unlink()
    with pytest.raises(
        CheckpointError, match=r"best\.safetensors is not there, but .*step_000008 is.*run\.resume=never"
    ):
        runs.evaluate(config())
    runs.evaluate(config(resume=str(folder / "checkpoints" / "step_000008" / "weights.safetensors")))
    runs.evaluate(config(resume="never"))


def test_weights_to_evaluate_can_be_named(models: list[FakeModel], config: Callable[..., Config]) -> None:
    best = runs.train(config()) / "checkpoints" / "best.safetensors"
    runs.evaluate(config(resume=str(best)), ["test"])
    with pytest.raises(ValueError, match=r"run\.resume=nowhere: for an evaluation it names a file of weights"):
        runs.evaluate(config(resume="nowhere"))
    with pytest.raises(ValueError, match="nothing to evaluate"):
        runs.evaluate(config(test_splits=[]))


def test_a_finished_training_is_not_repeated(models: list[FakeModel], config: Callable[..., Config]) -> None:
    folder = runs.train(config())
    rows = (folder / "metrics.jsonl").read_text().count('"lr"')
    runs.train(config(epochs=2, log_every=1))
    assert (folder / "metrics.jsonl").read_text().count('"lr"') == rows
    assert "settings changed since this run was begun: run.log_every: 2 -> 1" in (folder / "run.log").read_text()


def test_other_settings_are_not_resumed_by_accident(models: list[FakeModel], config: Callable[..., Config]) -> None:
    folder = runs.train(config(max_steps=2))
    with pytest.raises(
        ValueError, match=r"with other settings: run\.learning_rate: 0\.01 -> 0\.02\. Give this one"
    ) as e:
        runs.train(config(learning_rate=2e-2))
    assert str(folder / "checkpoints" / "step_000002") in str(e.value)
    runs.train(config(learning_rate=2e-2, resume="never"))
    runs.train(config(learning_rate=3e-2, resume=str(folder)))


def test_a_split_that_no_data_set_has(models: list[FakeModel], config: Callable[..., Config]) -> None:
    with pytest.raises(ValueError, match=r"no data set has the split 'dev'; there are \{'fake': \['train'"):
        runs.train(config(valid_splits=["dev"]))


def test_errors_are_logged(models: list[FakeModel], config: Callable[..., Config], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="dev"):
        runs.train(config(train_splits=["dev"]))
    assert "ERROR no data set has the split" in (tmp_path / "results/calce/tiny/run.log").read_text()


def test_activations_can_be_recomputed(models: list[FakeModel], config: Callable[..., Config]) -> None:
    folder = runs.train(config(activation_checkpointing=True, max_steps=1))
    assert "activations are recomputed in 2 layers" in (folder / "run.log").read_text()


def test_differences() -> None:
    old = {"a": {"b": 1, "c": [1, 2]}, "d": 2}
    new = {"a": {"b": 1, "c": [1]}, "e": {"f": 1}}
    assert runs.differences(old, new) == ["a.c: [1, 2] -> [1]", "d: 2 -> None", "e: None -> {'f': 1}"]


def test_environment() -> None:
    facts = environment(torch.device("cpu"))
    assert facts["device"] == "cpu"
    assert facts["processes"] == 1
    json.dumps(facts)


def test_one_run_a_folder(models: list[FakeModel], config: Callable[..., Config], tmp_path: Path) -> None:
    with sole_writer(tmp_path / "results" / "calce" / "tiny", "that one"):
        for start in (runs.train, runs.evaluate):
            with pytest.raises(BusyError, match="is being written by another run"):
                start(config())
    assert models == []
    assert not (tmp_path / "results" / "calce" / "tiny" / "run.log").exists()
    runs.train(config(max_steps=1))
    runs.evaluate(config())


def test_a_folder_that_cannot_be_written_to_is_known_before_anything_is_built(
    models: list[FakeModel], config: Callable[..., Config], tmp_path: Path
) -> None:
    (tmp_path / "results").write_text("a file")
    with pytest.raises(WriteError, match=r"cannot write .*results/calce/tiny: .*MiB free"):
        runs.train(config())
    assert models == []


def test_what_a_killed_run_was_writing_is_removed(
    models: list[FakeModel], config: Callable[..., Config], tmp_path: Path
) -> None:
    folder = runs.train(config(max_steps=1))
    rests = [folder / ".metrics.json.x.part", folder / "checkpoints" / ".best.safetensors.x.tmp"]
    for rest in rests:
        rest.write_text("half")
    runs.train(config(max_steps=1))
    assert not any(rest.exists() for rest in rests)


def test_the_same_samples_an_iteration_by_other_processes(
    models: list[FakeModel], config: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = runs.train(config(max_steps=3, batch_size=1))
    manifest = folder / "checkpoints" / "step_000003" / "manifest.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "processes": 2, "global_batch": 2}))
    with pytest.raises(ValueError, match=r"other settings: run\.batch_size: 1 -> 4"):
        runs.train(config(batch_size=4))
    runs.train(config(batch_size=2))
    log = (folder / "run.log").read_text()
    assert "resuming with 1 processes what 2 began: random states start anew" in log
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if "loss" in row] == [2, 4, 6, 8]

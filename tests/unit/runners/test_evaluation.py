"""Predictions: each sample once, continued after an interruption, begun anew when anything they depend on changes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from lavis.runners.evaluation import weights_digest, write_metrics
from lavis.runners.runner import Runner
from lavis.structures import Prediction
from tests.fake_run import FakeData, FakeModel, fake_runner

Maker = Callable[..., tuple[Runner, FakeModel]]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Maker]:
    made: list[Runner] = []

    def build(**settings: object) -> tuple[Runner, FakeModel]:
        model = FakeModel()
        made.append(fake_runner(tmp_path, model, **settings))
        return made[-1], model

    yield build
    for runner in made:
        runner.engine.close()


def rows(folder: Path, name: str = "fake_val") -> list[str]:
    return [json.loads(line)["id"] for line in (folder / "predictions" / f"{name}.jsonl").read_text().splitlines()]


def test_every_sample_once_and_in_order(make: Maker, tmp_path: Path) -> None:
    runner, model = make()
    results = runner.evaluate(["val", "test"])
    assert rows(tmp_path) == [f"val_{i}" for i in range(5)]
    assert rows(tmp_path, "fake_test") == ["test_0", "test_1", "test_2"]
    assert results["fake_val"]["skipped"] == 0
    assert results["fake_val"]["total"] == 5
    assert len(json.loads((tmp_path / "predictions" / "fake_val.json").read_text())) == 5
    assert len(model.asked) == 8


def test_an_interrupted_evaluation_goes_on(make: Maker, tmp_path: Path) -> None:
    runner, _ = make()
    whole = runner.evaluate(["val"])
    path = tmp_path / "predictions" / "fake_val.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:3]) + lines[3][:20])
    again, model = make()
    assert again.evaluate(["val"]) == whole
    assert model.asked == ["val_3", "val_4"]
    assert path.read_text() == "".join(lines)


def test_parts_of_several_processes_are_joined(make: Maker, tmp_path: Path) -> None:
    runner, _ = make()
    runner.evaluate(["val"])
    path = tmp_path / "predictions" / "fake_val.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.unlink()
    path.with_name(".fake_val.process0.jsonl").write_text("".join(lines[:2]))
    path.with_name(".fake_val.process1.jsonl").write_text(lines[4])
    again, model = make()
    again.evaluate(["val"])
    assert model.asked == ["val_2", "val_3"]
    assert not list(path.parent.glob(".*process*"))


def test_other_weights_are_asked_anew(make: Maker) -> None:
    runner, model = make()
    runner.evaluate(["val"])
    with torch.no_grad():
        model.head.weight.add_(0.01)
    model.asked.clear()
    runner.evaluate(["val"])
    assert len(model.asked) == 5


@pytest.mark.parametrize("change", ["precision", "model", "task", "reading"])
def test_other_settings_are_asked_anew(make: Maker, change: str) -> None:
    runner, _ = make()
    runner.evaluate(["val"])
    other, model = make(eval_precision="bf16" if change == "precision" else None)
    if change == "model":
        other.config["model"] = {"name": "fake", "generation": {"num_beams": 1}}
    elif change == "task":
        other.config["task"] = {"name": "other"}
    elif change == "reading":
        other.config["datasets"] = {"fake": {"subtitles": "elsewhere"}}
    other.evaluate(["val"])
    assert len(model.asked) == 5


def test_only_other_samples_are_asked_anew(make: Maker, tmp_path: Path) -> None:
    runner, _ = make()
    runner.evaluate(["val"])
    data = FakeData(6, "val")
    data.samples[0] = data.samples[0].with_prior([])
    del data.samples[3]
    other, model = make(eval_data={"val": {"fake": data}})
    other.evaluate(["val"])
    assert model.asked == ["val_0", "val_5"]
    assert rows(tmp_path) == ["val_0", "val_1", "val_2", "val_4", "val_5"]


def test_other_selections_and_metrics_keep_the_answers(make: Maker) -> None:
    runner, _ = make()
    runner.config |= {"datasets": {"fake": {"on_decode_error": "raise"}}, "task": {"name": "t", "metrics": ["a"]}}
    whole = runner.evaluate(["val"])
    other, model = make()
    other.config |= {"datasets": {"fake": {"on_decode_error": "skip"}}, "task": {"name": "t", "metrics": ["b"]}}
    assert other.evaluate(["val"]) == whole
    assert model.asked == []


def test_another_dataset_changes_nothing(make: Maker) -> None:
    runner, _ = make()
    runner.evaluate(["val"])
    other, model = make()
    other.config["datasets"] = {"fake": {}, "more": {"subtitles": "elsewhere"}}
    other.evaluate(["val"])
    assert model.asked == []


@pytest.mark.parametrize("line", ['{"id": "val_1"}', "[1]", "{"])
def test_a_spoilt_row_of_predictions_is_named(make: Maker, tmp_path: Path, line: str) -> None:
    runner, _ = make()
    runner.evaluate(["val"])
    path = tmp_path / "predictions" / "fake_val.jsonl"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], line, *lines[2:]]) + "\n")
    other, model = make()
    with pytest.raises(ValueError, match=r"fake_val\.jsonl.*remove it to have its samples answered again"):
        other.evaluate(["val"])
    path.unlink()
    other.evaluate(["val"])
    assert len(model.asked) == 5


def test_a_spoilt_file_of_figures_is_named(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    path.write_text("{")
    with pytest.raises(ValueError, match=r"metrics\.json, line 1.*the predictions are kept"):
        write_metrics(path, {"fake_val": {"error": 1.0}})


def test_an_interruption_while_samples_change_leaves_no_old_answer(
    make: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner, _ = make()
    runner.evaluate(["val"])
    data = FakeData(5, "val")
    data.samples[0] = data.samples[0].with_prior([])
    other, model = make(eval_data={"val": {"fake": data}})

    def fail(batch: object) -> list[Prediction]:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(model, "generate", fail)
        with pytest.raises(KeyboardInterrupt):
            other.evaluate(["val"])
    assert rows(tmp_path) == ["val_1", "val_2", "val_3", "val_4"]
    other.evaluate(["val"])
    assert model.asked == ["val_0"]


def test_unreadable_samples_are_counted(make: Maker, tmp_path: Path) -> None:
    runner, _ = make(eval_data={"val": {"fake": FakeData(5, "val", unreadable=[1, 2])}})
    result = runner.evaluate(["val"])["fake_val"]
    assert (result["skipped"], result["total"]) == (2, 3)
    assert rows(tmp_path) == ["val_0", "val_3", "val_4"]


def test_repeated_ids_are_answered_once(make: Maker, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = FakeData(3, "val")
    data.samples.append(data.samples[0])
    runner, model = make(eval_data={"val": {"fake": data}})
    runner.evaluate(["val"])
    assert "fake_val: 1 samples repeat an id and are answered once" in caplog.text
    assert sorted(model.asked) == rows(tmp_path) == ["val_0", "val_1", "val_2"]


def test_debugging_asks_a_few(make: Maker) -> None:
    runner, model = make(debug=True, eval_batch_size=1, eval_data={"val": {"fake": FakeData(20, "val")}})
    assert runner.evaluate(["val"])["fake_val"]["skipped"] == 13
    assert len(model.asked) == 7


def test_weights_digest_sees_any_weight() -> None:
    model = FakeModel()
    before = weights_digest(model)
    assert weights_digest(FakeModel()) == before
    with torch.no_grad():
        model.frozen.bias[0] += 1e-3
    assert weights_digest(model) != before


def test_figures_of_other_splits_stay(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    write_metrics(path, {"fake_val": {"error": 1.0}})
    write_metrics(path, {"fake_test": {"error": 2.0}})
    write_metrics(path, {"fake_val": {"error": 3.0}})
    assert json.loads(path.read_text()) == {"fake_val": {"error": 3.0}, "fake_test": {"error": 2.0}}

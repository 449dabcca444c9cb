"""Predictions: each sample once, continued after an interruption, begun anew when anything they depend on changes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lavis.runners.evaluation import weights_digest, write_metrics
from lavis.runners.failures import RunError
from lavis.runners.runner import Runner
from lavis.structures import Batch, Prediction
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


def test_queries_of_one_video_are_asked_together(make: Maker, tmp_path: Path) -> None:
    data = FakeData(5, "val")
    data.samples = [replace(s, video=f"{i % 2}.mp4") for i, s in enumerate(data.samples)]
    runner, model = make(eval_batch_size=3, eval_data={"val": {"fake": data}})
    runner.evaluate(["val"])
    assert model.asked == ["val_0", "val_2", "val_4", "val_1", "val_3"]
    assert rows(tmp_path) == [f"val_{i}" for i in range(5)]


def test_an_interrupted_evaluation_makes_the_same_batches(make: Maker, tmp_path: Path) -> None:
    def batches(runner: Runner, model: FakeModel, crash_after: int = 99) -> list[list[str]]:
        seen: list[list[str]] = []
        plain = model.generate

        def generate(batch: Batch) -> list[Prediction]:
            if len(seen) == crash_after:
                raise KeyboardInterrupt
            seen.append([s.id for s in batch.samples])
            return plain(batch)

        model.generate = generate  # type: ignore[method-assign]
        runner.evaluate(["val"])
        return seen

    whole = batches(*make())
    data = (tmp_path / "predictions" / "fake_val.jsonl").read_bytes()
    for file in (tmp_path / "predictions").iterdir():
        file.unlink()
    runner, model = make()
    with pytest.raises(KeyboardInterrupt):
        batches(runner, model, crash_after=1)
    assert batches(*make()) == whole[1:]
    assert (tmp_path / "predictions" / "fake_val.jsonl").read_bytes() == data


def test_batches_may_be_filled_by_tokens(make: Maker) -> None:
    runner, model = make(eval_batch_tokens=25)
    model.count_tokens = lambda sample, views: 5 + 5 * int(sample.id[-1])  # type: ignore[assignment]
    sizes: list[int] = []
    plain = model.generate
    model.generate = lambda batch: sizes.append(len(batch)) or plain(batch)  # type: ignore[method-assign, func-returns-value]
    runner.evaluate(["val"])
    assert sizes == [2, 1, 1, 1]


@pytest.mark.parametrize(
    "error",
    [torch.cuda.OutOfMemoryError("CUDA out of memory"), MemoryError(), RuntimeError("x: can't allocate memory: y")],
)
def test_a_batch_too_large_is_halved(
    make: Maker, tmp_path: Path, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    runner, model = make(eval_batch_size=5)
    sizes: list[int] = []
    plain = model.generate

    def generate(batch: Batch) -> list[Prediction]:
        sizes.append(len(batch))
        if len(batch) > 2:
            raise error
        return plain(batch)

    model.generate = generate  # type: ignore[method-assign]
    assert runner.evaluate(["val"])["fake_val"]["total"] == 5
    assert sizes == [5, 2, 3, 1, 2]
    assert rows(tmp_path) == [f"val_{i}" for i in range(5)]
    assert "out of memory with 5 samples at once (val_0...): asking them as 2 and 3" in caplog.text


def test_one_sample_too_large_says_what_to_do(make: Maker, tmp_path: Path) -> None:
    runner, model = make(eval_batch_size=2)
    plain = model.generate

    def generate(batch: Batch) -> list[Prediction]:
        if any(s.id == "val_3" for s in batch.samples):
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return plain(batch)

    model.generate = generate  # type: ignore[method-assign]
    with pytest.raises(RunError, match=r"out of memory with 1 samples \(val_3\)"):
        runner.evaluate(["val"])
    assert rows(tmp_path) == ["val_0", "val_1", "val_2"]


def test_other_errors_of_a_batch_stay(make: Maker) -> None:
    runner, model = make(eval_batch_size=2)

    def generate(batch: Batch) -> list[Prediction]:
        raise RuntimeError("shape mismatch")

    model.generate = generate  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match="^shape mismatch$"):
        runner.evaluate(["val"])


def test_other_subtitles_are_asked_anew(make: Maker, tmp_path: Path) -> None:
    files = [tmp_path / "a.srt", tmp_path / "b.srt"]
    for file in files:
        file.write_text("1\n")
    data = FakeData(4, "val")
    data.side_files = lambda index: [files[index // 2]]  # type: ignore[attr-defined]
    runner, _ = make(eval_data={"val": {"fake": data}})
    runner.evaluate(["val"])
    files[1].write_text("2\n")
    other, model = make(eval_data={"val": {"fake": data}})
    other.evaluate(["val"])
    assert model.asked == ["val_2", "val_3"]


def test_the_log_tells_how_fast_it_was(make: Maker, caplog: pytest.LogCaptureFixture) -> None:
    runner, _ = make()
    with caplog.at_level("INFO", logger="lavis"):
        runner.evaluate(["val"])
    assert re.search(r"fake_val: 5 queries in 0:0\d, \S+ a second", caplog.text)

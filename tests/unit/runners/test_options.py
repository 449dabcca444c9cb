"""Options of a training in one process: average, dropped steps, precision, profiler, and what the settings refuse."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lavis.common.checkpoint import read_checkpoint
from lavis.runners.ema import Ema
from lavis.runners.failures import LossGuard, RunError
from lavis.runners.hooks.base import Hook, StepRecord
from lavis.runners.hooks.profiler import Profiler
from lavis.runners.runner import Runner
from lavis.structures import Batch
from tests.fake_run import FakeModel, run_config

Maker = Callable[..., Runner]


class Weights(Hook):
    """Keeps the weights after every iteration."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Tensor]] = []

    def step(self, runner: Runner, record: StepRecord) -> None:
        self.rows.append({name: tensor.clone() for name, tensor in runner.engine.weights().items()})


def test_the_average_is_that_of_the_formula_and_is_what_is_kept(make: Maker) -> None:
    model = FakeModel()
    start = {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}
    runner = make(model=model, epochs=1, ema=0.9)
    seen = Weights()
    runner.hooks.append(seen)
    runner.train()
    for name, average in start.items():
        for row in seen.rows:
            average.lerp_(row[name], 0.1)
    best = read_checkpoint(runner.best).state
    assert all(torch.allclose(best[name], average, atol=1e-7) for name, average in start.items())
    assert all(torch.equal(tensor, seen.rows[-1][name]) for name, tensor in runner.engine.weights().items())


def test_it_is_the_average_that_answers(make: Maker) -> None:
    runner = make(epochs=1, ema=0.9, test_splits=["test"])
    answering: list[Tensor] = []
    plain = runner.task.predict

    def predict(model: Any, batch: Batch) -> Any:
        answering.append(model.head.weight.detach().clone())
        return plain(model, batch)

    runner.task.predict = predict  # type: ignore[method-assign]
    runner.train()
    best = read_checkpoint(runner.best).state["head.weight"]
    assert len(answering) > 3
    assert all(torch.equal(weight, best) for weight in answering), "in validation and in the test"


def test_a_resumed_average_goes_on_to_the_bit(make: Maker) -> None:
    whole = make("whole", epochs=2, ema=0.9)
    whole.train()
    make("parts", epochs=2, ema=0.9, max_steps=3, valid_splits=[]).train()
    parts = make("parts", epochs=2, ema=0.9)
    parts.train()
    states = [read_checkpoint(runner.best).state for runner in (whole, parts)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_an_average_may_begin_later(make: Maker, caplog: pytest.LogCaptureFixture) -> None:
    make(epochs=2, max_steps=4).train()
    make(epochs=2, ema=0.9).train()
    assert "the checkpoint has no moving average" in caplog.text


def test_the_average_of_low_precision_weights_is_exact() -> None:
    layer = nn.Linear(2, 2, dtype=torch.bfloat16)
    average = Ema(0.999, layer.named_parameters())
    before = layer.weight.detach().clone()
    with torch.no_grad():
        layer.weight.add_(1.0)
    average.update(layer.named_parameters())
    moved = average.average["weight"] - before.float()
    assert torch.allclose(moved, torch.full((2, 2), 0.001), rtol=0.05)
    with average.applied(layer):
        assert not torch.equal(layer.weight, before + 1.0)
    assert torch.equal(layer.weight, before + 1.0)


def bad_at(*calls: int) -> FakeModel:
    """A model whose loss is no number at some of its calls, counted from 1."""
    model = FakeModel()
    plain, count = model.forward, 0

    def forward(batch: Batch) -> dict[str, Tensor]:
        nonlocal count
        count += 1
        return {"lm": plain(batch)["lm"] * (float("nan") if count in calls else 1.0)}

    model.forward = forward  # type: ignore[method-assign]
    return model


def test_a_dropped_step_changes_no_weight_and_is_counted(make: Maker, tmp_path: Path) -> None:
    runner = make(model=bad_at(2, 4), epochs=2, on_nonfinite="skip", ema=0.9)
    seen = Weights()
    runner.hooks.append(seen)
    runner.train()
    for bad in (1, 3):
        assert all(torch.equal(seen.rows[bad][name], seen.rows[bad - 1][name]) for name in seen.rows[0])
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    dropped = [(row["step"], row["skipped_steps"]) for row in rows if "skipped_steps" in row]
    assert dropped == [(2, 1), (4, 2)]
    assert (runner.progress.skipped, runner.progress.skipped_in_a_row) == (2, 0)


def test_iterations_before_a_bad_one_of_the_same_step_are_dropped_with_it(make: Maker) -> None:
    runner = make(model=bad_at(1), batch_size=1, accumulate=2, epochs=1, on_nonfinite="skip", valid_splits=[])
    runner.train()
    assert runner.progress.skipped == 1
    assert all(bool(torch.isfinite(tensor).all()) for tensor in runner.engine.weights().values())


def test_too_many_dropped_steps_in_a_row_end_the_run(make: Maker) -> None:
    runner = make(model=bad_at(2, 3, 4), on_nonfinite="skip", max_skips=2)
    with pytest.raises(RunError, match=r"3 optimizer steps in a row were dropped, run\.max_skips is 2.*lm=nan.*train_"):
        runner.train()


def test_the_count_in_a_row_survives_an_interruption(make: Maker) -> None:
    first = make(model=bad_at(1, 2), on_nonfinite="skip", max_skips=2, max_steps=2, valid_splits=[])
    first.train()
    again = make(model=bad_at(1), on_nonfinite="skip", max_skips=2)
    with pytest.raises(RunError, match="3 optimizer steps in a row"):
        again.train()


def infinite_gradient() -> FakeModel:
    model = FakeModel()
    model.head.weight.register_hook(lambda grad: grad * float("inf"))
    return model


def test_a_gradient_that_is_no_number(make: Maker) -> None:
    with pytest.raises(RunError, match=r"the gradient is no finite number \(norm (inf|nan)\), though the loss is one"):
        make(model=infinite_gradient(), clip_grad_norm=1.0).train()
    runner = make(
        "other", model=infinite_gradient(), clip_grad_norm=1.0, on_nonfinite="skip", epochs=1, valid_splits=[]
    )
    before = {name: tensor.clone() for name, tensor in runner.engine.weights().items()}
    runner.train()
    assert runner.progress.skipped == 4
    assert all(torch.equal(tensor, before[name]) for name, tensor in runner.engine.weights().items())


def test_overflows_of_a_loss_scaler_are_no_faults(make: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    runner = make(model=infinite_gradient(), clip_grad_norm=1.0, epochs=1, max_steps=1, valid_splits=[])
    monkeypatch.setattr(type(runner.engine), "scaler", property(lambda engine: object()))
    runner.steps._step(StepRecord(0, 0, 0, {}, 0.1), runner.progress)
    assert runner.progress.skipped == 0


def test_a_guard_looks_at_new_losses_only() -> None:
    guard = LossGuard("skip")
    guard.add({"lm": torch.tensor(float("nan"))}, ["a"])
    assert guard.fault("here") == "here: the loss is no finite number (lm=nan) for the samples a"
    assert guard.fault("here") is None


def test_bf16_trains(make: Maker, tmp_path: Path) -> None:
    runner = make(precision="bf16", epochs=8)
    runner.train()
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    losses = [row["loss"] for row in rows if "loss" in row]
    assert sum(losses[-4:]) < sum(losses[:4])
    assert all(tensor.dtype == torch.float32 for tensor in runner.engine.weights().values())


def test_frozen_parts_have_no_gradient_and_no_state(make: Maker) -> None:
    model = FakeModel()
    before = {name: tensor.clone() for name, tensor in model.frozen.state_dict().items()}
    runner = make(model=model, weight_decay=0.5, ema=0.9)
    runner.train()
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.frozen.state_dict().items())
    held = {id(p) for p in runner.engine.optimizer.state}
    assert held.isdisjoint({id(p) for p in model.frozen.parameters()})
    assert runner.engine.ema is not None
    assert not any(name.startswith("frozen") for name in runner.engine.ema.average)


@pytest.mark.parametrize("sharded", [True, False])
def test_shards_of_one_process(make: Maker, sharded: bool) -> None:
    """A checkpoint of either form goes on with either setting."""
    whole = make("whole", ema=0.9)
    whole.train()
    make("parts", ema=0.9, max_steps=3, valid_splits=[], sharded_checkpoints=sharded).train()
    parts = make("parts", ema=0.9, sharded_checkpoints=not sharded)
    parts.train()
    one, two = whole.engine.weights(), parts.engine.weights()
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_the_profiler_leaves_a_trace_and_a_table(make: Maker, tmp_path: Path) -> None:
    make(hooks=[{"name": "profiler", "first": 1, "steps": 2}], epochs=1, valid_splits=[]).train()
    folder = tmp_path / "run" / "profile"
    table = (folder / "operators.txt").read_text()
    assert "aten::" in table and "Self CPU" in table
    with gzip.open(folder / "trace.json.gz", "rt") as file:
        assert json.load(file)["traceEvents"]


def test_a_profiler_that_comes_too_late_says_so(make: Maker, caplog: pytest.LogCaptureFixture) -> None:
    make(hooks=[{"name": "profiler", "first": 50}], epochs=1, valid_splits=[]).train()
    assert "the profiler recorded nothing" in caplog.text
    with pytest.raises(ValueError, match="at least 1"):
        Profiler(first=0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"ema": 1.0}, "ema must be above 0 and below 1"),
        ({"hang_timeout": 0}, "hang_timeout must be above 0"),
        ({"max_skips": -1}, "max_skips must be at least 0"),
        ({"strategy": "deepspeed", "on_nonfinite": "skip"}, "not possible with strategy=deepspeed"),
        ({"zero_stage": 4}, "zero_stage"),
        ({"activation_checkpointing": "magic"}, "activation_checkpointing"),
        ({"compile": "fast"}, "compile"),
        ({"on_nonfinite": "ignore"}, "on_nonfinite"),
        ({"sharded_checkpoints": "yes"}, "sharded_checkpoints"),
    ],
)
def test_settings_that_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        run_config(**settings)


@pytest.mark.parametrize("value", [True, False, "none", "torch", "fairscale"])
def test_earlier_ways_to_ask_for_recomputed_activations(value: object) -> None:
    assert run_config(activation_checkpointing=value).activation_checkpointing == value

"""The loop: accumulation, validation, best weights, stopping and going on, and ends that are no goal."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from lavis.common.checkpoint import CheckpointError, read_checkpoint
from lavis.runners.failures import Interrupted, RunError, StopRequest, memory_advice
from lavis.runners.hooks.base import Hook, StepRecord
from lavis.runners.runner import Runner
from lavis.runners.state import Snapshot
from lavis.structures import Batch
from tests.fake_run import FakeData, FakeModel, StartError

Maker = Callable[..., Runner]


class Calls(Hook):
    """Notes the events, and does something after an iteration."""

    def __init__(self, at: int = -1, action: Callable[[Runner], None] = lambda runner: None) -> None:
        self.at = at
        self.action = action
        self.events: list[str] = []
        self.rates: list[float] = []

    def step(self, runner: Runner, record: StepRecord) -> None:
        self.rates.append(record.rate)
        if record.global_step + 1 == self.at:
            self.action(runner)

    def trained(self, runner: Runner) -> None:
        self.events.append("trained")

    def validate(self, runner: Runner) -> None:
        self.events.append("validate")

    def evaluated(self, runner: Runner, name: str, metrics: Mapping[str, float]) -> None:
        self.events.append(name)


def weights(runner: Runner) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in runner.engine.weights().items()}


def equal(one: Mapping[str, Tensor], two: Mapping[str, Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def test_training_lowers_the_loss_and_leaves_frozen_weights(make: Maker, tmp_path: Path) -> None:
    model = FakeModel()
    frozen = model.frozen.weight.clone()
    make(model=model, epochs=8).train()
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    losses = [row["loss"] for row in rows if "loss" in row]
    assert sum(losses[-4:]) < sum(losses[:4])
    assert torch.equal(model.frozen.weight, frozen)
    assert len(losses) == 32


def without_noise(make: Maker, folder: str, **settings: Any) -> dict[str, Tensor]:
    model = FakeModel()
    model.dropout.p = 0.0
    runner = make(folder, model, valid_splits=[], train_data=[FakeData(6, "train")], epochs=1, **settings)
    runner.train()
    return weights(runner)


def test_accumulated_mean_is_a_larger_batch(make: Maker) -> None:
    small = without_noise(make, "a", batch_size=1, accumulate=3)
    large = without_noise(make, "b", batch_size=3)
    assert all(torch.allclose(small[name], large[name], atol=1e-6) for name in large)


def test_leftover_iterations_step_by_themselves(make: Maker) -> None:
    uneven = without_noise(make, "a", batch_size=1, accumulate=4)
    runner_weights = without_noise(make, "b", batch_size=1, accumulate=4, leftover="carry")
    assert not equal(uneven, runner_weights)


def test_sum_and_carry_are_the_loop_of_calce(make: Maker) -> None:
    model, by_hand = FakeModel(), FakeModel()
    model.dropout.p = by_hand.dropout.p = 0.0
    runner = make(
        model=model,
        batch_size=1,
        accumulate=4,
        accumulation="sum",
        leftover="carry",
        valid_splits=[],
        train_data=[FakeData(6, "train")],
        schedule="constant",
    )
    runner.train()
    groups = runner.engine.optimizer.param_groups
    names = dict(by_hand.named_parameters())
    own = [{"params": [names[n] for n in group["names"]], "weight_decay": group["weight_decay"]} for group in groups]
    optimizer = torch.optim.AdamW(own, lr=1e-2)
    for epoch in range(2):
        runner.sampler.set_position(epoch)
        for index, batch in enumerate(runner.loader):
            by_hand(batch)["lm"].backward()
            if (index + 1) % 4 == 0:
                optimizer.step()
                optimizer.zero_grad()
    assert all(torch.equal(weight, names[name]) for name, weight in weights(runner).items())


def test_validation_after_each_epoch_and_tests_with_the_best_weights(make: Maker, tmp_path: Path) -> None:
    scores = iter([-1.0, -3.0, -2.0])
    runner = make(epochs=3, test_splits=["test"])
    calls = Calls()
    runner.hooks.append(calls)
    plain, seen = runner.task.evaluate, []

    def evaluate(samples: Any, predictions: Any) -> dict[str, float]:
        seen.append(weights(runner))
        return plain(samples, predictions) | ({"agg_metrics": next(scores)} if len(samples) == 5 else {})

    runner.task.evaluate = evaluate  # type: ignore[method-assign]
    runner.train()
    assert [name for name in calls.events if name.startswith("fake")] == ["fake_val"] * 3 + ["fake_test"]
    best = read_checkpoint(tmp_path / "run" / "checkpoints" / "best.safetensors")
    assert equal(best.state, seen[0])
    assert equal(seen[3], seen[0])
    assert not equal(seen[2], seen[0])
    assert best.metadata["chosen_by"] == "agg_metrics -1 on val"
    figures = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert figures["fake_val"]["agg_metrics"] == -1.0
    assert set(figures) == {"fake_val", "fake_test"}


def test_tests_with_the_last_weights_if_wanted(make: Maker) -> None:
    runner = make(epochs=2, test_splits=["test"], test_weights="last", monitor={"mode": "min"})
    runner.train()
    assert runner.latest is not None
    last = read_checkpoint(runner.latest / "weights.safetensors").state
    assert equal(weights(runner), last)


def test_validation_every_other_epoch_and_after_the_last(make: Maker) -> None:
    runner = make(epochs=3, eval_every=2)
    calls = Calls()
    runner.hooks.append(calls)
    runner.train()
    assert calls.events == ["trained", "trained", "fake_val", "validate", "trained", "fake_val", "validate"]


def test_without_validation_the_last_weights_are_the_best(make: Maker) -> None:
    runner = make(valid_splits=[], test_splits=["test"])
    results = runner.train()
    assert read_checkpoint(runner.best).metadata["chosen_by"] == "last epoch: there was no validation"
    assert results["fake_test"]["total"] == 3


def test_a_metric_that_is_not_there_is_noticed_before_anything_is_done(
    make: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = make()
    whole.train()
    kept = sorted(whole.saver.folder.iterdir())
    monkeypatch.setattr(StartError, "predictable", True)
    runner = make(monitor={"metric": "mAP"}, resume="never")
    with pytest.raises(ValueError, match=r"wants 'mAP' of the split 'val'.*will give .*agg_metrics, error, skipped"):
        runner.train()
    assert runner.progress.global_step == 0
    assert sorted(whole.saver.folder.iterdir()) == kept
    make("other", monitor={"metric": "skipped", "mode": "min"}).train()


def test_a_metric_that_cannot_say_its_names_costs_no_training(make: Maker) -> None:
    with pytest.raises(
        ValueError, match=r"run\.monitor wants 'mAP' of the split 'val'.*gave.*error, agg_metrics, total"
    ):
        make(monitor={"metric": "mAP"}).train()
    again, calls = make(), Calls()
    again.hooks.append(calls)
    again.train()
    assert len(calls.rates) == 4  # the second epoch
    assert len(again.engine.model.asked) == 5  # type: ignore[union-attr,arg-type] # and its validation


def test_max_steps_and_going_on(make: Maker) -> None:
    whole = make("whole", max_steps=7, epochs=3, valid_splits=[])
    whole.train()
    make("parts", max_steps=3, epochs=3, valid_splits=[]).train()
    parts = make("parts", max_steps=7, epochs=3, valid_splits=[])
    parts.train()
    assert equal(weights(whole), weights(parts))
    assert (parts.progress.epoch, parts.progress.step, parts.progress.global_step) == (1, 3, 7)


def test_debugging_is_short(make: Maker) -> None:
    runner = make(debug=True, batch_size=1, epochs=50)
    runner.train()
    assert runner.progress.global_step == 7


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("at", [2, 3])
def test_a_signal_saves_and_the_next_run_goes_on(make: Maker, number: signal.Signals, at: int) -> None:
    settings: dict[str, Any] = {"accumulate": 2, "valid_splits": ["val"], "leftover": "carry"}
    whole = make("whole", **settings)
    whole.train()
    stopped = make("stopped", **settings)
    stopped.hooks.append(Calls(at, lambda runner: os.kill(os.getpid(), number)))
    before = signal.getsignal(number)
    with pytest.raises(SystemExit) as caught:
        stopped.train()
    assert isinstance(caught.value, Interrupted)
    assert caught.value.code == 128 + number
    assert signal.getsignal(number) == before
    again = make("stopped", **settings)
    calls = Calls()
    again.hooks.append(calls)
    again.train()
    assert len(calls.rates) == 8 - at
    assert equal(weights(whole), weights(again))


@pytest.mark.parametrize("beside", [False, True])
def test_a_signal_during_a_save(make: Maker, beside: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, written = Snapshot.write, []

    def write(self: Snapshot, folder: Path) -> list[Path]:
        written.append(folder)
        if len(written) == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return plain(self, folder)

    monkeypatch.setattr(Snapshot, "write", write)
    settings: dict[str, Any] = {"save_steps": 1, "async_save": beside}
    with pytest.raises(Interrupted):
        make("stopped", **settings).train()
    names = sorted(path.name for path in (make("stopped").saver.folder).iterdir())
    assert names in (["step_000002", "step_000003"], ["step_000003", "step_000004"])
    again = make("stopped", **settings)
    again.train()
    whole = make("whole")
    whole.train()
    assert equal(weights(whole), weights(again))


def test_one_wish_to_stop_may_arrive_twice(make: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    def twice(runner: Runner) -> None:
        os.kill(os.getpid(), signal.SIGINT)  # from the terminal
        os.kill(os.getpid(), signal.SIGTERM)  # from the launcher, which got it as well

    for echo, end in ((60.0, Interrupted), (-1.0, KeyboardInterrupt)):
        monkeypatch.setattr(StopRequest, "ECHO", echo)
        runner = make(resume="never")
        runner.hooks.append(Calls(2, twice))
        with pytest.raises(end):
            runner.train()


def test_a_stop_during_validation_is_saved_though_no_checkpoint_was_due(make: Maker) -> None:
    stopped = make("a", save_every=9)
    stopped.hooks.insert(0, StopsValidation())
    with pytest.raises(Interrupted):
        stopped.train()
    again = make("a", save_every=9)
    calls = Calls()
    again.hooks.append(calls)
    again.train()
    assert len(calls.rates) == 4
    assert calls.events.count("validate") == 2


class StopsValidation(Hook):
    """Asks the process to stop when a validation begins."""

    def validate(self, runner: Runner) -> None:
        os.kill(os.getpid(), signal.SIGTERM)


def test_a_stop_during_validation_keeps_the_training(make: Maker) -> None:
    stopped = make("a", eval_batch_size=1)
    model = stopped.engine.model
    assert isinstance(model, FakeModel)
    plain = model.generate

    def generate(batch: Batch) -> Any:
        if len(model.asked) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return plain(batch)

    model.generate = generate  # type: ignore[method-assign]
    with pytest.raises(Interrupted):
        stopped.train()
    other = FakeModel()
    again = make("a", other, eval_batch_size=1)
    again.train()
    assert other.asked[:2] == ["val_3", "val_4"]
    whole = make("whole", eval_batch_size=1)
    whole.train()
    assert equal(weights(whole), weights(again))


def test_checkpoints_within_an_epoch(make: Maker) -> None:
    runner = make(save_steps=3, epochs=1, valid_splits=[])

    def crash(runner: Runner) -> None:
        raise OSError("disk on fire")

    runner.hooks.append(Calls(4, crash))
    with pytest.raises(OSError, match="fire"):
        runner.train()
    again = make(save_steps=3, epochs=1, valid_splits=[])
    calls = Calls()
    again.hooks.append(calls)
    again.train()
    assert len(calls.rates) == 1


def test_never_resuming_begins_anew(make: Maker) -> None:
    make(max_steps=2).train()
    again = make(max_steps=2, resume="never")
    calls = Calls()
    again.hooks.append(calls)
    again.train()
    assert len(calls.rates) == 2
    rows = [json.loads(line) for line in (again.folder / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if "loss" in row] == [1, 2]


def test_resuming_another_folder(make: Maker) -> None:
    first = make("first", epochs=1)
    first.train()
    second = make("second", epochs=2, resume=str(first.latest))
    second.train()
    whole = make("whole", epochs=2)
    # The schedule of one epoch differs from that of two, so only the count is compared.
    whole.train()
    assert second.progress.global_step == whole.progress.global_step == 8
    with pytest.raises(CheckpointError, match=r"is no checkpoint folder with a manifest.*set model\.weights"):
        make("third", resume="nowhere").train()


def test_nan_stops_before_it_reaches_the_weights(make: Maker) -> None:
    model = FakeModel()
    plain = model.forward

    def forward(batch: Batch) -> dict[str, Tensor]:
        bad = any(s.id == "train_3" for s in batch.samples)
        return {"lm": plain(batch)["lm"] * (float("nan") if bad else 1.0), "aux": torch.zeros(())}

    model.forward = forward  # type: ignore[method-assign]
    runner = make(model=model, accumulate=2)
    with pytest.raises(RunError, match=r"epoch 1, iteration \d: .*\(lm=nan, aux=0\) for the samples .*train_3"):
        runner.train()
    assert all(bool(torch.isfinite(tensor).all()) for tensor in weights(runner).values())
    assert runner.latest is None


def test_no_memory_says_what_to_do(make: Maker) -> None:
    model = FakeModel()

    def forward(batch: Batch) -> dict[str, Tensor]:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

    model.forward = forward  # type: ignore[method-assign]
    with pytest.raises(RunError, match=r"out of memory with 2 samples \(train_\d, train_\d\) of .*run.batch_size=1"):
        make(model=model).train()
    batch = Batch([], {})
    with pytest.raises(RunError, match=r"run\.eval_batch_size=1"), memory_advice(batch, training=False):
        raise MemoryError


def test_other_errors_are_not_dressed_up(make: Maker) -> None:
    model = FakeModel()

    def forward(batch: Batch) -> dict[str, Tensor]:
        raise RuntimeError("shape mismatch")

    model.forward = forward  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match="shape mismatch"):
        make(model=model).train()


def test_unreadable_samples_are_left_out(make: Maker) -> None:
    data = FakeData(8, "train", unreadable=[0, 1, 2, 3, 4])
    runner = make(train_data=[data], batch_size=1, epochs=1, valid_splits=[])
    runner.train()
    assert runner.progress.global_step == 8


def test_gradients_are_clipped(make: Maker, tmp_path: Path) -> None:
    make(clip_grad_norm=1e-3, max_steps=2, valid_splits=[]).train()
    row = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[0])
    assert row["grad_norm"] > 1e-3


def test_rates_follow_the_schedule(make: Maker) -> None:
    runner = make(
        warmup_steps=3, warmup_learning_rate=0.0, schedule={"name": "linear_warmup_cosine", "counter": "global"}
    )
    calls = Calls()
    runner.hooks.append(calls)
    runner.train()
    assert calls.rates == pytest.approx([0, 1e-2 / 3, 2e-2 / 3, 1e-2, 5e-3, 5e-3, 5e-3, 5e-3])

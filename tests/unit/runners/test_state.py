"""The state of a training: whole, in copies that the training does not change, and only for what it was made by."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from lavis.common import distributed
from lavis.common.checkpoint import CheckpointError, load_archive
from lavis.runners.checkpoints import verified
from lavis.runners.runner import Runner
from lavis.runners.state import Progress, Snapshot, capture, restore
from tests.fake_run import FakeModel, fake_runner, run_config


@pytest.fixture
def runner(tmp_path: Path) -> Iterator[Runner]:
    """Interrupted in the middle of an epoch and of an optimizer step."""
    runner = fake_runner(tmp_path, epochs=1, max_steps=3, accumulate=2, valid_splits=[], ema=0.9, log_every=2)
    runner.train()
    yield runner
    runner.engine.close()


def reload(runner: Runner, **changes: Any) -> Progress:
    assert runner.latest is not None
    manifest = {**verified(runner.latest), **changes}
    return restore(
        runner.latest, manifest, runner.engine, runner.schedule, global_batch=runner.global_batch, hooks=runner.hooks
    )


def captured(runner: Runner, copied: bool) -> Snapshot:
    return capture(
        runner.engine, runner.schedule, runner.progress, global_batch=runner.global_batch, pending=True,
        hooks=runner.hooks, copied=copied,
    )  # fmt: skip


def test_round_trip(runner: Runner) -> None:
    engine = runner.engine
    assert isinstance(engine.model, FakeModel)
    assert engine.ema is not None
    before = captured(runner, copied=True)
    with torch.no_grad():
        engine.model.head.weight.zero_()
        engine.model.head.weight.grad = None
        engine.ema.average["head.weight"].zero_()
        torch.rand(3)
    progress = reload(runner)
    assert progress.global_step == progress.step == 3
    assert same(captured(runner, copied=True), before)


def test_the_loss_scaler_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scalers: dict[int, torch.amp.GradScaler] = {}

    def scaler_of(engine: Any) -> torch.amp.GradScaler:
        return scalers.setdefault(id(engine), torch.amp.GradScaler("cpu", init_scale=8.0))

    runner = fake_runner(tmp_path, epochs=1, max_steps=2, valid_splits=[])
    monkeypatch.setattr(type(runner.engine), "scaler", property(scaler_of))
    scaler = runner.engine.scaler
    scaler.scale(torch.ones(1))
    scaler.update(3.0)
    runner.train()
    scaler.update(5.0)
    reload(runner)
    runner.engine.close()
    assert scaler.get_scale() == 3.0


def same(one: Any, two: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, two)
    if isinstance(one, Snapshot):
        return all(same(getattr(one, name), getattr(two, name)) for name in ("own", "weights", "shared"))
    if isinstance(one, dict):
        return one.keys() == two.keys() and all(same(one[key], two[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(two) and all(same(a, b) for a, b in zip(one, two, strict=True))
    return bool(one == two)


def test_all_that_goes_on_is_in_it(runner: Runner) -> None:
    assert runner.latest is not None
    own, shared = load_archive(runner.latest / "process0.pt"), load_archive(runner.latest / "state.pt")
    assert set(own) == {"random", "gradients", "hooks"}
    assert "head.weight" in own["gradients"]
    assert own["hooks"]["Log"]["count"] == 1
    assert set(shared) == {"optimizer", "scaler", "schedule", "average"}
    assert shared["optimizer"]["state"][0]["exp_avg"].numel() > 0
    assert "head.weight" in shared["average"]


def test_a_copy_shares_no_memory_with_the_training(runner: Runner) -> None:
    assert runner.engine.model is not None
    copy = captured(runner, copied=True)
    weights = {name: tensor.clone() for name, tensor in (copy.weights or {}).items()}
    moments = (copy.shared or {})["optimizer"]["state"][0]["exp_avg"].clone()
    with torch.no_grad():
        for parameter in runner.engine.model.parameters():
            parameter.add_(1)
            if parameter.grad is not None:
                parameter.grad.add_(1)
    runner.engine.step()
    assert same(copy.weights, weights)
    assert torch.equal((copy.shared or {})["optimizer"]["state"][0]["exp_avg"], moments)
    assert not same(captured(runner, copied=True).weights, weights)


def test_copied_or_not_the_files_are_the_same(runner: Runner, tmp_path: Path) -> None:
    for name, copied in (("a", False), ("b", True)):
        (tmp_path / name).mkdir()
        files = captured(runner, copied).write(tmp_path / name)
    assert [path.name for path in files] == ["process0.pt", "weights.safetensors", "state.pt"]
    for path in files:
        assert path.read_bytes() == (tmp_path / "a" / path.name).read_bytes()


def test_weights_that_learn_now_must_be_those_saved(runner: Runner) -> None:
    assert runner.engine.model is not None
    runner.engine.model.get_submodule("head").requires_grad_(False)
    with pytest.raises(CheckpointError, match=r"2 names differ, such as head\.bias, head\.weight"):
        reload(runner)


def test_groups_must_be_those_saved(runner: Runner) -> None:
    runner.engine.optimizer.param_groups[0]["names"] = ["other"]
    with pytest.raises(CheckpointError, match=r"optimizer state does not fit .* was run.weight_decay"):
        reload(runner)


def test_within_an_epoch_the_samples_of_an_iteration_must_be_as_many(runner: Runner) -> None:
    with pytest.raises(
        CheckpointError, match=r"within an epoch by 4 processes with 8 samples an iteration in all; now it is 1 with 2"
    ):
        reload(runner, processes=4, global_batch=8)
    progress = {**verified(runner.latest)["progress"], "step": 0}  # type: ignore[arg-type]
    assert reload(runner, processes=1, global_batch=8, progress=progress).step == 0


def test_another_number_of_processes_shares_the_gradients(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    own = load_archive(runner.latest / "process0.pt")["gradients"]  # type: ignore[operator]
    before = torch.get_rng_state()
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    runner.run = run_config(batch_size=1)
    assert reload(runner).step == 3
    assert torch.equal(torch.get_rng_state(), before)  # states of one process are not those of two
    assert runner.engine.model is not None
    found = {name: p.grad for name, p in runner.engine.model.named_parameters() if p.grad is not None}
    assert same(found, own)

"""The checkpoint to resume from: whole or recognised as torn, and only for what it was made by."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from lavis.common import distributed
from lavis.common.checkpoint import CheckpointError
from lavis.runners.runner import Runner
from lavis.runners.state import Progress, find_latest, load_latest, remove_latest, save_latest, save_progress
from tests.fake_run import FakeModel, fake_runner


@pytest.fixture
def runner(tmp_path: Path) -> Iterator[Runner]:
    runner = fake_runner(tmp_path, epochs=1, max_steps=2, valid_splits=[])
    runner.train()
    yield runner
    runner.engine.close()


def reload(runner: Runner) -> Progress:
    return load_latest(runner.latest, runner.engine, runner.schedule)


def test_round_trip(runner: Runner) -> None:
    model = runner.engine.model
    assert isinstance(model, FakeModel)
    before = {name: tensor.clone() for name, tensor in runner.engine.weights().items()}
    with torch.no_grad():
        model.head.weight.zero_()
    progress = reload(runner)
    assert progress.global_step == progress.step == 2
    assert all(torch.equal(tensor, before[name]) for name, tensor in runner.engine.weights().items())


@pytest.mark.parametrize("name", ["weights.safetensors", "state.pt", "process0.pt"])
def test_torn_file(runner: Runner, name: str) -> None:
    path = runner.latest / name
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(CheckpointError, match=rf"{name} is torn or was changed: \d+ bytes, \d+ were written; remove"):
        reload(runner)


def test_changed_or_lost_file(runner: Runner) -> None:
    path = runner.latest / "state.pt"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(CheckpointError, match="is torn or was changed"):
        reload(runner)
    path.unlink()
    with pytest.raises(CheckpointError, match="0 bytes"):
        reload(runner)


def test_torn_manifest(runner: Runner) -> None:
    manifest = runner.latest / "manifest.json"
    manifest.write_text(manifest.read_text()[:-30])
    with pytest.raises(CheckpointError, match=r"manifest\.json cannot be read"):
        reload(runner)
    manifest.unlink()
    with pytest.raises(CheckpointError, match=r"it is torn; remove it, or set run\.resume=never"):
        find_latest(runner.latest)


def test_interrupted_between_old_and_new(runner: Runner) -> None:
    old = runner.latest.with_name(".latest.old")
    runner.latest.rename(old)
    assert find_latest(runner.latest) == old
    remove_latest(runner.latest)
    assert find_latest(runner.latest) is None


def test_saving_again_replaces(runner: Runner) -> None:
    runner.progress.global_step = 9
    save_latest(runner.latest, runner.engine, runner.schedule, runner.progress, pending=False)
    assert reload(runner).global_step == 9
    runner.progress.validated = 7
    save_progress(runner.latest, runner.progress)
    assert reload(runner).validated == 7
    assert sorted(p.name for p in runner.latest.parent.iterdir()) == ["best.safetensors", "latest"]


def test_weights_that_learn_now_must_be_those_saved(runner: Runner) -> None:
    assert runner.engine.model is not None
    runner.engine.model.get_submodule("head").requires_grad_(False)
    with pytest.raises(CheckpointError, match=r"2 names differ, such as head\.bias, head\.weight"):
        reload(runner)


def test_groups_must_be_those_saved(runner: Runner) -> None:
    runner.engine.optimizer.param_groups[0]["names"] = ["other"]
    with pytest.raises(CheckpointError, match=r"optimizer state does not fit .* was run.weight_decay"):
        reload(runner)


def test_another_number_of_processes(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = runner.latest / "manifest.json"
    content = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**content, "processes": 4}))
    with pytest.raises(CheckpointError, match="within an epoch by 4 processes, now there are 1; start as many"):
        reload(runner)
    content["progress"]["step"] = 0
    manifest.write_text(json.dumps({**content, "processes": 4}))
    assert reload(runner).step == 0
    assert distributed.world_size() == 1

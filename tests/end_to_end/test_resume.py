"""A training of the tiny CALCE that is interrupted ends in the same bits as one that is not."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from lavis.common.checkpoint import load_archive, read_checkpoint
from lavis.common.config import Config, load_config
from lavis.common.registry import registry
from lavis.runners.checkpoints import checkpoints
from lavis.runners.hooks.base import Hook
from lavis.runners.run import train
from tests.end_to_end.tiny import Corpus, experiment, write_corpus

# Accumulated gradients, part of them carried over the end of an epoch, are the hardest state to keep.
RUN = {
    "epochs": 2, "batch_size": 2, "accumulate": 3, "accumulation": "sum", "leftover": "carry", "warmup_steps": 3,
    "warmup_learning_rate": 1e-8, "schedule": {"name": "linear_warmup_cosine", "counter": "calce"},
    "valid_splits": ["val"], "test_splits": [], "max_steps": 4,
}  # fmt: skip


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return write_corpus(tmp_path_factory.mktemp("resume"), train=4, val=1, test=1)


@pytest.fixture(scope="module")
def straight(corpus: Corpus) -> Path:
    return train(config(corpus, "straight"))


def config(corpus: Corpus, name: str, **run: Any) -> Config:
    return load_config(experiment(corpus, f"resume/{name}", run={**RUN, **run}))


def same(one: Any, two: Any) -> bool:
    """Whether two saved states are equal to the last bit."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, two)
    if isinstance(one, dict):
        return one.keys() == two.keys() and all(same(one[key], two[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(two) and all(same(a, b) for a, b in zip(one, two, strict=True))
    return bool(one == two)


def assert_same_end(one: Path, two: Path) -> None:
    """Weights, optimizer, gradients carried over, random states, losses and answers."""
    assert same(*(read_checkpoint(folder / "checkpoints" / "best.safetensors").state for folder in (one, two)))
    for name in ("weights.safetensors", "state.pt", "process0.pt"):
        assert (latest(one) / name).read_bytes() == (latest(two) / name).read_bytes()
    assert len(load_archive(latest(one) / "process0.pt")["gradients"]) > 0
    assert losses(one) == losses(two)
    files = [folder / "predictions" / "clips_val.jsonl" for folder in (one, two)]
    assert files[0].read_text() == files[1].read_text()


def latest(folder: Path) -> Path:
    return checkpoints(folder / "checkpoints")[-1]


def losses(folder: Path) -> list[tuple[int, float, float]]:
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [(row["step"], row["loss"], row["lr"]) for row in rows if "loss" in row]


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_four_steps_are_some_and_the_rest(corpus: Corpus, straight: Path, steps: int) -> None:
    train(config(corpus, f"after_{steps}", max_steps=steps))
    # What is validated after the interruption is not part of the straight run.
    folder = train(config(corpus, f"after_{steps}"))
    assert losses(folder) == losses(straight)
    for name in ("state.pt", "process0.pt"):
        assert same(*(load_archive(latest(f) / name) for f in (folder, straight)))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_signal_and_the_rest(
    corpus: Corpus, straight: Path, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(registry.hooks._entries, "tests_terminate", Terminate)  # for this test alone
    name = f"signal_{workers}"
    with pytest.raises(SystemExit) as stopped:
        train(config(corpus, name, num_workers=workers, hooks=["tests_terminate"]))
    assert stopped.value.code == 128 + signal.SIGTERM
    folder = train(config(corpus, name, num_workers=workers))
    assert_same_end(folder, straight)


class Terminate(Hook):
    """Asks the process to stop after its third iteration."""

    def step(self, runner: Any, record: Any) -> None:
        if record.global_step == 2:
            os.kill(os.getpid(), signal.SIGTERM)

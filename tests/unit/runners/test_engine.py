"""Device, precision, seeds and threads of one process; several processes are in the end-to-end tests."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from lavis.common.checkpoint import CheckpointError
from lavis.runners.activations import checkpoint_activations, transformer_blocks
from lavis.runners.devices import choose_strategy
from lavis.runners.engine import Engine
from lavis.runners.optim import build_optimizer
from lavis.runners.randomness import random_state, seed_everything, set_random_state


class Stack(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(4, 4) for _ in range(3)])
        self.mixed = nn.ModuleList([nn.Linear(4, 4), nn.LayerNorm(4)])
        self.layers[0].requires_grad_(False)
        self.dropout = nn.Dropout(0.5)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        for layer in self.layers:
            x = self.dropout(layer(x)).tanh()
        return {"lm": x.square().mean()}


def optimizer(named: Any) -> torch.optim.Optimizer:
    return build_optimizer(named, learning_rate=0.1)


@pytest.fixture
def engines() -> Iterator[list[Engine]]:
    made: list[Engine] = []
    yield made
    for engine in made:
        engine.close()


def test_one_process_on_a_cpu_needs_no_launcher(engines: list[Engine]) -> None:
    engine = Engine(device="cpu", clip_grad_norm=0.1)
    engines.append(engine)
    model = Stack()
    engine.prepare(model, optimizer)
    before = model.layers[1].weight.clone()
    with engine.accumulating(True):
        engine.backward(engine.losses(torch.ones(2, 4))["lm"])
    norm = engine.step()
    assert norm is not None
    assert norm > 0
    assert not torch.equal(model.layers[1].weight, before)
    assert model.layers[1].weight.grad is None
    assert str(engine) == "cpu in fp32"


def test_one_process_shares_nothing_and_says_so(engines: list[Engine], caplog: pytest.LogCaptureFixture) -> None:
    engine, model = Engine(device="cpu", strategy="fsdp2"), Stack()
    engines.append(engine)
    with caplog.at_level("INFO"):
        engine.prepare(model)
    assert caplog.text.count("run.strategy=fsdp2 shares nothing: there is one process") == 1
    assert not any(hasattr(p, "to_local") for p in model.parameters())


def test_one_process_of_several_that_were_asked_for_is_said(
    engines: list[Engine], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """``accelerate launch --cpu --num_processes 2`` starts one, with these variables."""
    monkeypatch.setenv("ACCELERATE_USE_CPU", "True")
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with caplog.at_level("WARNING", logger="lavis"):
        engines.append(Engine(device="cpu"))
    assert "one process on a CPU whatever --num_processes says" in caplog.text


@pytest.mark.parametrize(("variable", "told"), [("FSDP", "fsdp2"), ("DEEPSPEED", "deepspeed"), ("CPU", "ddp")])
def test_auto_is_what_accelerate_was_told(monkeypatch: pytest.MonkeyPatch, variable: str, told: str) -> None:
    for name in ("FSDP", "DEEPSPEED"):
        monkeypatch.delenv(f"ACCELERATE_USE_{name}", raising=False)
    monkeypatch.setenv(f"ACCELERATE_USE_{variable}", "true")
    assert choose_strategy("auto") == told
    assert not {"ACCELERATE_USE_FSDP", "ACCELERATE_USE_DEEPSPEED"} & set(os.environ), "accelerate would shard too"
    monkeypatch.setenv(f"ACCELERATE_USE_{variable}", "true")
    assert choose_strategy("ddp") == "ddp"


def test_precision_is_that_of_autocast(engines: list[Engine]) -> None:
    seen: list[torch.dtype] = []

    class Sees(Stack):
        def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
            seen.append(self.layers[0](x).dtype)
            return super().forward(x)

    engine = Engine(device="cpu", precision="bf16", eval_precision="fp32")
    engines.append(engine)
    engine.prepare(Sees(), optimizer)
    assert engine.losses(torch.ones(2, 4))["lm"].dtype == torch.float32
    with engine.evaluating() as model:
        seen.append(model.layers[0](torch.ones(1, 4)).dtype)  # type: ignore[index]
    assert seen == [torch.bfloat16, torch.float32]


def test_another_precision_may_follow_in_the_same_process() -> None:
    for precision in ("bf16", "fp32"):
        engine = Engine(device="cpu", precision=precision)  # type: ignore[arg-type]
        engine.close()


def test_what_the_machine_lacks_is_said() -> None:
    with pytest.raises(ValueError, match="fp16 needs a GPU; on a CPU use fp32 or bf16"):
        Engine(device="cpu", precision="fp16")
    with pytest.raises(ValueError, match="run.eval_precision=fp16 needs a GPU"):
        Engine(device="cpu", eval_precision="fp16")
    with pytest.raises(ValueError, match="must be auto, cpu, cuda"):
        Engine(device="tpu")
    with pytest.raises(ValueError, match="strategy must be"):
        Engine(device="cpu", strategy="magic")  # type: ignore[arg-type]
    with pytest.raises(
        ValueError, match=r"deepspeed needs its package .*pip install .lavis\[deepspeed\]|zero_stage must be"
    ):
        Engine(device="cpu", strategy="deepspeed", zero_stage=3)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there() -> None:
    with pytest.raises(ValueError, match="sees no GPU"):
        Engine(device="cuda:1")


def test_seeds(engines: list[Engine]) -> None:
    def draw() -> tuple[float, float, float]:
        engines.append(Engine(device="cpu", seed=3))
        return random.random(), float(np.random.rand()), float(torch.rand(1))

    assert draw() == draw()


def test_threads_on_a_cpu(engines: list[Engine], monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", asked.append)
    engines.append(Engine(device="cpu"))
    assert asked == []
    monkeypatch.delenv("OMP_NUM_THREADS")
    engines.append(Engine(device="cpu"))
    engines.append(Engine(device="cpu", threads=3))
    assert asked == [1, 3]


def test_random_states_come_back() -> None:
    seed_everything(4)
    state = random_state()
    first = random.random(), float(np.random.rand()), float(torch.rand(1))
    set_random_state(state)
    assert (random.random(), float(np.random.rand()), float(torch.rand(1))) == first


def test_evaluating_leaves_training_as_it_was(engines: list[Engine]) -> None:
    engine = Engine(device="cpu")
    engines.append(engine)
    model = Stack().train()
    engine.prepare(model, optimizer)
    expected = random_state()["torch"]
    with engine.evaluating() as evaluated:
        torch.rand(3)
        assert not evaluated.training
        assert not torch.is_grad_enabled()
    assert model.training
    assert torch.equal(random_state()["torch"], expected)


def test_weights_of_another_model_are_refused(engines: list[Engine]) -> None:
    engine = Engine(device="cpu")
    engines.append(engine)
    engine.prepare(Stack(), optimizer)
    weights = engine.weights()
    engine.load_weights(weights)
    weights.pop("layers.1.bias")
    with pytest.raises(CheckpointError, match=r"1 names differ, such as layers\.1\.bias"):
        engine.load_weights(weights)


def test_layers_are_stacks_of_one_class() -> None:
    assert [name for name, _ in transformer_blocks(Stack())] == ["layers.0", "layers.1", "layers.2"]


def test_recomputed_activations_give_the_same_gradients() -> None:
    gradients = []
    for recompute in (False, True):
        torch.manual_seed(1)
        model = Stack().train()
        names = list(model.state_dict())
        if recompute:
            assert checkpoint_activations(model) == ["layers.0", "layers.1", "layers.2"]
            assert list(model.state_dict()) == names
        model(torch.ones(2, 4))["lm"].backward()
        gradients.append(model.layers[1].weight.grad)
    assert torch.equal(gradients[0], gradients[1])


def test_models_of_transformers_use_their_own_switch() -> None:
    calls = []

    class Pretrained(Stack):
        supports_gradient_checkpointing = True

        def gradient_checkpointing_enable(self, gradient_checkpointing_kwargs: dict[str, Any]) -> None:
            calls.append(gradient_checkpointing_kwargs)

    class Outer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.llm = Pretrained()
            self.vit = Stack()

    assert checkpoint_activations(Outer()) == ["llm", "vit.layers.0", "vit.layers.1", "vit.layers.2"]
    assert calls == [{"use_reentrant": False}]

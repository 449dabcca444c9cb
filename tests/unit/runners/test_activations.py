"""Recomputed activations give the same gradients, by torch and by fairscale; compiling keeps names and numbers."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from lavis.runners.activations import checkpoint_activations, compile_learning, uncompiled

CPU = torch.device("cpu")


class Stack(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.layers = nn.ModuleList([nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5), nn.Tanh()) for _ in range(3)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        for layer in self.layers:
            x = x + layer(x)
        return x.square().mean()


def stack() -> tuple[nn.Module, dict[str, Any]]:
    return Stack(), {"x": torch.ones(2, 4)}


def t5() -> tuple[nn.Module, dict[str, Any]]:
    from transformers import T5Config, T5ForConditionalGeneration

    config = T5Config(
        vocab_size=50,
        d_model=16,
        d_kv=4,
        d_ff=32,
        num_layers=2,
        num_heads=4,
        dropout_rate=0.1,
        decoder_start_token_id=0,
    )
    ids = torch.arange(1, 13).reshape(2, 6)
    return T5ForConditionalGeneration(config), {"input_ids": ids, "labels": ids[:, :4].contiguous()}


def llama() -> tuple[nn.Module, dict[str, Any]]:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=50, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=4,
        attention_dropout=0.1,
    )  # fmt: skip
    ids = torch.arange(1, 13).reshape(2, 6)
    return LlamaForCausalLM(config), {"input_ids": ids, "labels": ids}


def learned(make: Callable[[], tuple[nn.Module, dict[str, Any]]], way: str) -> tuple[float, dict[str, torch.Tensor]]:
    """Loss and gradients of one step, with dropout."""
    torch.manual_seed(0)
    model, inputs = make()
    names = list(model.state_dict())
    found = checkpoint_activations(model.train(), way)  # type: ignore[arg-type]
    assert bool(found) == (way != "none")
    assert list(model.state_dict()) == names
    torch.manual_seed(1)
    output = model(**inputs)
    loss = output if isinstance(output, torch.Tensor) else output.loss
    loss.backward()
    return loss.item(), {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("make", [stack, t5, llama])
@pytest.mark.parametrize("way", ["torch", "fairscale"])
def test_losses_and_gradients_stay_the_same(make: Any, way: str) -> None:
    if way == "fairscale" and importlib.util.find_spec("fairscale") is None:
        pytest.skip("fairscale is not installed: pip install 'lavis[fairscale]'")
    loss, gradients = learned(make, "none")
    again, recomputed = learned(make, way)
    assert again == loss
    assert recomputed.keys() == gradients.keys()
    assert all(torch.allclose(recomputed[name], gradients[name], atol=1e-6) for name in gradients)


@pytest.mark.skipif(importlib.util.find_spec("fairscale") is not None, reason="fairscale is installed")
def test_a_missing_fairscale_is_named() -> None:
    with pytest.raises(ValueError, match=r"fairscale needs its package: pip install 'lavis\[fairscale\]'"):
        checkpoint_activations(Stack(), "fairscale")


@pytest.mark.parametrize(("way", "count"), [(True, 3), (False, 0), ("none", 0)])
def test_ways_by_their_earlier_names(way: Any, count: int) -> None:
    assert len(checkpoint_activations(Stack(), way)) == count


def test_only_layers_that_learn_are_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[tuple[nn.Module, Any]] = []
    monkeypatch.setattr(nn.Module, "compile", lambda self, mode=None: compiled.append((self, mode)))
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    model = Stack()
    model.layers[0].requires_grad_(False)
    names = list(model.state_dict())
    assert compile_learning(model, "max-autotune", CPU) == ["layers.1", "layers.2"]
    assert compiled == [(model.layers[1], "max-autotune"), (model.layers[2], "max-autotune")]
    assert compile_learning(model, False, CPU) == []
    assert list(model.state_dict()) == names
    model.requires_grad_(False)
    with pytest.raises(ValueError, match="no stack of layers of this model learns"):
        compile_learning(model, True, CPU)


def test_a_missing_compiler_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(ValueError, match=r"run\.compile needs a C\+\+ compiler \(.*g\+\+.*set run\.compile=false"):
        compile_learning(Stack(), True, CPU)


def test_evaluation_does_not_compile() -> None:
    model = Stack().eval()
    inputs = torch.ones(2, 4)
    plain = model(inputs)
    call = model.layers[1]._call_impl
    model.layers[1]._compiled_call_impl = compiled = lambda x: call(x) * 2  # type: ignore[assignment]
    assert not torch.equal(model(inputs), plain)
    with uncompiled(model):
        assert torch.equal(model(inputs), plain)
    assert model.layers[1]._compiled_call_impl is compiled

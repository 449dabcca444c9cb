"""The optimizer of every phase, and attention that learns fast on a CPU."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


class Optimizer:
    """AdamW with warm-up, cosine decay and clipping; norms and biases do not decay.

    Args:
        parameters: what learns.
        steps: length of the schedule.
        rate: highest learning rate.
        precision: ``bf16`` runs products in half the bits (several times faster where the CPU supports it).
    """

    def __init__(self, parameters: list[nn.Parameter], steps: int, rate: float, precision: str) -> None:
        self.parameters = [p for p in parameters if p.requires_grad]
        groups = [
            {"params": [p for p in self.parameters if p.ndim > 1], "weight_decay": 0.01},
            {"params": [p for p in self.parameters if p.ndim <= 1], "weight_decay": 0.0},
        ]
        self.adam = torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.98))
        self.steps, self.rate, self.bf16 = steps, rate, precision == "bf16"

    def autocast(self) -> torch.autocast:
        return torch.autocast("cpu", torch.bfloat16, enabled=self.bf16)

    def step(self, step: int, loss: Tensor) -> None:
        decay = 0.5 * (1 + math.cos(math.pi * step / self.steps))
        for group in self.adam.param_groups:
            group["lr"] = self.rate * min(1.0, (step + 1) / 100) * (0.97 * decay + 0.03)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.adam.step()
        self.adam.zero_grad(set_to_none=True)


@contextmanager
def eager_attention(t5: Any) -> Iterator[None]:
    """Within the block attention is plain: the fused one falls back to a slow path where the position bias learns."""
    before = t5.config._attn_implementation
    t5.set_attn_implementation("eager")
    try:
        yield
    finally:
        t5.set_attn_implementation(before)

"""How long an iteration takes, and how much memory of the GPU."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import torch

from lavis.common.registry import registry
from lavis.runners.hooks.base import Hook, StepRecord

if TYPE_CHECKING:
    from lavis.runners.runner import Runner


@registry.hooks.register("timer")
class Timer(Hook):
    """Adds ``seconds`` an iteration, the part of it that waits for data, and the peak of GPU memory in GiB."""

    def __init__(self) -> None:
        self._last: float | None = None

    def start(self, runner: Runner) -> None:
        self._last = None
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()

    def step(self, runner: Runner, record: StepRecord) -> None:
        now = time.perf_counter()
        if self._last is not None and record.step > 0:
            record.facts["seconds"] = now - self._last
        if runner.engine.device.type == "cuda":
            record.facts["peak_gib"] = torch.cuda.max_memory_allocated() / 2**30
        self._last = now

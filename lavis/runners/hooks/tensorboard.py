"""Curves for TensorBoard."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lavis.common import distributed
from lavis.common.registry import registry
from lavis.runners.hooks.base import Hook, StepRecord

if TYPE_CHECKING:
    from lavis.runners.runner import Runner


@registry.hooks.register("tensorboard")
class TensorBoard(Hook):
    """Curves for TensorBoard in ``<run>/tensorboard``; needs the package ``tensorboard``."""

    def __init__(self) -> None:
        self._writer: Any = None
        self._written = 0

    def start(self, runner: Runner) -> None:
        if not distributed.is_main():
            return
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise ValueError("run.hooks: tensorboard needs its package; pip install tensorboard") from error
        folder = runner.folder / "tensorboard"
        self._writer = SummaryWriter(str(folder), purge_step=runner.progress.global_step or None)

    def step(self, runner: Runner, record: StepRecord) -> None:
        row = runner.figures
        if self._writer is not None and row and row["step"] != self._written:
            self._written = int(row["step"])
            for name, value in row.items():
                self._writer.add_scalar(f"train/{name}", value, row["step"])

    def evaluated(self, runner: Runner, name: str, metrics: Mapping[str, float]) -> None:
        if self._writer is not None:
            for key, value in metrics.items():
                self._writer.add_scalar(f"{name}/{key}", value, runner.progress.global_step)

    def end(self, runner: Runner) -> None:
        if self._writer is not None:
            self._writer.close()

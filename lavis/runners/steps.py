"""From batches to optimizer steps: losses, gradients added up, and steps dropped where a loss is no number.

Ours, after the inner loop of LAVIS (Li et al., 2022; salesforce/LAVIS); unlike it, an unreadable batch of one process
keeps no other one waiting, and all processes take or drop an optimizer step together.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lavis.common import distributed
from lavis.common.io import append_jsonl
from lavis.common.logging import get_logger
from lavis.runners.failures import LossGuard, memory_advice
from lavis.runners.optim import Accumulation
from lavis.runners.state import Progress

if TYPE_CHECKING:
    from lavis.runners.engine import Engine
    from lavis.runners.hooks.base import StepRecord
    from lavis.structures import Batch

logger = get_logger(__name__)


class Steps:
    """Learns from one batch after the other; every process must call its methods equally often.

    Args:
        engine: holds the prepared model and its optimizer.
        accumulation: which iterations make up an optimizer step, and what their losses weigh.
        guard: looks at the losses.
        any_batch: gives a batch to a process whose own cannot be read.
        curves: file that dropped steps are noted in, ``metrics.jsonl``.

    ``pending`` tells whether there are gradients that no optimizer step has used.
    """

    def __init__(
        self,
        engine: Engine,
        accumulation: Accumulation,
        guard: LossGuard,
        any_batch: Callable[[], Batch],
        curves: Path,
    ) -> None:
        self.engine = engine
        self.accumulation = accumulation
        self.guard = guard
        self.curves = curves
        self.pending = False
        self._any_batch = any_batch
        self._spare: Batch | None = None

    def learn(self, batch: Batch | None, record: StepRecord, progress: Progress) -> bool:
        """One iteration; its losses and facts go into the ``record``.

        Args:
            batch: ``None`` if none of its samples could be read.
            record: of this iteration.
            progress: before this iteration; dropped steps are counted in it.

        Returns:
            whether it ended an optimizer step.

        Raises:
            RunError: if a loss is no finite number and the run is to end at it, or memory runs out.
        """
        last = self.accumulation.ends_step(progress.step)
        weight = self.accumulation.weight(progress.step, 0 if batch is None else len(batch))
        if batch is None and distributed.world_size() > 1:
            # The others wait for this process's gradients, so it contributes nothing rather than stay away.
            batch, weight = self._spare or self._any_batch(), 0.0
        if batch is not None:
            with self.engine.accumulating(last), memory_advice(batch, training=True):
                record.losses = self._backward(batch, weight)
            self.guard.add(record.losses, [sample.id for sample in batch.samples])
            self.pending = True
            self._spare = batch if distributed.world_size() > 1 else None
        if last:
            self.check(progress)
            if self.pending:
                self._step(record, progress)
            self.pending = False
        return last

    def check(self, progress: Progress) -> None:
        """Deals with losses since the last call that are no numbers: stops, or drops the gradients they are part of."""
        fault = self.guard.fault(_where(progress))
        if fault is not None:
            self._drop(fault, progress)

    def _backward(self, batch: Batch, weight: float) -> dict[str, Tensor]:
        losses = self.engine.losses(batch.to(self.engine.device))
        self.engine.backward(torch.stack(list(losses.values())).sum() * weight)
        return {name: value.detach() for name, value in losses.items()}

    def _step(self, record: StepRecord, progress: Progress) -> None:
        norm = self.engine.step()
        if norm is not None:
            record.facts["grad_norm"] = norm
            if self.engine.scaler is None and not math.isfinite(norm):
                self._drop(self.guard.bad_gradient(norm, _where(progress)), progress)
                return
        progress.skipped_in_a_row = 0

    def _drop(self, fault: str, progress: Progress) -> None:
        self.engine.drop_step()
        self.pending = False
        progress.skipped, progress.skipped_in_a_row = progress.skipped + 1, progress.skipped_in_a_row + 1
        logger.warning("%s; these gradients are dropped, the %d. time", fault, progress.skipped)
        if distributed.is_main():
            row = {"step": progress.global_step + 1, "epoch": progress.epoch, "skipped_steps": progress.skipped}
            try:
                append_jsonl(self.curves, [{**row, "reason": fault}])
            except OSError as error:
                logger.error("%s; the dropped step is counted in the checkpoint all the same", error)
        self.guard.check_budget(progress.skipped_in_a_row, fault)


def _where(progress: Progress) -> str:
    return f"epoch {progress.epoch + 1}, iteration {progress.step + 1}"

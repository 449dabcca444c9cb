"""Ends of a run that are not its goal, each with a message that says what to do: bad numbers, no memory, a stop."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch

from lavis.common.logging import get_logger
from lavis.structures import Batch

logger = get_logger(__name__)


class RunError(ValueError):
    """A run that cannot go on."""


class Interrupted(SystemExit):
    """The run was asked to stop; uncaught, it ends the program with the status the shell expects of that signal."""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.number = number


class StopRequest:
    """Notes SIGINT and SIGTERM instead of dying, so that the loop can end between two steps; a second one kills."""

    def __init__(self) -> None:
        self.number: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopRequest:
        # Only the main thread may set handlers; elsewhere (a notebook's worker, a server) signals are not ours.
        if threading.current_thread() is threading.main_thread():
            self._before = {n: signal.signal(n, self._note) for n in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def check(self) -> None:
        """Raises ``Interrupted`` if a stop was asked for."""
        if self.number is not None:
            raise Interrupted(self.number)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.number is not None:
            raise KeyboardInterrupt
        self.number = number
        logger.warning("%s: stopping after this step; once more stops at once", signal.Signals(number).name)


def check_finite(losses: Sequence[Mapping[str, torch.Tensor]], ids: Sequence[Sequence[str]], where: str) -> None:
    """Stops a training whose loss is no number, before it reaches the weights.

    Args:
        losses: of the iterations since the last optimizer step.
        ids: samples of each.
        where: epoch and iteration, for the message.

    Raises:
        RunError: naming the samples.
    """
    if not losses:
        return
    totals = torch.stack([torch.stack([v.detach().float() for v in row.values()]).sum() for row in losses])
    if bool(torch.isfinite(totals).all()):
        return
    first = int((~torch.isfinite(totals)).nonzero()[0])
    values = ", ".join(f"{name}={float(value):g}" for name, value in losses[first].items())
    raise RunError(
        f"{where}: the loss is no finite number ({values}) for the samples {', '.join(ids[first])}. Look at these "
        "samples; else lower run.learning_rate, set run.clip_grad_norm, or use run.precision=bf16 or fp32"
    )


@contextmanager
def memory_advice(batch: Batch, training: bool) -> Iterator[None]:
    """Turns running out of memory into a message with the batch and the settings that help."""
    try:
        yield
    except (torch.cuda.OutOfMemoryError, MemoryError) as error:
        key = "batch_size" if training else "eval_batch_size"
        frames = {name: [len(f) for f in view] for name, view in batch.views.items()}
        more = ", run.activation_checkpointing=true, several GPUs with run.strategy=fsdp2" if training else ""
        raise RunError(
            f"out of memory with {len(batch)} samples ({', '.join(s.id for s in batch.samples[:5])}) of {frames} "
            f"frames. Try run.{key}=1, run.precision=bf16, fewer frames (num_frames of the sampler){more}. {_usage()}"
        ) from error


def _usage() -> str:
    if not torch.cuda.is_available():
        return ""
    peak, total = torch.cuda.max_memory_allocated(), torch.cuda.get_device_properties(0).total_memory
    return f"Peak use was {peak / 2**30:.1f} of {total / 2**30:.1f} GiB."

"""Ends of a run that are not its goal, each with a message that says what to do: bad numbers, no memory, a stop."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any, Literal

import torch

from lavis.common import distributed
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
    """Notes SIGINT and SIGTERM instead of dying, so that the loop can end between two steps; a later one kills.

    One wish may arrive twice, from the terminal (or the scheduler) and from the launcher that passes it on, so one that
    follows within ``ECHO`` seconds is the same.
    """

    ECHO = 2.0

    def __init__(self) -> None:
        self.number: int | None = None
        self._since = 0.0
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

    def wanted(self, agreed: bool) -> bool:
        """Whether to stop here; several processes stop together.

        Args:
            agreed: whether all processes ask here, which costs them a message; where not, none of several stops.
        """
        if distributed.world_size() == 1:
            return self.number is not None
        return agreed and distributed.any_rank(self.number is not None)

    def now(self) -> None:
        """Raises ``Interrupted``, also in a process that was not asked itself."""
        self.number = self.number or signal.SIGTERM
        self.check()

    def agree(self) -> None:
        """Raises ``Interrupted`` in every process if any was asked to stop; every process must call."""
        asked = [number for number in distributed.gather_objects(self.number) if number is not None]
        if asked:
            self.number = asked[0]
            self.check()

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.number is None:
            self.number, self._since = number, time.monotonic()
            name = signal.Signals(number).name
            logger.warning("%s: stopping after this step; once more, a moment later, stops at once", name)
        elif time.monotonic() - self._since > self.ECHO:
            raise KeyboardInterrupt


class LossGuard:
    """Looks at the losses before they reach the weights; all processes come to the same end.

    Args:
        policy: ``raise`` stops the training, ``skip`` drops the gradients and goes on.
        limit: optimizer steps that may be dropped one after the other.
    """

    def __init__(self, policy: Literal["raise", "skip"] = "raise", limit: int = 10) -> None:
        self.policy = policy
        self.limit = limit
        self._losses: list[tuple[Mapping[str, torch.Tensor], Sequence[str]]] = []

    def add(self, losses: Mapping[str, torch.Tensor], ids: Sequence[str]) -> None:
        """Notes the losses of an iteration, and its samples."""
        self._losses.append((losses, ids))

    def fault(self, where: str) -> str | None:
        """What is wrong with the losses since the last call, on any process; every process must ask.

        Args:
            where: epoch and iteration, for the message.

        Raises:
            RunError: naming the samples, if the policy is to stop.
        """
        own = _not_finite(self._losses)
        self._losses = []
        if not distributed.any_rank(own is not None):
            return None
        rows = distributed.gather_objects(own)
        several = len(rows) > 1
        text = "; ".join(f"on process {rank} {row}" if several else row for rank, row in enumerate(rows) if row)
        return self._judged(f"{where}: the loss is no finite number {text}")

    def bad_gradient(self, norm: float, where: str) -> str:
        """The same for a gradient whose ``norm``, which all processes know, is no finite number."""
        return self._judged(f"{where}: the gradient is no finite number (norm {norm:g}), though the loss is one")

    def check_budget(self, in_a_row: int, fault: str) -> None:
        """Stops a training that drops one step after the other.

        Raises:
            RunError: with the last fault.
        """
        if in_a_row > self.limit:
            raise RunError(
                f"{in_a_row} optimizer steps in a row were dropped, run.max_skips is {self.limit}. The last: {fault}. "
                f"{_NUMBERS}"
            )

    def _judged(self, fault: str) -> str:
        if self.policy == "raise":
            raise RunError(f"{fault}. {_NUMBERS}, or go on without such steps with run.on_nonfinite=skip")
        return fault


_NUMBERS = (
    "Look at these samples; else lower run.learning_rate, set run.clip_grad_norm, or use run.precision=bf16 or fp32"
)


def _not_finite(rows: Sequence[tuple[Mapping[str, torch.Tensor], Sequence[str]]]) -> str | None:
    if not rows:
        return None
    totals = torch.stack([torch.stack([v.detach().float() for v in losses.values()]).sum() for losses, _ in rows])
    if bool(torch.isfinite(totals).all()):
        return None
    losses, ids = rows[int((~torch.isfinite(totals)).nonzero()[0])]
    values = ", ".join(f"{name}={float(value):g}" for name, value in losses.items())
    return f"({values}) for the samples {', '.join(ids)}"


@contextmanager
def memory_advice(batch: Batch, training: bool) -> Iterator[None]:
    """Turns running out of memory into a message with the batch and the settings that help."""
    try:
        yield
    except (torch.cuda.OutOfMemoryError, MemoryError) as error:
        key = "batch_size" if training else "eval_batch_size"
        frames = {name: [len(f) for f in view] for name, view in batch.views.items()}
        more = ", run.activation_checkpointing=torch, several GPUs with run.strategy=fsdp2" if training else ""
        raise RunError(
            f"out of memory with {len(batch)} samples ({', '.join(s.id for s in batch.samples[:5])}) of {frames} "
            f"frames. Try run.{key}=1, run.precision=bf16, fewer frames (num_frames of the sampler){more}. {_usage()}"
        ) from error


def _usage() -> str:
    if not torch.cuda.is_available():
        return ""
    peak, total = torch.cuda.max_memory_allocated(), torch.cuda.get_device_properties(0).total_memory
    return f"Peak use was {peak / 2**30:.1f} of {total / 2**30:.1f} GiB."

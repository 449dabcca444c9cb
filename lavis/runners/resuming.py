"""When the state of a training is saved, and how a start finds it again.

``state.py`` says what the state is, ``saver.py`` writes it, ``checkpoints.py`` tells which of those written is whole.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from lavis.common import distributed
from lavis.common.logging import get_logger
from lavis.runners.checkpoints import named, newest_whole, step_of
from lavis.runners.saver import Saver, on_main
from lavis.runners.state import Progress, capture, hook_states, restore, save_parts

if TYPE_CHECKING:
    from lavis.runners.engine import Engine
    from lavis.runners.hooks.base import Hook
    from lavis.runners.schedules import Schedule

logger = get_logger(__name__)


class Resuming:
    """Saves the state of one training where it is asked to, and finds it again; every process must call its methods.

    Args:
        engine, schedule, hooks: whose state it is.
        saver: writes it.
        global_batch: samples of all processes in one iteration.
        beside: write from a copy, beside the training.
    """

    def __init__(
        self,
        engine: Engine,
        schedule: Schedule,
        hooks: Sequence[Hook],
        saver: Saver,
        *,
        global_batch: int,
        beside: bool = False,
    ) -> None:
        self.engine = engine
        self.schedule = schedule
        self.hooks = hooks
        self.saver = saver
        self.global_batch = global_batch
        self.beside = beside
        self._saved: tuple[int, str] | None = None

    def resume(self, wanted: str) -> tuple[Path, Progress] | None:
        """Puts the state back that ``run.resume`` speaks of.

        Args:
            wanted: ``auto``, ``never``, or the path of a checkpoint or a run.

        Returns:
            the checkpoint and how far it is; ``None`` for a training that begins.

        Raises:
            CheckpointError: if all checkpoints are torn, or the one named is, or does not fit.
        """
        wanted = distributed.broadcast_object(wanted)
        if wanted == "never":
            self.saver.clear()
            return None
        self.saver.tidy()
        found = on_main(lambda: newest_whole(self.saver.folder) if wanted == "auto" else named(Path(wanted)))
        if found is None:
            return None
        folder, manifest = found
        progress = restore(
            folder, manifest, self.engine, self.schedule, global_batch=self.global_batch, hooks=self.hooks
        )
        if folder.parent == self.saver.folder and int(manifest["processes"]) == distributed.world_size():
            self.saver.newest, self._saved = folder, self._mark(progress)
        logger.info("resuming at epoch %d, iteration %d, from %s", progress.epoch + 1, progress.global_step, folder)
        return folder, progress

    def save(self, progress: Progress, *, pending: bool, required: bool = False) -> None:
        """Writes all that is needed to resume, or brings the newest checkpoint up to date if it is of this moment.

        Args:
            progress: how far the training is.
            pending: whether there are gradients that no optimizer step has used.
            required: fail if it cannot be written, rather than go on.

        Raises:
            RunError: if a required one cannot be written.
        """
        self.saver.wait()
        if self._newest_is_current(progress):
            self.saver.renew(asdict(progress))
            return
        snapshot = capture(
            self.engine,
            self.schedule,
            progress,
            global_batch=self.global_batch,
            pending=pending,
            hooks=self.hooks,
            copied=self.beside and not required,
        )
        self.saver.save(snapshot, lambda folder: save_parts(self.engine, folder), required=required)
        self._saved = self._mark(progress)

    def _newest_is_current(self, progress: Progress) -> bool:
        """Whether the newest checkpoint was written at this iteration, and no hook has counted on since."""
        newest = self.saver.newest
        there = newest is not None and step_of(newest) == progress.global_step and self._saved == self._mark(progress)
        return not distributed.any_rank(not there)

    def _mark(self, progress: Progress) -> tuple[int, str]:
        content = io.BytesIO()
        torch.save(hook_states(self.hooks), content)
        return progress.global_step, hashlib.sha256(content.getvalue()).hexdigest()

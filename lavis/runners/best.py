"""The weights of the best validation, ``checkpoints/best.safetensors``, and what becomes of a training that lost them.

They are what the test splits, later stages and everybody else get; the state to resume from lies beside them
(``state.py``).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lavis.common.checkpoint import CheckpointError, save_checkpoint
from lavis.common.logging import get_logger
from lavis.runners.failures import RunError
from lavis.runners.saver import on_main
from lavis.runners.state import Progress

if TYPE_CHECKING:
    from lavis.common.schema import RunConfig
    from lavis.runners.engine import Engine

logger = get_logger(__name__)


class BestWeights:
    """Keeps the best weights of one training; every process must call its methods.

    Args:
        folder: where they lie, such as ``<run>/checkpoints``.
        run: settings; ``monitor`` and ``test_weights`` matter.
        config: resolved configuration, saved with them.
    """

    def __init__(self, folder: Path, run: RunConfig, config: Mapping[str, Any]) -> None:
        self.file = folder / "best.safetensors"
        self.run = run
        self.config = config

    def save(self, engine: Engine, progress: Progress) -> None:
        """Writes the weights that learn, or their average, as the best ones.

        Args:
            engine: has them.
            progress: says when and why they were chosen; the file tells.

        Raises:
            RunError: if they cannot be written.
        """
        weights = engine.weights(everywhere=False, averaged=True)
        facts = {
            "epoch": progress.best_epoch or progress.epoch,
            "chosen_by": self._reason(progress),
            "frozen_weights": self.config.get("model", {}).get("weights"),
        }
        try:
            on_main(lambda: save_checkpoint(self.file, weights, config=self.config, metadata=facts))
        except OSError as error:
            raise RunError(
                f"the best weights were not saved: {error}. Make room and start again: the training resumes at its "
                "last checkpoint, and what the validation answered is kept"
            ) from error

    def recover(self, engine: Engine, progress: Progress, checkpoint: Path, *, finished: bool) -> None:
        """Deals with best weights that are gone when a training is resumed.

        They are written again if the checkpoint has them, which it does if the last validation was the best one. If it
        has not, a training resumed by itself ends here; one whose checkpoint was named goes on, and its best weights
        are the best from there on.

        Args:
            engine: with the state of the checkpoint.
            progress: of the checkpoint; what it says of the best is forgotten if that is to be found anew.
            checkpoint: folder that was resumed from.
            finished: whether nothing is left to train.

        Raises:
            CheckpointError: if they are lost; says what can be done.
        """
        if progress.best is None or on_main(self.file.is_file):
            return
        if progress.best_step == progress.global_step:
            logger.warning("%s is not there; written from %s, whose weights are the same", self.file, checkpoint)
            self.save(engine, progress)
            return
        lost = (
            f"{self.file} is not there: the weights of epoch {progress.best_epoch}, {self._reason(progress)}; "
            f"{checkpoint} has those of iteration {progress.global_step}"
        )
        if self.run.resume == "auto":
            if finished and self.run.test_weights == "last":
                logger.warning("%s, which are evaluated since run.test_weights is last", lost)
                return
            last = "evaluate the last weights with run.test_weights=last, " if finished else ""
            rest = "the last weights" if finished else "what is best from there on"
            raise CheckpointError(
                f"{lost}. Put the file back if you can; else {last}take {rest} as the best with "
                f"run.resume={checkpoint}, or begin anew with run.resume=never"
            )
        logger.warning("%s. The best weights will be the best from there on", lost)
        progress.best = progress.best_epoch = progress.best_step = None

    def _reason(self, progress: Progress) -> str:
        monitor = self.run.monitor
        if progress.best is not None:
            return f"{monitor.metric} {progress.best:g} on {monitor.split}"
        return f"last epoch: {'no validation chose others' if self.run.valid_splits else 'there was no validation'}"

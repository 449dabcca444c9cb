"""When checkpoints are written; how is said in ``saver.py`` and ``state.py``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lavis.common.registry import registry
from lavis.runners.hooks.base import Hook, StepRecord

if TYPE_CHECKING:
    from lavis.runners.runner import Runner


@registry.hooks.register("checkpoint")
class CheckpointHook(Hook):
    """Asks for a checkpoint every ``run.save_every`` epochs, every ``run.save_steps`` iterations, and at the end.

    It is written when all hooks have had their turn, so that what they count belongs to it.
    """

    def step(self, runner: Runner, record: StepRecord) -> None:
        every = runner.run.save_steps
        if every is not None and (record.global_step + 1) % every == 0:
            runner.ask_save()

    def trained(self, runner: Runner) -> None:
        if runner.finished or runner.progress.epoch % runner.run.save_every == 0:
            runner.ask_save(required=runner.finished)

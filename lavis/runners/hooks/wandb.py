"""Curves for Weights & Biases."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lavis.common import distributed
from lavis.common.registry import registry
from lavis.runners.hooks.base import Hook, StepRecord

if TYPE_CHECKING:
    from lavis.runners.runner import Runner


@registry.hooks.register("wandb")
class WandB(Hook):
    """Curves for Weights & Biases; needs the package ``wandb``.

    Args:
        project: project to log to.
        mode: ``online``, or ``offline`` to keep the curves in ``<run>/wandb``.
    """

    def __init__(self, project: str = "lavis", mode: str = "offline") -> None:
        self.project = project
        self.mode = mode
        self._session: Any = None
        self._written = 0

    def start(self, runner: Runner) -> None:
        if not distributed.is_main():
            return
        try:
            import wandb
        except ImportError as error:
            raise ValueError("run.hooks: wandb needs its package; pip install 'lavis[track]'") from error
        name = str(runner.config.get("name", runner.folder.name))
        self._session = wandb.init(
            project=self.project,
            name=name,
            dir=str(runner.folder),
            mode=self.mode,
            config=runner.config,
            resume="allow",
        )

    def step(self, runner: Runner, record: StepRecord) -> None:
        row = runner.figures
        if self._session is not None and row and row["step"] != self._written:
            self._written = int(row["step"])
            self._session.log({f"train/{name}": value for name, value in row.items()}, step=self._written)

    def evaluated(self, runner: Runner, name: str, metrics: Mapping[str, float]) -> None:
        if self._session is not None:
            figures = {f"{name}/{key}": value for key, value in metrics.items()}
            self._session.log(figures, step=runner.progress.global_step)

    def end(self, runner: Runner) -> None:
        if self._session is not None:
            self._session.finish()

"""The contract of hooks, which happen around the loop: log lines, curves, checkpoints, validation, timing.

A hook is called at fixed events with the runner. ``timer``, ``log``, ``checkpoint`` and ``evaluate`` are always there;
``run.hooks`` adds others, or one of these with other settings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from torch import Tensor

from lavis.common.construct import build_part
from lavis.common.registry import registry

if TYPE_CHECKING:
    from lavis.runners.runner import Runner

STANDARD = ("timer", "log", "checkpoint", "evaluate")


@dataclass(slots=True)
class StepRecord:
    """One iteration: ``epoch`` and ``step`` from 0, ``losses`` by name, the rate, and more ``facts``."""

    epoch: int
    step: int
    global_step: int
    losses: Mapping[str, Tensor]
    rate: float
    facts: dict[str, float] = field(default_factory=dict)


class Hook:
    """Does nothing at any event; a hook overrides those it cares for.

    Every process calls its hooks, so that they may talk to each other; only the main one should write files. What a
    hook counts over iterations belongs into its ``state_dict``, so that a resumed training goes on counting.
    """

    def state_dict(self) -> dict[str, Any]:
        """What ``load_state_dict`` needs to go on: tensors and plain values; saved with every checkpoint."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from a saved state; comes before ``start``."""

    def check(self, runner: Runner) -> None:
        """Before anything is loaded or removed; raises ``ValueError`` if it could not do its work later."""

    def start(self, runner: Runner) -> None:
        """Before the first iteration, after resuming."""

    def step(self, runner: Runner, record: StepRecord) -> None:
        """After an iteration; ``record.facts`` may be added to."""

    def trained(self, runner: Runner) -> None:
        """After the iterations of an epoch."""

    def validate(self, runner: Runner) -> None:
        """Where a validation is due."""

    def evaluated(self, runner: Runner, name: str, metrics: Mapping[str, float]) -> None:
        """After the evaluation of ``<dataset>_<split>``."""

    def end(self, runner: Runner) -> None:
        """After training and testing."""


def build_hooks(nodes: Sequence[str | Mapping[str, Any]]) -> list[Hook]:
    """The standard hooks, then those of ``run.hooks``; one that names a standard hook takes its place."""
    own = {node if isinstance(node, str) else str(node.get("name")): node for node in nodes}
    order = [*STANDARD, *(name for name in own if name not in STANDARD)]
    return [build_part(registry.hooks, own.get(name, name), "run.hooks") for name in order]

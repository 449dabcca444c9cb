"""Learning-rate schedules: the rate of each iteration, from its epoch and its index in that epoch.

Source: ``lavis/common/optims.py`` of LAVIS (Li et al., 2022; salesforce/LAVIS) in the version of CALCE and MR.BLIP,
whose warm-up may outlast the first epoch, and the cosine schedule of transformers for the systems that train with its
trainer. Unlike theirs, a schedule knows no optimizer: it returns a number, and the runner applies it to every parameter
group.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from lavis.common.registry import registry

if TYPE_CHECKING:
    from lavis.common.schema import RunConfig

Counter = Literal["calce", "global", "first_epoch"]
COUNTERS: tuple[Counter, ...] = ("calce", "global", "first_epoch")


class Schedule(ABC):
    """A learning rate that first rises linearly from ``warmup_learning_rate`` and then follows ``decayed``.

    Args:
        learning_rate: rate at the end of the warm-up, above 0.
        min_learning_rate: lowest rate after it.
        warmup_steps: iterations (not optimizer steps) of the warm-up.
        warmup_learning_rate: first rate of the warm-up; ``None`` starts at ``learning_rate``.
        counter: how iterations are counted in the warm-up. ``calce`` takes ``epoch * m + step`` with ``m`` the largest
            step *index* seen so far, as CALCE and MR.BLIP do, which repeats a value at every epoch; ``global`` counts
            them; ``first_epoch`` ends the warm-up with the first epoch, as LAVIS does.
        epochs: length of the training.
        steps_per_epoch: iterations of one epoch.
    """

    def __init__(
        self,
        learning_rate: float,
        min_learning_rate: float = 0.0,
        warmup_steps: int = 0,
        warmup_learning_rate: float | None = None,
        counter: Counter = "global",
        epochs: int = 1,
        steps_per_epoch: int = 1,
    ) -> None:
        if learning_rate <= 0 or min_learning_rate < 0 or (warmup_learning_rate or 0) < 0:
            raise ValueError(
                f"learning rates must not be negative and run.learning_rate must be above 0, got learning_rate="
                f"{learning_rate}, min_learning_rate={min_learning_rate}, warmup_learning_rate={warmup_learning_rate}"
            )
        if warmup_steps < 0 or epochs < 1 or steps_per_epoch < 1:
            raise ValueError(
                f"need warmup_steps >= 0, epochs >= 1 and at least one iteration an epoch, got {warmup_steps}, "
                f"{epochs} and {steps_per_epoch}"
            )
        if counter not in COUNTERS:
            raise ValueError(f"run.schedule.counter must be one of {', '.join(COUNTERS)}, got {counter!r}")
        self.learning_rate = learning_rate
        self.min_learning_rate = min_learning_rate
        self.warmup_steps = warmup_steps
        self.warmup_learning_rate = learning_rate if warmup_learning_rate is None else warmup_learning_rate
        self.counter = counter
        self.epochs = epochs
        self.steps_per_epoch = steps_per_epoch
        self._largest_step = 0

    def rate(self, epoch: int, step: int) -> float:
        """The learning rate of iteration ``step`` of ``epoch``, both from 0; to be asked in order."""
        self._largest_step = max(self._largest_step, step)
        count = self._count(epoch, step)
        if count is None or count >= self.warmup_steps:
            return self.decayed(epoch, step)
        rise = (self.learning_rate - self.warmup_learning_rate) * count / self.warmup_steps
        return min(self.learning_rate, self.warmup_learning_rate + rise)

    @abstractmethod
    def decayed(self, epoch: int, step: int) -> float:
        """The rate after the warm-up."""

    def state_dict(self) -> dict[str, Any]:
        """What ``load_state_dict`` needs to go on."""
        return {"largest_step": self._largest_step}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from a saved state."""
        self._largest_step = int(state["largest_step"])

    def _count(self, epoch: int, step: int) -> int | None:
        if self.counter == "first_epoch":
            return step if epoch == 0 else None
        return epoch * (self._largest_step if self.counter == "calce" else self.steps_per_epoch) + step


@registry.schedules.register("linear_warmup_cosine")
class LinearWarmupCosine(Schedule):
    """Warm-up, then half a cosine down to ``min_learning_rate`` over all epochs, the warm-up's included.

    Args:
        counter: see ``Schedule``; the default is CALCE's.
        decay: whether the cosine moves once an ``epoch``, as in LAVIS, or with every ``step``.
    """

    def __init__(
        self,
        learning_rate: float,
        min_learning_rate: float = 0.0,
        warmup_steps: int = 0,
        warmup_learning_rate: float | None = None,
        counter: Counter = "calce",
        epochs: int = 1,
        steps_per_epoch: int = 1,
        decay: Literal["epoch", "step"] = "epoch",
    ) -> None:
        super().__init__(
            learning_rate, min_learning_rate, warmup_steps, warmup_learning_rate, counter, epochs, steps_per_epoch
        )
        if decay not in ("epoch", "step"):
            raise ValueError(f"run.schedule.decay must be 'epoch' or 'step', got {decay!r}")
        self.decay = decay

    def decayed(self, epoch: int, step: int) -> float:
        done = epoch if self.decay == "epoch" else epoch + step / self.steps_per_epoch
        height = (self.learning_rate - self.min_learning_rate) * 0.5
        return height * (1.0 + math.cos(math.pi * done / self.epochs)) + self.min_learning_rate


@registry.schedules.register("linear_warmup_step")
class LinearWarmupStep(Schedule):
    """Warm-up, then ``decay_rate`` to the power of the epoch, no lower than ``min_learning_rate``."""

    def __init__(
        self,
        learning_rate: float,
        min_learning_rate: float = 0.0,
        warmup_steps: int = 0,
        warmup_learning_rate: float | None = None,
        counter: Counter = "global",
        epochs: int = 1,
        steps_per_epoch: int = 1,
        decay_rate: float = 1.0,
    ) -> None:
        super().__init__(
            learning_rate, min_learning_rate, warmup_steps, warmup_learning_rate, counter, epochs, steps_per_epoch
        )
        self.decay_rate = decay_rate

    def decayed(self, epoch: int, step: int) -> float:
        return max(self.min_learning_rate, self.learning_rate * self.decay_rate**epoch)


@registry.schedules.register("constant")
class Constant(Schedule):
    """Warm-up, then ``learning_rate``."""

    def decayed(self, epoch: int, step: int) -> float:
        return self.learning_rate


@registry.schedules.register("cosine")
class Cosine(Schedule):
    """Warm-up from 0, then half a cosine over what remains, counted in optimizer steps, as transformers' trainer does.

    Args:
        warmup_ratio: part of all optimizer steps that are warm-up, used where ``warmup_steps`` is 0.
        accumulate: iterations of one optimizer step.
    """

    def __init__(
        self,
        learning_rate: float,
        min_learning_rate: float = 0.0,
        warmup_steps: int = 0,
        warmup_learning_rate: float | None = 0.0,
        counter: Counter = "global",
        epochs: int = 1,
        steps_per_epoch: int = 1,
        accumulate: int = 1,
        warmup_ratio: float = 0.0,
    ) -> None:
        super().__init__(
            learning_rate, min_learning_rate, warmup_steps, warmup_learning_rate, counter, epochs, steps_per_epoch
        )
        if not 0 <= warmup_ratio < 1:
            raise ValueError(f"run.schedule.warmup_ratio must be at least 0 and below 1, got {warmup_ratio}")
        self.accumulate = accumulate
        self._updates_per_epoch = max(1, steps_per_epoch // accumulate)
        self._updates = epochs * self._updates_per_epoch
        self.warmup_steps = warmup_steps or math.ceil(warmup_ratio * self._updates)

    def _count(self, epoch: int, step: int) -> int | None:
        return epoch * self._updates_per_epoch + min(step // self.accumulate, self._updates_per_epoch - 1)

    def decayed(self, epoch: int, step: int) -> float:
        done = (self._count(epoch, step) or 0) - self.warmup_steps
        part = done / max(1, self._updates - self.warmup_steps)
        height = (self.learning_rate - self.min_learning_rate) * 0.5
        return height * (1.0 + math.cos(math.pi * part)) + self.min_learning_rate


for _name, _entry in (
    ("linear_warmup_cosine_lr", LinearWarmupCosine),
    ("linear_warmup_step_lr", LinearWarmupStep),
    ("constant_lr", Constant),
):
    registry.register_lr_scheduler(_name)(_entry)


def build_schedule(
    node: str | Mapping[str, Any],
    *,
    learning_rate: float,
    min_learning_rate: float = 0.0,
    warmup_steps: int = 0,
    warmup_learning_rate: float | None = None,
    epochs: int,
    steps_per_epoch: int,
    accumulate: int = 1,
) -> Schedule:
    """The schedule that ``run.schedule`` names, either by name or as ``{name: ..., further parameters}``.

    Raises:
        ValueError: for an unknown name or a parameter the schedule does not have.
    """
    import inspect

    own = {"name": node} if isinstance(node, str) else dict(node)
    entry = registry.schedules.get(str(own.pop("name", "linear_warmup_cosine")), where="run.schedule")
    accepted = inspect.signature(entry).parameters
    unknown = [key for key in own if key not in accepted]
    if unknown:
        raise ValueError(f"run.schedule has no parameter {', '.join(unknown)}; it takes {', '.join(accepted)}")
    settings: dict[str, Any] = {
        "learning_rate": learning_rate,
        "min_learning_rate": min_learning_rate,
        "warmup_steps": warmup_steps,
        "epochs": epochs,
        "steps_per_epoch": steps_per_epoch,
    }
    if warmup_learning_rate is not None:
        settings["warmup_learning_rate"] = warmup_learning_rate
    if "accumulate" in accepted:
        settings["accumulate"] = accumulate
    schedule: Schedule = entry(**{**settings, **own})
    return schedule


def schedule_for(run: RunConfig, steps_per_epoch: int) -> Schedule:
    """The schedule that the settings of a run ask for, over epochs of ``steps_per_epoch`` iterations."""
    return build_schedule(
        run.schedule,
        learning_rate=run.learning_rate,
        min_learning_rate=run.min_learning_rate,
        warmup_steps=run.warmup_steps,
        warmup_learning_rate=run.warmup_learning_rate,
        epochs=max(1, run.epochs),
        steps_per_epoch=steps_per_epoch,
        accumulate=run.accumulate,
    )

"""What an engine holds that a checkpoint must bring back: weights, their average and optimizer, whole or in shards."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lavis.common import distributed
from lavis.common.checkpoint import CheckpointError, trainable_state
from lavis.common.logging import get_logger
from lavis.runners import shards
from lavis.runners.ema import Ema
from lavis.runners.zero import Zero

_AVERAGE = "average."
logger = get_logger(__name__)


class EngineState:
    """Gives away and takes back the state of a model in training; ``Engine`` says how it computes.

    Args:
        sharded_checkpoints: whether every process saves its own parts, through ``save_sharded``.
    """

    def __init__(self, sharded_checkpoints: bool) -> None:
        self.sharded_checkpoints = sharded_checkpoints
        self.model: nn.Module | None = None
        self.ema: Ema | None = None
        self._optimizer: Any = None
        self._zero: Zero | None = None

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """The optimizer, for its parameter groups."""
        assert self._optimizer is not None, "prepare() was called without an optimizer"
        optimizer: torch.optim.Optimizer = self._optimizer
        return optimizer

    def weights(self, everywhere: bool = True, averaged: bool = False) -> dict[str, Tensor]:
        """Weights that training changes, whole, on the CPU; every process must ask.

        Args:
            everywhere: whether every process gets them; else only the main one does, and the others save the memory.
            averaged: whether to take the average, if one is kept.
        """
        assert self.model is not None
        kept = everywhere or distributed.is_main()
        found = {}
        average = self.ema.applied(self.model) if averaged and self.ema is not None else nullcontext()
        with average, self._learning_whole():
            for name, tensor in trainable_state(self.model).items():
                full = distributed.whole(tensor)
                if kept:
                    # What is whole for a moment only must be copied.
                    found[name] = full.clone().cpu() if averaged or self._zero is not None else full.cpu()
        return found

    def load_weights(self, state: Mapping[str, Tensor]) -> None:
        """Puts ``weights()`` back; an average begins with them.

        Raises:
            CheckpointError: if the names are not those of what learns now.
        """
        assert self.model is not None
        with self._learning_whole(changing=True):
            own = trainable_state(self.model)
            if own.keys() != state.keys():
                odd = sorted(own.keys() ^ state.keys())
                raise CheckpointError(
                    f"the saved weights are not those that learn now; {len(odd)} names differ, such as "
                    f"{', '.join(odd[:5])}. Was model.trainable changed? Choose another name, or resume=never"
                )
            with torch.no_grad():
                for name, tensor in own.items():
                    tensor.copy_(distributed.shard_like(state[name], tensor))
        if self.ema is not None:
            self.ema.restart(self.model.named_parameters())

    def _learning_whole(self, changing: bool = False) -> AbstractContextManager[None]:
        assert self.model is not None
        if self._zero is None:
            return nullcontext()
        return self._zero.whole([p for p in self.model.parameters() if p.requires_grad], changing)

    def average_state(self) -> dict[str, Tensor]:
        """The moving average, whole, on the CPU, empty without one; every process must ask."""
        average = {} if self.ema is None else self.ema.average
        return {name: distributed.whole(tensor).cpu() for name, tensor in average.items()}

    def load_average_state(self, state: Mapping[str, Tensor]) -> None:
        """Puts ``average_state()`` back; where none was kept, one begins with the weights there are."""
        if self.ema is None:
            return
        if not state:
            assert self.model is not None
            logger.warning("the checkpoint has no moving average (run.ema): it starts with the weights as they are")
            self.ema.restart(self.model.named_parameters())
            return
        with torch.no_grad():
            for name, tensor in self.ema.average.items():
                tensor.copy_(distributed.shard_like(state[name], tensor))

    def optimizer_state(self) -> dict[str, Any]:
        """State of the optimizer, whole, on the CPU; every process must ask. Empty with deepspeed, see ``save_own``."""
        if self._zero is not None:
            return {}
        state: dict[str, Any] = self.optimizer.state_dict()
        values = {
            index: {key: distributed.whole(v).cpu() if isinstance(v, Tensor) else v for key, v in row.items()}
            for index, row in state["state"].items()
        }
        return {"state": values, "param_groups": state["param_groups"]}

    def load_optimizer_state(self, state: Mapping[str, Any]) -> None:
        """Puts ``optimizer_state()`` back.

        Raises:
            ValueError: if its groups are not those of this optimizer.
        """
        if self._zero is not None:
            return
        own = self.optimizer.param_groups
        if [group["names"] for group in own] != [group["names"] for group in state["param_groups"]]:
            raise ValueError("the groups hold other parameters")
        parameters = [p for group in own for p in group["params"]]
        values = {
            index: {key: _laid_out(v, parameters[index]) if isinstance(v, Tensor) else v for key, v in row.items()}
            for index, row in state["state"].items()
        }
        self.optimizer.load_state_dict({"state": values, "param_groups": state["param_groups"]})

    def save_own(self, folder: Path) -> None:
        """Lets deepspeed write what it holds in parts of its own; every process must call."""
        if self._zero is not None:
            self._zero.save(folder)

    def load_own(self, folder: Path) -> None:
        """Inverts ``save_own``."""
        if self._zero is not None:
            self._zero.load(folder)

    def save_sharded(self, folder: Path) -> None:
        """Every process writes its parts of weights, average and optimizer below ``folder``; all must call."""
        shards.save(folder, self._shards(), self._bare_optimizer)

    def load_sharded(self, folder: Path) -> None:
        """Inverts ``save_sharded``, also with another number of processes or another strategy but deepspeed."""
        if self._zero is not None:
            raise CheckpointError(f"{folder} holds shards, which run.strategy=deepspeed cannot read; use fsdp2 or ddp")
        averaged = shards.load(folder, self._shards(), self._bare_optimizer, optional=_AVERAGE)
        if not averaged:
            self.load_average_state({})

    def _shards(self) -> dict[str, Tensor]:
        assert self.model is not None
        average = {} if self.ema is None else self.ema.average
        tensors = {f"weights.{name}": tensor for name, tensor in trainable_state(self.model).items()}
        return {**tensors, **{_AVERAGE + name: tensor for name, tensor in average.items()}}

    @property
    def _bare_optimizer(self) -> torch.optim.Optimizer:
        bare: torch.optim.Optimizer = getattr(self._optimizer, "optimizer", self._optimizer)  # accelerate wraps it
        return bare


def _laid_out(value: Tensor, parameter: Tensor) -> Tensor:
    return distributed.shard_like(value, parameter) if value.shape == parameter.shape else value

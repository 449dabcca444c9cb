"""A moving average of what learns, which is what is evaluated and kept as the best weights.

Source: Polyak and Juditsky (1992), in the exponential form of Kingma and Ba (2015). The average is kept in fp32
whatever the weights' type, sharded as they are, and starts with the weights that training starts with.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from lavis.common import distributed

Named = Iterable[tuple[str, nn.Parameter]]


class Ema:
    """Averages parameters that learn.

    Args:
        decay: part of the old average that stays at an optimizer step, in (0, 1).
        named: names and parameters; frozen ones are passed over.
    """

    def __init__(self, decay: float, named: Named) -> None:
        if not 0 < decay < 1:
            raise ValueError(f"run.ema must be above 0 and below 1, such as 0.999, got {decay}")
        self.decay = decay
        self.average = {name: p.detach().float().clone() for name, p in named if p.requires_grad}

    @torch.no_grad()
    def update(self, named: Named) -> None:
        """Takes the weights after an optimizer step in."""
        for name, parameter in named:
            if name in self.average:
                own = distributed.local_part(self.average[name])
                own.lerp_(distributed.local_part(parameter.detach()).float(), 1 - self.decay)

    @torch.no_grad()
    def restart(self, named: Named) -> None:
        """Begins again with the weights there are."""
        for name, parameter in named:
            if name in self.average:
                self.average[name].copy_(parameter.detach())

    @contextmanager
    def applied(self, model: nn.Module) -> Iterator[None]:
        """Within the block the model has the average as its weights; afterwards its own, to the bit."""
        own = {name: p.detach().clone() for name, p in model.named_parameters() if name in self.average}
        self._put(model, self.average)
        try:
            yield
        finally:
            self._put(model, own)

    @torch.no_grad()
    def _put(self, model: nn.Module, values: Mapping[str, Tensor]) -> None:
        for name, parameter in model.named_parameters():
            if name in values:
                parameter.copy_(values[name])

"""AdamW over parameter groups, which weights decay and which learn at a rate of their own, and accumulation.

Source: the grouping of LAVIS's runner (Li et al., 2022; salesforce/LAVIS) as CALCE trains with it: matrices decay,
while vectors and whatever is called a bias or norm do not; and that of transformers' trainer as E.T. Chat and MeCo use
it (``decay_vectors``), where all decays but what is named. Rates by name pattern are ours; theirs is one for adapters.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal

import torch
from torch import nn

NO_DECAY = ("bias", "ln", "bn")


def decays(name: str, parameter: torch.Tensor, no_decay: Sequence[str] = NO_DECAY, vectors: bool = False) -> bool:
    """Whether weight decay applies: two or more dimensions (or ``vectors``), and none of ``no_decay`` in the name."""
    return (vectors or parameter.ndim >= 2) and not any(part in name for part in no_decay)


def parameter_groups(
    named_parameters: Iterable[tuple[str, nn.Parameter]],
    *,
    learning_rate: float,
    weight_decay: float,
    lr_groups: Mapping[str, float] | None = None,
    no_decay: Sequence[str] = NO_DECAY,
    decay_vectors: bool = False,
) -> list[dict[str, Any]]:
    """Groups of the parameters that learn.

    Args:
        named_parameters: names and parameters; frozen ones are passed over.
        learning_rate: peak rate of what no pattern names.
        weight_decay: of the parameters that decay.
        lr_groups: ``fnmatch`` pattern of names to peak rate; the last that matches counts.
        no_decay: parts of names without decay; a plain substring, so ``ln`` also hits ``mlnet``.
        decay_vectors: whether vectors and single numbers decay too, unless ``no_decay`` names them.

    Returns:
        groups with ``params``, ``names``, ``weight_decay``, ``lr`` and ``lr_scale``, the factor on the schedule.

    Raises:
        ValueError: if nothing learns, or a pattern matches nothing that learns.
    """
    patterns = dict(lr_groups or {})
    hits = dict.fromkeys(patterns, 0)
    groups: dict[tuple[float, float], dict[str, Any]] = {}
    names: list[str] = []
    for name, parameter in named_parameters:
        if not parameter.requires_grad:
            continue
        names.append(name)
        rate = learning_rate
        for pattern, own_rate in patterns.items():
            if fnmatchcase(name, pattern):
                hits[pattern] += 1
                rate = float(own_rate)
        decay = weight_decay if decays(name, parameter, no_decay, decay_vectors) else 0.0
        empty = {"params": [], "names": [], "weight_decay": decay, "lr": rate, "lr_scale": rate / learning_rate}
        group = groups.setdefault((rate, decay), empty)
        group["params"].append(parameter)
        group["names"].append(name)
    _check(names, hits)
    return list(groups.values())


def build_optimizer(
    named_parameters: Iterable[tuple[str, nn.Parameter]],
    *,
    learning_rate: float,
    weight_decay: float = 0.05,
    betas: Sequence[float] = (0.9, 0.999),
    eps: float = 1e-8,
    lr_groups: Mapping[str, float] | None = None,
    no_decay: Sequence[str] = NO_DECAY,
    decay_vectors: bool = False,
) -> torch.optim.AdamW:
    """AdamW over ``parameter_groups``."""
    groups = parameter_groups(
        named_parameters,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        lr_groups=lr_groups,
        no_decay=no_decay,
        decay_vectors=decay_vectors,
    )
    first, second = betas
    return torch.optim.AdamW(groups, lr=learning_rate, betas=(first, second), eps=eps)


@dataclass(frozen=True, slots=True)
class Accumulation:
    """Several iterations of one optimizer step.

    Args:
        size: iterations of one step, at least 1.
        batches: iterations of an epoch.
        mode: whether the gradient is the ``mean`` of the iterations' or, as in CALCE, their ``sum``.
        leftover: what becomes of the iterations that are left at the end of an epoch: a ``step`` of their own, or, as
            in CALCE, they are carried over, so that the first step of the next epoch has more than ``size``.
        mean_size: samples of a batch on average, where batches differ: the mean loss of each counts in proportion to
            its samples, so that all samples of an epoch weigh the same, whatever company they come in and on however
            many processes, whose gradients are averaged. ``None``: every batch weighs the same.
    """

    size: int
    batches: int
    mode: Literal["mean", "sum"] = "mean"
    leftover: Literal["step", "carry"] = "step"
    mean_size: float | None = None

    def weight(self, iteration: int, samples: int) -> float:
        """Factor of the loss of an iteration of the epoch, from 0, whose batch has so many samples."""
        share = 1.0 if self.mean_size is None else samples / self.mean_size
        if self.mode == "sum":
            return share
        whole = self.batches // self.size * self.size
        return share / (self.batches - whole if self.leftover == "step" and iteration >= whole else self.size)

    def ends_step(self, iteration: int) -> bool:
        """Whether the optimizer steps after an iteration of the epoch, from 0."""
        last = self.leftover == "step" and iteration + 1 == self.batches
        return last or (iteration + 1) % self.size == 0


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Gives every group ``rate`` times its ``lr_scale``."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("lr_scale", 1.0)


def describe_groups(optimizer: torch.optim.Optimizer) -> str:
    """One line on what learns, for the log."""
    parts = []
    for group in optimizer.param_groups:
        count = sum(p.numel() for p in group["params"])
        parts.append(
            f"{count:,} weights in {len(group['params'])} tensors (rate x{group.get('lr_scale', 1.0):g}, "
            f"decay {group['weight_decay']:g})"
        )
    return "; ".join(parts)


def _check(names: Sequence[str], hits: Mapping[str, int]) -> None:
    if not names:
        raise ValueError("no parameter learns: model.trainable matches nothing that is left; run an evaluation instead")
    for pattern, count in hits.items():
        if not count:
            parts = sorted({".".join(name.split(".")[:2]) for name in names})
            raise ValueError(
                f"run.lr_groups pattern {pattern!r} matches no parameter that learns; they begin {', '.join(parts)}"
            )

"""Learning rates of every iteration, and which weights decay, equal to CALCE's."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lavis.runners.optim import parameter_groups
from lavis.runners.schedules import LinearWarmupCosine

Case = tuple[str, Callable[[], float]]


def cases(golden: Path) -> Iterator[Case]:
    """A case for every recorded schedule, and for every model with recorded parameter groups."""
    for path in sorted((golden / "unit").glob("*.json")):
        content = json.loads(path.read_text())
        if isinstance(content, list) and content and isinstance(content[0], Mapping) and "lrs" in content[0]:
            for index, row in enumerate(content):
                yield f"unit/{path.stem} {index}", lambda row=row: compare_schedule(row["config"], row["lrs"])
    for path in sorted(golden.glob("*/model.json")):
        facts = json.loads(path.read_text())
        if "wd_group" in facts:
            yield f"{path.parent.name} weight decay", lambda path=path, facts=facts: compare_groups(path, facts)


def compare_schedule(config: Mapping[str, Any], recorded: Sequence[float]) -> float:
    """Largest difference of the rates, which are to be the same numbers."""
    warmup = config["warmup_start_lr"]
    schedule = LinearWarmupCosine(
        learning_rate=config["init_lr"],
        min_learning_rate=config["min_lr"],
        warmup_steps=config["warmup_steps"],
        warmup_learning_rate=warmup if warmup >= 0 else None,
        epochs=config["max_epoch"],
        steps_per_epoch=config["iters"],
    )
    rates = [schedule.rate(epoch, step) for epoch in range(config["max_epoch"]) for step in range(config["iters"])]
    assert len(rates) == len(recorded), f"{len(rates)} iterations, {len(recorded)} recorded"
    difference = max(abs(a - b) for a, b in zip(rates, recorded, strict=True))
    assert rates == recorded, f"largest difference {difference:g}, tolerance 0"
    return difference


def compare_groups(path: Path, facts: Mapping[str, Any]) -> float:
    """Whether the same weights decay, in the same order; 0 if so."""
    from safetensors import safe_open

    with safe_open(path.parent / "model.safetensors", framework="pt") as file:
        shapes = {name: file.get_slice(name).get_shape() for name in facts["trainable"]}
    named = [(name, nn.Parameter(torch.empty(shape, device="meta"))) for name, shape in shapes.items()]
    groups = parameter_groups(named, learning_rate=3e-4, weight_decay=0.05)
    decaying = [name for group in groups if group["weight_decay"] for name in group["names"]]
    still = [name for group in groups if not group["weight_decay"] for name in group["names"]]
    assert sorted(decaying) == sorted(facts["wd_group"]), f"decay: {set(decaying) ^ set(facts['wd_group'])}"
    assert sorted(still) == sorted(facts["no_wd_group"]), f"no decay: {set(still) ^ set(facts['no_wd_group'])}"
    return 0.0

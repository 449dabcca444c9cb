"""What a launcher starts in the tests of options that several processes must agree on; reports as JSON.

``torchrun --nproc-per-node 2 -m tests.options_of_processes FOLDER WHAT``, where ``WHAT`` is ``options``, ``shards``,
``deepspeed`` or ``tiny`` (the experiments ``FOLDER/<strategy>.yaml``), writes ``FOLDER/process<rank>.json``.
"""

from __future__ import annotations

import faulthandler
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lavis.common import distributed
from lavis.common.checkpoint import CheckpointError
from lavis.common.registry import registry
from lavis.runners.failures import RunError
from lavis.runners.hooks.base import Hook
from lavis.runners.runner import Runner
from lavis.structures import Batch
from tests.fake_run import FakeData, FakeModel, fake_runner
from tests.several_processes import report, resumed, runner, train

CLIPPED: dict[str, Any] = {"clip_grad_norm": 100.0}


def options(folder: Path) -> dict[str, Any]:
    averaged: dict[str, Any] = {"accumulate": 2, "ema": 0.5}
    return {
        "few": few(folder / "few"),
        "ema": train(folder / "ema", **averaged),
        "ema_fsdp2": train(folder / "ema_fsdp2", strategy="fsdp2", **averaged),
        "ema_resumed": resumed(folder / "ema_resumed", **averaged),
        "ema_fsdp2_resumed": resumed(folder / "ema_fsdp2_resumed", strategy="fsdp2", **averaged),
        "ema_fsdp2_whole": resumed(folder / "ema_fsdp2_whole", strategy="fsdp2", sharded_checkpoints=False, **averaged),
        "skipped": with_nan(folder / "skipped", on_nonfinite="skip"),
        "skipped_fsdp2": with_nan(folder / "skipped_fsdp2", on_nonfinite="skip", strategy="fsdp2"),
        "stopped": with_nan(folder / "stopped"),
        "frozen": frozen(folder / "frozen"),
        "frozen_fsdp2": frozen(folder / "frozen_fsdp2", strategy="fsdp2"),
    }


def shards(folder: Path) -> dict[str, Any]:
    """``folder/one`` was begun by one process; ``folder/two`` goes on with one."""
    settings: dict[str, Any] = {"strategy": "fsdp2", "epochs": 2, "ema": 0.5}
    return {
        "straight": train(folder / "straight", **settings),
        "two": train(folder / "two", max_steps=4, **settings),
        "one": train(folder / "one", **settings),
    }


def deepspeed(folder: Path) -> dict[str, Any]:
    zero: dict[str, Any] = {"strategy": "deepspeed", "accumulate": 2}
    found: dict[str, Any] = {}
    for stage in (1, 2, 3):
        own = {**zero, "zero_stage": stage, **CLIPPED}
        found[f"zero{stage}"] = train(folder / f"zero{stage}", test_splits=["test"], **own)
        found[f"zero{stage}_resumed"] = parts(folder / f"zero{stage}_resumed", **own)
        found[f"frozen{stage}"] = frozen(folder / f"frozen{stage}", strategy="deepspeed", zero_stage=stage)
    found["zero2_bf16"] = train(folder / "bf16", zero_stage=2, precision="bf16", **zero)
    found["zero2_ema"] = train(folder / "ema", zero_stage=2, ema=0.5, **zero)
    try:
        train(folder / "zero2", zero_stage=3, epochs=2, **zero)
    except CheckpointError as error:
        found["other_stage"] = str(error)
    return found


def parts(folder: Path, **settings: Any) -> dict[str, Any]:
    """Trains in two parts, of which the first ends with an optimizer step."""
    train(folder, max_steps=2, valid_splits=[], **settings)
    return train(folder, **settings)


def few(folder: Path) -> dict[str, Any]:
    """Evaluations of fewer samples than processes, and of shares that are no whole batches."""
    data = {"val": {"fake": FakeData(13, "val")}, "test": {"fake": FakeData(1, "test")}}
    own = runner(folder, eval_data=data, eval_batch_size=2, test_splits=["test"], epochs=1)
    own.train()
    result = report(own)
    own.engine.close()
    return result


def with_nan(folder: Path, **settings: Any) -> dict[str, Any]:
    """The second process meets a loss that is no number in its second iteration."""
    own = runner(folder, log_every=1, valid_splits=[], **settings)
    model = own.engine.model
    assert isinstance(model, FakeModel)
    plain: Callable[[Batch], Tensor] = model.guess
    seen: list[str] = []

    def guess(batch: Batch) -> Tensor:
        seen.append(batch.samples[0].id)
        return plain(batch) * (float("nan") if distributed.rank() == 1 and len(seen) == 2 else 1.0)

    model.guess = guess  # type: ignore[method-assign]
    problem = None
    try:
        own.train()
    except RunError as error:
        problem = str(error)
    result = {**report(own), "skipped": own.progress.skipped, "problem": problem, "bad": seen[1]}
    own.engine.close()
    return result


def frozen(folder: Path, **settings: Any) -> dict[str, Any]:
    """How far the frozen layer moved, whether it ever trained, and which parameters have a state of the optimizer."""
    model = FakeModel()
    before = {name: tensor.clone() for name, tensor in model.frozen.state_dict().items()}
    own = fake_runner(folder, model, batch_size=1, **settings)
    own.train()
    engine = own.engine
    with engine.evaluating():
        same = {name: torch.equal(distributed.whole(t), before[name]) for name, t in model.frozen.state_dict().items()}
    named = [name for group in engine.optimizer.param_groups for name in group["names"]]
    result = {
        "same": same,
        "learning": named,
        "states": len(engine.optimizer.state),
        "gradients": [name for name, p in model.named_parameters() if not p.requires_grad and p.grad is not None],
    }
    engine.close()
    return result


@registry.hooks.register("frozen_watch")
class FrozenWatch(Hook):
    """Compares what is frozen after the training with what it was before; the last one made is ``newest``."""

    newest: FrozenWatch

    def __init__(self) -> None:
        FrozenWatch.newest = self
        self.before: dict[str, Tensor] = {}
        self.facts: dict[str, Any] = {}

    def start(self, runner: Runner) -> None:
        with runner.engine.evaluating() as model:
            self.before = {name: p.detach().clone() for name, p in model.named_parameters() if not p.requires_grad}

    def trained(self, runner: Runner) -> None:
        asked: Any = runner.engine.model
        modules = [module for module in (asked.encoder, asked.compressor.Qformer) if module is not None]
        self.facts["training"] = any(m.training for part in modules for m in part.modules() if _all_frozen(m))
        self.facts["learns"] = asked.training
        self.facts["states"] = [name for group in runner.engine.optimizer.param_groups for name in group["names"]]

    def end(self, runner: Runner) -> None:
        with runner.engine.evaluating() as model:
            now = dict(model.named_parameters())
            self.facts["moved"] = [name for name, tensor in self.before.items() if not torch.equal(tensor, now[name])]
        self.facts["frozen"] = len(self.before)
        self.facts["weights"] = {name: t.double().sum().item() for name, t in runner.engine.weights().items()}


def _all_frozen(module: torch.nn.Module) -> bool:
    parameters = list(module.parameters())
    return bool(parameters) and not any(p.requires_grad for p in parameters)


def tiny(folder: Path) -> dict[str, Any]:
    from lavis.common.config import load_config
    from lavis.runners.run import train as train_tiny

    found: dict[str, Any] = {}
    for path in sorted(folder.glob("*.yaml")):
        train_tiny(load_config(path))
        found[path.stem] = FrozenWatch.newest.facts
    return found


if __name__ == "__main__":
    # A process that waits for another for ever must not outlive the test.
    faulthandler.dump_traceback_later(800, exit=True)
    place, what = Path(sys.argv[1]), sys.argv[2]
    results = {"options": options, "shards": shards, "deepspeed": deepspeed, "tiny": tiny}[what](place)
    (place / f"process{distributed.rank()}.json").write_text(json.dumps(results))
    distributed.barrier()
    # torch 2.13 now and then aborts while Python shuts down after FSDP2 on a CPU, even in the smallest program.
    os._exit(0)

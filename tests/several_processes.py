"""What a launcher starts in the tests: trains the fake model in every way processes can share it, and reports.

``torchrun --nproc-per-node 2 -m tests.several_processes FOLDER`` writes ``FOLDER/process<rank>.json``.
"""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from lavis.common import distributed
from lavis.runners.failures import Interrupted
from lavis.runners.hooks.base import Hook, StepRecord
from lavis.runners.runner import Runner
from tests.fake_run import FakeData, FakeModel, fake_runner


def runner(folder: Path, **settings: Any) -> Runner:
    """A runner without chance, so that its weights can be compared with those of one process."""
    model = FakeModel()
    model.dropout.p = 0.0
    return fake_runner(
        folder, model, **{"train_data": [FakeData(8, "train")], "epochs": 1, "batch_size": 1, **settings}
    )


def report(runner: Runner) -> dict[str, Any]:
    """Weights, the ids this process was asked, and how far it got."""
    model = runner.engine.model
    assert isinstance(model, FakeModel)
    weights = {name: tensor.tolist() for name, tensor in runner.engine.weights().items()}
    return {"weights": weights, "asked": model.asked, "steps": runner.progress.global_step}


def train(folder: Path, **settings: Any) -> dict[str, Any]:
    """Trains once."""
    own = runner(folder, **settings)
    own.train()
    result = report(own)
    own.engine.close()
    return result


def resumed(folder: Path, **settings: Any) -> dict[str, Any]:
    """Trains in two parts, of which the first ends between two optimizer steps."""
    train(folder, max_steps=3, valid_splits=[], **settings)
    return train(folder, **settings)


class StopOne(Hook):
    """Sends only the second process a signal, after its first iteration."""

    def step(self, runner: Runner, record: StepRecord) -> None:
        if distributed.rank() == 1 and record.global_step == 0:
            os.kill(os.getpid(), signal.SIGTERM)


def stopped(folder: Path, **settings: Any) -> dict[str, Any]:
    """Is stopped by a signal and trains the rest; tells where it stopped."""
    own = runner(folder, **settings)
    own.hooks.append(StopOne())
    try:
        own.train()
    except Interrupted:
        at = own.progress.global_step
    own.engine.close()
    return {**train(folder, **settings), "stopped_at": at}


def main(folder: Path) -> None:
    results = {
        "ddp": train(folder / "ddp", accumulate=2),
        "ddp_resumed": resumed(folder / "ddp_resumed", accumulate=2),
        "ddp_stopped": stopped(folder / "ddp_stopped", accumulate=2),
        "fsdp2": train(folder / "fsdp2", strategy="fsdp2", accumulate=2, clip_grad_norm=100.0),
        "fsdp2_resumed": resumed(folder / "fsdp2_resumed", strategy="fsdp2", accumulate=2, clip_grad_norm=100.0),
        "spread": train(folder / "spread", train_data=[FakeData(7, "train")], accumulate=2),
        "spread_fsdp2": train(
            folder / "spread_fsdp2", train_data=[FakeData(7, "train")], accumulate=2, strategy="fsdp2"
        ),
        "unreadable": train(
            folder / "unreadable", train_data=[FakeData(8, "train", unreadable=range(1, 8))], valid_splits=[]
        ),
    }
    (folder / f"process{distributed.rank()}.json").write_text(json.dumps(results))


if __name__ == "__main__":
    # A process that waits for another for ever must not outlive the test.
    faulthandler.dump_traceback_later(800, exit=True)
    main(Path(sys.argv[1]))
    distributed.barrier()
    # torch 2.13 now and then aborts while Python shuts down after FSDP2 on a CPU, even in the smallest program.
    os._exit(0)

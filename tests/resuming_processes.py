"""What a launcher starts in the tests: trainings of two processes that are interrupted in every way, and resumed.

``torchrun --nproc-per-node 2 -m tests.resuming_processes FOLDER`` writes ``FOLDER/process<rank>.json``. The training in
``FOLDER/of_one`` was begun by one process, and that in ``FOLDER/of_two`` is left for one to end.
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
from lavis.runners.checkpoints import checkpoints
from lavis.runners.failures import Interrupted
from lavis.runners.hooks.base import Hook, StepRecord
from lavis.runners.runner import Runner
from tests.fake_run import fake_runner
from tests.several_processes import report, runner

# With chance (dropout, augmentation), and with gradients that are carried over the end of an epoch.
SETTINGS: dict[str, Any] = {"batch_size": 1, "accumulate": 3, "leftover": "carry", "epochs": 2, "log_every": 3}


def train(folder: Path, *hooks: Hook, **settings: Any) -> dict[str, Any]:
    """Trains once; ``stopped_at`` says where it was stopped by a signal, if it was."""
    own = fake_runner(folder, **{**SETTINGS, **settings})
    own.hooks = [*hooks, *own.hooks]
    stopped_at = None
    try:
        own.train()
    except Interrupted as stop:
        assert stop.code == 128 + signal.SIGTERM
        stopped_at = own.progress.global_step
    losses = own.folder / "metrics.jsonl"
    text = losses.read_text() if distributed.is_main() and losses.is_file() else ""
    rows = [json.loads(line) for line in text.splitlines()]
    result = {**report(own), "stopped_at": stopped_at, "losses": [row["loss"] for row in rows if "loss" in row]}
    own.engine.close()
    return result


class StopOne(Hook):
    """Sends only the second process a signal: after an iteration, or within the validation after an epoch."""

    def __init__(self, at: int, validation: bool = False) -> None:
        self.at = at
        self.validation = validation

    def step(self, runner: Runner, record: StepRecord) -> None:
        if not self.validation and record.global_step + 1 == self.at:
            self._stop()

    def validate(self, runner: Runner) -> None:
        if self.validation and runner.progress.global_step == self.at:
            self._stop()

    def _stop(self) -> None:
        if distributed.rank() == 1:
            os.kill(os.getpid(), signal.SIGTERM)


def stopped(folder: Path, at: int, validation: bool = False, **settings: Any) -> dict[str, Any]:
    """Is stopped by a signal and trains the rest; tells where it stopped."""
    first = train(folder, StopOne(at, validation), **settings)
    return {**train(folder, **settings), "stopped_at": first["stopped_at"]}


def parts(folder: Path, *steps: int, **settings: Any) -> dict[str, Any]:
    """Trains in several parts."""
    for step in steps:
        train(folder, max_steps=step, valid_splits=[], **settings)
    return train(folder, **settings)


def torn(folder: Path) -> dict[str, Any]:
    """Goes on although the newest checkpoint is torn."""
    train(folder, max_steps=5, save_steps=2, valid_splits=[])
    if distributed.is_main():
        path = checkpoints(folder / "checkpoints")[-1] / "process1.pt"
        path.write_bytes(path.read_bytes()[:100])
    distributed.barrier()
    return train(folder)


def plain(folder: Path, **settings: Any) -> dict[str, Any]:
    """Trains without chance, so that one process does the same."""
    own = runner(folder, accumulate=2, **settings)
    own.train()
    result = report(own)
    own.engine.close()
    return result


def main(folder: Path) -> None:
    results = {
        "whole": train(folder / "whole"),
        "parts": parts(folder / "parts", 2, 5),
        "workers": parts(folder / "workers", 3, num_workers=2),
        "async": parts(folder / "async", 3, async_save=True, save_steps=1),
        "stopped": stopped(folder / "stopped", 2),
        "stopped_async": stopped(folder / "stopped_async", 3, async_save=True, save_steps=1),
        "stopped_validation": stopped(folder / "stopped_validation", 4, validation=True, save_every=9),
        "torn": torn(folder / "torn"),
        "of_one": plain(folder / "of_one", batch_size=1),
        "of_two": plain(folder / "of_two", batch_size=1, max_steps=3, valid_splits=[]),
    }
    (folder / f"process{distributed.rank()}.json").write_text(json.dumps(results))


if __name__ == "__main__":
    # A process that waits for another for ever must not outlive the test.
    faulthandler.dump_traceback_later(800, exit=True)
    main(Path(sys.argv[1]))
    distributed.barrier()
    os._exit(0)

"""Where the time of a few iterations goes: a trace for a viewer, and a table of the most expensive operators.

Over ``torch.profiler``. The trace opens in chrome://tracing or ui.perfetto.dev.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from lavis.common import distributed
from lavis.common.logging import get_logger
from lavis.common.registry import registry
from lavis.runners.hooks.base import Hook, StepRecord

if TYPE_CHECKING:
    from lavis.runners.runner import Runner

ROWS = 10
TRACE = "trace.json.gz"
TABLE = "operators.txt"
logger = get_logger(__name__)


@registry.hooks.register("profiler")
class Profiler(Hook):
    """Records a few iterations: ``profile/operators.txt`` with the most expensive operators, and a trace beside it.

    Args:
        first: iterations of this start to pass over, while caches and the like settle, at least 1.
        steps: iterations to record, at least 1.
    """

    def __init__(self, first: int = 3, steps: int = 5) -> None:
        if first < 1 or steps < 1:
            raise ValueError(f"first and steps must be at least 1, got {first} and {steps}")
        self.first = first
        self.steps = steps
        self._seen = 0
        self._recorder: Recorder | None = None

    def start(self, runner: Runner) -> None:
        self._seen = 0
        self._recorder = Recorder(runner.folder / "profile") if distributed.is_main() else None

    def step(self, runner: Runner, record: StepRecord) -> None:
        self._seen += 1
        if self._recorder is None:
            return
        if self._seen == self.first:
            self._recorder.start()
        elif self._seen == self.first + self.steps:
            self._finish()

    def trained(self, runner: Runner) -> None:
        if self._recorder is not None and self._recorder.running:
            self._finish()  # an evaluation must not be part of it

    def end(self, runner: Runner) -> None:
        if self._recorder is not None and self._seen < self.first:
            logger.warning("the profiler recorded nothing: %d iterations, its first is %d", self._seen, self.first)

    def _finish(self) -> None:
        assert self._recorder is not None
        logger.info("the most expensive operators are in %s", self._recorder.finish())


class Recorder:
    """Records from ``start`` to ``finish``.

    Args:
        folder: where ``trace.json.gz`` and ``operators.txt`` go, such as ``<run>/profile``.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._profile: Any = None

    @property
    def running(self) -> bool:
        """Whether it records now."""
        return self._profile is not None

    def start(self) -> None:
        """Begins to record."""
        from torch.profiler import ProfilerActivity, profile

        activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if torch.cuda.is_available() else [])]
        self._profile = profile(activities=activities, profile_memory=True)
        self._profile.start()

    def finish(self) -> Path:
        """Ends the recording and writes both files; the table."""
        assert self._profile is not None, "start() comes first"
        profile, self._profile = self._profile, None
        profile.stop()
        self.folder.mkdir(parents=True, exist_ok=True)
        profile.export_chrome_trace(str(self.folder / TRACE))
        device = "self_cuda_time_total" if torch.cuda.is_available() else "self_cpu_time_total"
        path = self.folder / TABLE
        path.write_text(profile.key_averages().table(sort_by=device, row_limit=ROWS), encoding="utf-8")
        return path

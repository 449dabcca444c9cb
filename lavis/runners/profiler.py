"""Where the time of a few iterations goes: a trace for a viewer, and a table of the most expensive operators.

Over ``torch.profiler``. The trace opens in chrome://tracing or ui.perfetto.dev.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

ROWS = 10
TRACE = "trace.json.gz"
TABLE = "operators.txt"


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

"""What a user waits for before anything happens: import, help, lists, the first prediction.

    python -m benchmarks.startup
    python -m benchmarks.startup --quick

Each command runs in a process of its own, once before it is timed, so that files are in the system's memory; "python"
is an interpreter that does nothing. Bars: ``import lavis`` below 1 s, ``lavis --help`` below 2 s.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks._common import ROOT, Report, options
from benchmarks._runs import make_video

BARS = {"import lavis": 1.0, "lavis --help": 2.0}

MODEL = """
from lavis.common.config import load_config
from lavis.models.build import build_model
model = build_model(load_config("tiny/calce_stage1")["model"])
"""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = options(__doc__, sizes=("tiny",), default="tiny")
    parsed = parser.parse_args(arguments)
    report = Report("startup", parsed)
    repeats = parsed.repeats or (3 if parsed.quick else 9)
    report.line(f"median of {repeats} after one to warm up, wall seconds")
    with tempfile.TemporaryDirectory() as folder:
        video = make_video(Path(folder, "made.mp4"), 10, 96, 64)
        for name, command in commands(video).items():
            seconds = timed(command, repeats)
            report.line(f"{name:32} {seconds:8.2f} s")
            if name in BARS:
                report.bar(f"seconds of {name}", seconds, most=BARS[name])
    return report.finish()


def commands(video: Path) -> dict[str, list[str]]:
    """What is timed."""
    cli = [sys.executable, "-m", "lavis.cli"]
    ask = f"{MODEL}print(model.localize({str(video)!r}, 'a red circle moves left').moments)"
    return {
        "python": [sys.executable, "-c", "pass"],
        "import torch": [sys.executable, "-c", "import torch"],
        "import lavis": [sys.executable, "-c", "import lavis"],
        "lavis --help": [*cli, "--help"],
        "lavis list": [*cli, "list"],
        "tiny model built": [sys.executable, "-c", MODEL],
        "first prediction of a tiny model": [sys.executable, "-c", ask],
    }


def timed(command: Sequence[str], repeats: int) -> float:
    """Median wall seconds of a command."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    seconds = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        seconds.append(time.perf_counter() - start)
        if done.returncode:
            raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr[-3000:]}")
    return statistics.median(seconds[1:])


if __name__ == "__main__":
    sys.exit(main())

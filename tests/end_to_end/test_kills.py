"""A training that is killed at random moments ends in the same bits: a few tries of ``benchmarks/resume.py``."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.end_to_end.tiny import ROOT, command


def test_killed_and_resumed(tmp_path: Path) -> None:
    output = tmp_path / "resume.txt"
    done = command(sys.executable, "-m", "benchmarks.resume", "--tries", 2, "--output", output, cwd=ROOT)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert "1 process: 2 of 2 tries ended in the same bits" in output.read_text()

"""Of two processes one hangs, dies or fails: the run ends by itself, and says which one it was."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from lavis.runners.watchdog import STALLED
from tests.end_to_end.tiny import ROOT, command


def start(folder: Path, how: str, limit: float) -> subprocess.CompletedProcess[str]:
    """Two processes whose watchdog waits ``limit`` seconds, told by ``tests.hanging`` where it is about them."""
    return command(
        *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", 2),
        *("-m", "tests.hanging", folder, how, limit),
        cwd=ROOT,
        real=how == "hangs",  # the launcher tells the exit status
    )


@pytest.mark.parametrize(
    ("how", "limit", "message"),
    [
        ("hangs", 3, "has made no progress for"),
        ("killed", 1000, "is gone without a word"),
        ("fails", 1000, "ended with an error in"),
    ],
)
def test_the_process_at_fault_is_named(tmp_path: Path, how: str, limit: float, message: str) -> None:
    done = start(tmp_path, how, limit)
    assert done.returncode != 0
    (line, *_) = [line for line in done.stderr.splitlines() if message in line]
    assert "process 1 (" in line and "process 0 (" not in line
    assert "epoch 1, iteration" in line
    if how == "hangs":
        assert f"exitcode: {STALLED}" in done.stderr or f"exitcode  : {STALLED}" in done.stderr
        assert "__getitem__" in done.stderr, "the stack shows where it hangs"


def test_slow_is_not_still(tmp_path: Path) -> None:
    """The second process takes several times the limit for its part, a little at a time."""
    done = start(tmp_path, "slow", 2)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "no progress" not in done.stderr

"""Two processes on a CPU, started by torchrun, that are interrupted end in the same bits as two that are not."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.end_to_end.tiny import ROOT, command
from tests.resuming_processes import plain


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("processes")
    plain(folder / "of_one", batch_size=2, max_steps=3, valid_splits=[])
    done = command(
        *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", 2),
        *("-m", "tests.resuming_processes", folder),
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return folder


@pytest.fixture(scope="module")
def processes(folder: Path) -> list[dict[str, Any]]:
    return [json.loads((folder / f"process{rank}.json").read_text()) for rank in range(2)]


@pytest.mark.parametrize("way", ["parts", "workers", "async", "stopped", "stopped_async", "stopped_validation", "torn"])
def test_the_same_bits(processes: list[dict[str, Any]], way: str) -> None:
    for process in processes:
        assert process[way]["weights"] == processes[0]["whole"]["weights"]
        assert process[way]["losses"] == process["whole"]["losses"]


def test_a_signal_to_one_stops_both(processes: list[dict[str, Any]]) -> None:
    for process in processes:
        assert process["stopped"]["stopped_at"] == process["stopped_async"]["stopped_at"] == 3
        assert process["stopped_validation"]["stopped_at"] == 4


def test_within_an_epoch_one_process_hands_over_to_two_and_two_to_one(
    processes: list[dict[str, Any]], folder: Path, tmp_path: Path
) -> None:
    alone = plain(tmp_path, batch_size=2)
    ended = plain(folder / "of_two", batch_size=2)
    for other in (processes[0]["of_one"], ended):
        assert other["steps"] == alone["steps"] == 4
        for name, weight in alone["weights"].items():
            assert torch.allclose(torch.tensor(weight), torch.tensor(other["weights"][name]), atol=1e-6)

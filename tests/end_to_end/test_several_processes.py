"""Two processes on a CPU, started by torchrun, do what one does: DDP and FSDP2, accumulation, resuming, evaluation."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.end_to_end.tiny import ROOT, command
from tests.fake_run import FakeData
from tests.several_processes import train


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("processes")
    done = command(
        *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", 2),
        *("-m", "tests.several_processes", folder),
        cwd=ROOT,
        real=True,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return folder


@pytest.fixture(scope="module")
def processes(folder: Path) -> list[dict[str, Any]]:
    return [json.loads((folder / f"process{rank}.json").read_text()) for rank in range(2)]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The same training by one process, with the batches of both."""
    return train(tmp_path_factory.mktemp("alone"), batch_size=2, accumulate=2)


def close(one: dict[str, Any], two: dict[str, Any]) -> bool:
    return one.keys() == two.keys() and all(
        torch.allclose(torch.tensor(one[name]), torch.tensor(two[name]), atol=1e-6) for name in one
    )


@pytest.mark.parametrize("way", ["ddp", "ddp_resumed", "fsdp2", "fsdp2_resumed"])
def test_two_processes_learn_what_one_does(processes: list[dict[str, Any]], alone: dict[str, Any], way: str) -> None:
    assert processes[0][way]["weights"] == processes[1][way]["weights"]
    assert processes[0][way]["steps"] == alone["steps"] == 4
    assert close(processes[0][way]["weights"], alone["weights"])


@pytest.mark.parametrize("way", ["spread", "spread_fsdp2"])
def test_two_processes_learn_from_an_odd_sample_what_one_does(
    processes: list[dict[str, Any]], way: str, tmp_path: Path
) -> None:
    """7 samples for 2 processes of 1: in one iteration a process has none, and no sample weighs more for it."""
    one = train(tmp_path, batch_size=2, accumulate=2, train_data=[FakeData(7, "train")])
    assert processes[0][way]["weights"] == processes[1][way]["weights"]
    assert processes[0][way]["steps"] == one["steps"] == 4
    assert close(processes[0][way]["weights"], one["weights"])


@pytest.mark.parametrize("way", ["ddp", "fsdp2"])
def test_resuming_is_exact(processes: list[dict[str, Any]], way: str) -> None:
    assert processes[0][f"{way}_resumed"]["weights"] == processes[0][way]["weights"]


def test_a_signal_to_one_process_stops_both_after_the_same_step(processes: list[dict[str, Any]]) -> None:
    for process in processes:
        assert process["ddp_stopped"]["stopped_at"] == 2
        assert process["ddp_stopped"]["weights"] == process["ddp"]["weights"]


@pytest.mark.parametrize("way", ["ddp", "fsdp2"])
def test_every_sample_is_answered_by_one_process(processes: list[dict[str, Any]], folder: Path, way: str) -> None:
    asked = [set(process[way]["asked"]) for process in processes]
    assert asked == [{"val_0", "val_2", "val_4"}, {"val_1", "val_3"}]
    lines = (folder / way / "predictions" / "fake_val.jsonl").read_text().splitlines()
    assert [json.loads(line)["id"] for line in lines] == [f"val_{i}" for i in range(5)]
    figures = json.loads((folder / way / "metrics.json").read_text())["fake_val"]
    assert (figures["total"], figures["skipped"]) == (5, 0)
    assert not list((folder / way / "predictions").glob(".*process*"))


def test_a_process_without_readable_samples_does_not_block_the_others(processes: list[dict[str, Any]]) -> None:
    assert [process["unreadable"]["steps"] for process in processes] == [4, 4]
    assert processes[0]["unreadable"]["weights"] == processes[1]["unreadable"]["weights"]


def test_accelerate_starts_processes_as_torchrun_does(tmp_path: Path) -> None:
    """With the strategy that it was set up for; what follows does not differ from torchrun's."""
    program = tmp_path / "program.py"
    program.write_text(
        "from pathlib import Path\n"
        "from lavis.common import distributed\n"
        "from lavis.runners.devices import choose_strategy\n"
        "Path(__file__).with_name(f'process{distributed.rank()}').write_text(\n"
        "    f'{distributed.launched()} {choose_strategy(\"auto\")}'\n"
        ")\n"
    )
    done = command(
        *(sys.executable, "-m", "accelerate.commands.launch", "--use_fsdp", "--num_machines", 1),
        *("--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", 0, "--num_processes", 2, program),
        cwd=ROOT,
        seconds=90,
        real=True,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert [(tmp_path / f"process{rank}").read_text() for rank in range(2)] == ["True fsdp2"] * 2

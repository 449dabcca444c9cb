"""Options that two processes must agree on: averages, dropped steps, frozen parts, shards, ZeRO, small evaluations."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from lavis.common.checkpoint import read_checkpoint
from tests.end_to_end.test_several_processes import close
from tests.end_to_end.tiny import ROOT, command, experiment, write_corpus
from tests.several_processes import train

Reports = list[dict[str, Any]]


def two(folder: Path, what: str, **environment: str) -> Reports:
    done = command(
        *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", 2),
        *("-m", "tests.options_of_processes", folder, what),
        cwd=ROOT,
        **environment,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return [json.loads((folder / f"process{rank}.json").read_text()) for rank in range(2)]


def answered(folder: Path, name: str) -> list[str]:
    return [json.loads(line)["id"] for line in (folder / "predictions" / f"{name}.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("options")


@pytest.fixture(scope="module")
def options(folder: Path) -> Reports:
    return two(folder, "options")


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., tuple[Path, dict[str, Any]]]:
    """The same trainings by one process, with the batches of both."""

    def one(**settings: Any) -> tuple[Path, dict[str, Any]]:
        place = tmp_path_factory.mktemp("alone")
        return place, train(place, batch_size=2, **settings)

    return one


def test_fewer_samples_than_processes_and_uneven_shares(options: Reports, folder: Path) -> None:
    asked = [identity for report in options for identity in report["few"]["asked"]]
    assert sorted(asked) == sorted([*(f"val_{i}" for i in range(13)), "test_0"]), "each once"
    assert answered(folder / "few", "fake_val") == [f"val_{i}" for i in range(13)]
    assert answered(folder / "few", "fake_test") == ["test_0"]


@pytest.mark.parametrize("way", ["ema", "ema_fsdp2"])
def test_the_average_is_that_of_one_process(options: Reports, folder: Path, alone: Any, way: str) -> None:
    place, report = alone(accumulate=2, ema=0.5)
    assert close(options[0][way]["weights"], report["weights"])
    averages = [read_checkpoint(p / "checkpoints" / "best.safetensors").state for p in (folder / way, place)]
    assert all(torch.allclose(averages[0][name], averages[1][name], atol=1e-6) for name in averages[1])
    assert not torch.equal(averages[0]["head.weight"], torch.tensor(options[0][way]["weights"]["head.weight"]))


@pytest.mark.parametrize(
    ("way", "again"),
    [("ema", "ema_resumed"), ("ema_fsdp2", "ema_fsdp2_resumed"), ("ema_fsdp2", "ema_fsdp2_whole")],
)
def test_resuming_keeps_the_average(options: Reports, folder: Path, way: str, again: str) -> None:
    assert options[0][way]["weights"] == options[0][again]["weights"]
    best = [read_checkpoint(folder / name / "checkpoints" / "best.safetensors").state for name in (way, again)]
    assert all(torch.equal(best[0][name], best[1][name]) for name in best[0])


@pytest.mark.parametrize("way", ["skipped", "skipped_fsdp2"])
def test_all_processes_drop_the_step_of_a_bad_loss(options: Reports, folder: Path, way: str) -> None:
    assert [report[way]["skipped"] for report in options] == [1, 1]
    assert options[0][way]["weights"] == options[1][way]["weights"]
    assert all(torch.isfinite(torch.tensor(w)).all() for w in options[0][way]["weights"].values())
    rows = [json.loads(line) for line in (folder / way / "metrics.jsonl").read_text().splitlines()]
    (row,) = [row for row in rows if "skipped_steps" in row]
    assert (row["step"], row["skipped_steps"]) == (2, 1)
    assert f"on process 1 (lm=nan) for the samples {options[1][way]['bad']}" in row["reason"]


def test_all_processes_stop_at_a_bad_loss(options: Reports) -> None:
    for report in options:
        assert "on process 1 (lm=nan)" in report["stopped"]["problem"]
        assert report["stopped"]["steps"] == 1


@pytest.mark.parametrize("way", ["frozen", "frozen_fsdp2"])
def test_frozen_parts_do_not_move(options: Reports, way: str) -> None:
    for report in options:
        assert report[way]["same"] == {"weight": True, "bias": True}
        assert not any(name.startswith("frozen") for name in report[way]["learning"])
        assert report[way]["states"] == len(report[way]["learning"])
        assert report[way]["gradients"] == []


def experiments(folder: Path, ways: Sequence[str]) -> None:
    """Files ``<way>.yaml`` that train a tiny CALCE with the strategy of that name."""
    corpus = write_corpus(folder / "corpus", train=4, val=3, test=1)
    for way in ways:
        zero = {"strategy": "deepspeed", "zero_stage": int(way[-1])} if way.startswith("zero") else {"strategy": way}
        run = {**zero, "batch_size": 1, "epochs": 1, "hooks": ["frozen_watch"], "clip_grad_norm": 1.0}
        shutil.copy(experiment(corpus, f"tiny/{way}", run=run), folder / f"{way}.yaml")


def check_experiments(reports: Reports) -> None:
    for way, facts in reports[0].items():
        assert facts["moved"] == [] and facts["frozen"] > 100, way
        assert facts["training"] is False and facts["learns"] is True, "what is frozen stays in evaluation mode"
        assert facts["weights"] == reports[1][way]["weights"]
        assert facts["weights"] == pytest.approx(reports[0]["ddp"]["weights"], abs=1e-5)


def test_a_whole_model_learns_the_same_however_it_is_shared(tmp_path: Path) -> None:
    experiments(tmp_path, ["ddp", "fsdp2"])
    check_experiments(two(tmp_path, "tiny"))
    corpus = tmp_path / "corpus"
    for way in ("ddp", "fsdp2"):
        rows = (corpus / "results" / "tiny" / way / "predictions" / "clips_val.jsonl").read_text().splitlines()
        assert len({json.loads(row)["id"] for row in rows}) == len(rows) == 3


def test_shards_load_at_another_number_of_processes(tmp_path: Path, alone: Any) -> None:
    settings: dict[str, Any] = {"strategy": "fsdp2", "epochs": 2, "ema": 0.5}
    begun, _ = alone(max_steps=4, sharded_checkpoints=True, **settings)
    shutil.copytree(begun, tmp_path / "one")
    straight, report = alone(**settings)
    reports = two(tmp_path, "shards")
    saved = tmp_path / "two" / "checkpoints" / "step_000004"
    assert (saved / "shards" / "__1_0.distcp").is_file()
    assert not (saved / "weights.safetensors").exists(), "no process gathers everything"
    assert [r["one"]["steps"] for r in reports] == [8, 8]
    assert close(reports[0]["straight"]["weights"], report["weights"])
    assert close(reports[0]["one"]["weights"], report["weights"])
    ended = train(tmp_path / "two", batch_size=2, **settings)
    assert ended["steps"] == 8
    assert close(ended["weights"], report["weights"])
    best = [read_checkpoint(p / "checkpoints" / "best.safetensors").state for p in (straight, tmp_path / "two")]
    assert all(torch.allclose(best[0][name], best[1][name], atol=1e-6) for name in best[0])


@pytest.fixture(scope="module")
def zero(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Reports]:
    if importlib.util.find_spec("deepspeed") is None:
        pytest.skip("deepspeed is not installed: pip install 'lavis[deepspeed]'")
    if shutil.which("g++") is None or shutil.which("ninja") is None:
        pytest.skip("deepspeed compiles its messages for CPUs and needs g++ and ninja")
    place = tmp_path_factory.mktemp("zero")
    return place, two(place, "deepspeed", DS_ACCELERATOR="cpu")


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_zero_learns_what_one_process_does(zero: tuple[Path, Reports], alone: Any, stage: int) -> None:
    place, reports = zero
    _, report = alone(accumulate=2, clip_grad_norm=100.0)
    name = f"zero{stage}"
    assert reports[0][name]["weights"] == reports[1][name]["weights"]
    assert close(reports[0][name]["weights"], report["weights"])
    assert reports[0][f"{name}_resumed"]["weights"] == reports[0][name]["weights"]
    assert answered(place / name, "fake_val") == [f"val_{i}" for i in range(5)]
    assert answered(place / name, "fake_test") == [f"test_{i}" for i in range(3)]
    assert reports[0][f"frozen{stage}"]["same"] == {"weight": True, "bias": True}


def test_zero_in_bf16_and_with_an_average(zero: tuple[Path, Reports], alone: Any) -> None:
    place, reports = zero
    exact, rough = reports[0]["zero2"]["weights"], reports[0]["zero2_bf16"]["weights"]
    assert rough != exact
    assert all(torch.allclose(torch.tensor(rough[n]), torch.tensor(exact[n]), atol=0.05) for n in exact)
    other, _ = alone(accumulate=2, ema=0.5)
    best = [read_checkpoint(p / "checkpoints" / "best.safetensors").state for p in (place / "ema", other)]
    assert all(torch.allclose(best[0][name], best[1][name], atol=1e-6) for name in best[0])


def test_zero_shares_a_whole_model(zero: tuple[Path, Reports], tmp_path: Path) -> None:
    experiments(tmp_path, ["ddp", "zero2", "zero3"])
    check_experiments(two(tmp_path, "tiny", DS_ACCELERATOR="cpu"))


def test_zero_goes_on_with_its_own_stage_only(zero: tuple[Path, Reports]) -> None:
    _, reports = zero
    assert "ZeRO checkpoints go on with the number of processes and the run.zero_stage" in reports[0]["other_stage"]

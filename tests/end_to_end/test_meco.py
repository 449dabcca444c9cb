"""MeCo and E.T. Chat through training, answers and figures, with every part of the real class."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lavis.common.checkpoint import read_checkpoint, save_checkpoint
from lavis.common.config import load_config
from lavis.runners.run import evaluate, train
from tests.end_to_end.tiny import SECONDS, Corpus, command, experiment, metrics, predictions, write_corpus

TEST = 3
FLAVOURS = ["meco", "meco_qwen2", "etchat"]
HEAD_LOSS = {"meco": "structure", "meco_qwen2": "structure", "etchat": "match"}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return write_corpus(tmp_path_factory.mktemp("meco"), train=4, val=2, test=TEST)


def settings(corpus: Corpus, flavour: str, **run: Any) -> Path:
    few = {"epochs": 2, "eval_batch_size": 2, "threads": 1}
    return experiment(corpus, f"tiny/{flavour}", f"tiny/{flavour}", run={**few, **run})


@pytest.fixture(scope="module")
def trained(corpus: Corpus) -> Callable[[str], Path]:
    """The run of a flavour, which trains when it is first asked for."""

    @cache
    def run(flavour: str) -> Path:
        return train(load_config(settings(corpus, flavour)))

    return run


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_learns_answers_and_is_scored(trained: Callable[[str], Path], flavour: str) -> None:
    folder = trained(flavour)

    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    steps = [row for row in rows if "loss" in row]
    assert len(steps) == 4 and all({"lm", HEAD_LOSS[flavour]} <= set(row) for row in steps), rows[:2]
    learned = read_checkpoint(folder / "checkpoints" / "best.safetensors").state
    assert {name.split(".")[0] for name in learned} == {"compressor", "head", "language_model"}

    assert metrics(folder)["clips_test"]["total"] == TEST
    answers = predictions(folder, "clips_test")
    assert len(answers) == TEST
    for row in answers:
        assert all(0 <= start <= end <= SECONDS for start, end, *_ in row["moments"])


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_answers_depend_on_no_batch(corpus: Corpus, trained: Callable[[str], Path], flavour: str) -> None:
    weights = {"weights": str(trained(flavour) / "checkpoints" / "best.safetensors")}
    found = []
    for size in (TEST, 1):
        run = {"eval_batch_size": size, "threads": 1}
        file = experiment(corpus, f"tiny/{flavour}_{size}", f"tiny/{flavour}", model=weights, run=run)
        found.append(predictions(evaluate(load_config(file)), "clips_test"))
    together, alone = found
    assert [(row["id"], row["text"]) for row in together] == [(row["id"], row["text"]) for row in alone]
    for left, right in zip(together, alone, strict=True):
        assert np.allclose(left["moments"], right["moments"], atol=1e-4)


def test_weights_of_an_earlier_stage_are_told(
    corpus: Corpus, trained: Callable[[str], Path], tmp_path: Path
) -> None:
    best = read_checkpoint(trained("meco") / "checkpoints" / "best.safetensors")
    early = tmp_path / "early.safetensors"
    save_checkpoint(early, {name: value for name, value in best.state.items() if not name.startswith("head.")})
    model = {"weights": [str(early)]}
    folder = evaluate(load_config(experiment(corpus, "tiny/early", "tiny/meco", model=model, run={"threads": 1})))
    assert "none of them are of model.head, which finds times" in (folder / "run.log").read_text()


@pytest.mark.parametrize("runtime", ["fsdp2", "zero2", "zero3"])
def test_two_processes_may_share_the_model(corpus: Corpus, runtime: str) -> None:
    """With an evaluation between the epochs, in which the processes' answers differ in length."""
    if runtime != "fsdp2" and (importlib.util.find_spec("deepspeed") is None or shutil.which("ninja") is None):
        pytest.skip("deepspeed and ninja are not installed: pip install 'lavis[deepspeed]' ninja")
    file = settings(corpus, "meco", batch_size=1)
    changes = (f"_base_=runtime/{runtime}", f"name=tiny/{runtime}", "run.device=cpu", "run.precision=fp32")
    start = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", 2, "-m", "train")
    done = command(
        *(*start, "--cfg-path", file, "--options", *changes), cwd=corpus.folder, DS_ACCELERATOR="cpu"
    )
    assert done.returncode == 0, done.stderr[-4000:]
    lines = (corpus.results / "tiny" / runtime / "metrics.jsonl").read_text().splitlines()
    losses = [row["loss"] for row in map(json.loads, lines) if "loss" in row]
    assert len(losses) == 4 and losses == sorted(losses, reverse=True)
    assert metrics(corpus.results / "tiny" / runtime)["clips_test"]["total"] == TEST

"""A pipeline under a launcher: two processes train and predict, one decides, merges and keeps the record."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.end_to_end.tiny import Corpus, command, experiment, predictions, write_corpus


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return write_corpus(tmp_path_factory.mktemp("pipelines"), train=4, val=2, test=2, rows_of_video=1)


@pytest.fixture(scope="module")
def pipeline(corpus: Corpus) -> Path:
    """A training, hints by folds and a report."""
    once = {"epochs": 1, "batch_size": 1, "max_steps": 1}
    coarse = experiment(corpus, "both/coarse", run={"test_splits": [], **once})
    prior = str(corpus.results / "both" / "coarse" / "out_of_fold" / "clips_{split}.jsonl")
    told = {"prompt": {"show_prior": True}}
    fine = experiment(corpus, "both/fine", "tiny/mr_blip", dataset={"prior": prior}, model=told, run=once)
    reported = {"runs": [str(corpus.results / "both" / "fine")], "out": str(corpus.results / "report.html")}
    stages = [
        {"name": "coarse", "action": "train", "config": str(coarse)},
        {"name": "hints", "action": "infer", "config": str(coarse), "splits": ["train", "val", "test"], "folds": 2},
        {"name": "fine", "action": "train", "config": str(fine)},
        {"name": "report", "action": "report", "settings": reported},
    ]
    path = corpus.folder / "pipeline.yaml"
    path.write_text(yaml.safe_dump({"name": "both", "output_dir": str(corpus.results), "stages": stages}))
    return path


def together(path: Path, *arguments: object, processes: int = 2) -> subprocess.CompletedProcess[str]:
    return command(
        *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", processes),
        *("-m", "lavis.cli", "pipeline", path, *arguments),
        cwd=path.parent,
    )


def last(corpus: Corpus) -> dict[str, str]:
    """Stages by name with what became of them in the last start."""
    known: dict[str, Any] = json.loads((corpus.results / "pipelines" / "both.json").read_text())
    return {name: known["stages"][name]["last"] for name in known["order"]}


def test_two_processes_do_every_stage_once_and_then_none(corpus: Corpus, pipeline: Path) -> None:
    first = together(pipeline)
    assert first.returncode == 0, first.stderr[-4000:]
    assert set(last(corpus).values()) == {"ran"}
    assert len(last(corpus)) == len(first.stdout.split("\n\n")[0].splitlines()), "one process speaks, once of each"
    assert "2 processes (ddp)" in (corpus.results / "both" / "coarse" / "fold_2" / "run.log").read_text()
    for name, split in (("coarse/fold_1", "train"), ("coarse", "test"), ("fine", "test")):
        rows = [row["id"] for row in predictions(corpus.results / "both" / name, f"clips_{split}")]
        assert len(set(rows)) == len(rows) > 0
    hints = (corpus.results / "both" / "coarse" / "out_of_fold" / "clips_train.jsonl").read_text().splitlines()
    assert sorted(json.loads(row)["id"] for row in hints) == sorted(corpus.ids("train"))
    assert (corpus.results / "report.html").is_file()

    second = together(pipeline)
    assert second.returncode == 0, second.stderr[-4000:]
    assert set(last(corpus).values()) == {"up to date"}

    lost = corpus.results / "both" / "coarse" / "fold_1" / "predictions" / "clips_train.jsonl"
    before = lost.read_bytes()
    lost.unlink()
    third = together(pipeline)
    assert third.returncode == 0, third.stderr[-4000:]
    assert [name for name, what in last(corpus).items() if what == "ran"] == ["hints/fold_1"]
    assert lost.read_bytes() == before


def test_a_fault_ends_all_processes(corpus: Corpus, pipeline: Path) -> None:
    (corpus.results / "pipelines" / "both.json").unlink(missing_ok=True)
    done = together(pipeline, "--options", "stages.fine.datasets.clips.prior=/nowhere/{split}.jsonl", "--from", "fine")
    assert done.returncode != 0
    assert done.stderr.count("reads files that do not exist") >= 1
    assert not (corpus.results / "pipelines" / "both" / ".lock.json").exists()

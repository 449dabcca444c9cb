"""A training that reads tar shards is the one that reads files; a mixture says what it was made of."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from lavis.common.config import load_config
from lavis.models.encoders.base import FrameEncoder
from lavis.runners.run import evaluate, train
from process_data.extract_features import main as extract
from process_data.make_shards import main
from tests.end_to_end.tiny import Corpus, experiment, predictions, write_corpus

RUN = {"epochs": 2, "max_steps": None}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return write_corpus(tmp_path_factory.mktemp("shards"), train=6)


def with_data(file: Path, datasets: dict[str, Any], name: str, **run: Any) -> Path:
    """The same experiment on other data."""
    tree = yaml.safe_load(file.read_text())
    tree |= {"name": name, "datasets": datasets, "run": {**tree["run"], **run}}
    new = file.with_name(f"{name.replace('/', '_')}.yaml")
    new.write_text(yaml.safe_dump(tree, sort_keys=False))
    return new


def curve(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def losses(folder: Path) -> list[float]:
    return [row["loss"] for row in curve(folder) if "loss" in row]


def test_it_is_the_training_from_files(corpus: Corpus, tmp_path: Path) -> None:
    files = experiment(corpus, "tiny/files", run=RUN)
    annotations = {}
    for split in ("train", "val", "test"):
        out = tmp_path / split
        common = ["--config", str(files), "--split", split, "--no-shuffle", "--media-per-shard", "2"]
        assert main([str(out), *common]) == 0
        annotations[split] = str(out / "index.json")
    shards = with_data(files, {"clips": {"name": "shards", "annotations": annotations}}, "tiny/tars")
    plain, folder = train(load_config(files)), train(load_config(shards))
    assert losses(folder) == losses(plain)
    assert len(losses(folder)) >= 4
    evaluate(load_config(shards), ["val"])
    for split in ("val", "test"):
        assert predictions(folder, f"clips_{split}") == predictions(plain, f"clips_{split}")


def test_features_extracted_from_files_are_found_for_shards(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    view = {"sampler": {"name": "head", "num_frames": 6}, "round_times": None, "transform": {}}
    view["transform"] = {phase: {"name": "clip_eval", "image_size": 28} for phase in ("train", "eval")}
    model = {"processor": {"views": {"frames": view}}, "cache": {"memory_mb": 0, "folder": str(tmp_path / "kept")}}
    files = experiment(corpus, "tiny/kept", model=model, run=RUN)
    assert extract([str(files), "--splits", "test"]) == 0
    assert main([str(tmp_path / "tars"), "--config", str(files), "--split", "test"]) == 0
    node = {"name": "shards", "annotations": {"test": str(tmp_path / "tars")}, "scratch_mb": 0}
    shards = with_data(files, {"clips": node}, "tiny/kept_tars", train_splits=["test"], valid_splits=[])
    ran: list[int] = []
    monkeypatch.setattr(FrameEncoder, "_chunked", lambda self, frames: ran.append(1))
    evaluate(load_config(shards), ["test"])
    assert ran == []


def test_a_mixture_says_what_it_was_made_of(corpus: Corpus) -> None:
    files = experiment(corpus, "tiny/mixed_base", run=RUN)
    part = yaml.safe_load(files.read_text())["datasets"]["clips"]
    mixture = {"name": "mixture", "parts": {"a": part, "b": copy.deepcopy(part)}, "sizes": {"a": 3, "b": 1}}
    folder = train(load_config(with_data(files, {"mix": mixture}, "tiny/mixed", valid_splits=[], test_splits=[])))
    rows = [row["sources"] for row in curve(folder) if "sources" in row]
    assert len(rows) == 2, "one an epoch"
    assert rows[-1]["mix.a"] == {"samples": 6, "items": 3, "share": 0.75, "passes": 0.5, "skipped": 0}
    assert "mix.b: 1 items an epoch (25.0%) of 6 samples" in (folder / "run.log").read_text()

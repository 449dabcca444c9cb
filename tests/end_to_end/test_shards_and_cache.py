"""Two processes that share a model by FSDP2 while their videos differ in length, and one of them has features kept."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from lavis.common.checkpoint import read_checkpoint
from lavis.common.config import load_config
from lavis.runners.run import train
from tests.end_to_end.tiny import SECONDS, Corpus, command, experiment, predictions, write_corpus
from tests.video_factory import write_video

CLIP = {"name": "clip_eval", "image_size": 28}
FRAMES = {"sampler": {"name": "fps", "fps": 1, "max_frames": 60}, "transform": {"train": CLIP, "eval": CLIP}}
LEARNING = ["language_model.*.lora_*", "compressor.t5_proj.*", "compressor.query_proj.*"]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """Four videos to learn from, of which each but the first has more frames and chunks than the one before."""
    made = write_corpus(tmp_path_factory.mktemp("shards"), train=4, val=2, test=2, rows_of_video=1)
    for number in range(4):
        write_video(made.videos / f"train_{number}.mp4", num_frames=SECONDS + 9 * number, fps=1)
    return made


def config(corpus: Corpus, name: str, cache: dict[str, Any], *, learning: list[str] = LEARNING, **run: Any) -> Path:
    model = {
        "cache": cache,
        "trainable": learning,
        "encoder": {"chunk_size": 8},
        "compressor": {"qformer": {"dropout": 0.0}},
        "processor": {"views": {"frames": json.loads(json.dumps(FRAMES))}},
        "language_model": {"lora": {"dropout": 0.0}, "overrides": {"dropout_rate": 0.0}},
    }
    # Adam divides by it: gradients that are nothing but rounding must not become steps.
    run = {"batch_size": 1, "epochs": 2, "max_steps": None, "eps": 1e-3, **run}
    return experiment(corpus, f"tiny/{name}", model=model, run=run)


def together(corpus: Corpus, path: Path) -> None:
    done = command(
        *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", 2),
        *("-m", "tests.command_of_processes", "train", path),
        cwd=corpus.folder,
    )
    assert done.returncode == 0, done.stderr[-4000:]


def losses(folder: Path) -> list[float]:
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [row["loss"] for row in rows if "loss" in row]


def texts(folder: Path, split: str) -> dict[str, str]:
    return {row["id"]: row["text"] for row in predictions(folder, f"clips_{split}")}


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return read_checkpoint(folder / "checkpoints" / "best.safetensors").state


@pytest.fixture(scope="module")
def alone(corpus: Corpus) -> Path:
    """One process that keeps nothing, with the batches of both."""
    return train(load_config(config(corpus, "alone", {"memory_mb": 0}, accumulate=2)))


def same(folder: Path, alone: Path) -> None:
    one, two = losses(alone), losses(folder)
    assert two == pytest.approx([sum(one[i : i + 2]) / 2 for i in range(0, len(one), 2)], abs=1e-5)
    assert len(two) == 4
    expected = weights(alone)
    assert all(torch.allclose(tensor, expected[name], atol=1e-5) for name, tensor in weights(folder).items())
    for split in ("val", "test"):
        assert texts(folder, split) == texts(alone, split)


def test_videos_of_different_lengths_without_cache(corpus: Corpus, alone: Path) -> None:
    path = config(corpus, "shared", {"memory_mb": 0}, strategy="fsdp2")
    together(corpus, path)
    same(corpus.results / "tiny" / "shared", alone)


def test_what_learns_before_the_language_model(corpus: Corpus) -> None:
    learning = [*LEARNING, "encoder.*", "compressor.Qformer.*"]
    one = train(load_config(config(corpus, "all_alone", {"memory_mb": 0}, learning=learning, accumulate=2)))
    together(corpus, config(corpus, "all_shared", {"memory_mb": 64}, learning=learning, strategy="fsdp2"))
    same(corpus.results / "tiny" / "all_shared", one)


def test_features_kept_for_one_process_only(corpus: Corpus, alone: Path, tmp_path: Path) -> None:
    cache = {"memory_mb": 0, "folder": str(tmp_path)}
    rows = corpus.rows["train"]
    corpus.rows["train"] = rows[2:3]
    corpus.write_annotations()
    train(load_config(config(corpus, "before", cache, epochs=1, valid_splits=[], test_splits=[])))
    corpus.rows["train"] = rows
    corpus.write_annotations()
    kept = list(tmp_path.rglob("*.safetensors"))
    assert len(kept) == 1
    together(corpus, config(corpus, "kept", cache, strategy="fsdp2"))
    folder = corpus.results / "tiny" / "kept"
    same(folder, alone)
    assert set(kept) < set(tmp_path.rglob("*.safetensors")), "found by its digest, and the others are added"
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [row["cache_hits"] for row in rows if "cache_hits" in row][-1] == 1.0
    assert "features are not kept" not in (folder / "run.log").read_text()

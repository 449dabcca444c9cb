"""Whole runs with kept features: the same losses and answers, with loader processes, over stages and processes."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from lavis.common.config import load_config
from lavis.common.feature_store import Counts, FeatureStore
from lavis.models.encoders.base import FrameEncoder
from lavis.processors.readers.pyav import PyAVReader
from lavis.runners.run import evaluate, train
from lavis.structures import FrameFeatures, Frames
from tests.end_to_end.tiny import SECONDS, Corpus, experiment, lavis, predictions, write_corpus
from tests.video_factory import write_video

EVAL = {"name": "clip_eval", "image_size": 28}
FRAMES = {"sampler": {"name": "head", "num_frames": 6}, "transform": {"train": EVAL, "eval": EVAL}, "round_times": None}
FROZEN = ["language_model.*.lora_*", "compressor.t5_proj.*", "compressor.query_proj.*"]
MEMORY = {"memory_mb": 64}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """Five videos of different lengths: copies of one would share their features."""
    made = write_corpus(tmp_path_factory.mktemp("cache"))
    for number, video in enumerate(sorted(made.videos.iterdir())):
        write_video(video, num_frames=SECONDS + number, fps=1)
    return made


@pytest.fixture
def count(monkeypatch: pytest.MonkeyPatch) -> Callable[[], dict[str, int]]:
    """What became of look-ups since the test began, and how many videos this process decoded."""
    stores: list[FeatureStore] = []
    decoded: list[Any] = []
    made, read = FeatureStore.__init__, PyAVReader.read
    monkeypatch.setattr(FeatureStore, "__init__", lambda self, config: stores.append(self) or made(self, config))
    monkeypatch.setattr(PyAVReader, "read", lambda self, p, *a, **k: decoded.append(p) or read(self, p, *a, **k))

    def counted() -> dict[str, int]:
        rows: list[Counts] = [store.counts for store in stores]
        found = {key: sum(getattr(row, key) for row in rows) for key in ("memory", "disk", "computed")}
        found["decoded"] = len(decoded)
        stores.clear()
        decoded.clear()
        return found

    return counted


def config(corpus: Corpus, name: str, cache: dict[str, Any], stage: int = 1, view: Any = None, **run: Any) -> Path:
    model = {
        "cache": cache,
        "trainable": FROZEN,
        "processor": {"views": {"frames": json.loads(json.dumps(view or FRAMES))}},  # YAML without aliases
    }
    dataset = {"prior": str(corpus.results / "tiny/one/predictions/clips_{split}.jsonl")} if stage == 2 else {}
    run = {"epochs": 3, "max_steps": None, **run}
    return experiment(corpus, f"tiny/{name}", f"tiny/calce_stage{stage}", dataset=dataset, model=model, run=run)


def losses(folder: Path) -> list[tuple[float, float]]:
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [(row["loss"], row["lr"]) for row in rows if "loss" in row]


@pytest.fixture(scope="module")
def plain(corpus: Corpus) -> Path:
    """A training that keeps nothing."""
    return train(load_config(config(corpus, "plain", {"memory_mb": 0})))


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("tier", ["memory", "disk"])
def test_a_run_is_the_same_and_encodes_every_video_once(
    corpus: Corpus,
    plain: Path,
    tmp_path: Path,
    count: Callable[[], dict[str, int]],
    monkeypatch: pytest.MonkeyPatch,
    tier: str,
    workers: int,
) -> None:
    cache = MEMORY if tier == "memory" else {"memory_mb": 0, "folder": str(tmp_path)}
    name = f"{tier}_{workers}"
    deferred: list[bool] = []
    forward = FrameEncoder.forward

    def noting(self: FrameEncoder, frames: list[Frames]) -> list[FrameFeatures]:
        if self.cache.training:
            deferred.extend(f.deferred for f in frames)
        return forward(self, frames)

    monkeypatch.setattr(FrameEncoder, "forward", noting)
    folder = train(load_config(config(corpus, name, cache, num_workers=workers)))
    found = count()
    assert deferred[4:] == [True] * 8, "no video is decoded after the first epoch, wherever that is done"
    assert losses(folder) == losses(plain)
    assert len(losses(folder)) >= 3
    for split in ("val", "test"):
        assert predictions(folder, f"clips_{split}") == predictions(plain, f"clips_{split}")
    assert found["computed"] == 5, "2 + 1 + 2 videos"
    if workers == 0:
        assert found["decoded"] == 5
    log = (folder / "run.log").read_text()
    assert "feature cache: " in log
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [row["cache_hits"] for row in rows if "cache_hits" in row][-1] == 1.0


def test_stages_share_what_is_on_disk(corpus: Corpus, tmp_path: Path, count: Callable[[], dict[str, int]]) -> None:
    cache = {"memory_mb": 0, "folder": str(tmp_path)}
    train(load_config(config(corpus, "one", cache, epochs=1, test_splits=["test"])))
    count()
    evaluate(load_config(config(corpus, "one", cache)), ["train", "val", "test"])
    assert count()["computed"] == 0
    folder = train(load_config(config(corpus, "two", cache, stage=2, epochs=1)))
    found = count()
    assert (found["computed"], found["decoded"]) == (0, 0)
    assert found["disk"] > 0
    without = train(load_config(config(corpus, "two_plain", {"memory_mb": 0}, stage=2, epochs=1)))
    assert losses(folder) == losses(without)
    assert predictions(folder, "clips_test") == predictions(without, "clips_test")


def test_two_runs_at_once_share_a_folder(corpus: Corpus, plain: Path, tmp_path: Path) -> None:
    cache = {"memory_mb": 0, "folder": str(tmp_path)}
    files = [config(corpus, f"at_once_{i}", cache) for i in range(2)]
    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(lambda file: lavis("train", file, cwd=corpus.folder), files))
    assert [process.returncode for process in done] == [0, 0], done[0].stderr + done[1].stderr
    for i in range(2):
        folder = corpus.results / "tiny" / f"at_once_{i}"
        assert losses(folder) == losses(plain)
        assert predictions(folder, "clips_test") == predictions(plain, "clips_test")
        assert "cannot be used" not in (folder / "run.log").read_text()
    assert len(list(tmp_path.rglob("*.safetensors"))) == 5
    assert not list(tmp_path.rglob("*.tmp"))


def test_where_features_are_kept_is_no_setting_of_a_run(corpus: Corpus, tmp_path: Path, monkeypatch: Any) -> None:
    folder = train(load_config(config(corpus, "moved", MEMORY, epochs=1)))
    asked: list[int] = []
    forward = FrameEncoder.forward
    monkeypatch.setattr(FrameEncoder, "forward", lambda self, frames: asked.append(1) or forward(self, frames))
    before = predictions(folder, "clips_test")
    evaluate(load_config(config(corpus, "moved", {"folder": str(tmp_path)}, epochs=1)), ["test"])
    assert not asked, "answered already"
    assert predictions(folder, "clips_test") == before
    train(load_config(config(corpus, "moved", {"folder": str(tmp_path)}, epochs=2)))


def test_random_crops_are_refused_with_a_cure_and_a_few_of_them_are_kept(
    corpus: Corpus, count: Callable[[], dict[str, int]]
) -> None:
    crops = {"name": "clip_train", "image_size": 28}
    view = {**FRAMES, "transform": {"train": crops, "eval": EVAL}}
    folder = train(load_config(config(corpus, "crops_any", MEMORY, view=view, epochs=2)))
    assert (folder / "run.log").read_text().count("with crops: 4 it draws among") == 1
    assert count()["computed"] >= 2 * 4, "every sample of every epoch"
    view = {**FRAMES, "transform": {"train": {**crops, "crops": 2}, "eval": EVAL}}
    settings: dict[str, Any] = {"view": view, "epochs": 4}
    fixed = train(load_config(config(corpus, "crops_two", MEMORY, **settings)))
    assert count()["computed"] <= 2 * 2 + 3
    recomputed = train(load_config(config(corpus, "crops_two_plain", {"memory_mb": 0}, **settings)))
    assert losses(fixed) == losses(recomputed)
    assert losses(fixed)[: len(losses(folder))] != losses(folder)

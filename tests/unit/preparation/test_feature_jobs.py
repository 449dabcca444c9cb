"""What features by processes are told of their model and device, and where media of shards are found."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import pytest

from lavis.common.tar_shards import ShardError
from lavis.datasets._unpacked import MediaFiles, shard_of
from lavis.feature_jobs import ModelOfConfig, device_of
from lavis.preparation.collection.items import Item
from lavis.preparation.features import clips_of, items_of
from lavis.preparation.features_workers import ExtractionWork
from lavis.preparation.shards import make_shards
from lavis.structures import Moment, VideoSample


def tree(weights: Path, **run: Any) -> dict[str, Any]:
    phase = {"name": "clip_eval", "image_size": 8}
    view = {"sampler": {"name": "head", "num_frames": 2}, "transform": {"train": phase, "eval": phase}}
    model = {
        "encoder": {"name": "eva_vit"}, "compressor": {"name": "qformer_frames"}, "weights": [str(weights)],
        "processor": {"views": {"frames": view}}, "cache": {"folder": "features"},
    }  # fmt: skip
    return {"model": model, "run": {"device": "cpu", **run}}


def test_what_stands_for_a_model(tmp_path: Path) -> None:
    weights = tmp_path / "model.pth"
    weights.write_bytes(b"1")
    first = ModelOfConfig(tree(weights), False).made_with
    assert first == ModelOfConfig(tree(weights, batch_size=3), False).made_with, "it changes no feature"
    other_folder = tree(weights)
    other_folder["model"]["cache"] = {"folder": "elsewhere"}
    assert first == ModelOfConfig(other_folder, False).made_with
    assert first != ModelOfConfig(tree(weights, precision="bf16"), False).made_with
    other_view = tree(weights)
    other_view["model"]["processor"]["views"]["frames"]["image_pad_to_square"] = True
    assert first != ModelOfConfig(other_view, False).made_with
    weights.write_bytes(b"22")
    assert first != ModelOfConfig(tree(weights), False).made_with
    assert ModelOfConfig(tree(weights), False).gpus == 0


@pytest.mark.parametrize(
    ("asked", "worker", "gpus", "given"),
    [
        ("auto", 0, 0, "auto"), ("auto", 5, 4, "cuda:1"), ("cuda", 3, 4, "cuda:3"), ("cuda:2", 3, 4, "cuda:2"),
        ("cpu", 3, 4, "cpu"),
    ],
)  # fmt: skip
def test_devices_in_turn(asked: str, worker: int, gpus: int, given: str) -> None:
    assert device_of(asked, worker, gpus) == given


def test_the_model_stays_in_its_process() -> None:
    work = ExtractionWork(ModelOfConfig({}, False), {"a": []}, False, ["a"], gpus=1)
    work._extraction = lambda: None  # type: ignore[assignment]  # what pickle cannot take
    copy = pickle.loads(pickle.dumps(work))
    assert copy._extraction is None
    assert (copy.clips, copy.gpus, copy.start_s) == ({"a": []}, 1, 3600.0)


def test_media_of_shards_are_files_where_they_are_needed(tmp_path: Path) -> None:
    samples = []
    for i in range(3):
        (tmp_path / f"v{i}.mp4").write_bytes(bytes([i]) * 100)
        samples.append(VideoSample(f"s{i}", str(tmp_path / f"v{i}.mp4"), "q", 5, [Moment(0, 1)]))
    make_shards(samples, tmp_path / "tars", shuffle=False)
    shard = tmp_path / "tars" / "shard-000000.tar"
    member = str(shard / "000000001.mp4")
    assert (shard_of(member), shard_of(samples[0].video)) == (shard, None)
    (tmp_path / "folder.tar").mkdir()
    assert shard_of(str(tmp_path / "folder.tar" / "a.mp4")) is None, "a folder may be called so"
    files = MediaFiles(str(tmp_path / "scratch"), max_bytes=0)
    assert files.path(samples[0].video) == samples[0].video
    assert Path(files.path(member)).read_bytes() == bytes([1]) * 100
    assert Path(files.path(str(shard / "000000002.mp4"))).read_bytes() == bytes([2]) * 100
    with pytest.raises(ShardError, match=r"member 000000009.mp4: is not in the index"):
        files.path(str(shard / "000000009.mp4"))
    with pytest.raises(ShardError, match="cannot be opened"):
        files.path(str(tmp_path / "gone.tar" / "000000001.mp4"))
    asked = [VideoSample("t", "", "q", 1), VideoSample("s", member, "q", 5), samples[0]]
    assert items_of(clips_of(asked)) == [Item(member, shard), Item(samples[0].video, Path(samples[0].video))]
    shard.write_bytes(shard.read_bytes().replace(bytes([1]) * 100, bytes([7]) * 100))
    os.utime(shard, ns=(1, 1))
    with pytest.raises(ShardError, match=r"000000001.mp4"):
        files.path(member)

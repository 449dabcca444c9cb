"""The data set ``shards``: its order, what webdataset makes of its shards, and shards that are mended."""

from __future__ import annotations

import io
import json
import socket
import subprocess
import sys
import tarfile
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

from lavis.common.quarantine import Quarantine
from lavis.common.tar_shards import index_shard
from lavis.datasets._sample_rows import from_row
from lavis.datasets._unpacked import MediaFiles, shard_of
from lavis.datasets.build import build_dataset
from lavis.datasets.shards import ShardsDataset, shards_of
from lavis.preparation.shards import make_shards
from lavis.structures import Frames, Moment, VideoSample, Views


def first_byte(sample: VideoSample, train: bool) -> Views:
    value = Path(sample.video).read_bytes()[0] if sample.video else 0
    return {"frames": Frames(torch.full((1, 3, 2, 2), value), [0.0])}


def opened(index: Path, **options: Any) -> ShardsDataset:
    node = {"name": "shards", "annotations": {"train": str(index)}, **options}
    dataset = build_dataset("tars", node, "train", first_byte, True)
    assert isinstance(dataset, ShardsDataset)
    return dataset


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """Five shards of two media with two samples each but the last, and a sample of text alone."""
    samples = [VideoSample("text", "", "hello", 1, answer="yes", extra={"media": "text"})]
    for i in range(9):
        path = tmp_path / f"v{i}.{'png' if i % 3 == 0 else 'mp4'}"
        path.write_bytes(bytes([i]) * (700 + i))
        samples += [VideoSample(f"v{i}q{k}", str(path), f"query «{k}»", 10, [Moment(k, k + 2.5)]) for k in range(2)]
    make_shards(samples, tmp_path / "out", media_per_shard=2, seed=4)
    return tmp_path / "out"


def test_order_is_left_to_the_sampler_unless_asked_for(made: Path) -> None:
    assert opened(made).epoch_order(0, 0) is None
    for bad in ({"order": "random"}, {"shuffle_shards": 0}, {"shuffle_shards": True}):
        with pytest.raises(ValueError, match=rf"datasets.tars.{next(iter(bad))}"):
            opened(made, **bad)


@pytest.mark.parametrize("window", [1, 2, 100])
def test_an_epoch_goes_from_shard_to_shard(made: Path, window: int) -> None:
    dataset = opened(made, order="shards", shuffle_shards=window)
    order = dataset.epoch_order(7, 2)
    assert order is not None
    assert sorted(order) == list(range(len(dataset))) == list(range(19))
    assert order == opened(made, order="shards", shuffle_shards=window).epoch_order(7, 2)
    assert order != dataset.epoch_order(7, 3)
    read: list[str] = []
    for index in order:
        sample = dataset.samples[index]
        if sample.video and (not read or read[-1] != str(Path(sample.video).parent)):
            read.append(str(Path(sample.video).parent))
    if window == 1:
        assert max(Counter(read).values()) == 1, "one shard after the other, none twice"


def content(row: dict[str, Any]) -> list[VideoSample]:
    return [from_row(sample, "", "tars") for sample in json.loads(row["json"])["samples"]]


@pytest.mark.parametrize("workers", [0, 2])
def test_webdataset_streams_the_same_samples(made: Path, workers: int) -> None:
    webdataset = pytest.importorskip("webdataset", reason="the package webdataset is not installed")
    ours = opened(made)
    stream = webdataset.WebDataset([str(shard) for shard in shards_of(made)], shardshuffle=False)
    rows = list(DataLoader(stream, batch_size=None, num_workers=workers))
    assert sorted(row["__key__"] for row in rows) == [f"{i:09d}" for i in range(10)]
    found = {sample.id: (sample, row.get("mp4") or row.get("png") or b"\0") for row in rows for sample in content(row)}
    assert len(found) == sum(len(content(row)) for row in rows) == len(ours)
    for index, sample in enumerate(ours.samples):
        item = ours[index]
        theirs, data = found[sample.id]
        assert item is not None
        assert replace(sample, video="") == theirs
        assert int(item[1]["frames"].pixels[0, 0, 0, 0]) == data[0]


def test_a_mended_shard_is_tried_again(made: Path, tmp_path: Path) -> None:
    shard = shards_of(made)[2]
    whole = shard.read_bytes()
    dataset = opened(made, on_decode_error="skip")
    listed = Quarantine(tmp_path / "quarantine.jsonl")
    dataset.use_quarantine(listed)
    index = next(i for i, s in enumerate(dataset.samples) if s.video.startswith(str(shard)))
    member = dataset._media[dataset.samples[index].video][1]
    shard.write_bytes(whole[: member.offset] + b"\xff" + whole[member.offset + 1 :])
    assert dataset[index] is None
    row = json.loads((tmp_path / "quarantine.jsonl").read_text())
    assert (row["size"], row["mtime_ns"]) == (shard.stat().st_size, shard.stat().st_mtime_ns)
    assert listed.reason(dataset.samples[index].video) is not None
    others = [i for i, s in enumerate(dataset.samples) if s.video != dataset.samples[index].video]
    assert all(dataset[i] is not None for i in others), "its other members are read"
    shard.write_bytes(whole)
    assert listed.reason(dataset.samples[index].video) is None
    assert dataset[index] is not None
    shard.unlink()
    assert listed.reason(dataset.samples[index].video) is None


def test_members_in_folders_are_found_as_files(tmp_path: Path) -> None:
    shard = tmp_path / "x.tar"
    with tarfile.open(shard, "w") as tar:
        entry = tarfile.TarInfo("part/one.mp4")
        entry.size = 2
        tar.addfile(entry, io.BytesIO(b"xy"))
    index_shard(shard)
    video = str(shard / "part/one.mp4")
    assert shard_of(video) == shard
    assert shard_of(str(tmp_path / "plain.mp4")) is None
    assert Path(MediaFiles(str(tmp_path / "scratch")).path(video)).read_bytes() == b"xy"


def test_folders_of_killed_processes_are_removed(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", "pass"])
    ended.wait()
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo("one.mp4"), io.BytesIO())
    index_shard(tmp_path / "x.tar")
    here = f"lavis-shards-{socket.gethostname()}"
    other = f"{here}-{ended.pid}-1-e"  # of process 1 on a host whose name goes on where that of this one ends
    names = [f"{here}-{ended.pid}-a", f"{here}-1-b", other, f"lavis-shards-elsewhere-{ended.pid}-c", "lavis-shards-d"]
    for name in names:
        (tmp_path / "scratch" / name).mkdir(parents=True)
    files = MediaFiles(str(tmp_path / "scratch"))
    own = Path(files.path(str(tmp_path / "x.tar" / "one.mp4")))
    left = {path.name for path in (tmp_path / "scratch").iterdir()}
    assert own.is_file() and left == {*names[1:], own.relative_to(tmp_path / "scratch").parts[0]}
    del files
    assert not own.exists()

"""Videos whose features are kept are not decoded; crops that come again; queries of one video."""

from __future__ import annotations

import os
import pickle
import random
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from lavis.common.feature_index import entry_name
from lavis.common.feature_store import CacheConfig, FeatureStore
from lavis.processors.readers.base import VideoDecodeError, VideoInfo
from lavis.processors.readers.pyav import PyAVReader
from lavis.processors.video_processor import VideoProcessor, build_processor
from lavis.processors.view import DecodedFrames
from lavis.structures import Frames, Moment, VideoSample
from tests.video_factory import write_video

NODE: dict[str, Any] = {
    "views": {
        "frames": {
            "sampler": {"name": "head", "num_frames": 5},
            "transform": {
                "train": {"name": "clip_train", "image_size": 24},
                "eval": {"name": "clip_eval", "image_size": 24},
            },
        }
    }
}


def processor(crops: int | None = None, **view: Any) -> VideoProcessor:
    frames = {**NODE["views"]["frames"], **view}
    frames["transform"] = {**frames["transform"], "train": {"name": "clip_train", "image_size": 24, "crops": crops}}
    return build_processor({"views": {"frames": frames}})


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("videos") / "a.mp4", times=[i / 4 for i in range(24)])


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    seen: list[str] = []
    read = PyAVReader.read
    monkeypatch.setattr(PyAVReader, "read", lambda self, p, *a, **k: seen.append(str(p)) or read(self, p, *a, **k))
    return seen


def sample(video: Path, identity: str = "q1", **fields: Any) -> VideoSample:
    return VideoSample(id=identity, video=str(video), query="a dog", duration=6, **fields)


def frames(own: VideoProcessor, asked: VideoSample, train: bool = False) -> Frames:
    return own(asked, train)["frames"]


def keep(store: FeatureStore, known: Frames, train: bool = False) -> None:
    assert known.key is not None
    entry = {"hidden": torch.ones(len(known)), "times": torch.tensor(known.times, dtype=torch.float64)}
    store.put(entry_name(known.key, "state"), entry, lasting=True)
    store.index.publish(train, 0, "state")


@pytest.mark.parametrize("tier", ["memory", "disk"])
def test_kept_videos_are_decoded_only_if_somebody_looks(
    video: Path, tmp_path: Path, decoded: list[str], tier: str
) -> None:
    first = frames(processor(), sample(video))
    store = FeatureStore(CacheConfig(1) if tier == "memory" else CacheConfig(0, str(tmp_path)))
    keep(store, first)
    decoded.clear()
    own = processor()
    own.index = store.index
    later = frames(own, sample(video, "q2"))
    assert later.deferred
    assert not decoded
    assert (later.key, later.times, len(later)) == (first.key, first.times, len(first))
    travelled = pickle.loads(pickle.dumps(later)).to("cpu")
    assert travelled.deferred
    assert len(pickle.dumps(later)) < 5000
    assert torch.equal(travelled.pixels, first.pixels)
    assert torch.equal(later.select([0, 2]).pixels, first.pixels[[0, 2]])
    assert decoded == [str(video)] * 2
    assert not frames(own, sample(video), train=True).deferred


def test_a_video_that_is_gone_is_named_all_the_same(video: Path, tmp_path: Path) -> None:
    copied = tmp_path / "b.mp4"
    copied.write_bytes(video.read_bytes())
    store, own = FeatureStore(CacheConfig(1)), processor()
    keep(store, frames(own, sample(copied)))
    own._last.clear()
    own.index = store.index
    deferred = frames(own, sample(copied))
    copied.unlink()
    with pytest.raises(VideoDecodeError, match=r"sample q1: .*b\.mp4"):
        deferred.pixels  # noqa: B018
    with pytest.raises(VideoDecodeError, match=r"sample q2: .*b\.mp4"):
        frames(own, sample(copied, "q2"))


def test_readers_that_let_frames_stand_in_for_others_say_times_only_after_decoding(video: Path) -> None:
    own = processor(reader={"name": "pyav", "on_truncated": "warn"})
    store = FeatureStore(CacheConfig(1))
    known = frames(own, sample(video))
    keep(store, known)
    again = processor(reader={"name": "pyav", "on_truncated": "warn"})
    again.index = store.index
    assert not frames(again, sample(video)).deferred
    own.index = store.index
    own._last.clear()
    assert frames(own, sample(video)).deferred, "here they are known"


def test_queries_of_one_video_in_a_row_decode_it_once(video: Path, decoded: list[str]) -> None:
    own = processor()
    first, second = frames(own, sample(video)), frames(own, sample(video, "q2"))
    assert second.pixels is first.pixels
    assert len(decoded) == 1
    frames(own, sample(video, clip=Moment(0, 3)))
    frames(own, sample(video))
    assert len(decoded) == 3
    travelled = pickle.loads(pickle.dumps(own))
    assert travelled._last == {}


def test_training_draws_among_fixed_crops(video: Path, tmp_path: Path) -> None:
    own = processor(crops=3)
    drawn: dict[str, torch.Tensor] = {}
    for seed in range(30):
        torch.manual_seed(seed)
        found = frames(own, sample(video, f"q{seed}"), train=True)
        assert found.key is not None
        assert torch.equal(drawn.setdefault(found.key, found.pixels), found.pixels)
        own._last.clear()
    assert len(drawn) == 3
    assert not torch.equal(*list(drawn.values())[:2])
    copied = tmp_path / "copy.mp4"
    copied.write_bytes(video.read_bytes())
    torch.manual_seed(0)
    elsewhere = frames(processor(crops=3), sample(copied), train=True)
    assert torch.equal(drawn[str(elsewhere.key)], elsewhere.pixels)
    torch.manual_seed(0)
    assert frames(processor(crops=4), sample(video), train=True).key not in drawn


def test_an_unlimited_choice_of_crops_has_no_name(video: Path) -> None:
    own = processor()
    assert frames(own, sample(video), train=True).key is None
    assert "with crops: 4 it draws among" in str(own.unrepeatable("frames", True))
    assert own.unrepeatable("frames", False) is None
    assert processor(crops=2).unrepeatable("frames", True) is None
    by_chance = processor(crops=2, train_sampler={"name": "random", "num_frames": 5})
    assert "views.frames.train_sampler draws frames by chance" in str(by_chance.unrepeatable("frames", True))


def test_times_of_long_data_sets_are_bounded(video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lavis.processors.video_processor._TIMES_KNOWN", 2)
    own = processor()
    for end in range(2, 6):
        frames(own, sample(video, clip=Moment(0, end)))
    assert len(own._times) == 2


class Slow(PyAVReader):
    """Frames of a made-up video, after a moment in which other threads may come in."""

    def probe(self, path: Any) -> VideoInfo:
        return VideoInfo.regular(100, 4.0, 8, 8)

    def fingerprint(self, path: Any) -> str:
        return str(path)

    def read(self, path: Any, indices: Any = None, **_: Any) -> Any:  # type: ignore[override]
        time.sleep(0)
        return torch.full((len(indices), 3, 8, 8), int(path), dtype=torch.uint8), [i / 4 for i in indices]


def test_decoded_frames_are_read_by_several_threads() -> None:
    memory, reader = DecodedFrames(5 * 2 * 3 * 64), Slow()
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    errors: list[Any] = []

    def work(seed: int) -> None:
        draw = random.Random(seed)
        try:
            for _ in range(1500):
                video = str(draw.randrange(8))
                pixels, _ = memory.frames(reader, video, [0, 1], None, memory.info(reader, video))
                assert int(pixels[0, 0, 0, 0]) == int(video)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert not errors
    held = pickle.loads(pickle.dumps(memory))
    assert memory.size == sum(pixels.nbytes for pixels, _ in memory._frames.values()) <= memory.max_bytes
    assert held.size == memory.size
    held.frames(reader, "9", [0, 1], None, held.info(reader, "9"))


def test_a_video_that_is_replaced_before_it_is_decoded_is_not_taken_for_the_other(video: Path, tmp_path: Path) -> None:
    path, store = tmp_path / "a.mp4", FeatureStore(CacheConfig(1))
    path.write_bytes(video.read_bytes())
    own = processor()
    keep(store, frames(own, sample(path)))
    own.index = store.index
    later = frames(own, sample(path, "q2"))
    at = path.stat().st_mtime_ns
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(at, at))
    assert frames(own, sample(path, "q3")).key != later.key
    with pytest.raises(VideoDecodeError, match="sample q2: .*changed while it was read"):
        _ = later.pixels

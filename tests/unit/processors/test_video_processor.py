"""From samples to frames, and from configuration nodes to processors."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from lavis.common.check import check
from lavis.common.config import Config
from lavis.processors.readers.base import VideoDecodeError
from lavis.processors.readers.pyav import PyAVReader
from lavis.processors.samplers import FixedRate, Head
from lavis.processors.transforms import ClipEval
from lavis.processors.video_processor import VideoProcessor, build_processor
from lavis.processors.view import Phases, View, average_rate_times
from lavis.structures import Moment, VideoSample
from tests.video_factory import number_of, write_video

NODE: dict[str, Any] = {
    "views": {
        "frames": {
            "reader": {"name": "pyav"},
            "sampler": {"name": "head", "num_frames": 6},
            "transform": {
                "train": {"name": "clip_train", "image_size": 32, "overflow": "wrap"},
                "eval": {"name": "clip_eval", "image_size": 32},
            },
        }
    }
}


def changed(**view: Any) -> dict[str, Any]:
    node = copy.deepcopy(NODE)
    node["views"]["frames"].update(view)
    return node


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 frames whose intervals grow: frame i is shown from i * i / 40 seconds on."""
    return write_video(tmp_path_factory.mktemp("video") / "a.mp4", times=[i * i / 40 for i in range(24)])


def sample(video: Path, **fields: Any) -> VideoSample:
    return VideoSample(**{"id": "q1", "video": str(video), "query": "a dog", "duration": 13.35, **fields})


def numbers(pixels: torch.Tensor) -> list[int]:
    shown = pixels * 0.27 + 0.45
    return [number_of(frame * 255) for frame in shown]


def test_evaluation(video: Path) -> None:
    views = build_processor(NODE)(sample(video), train=False)
    assert list(views) == ["frames"]
    frames = views["frames"]
    assert frames.pixels.shape == (6, 3, 32, 32)
    assert frames.pixels.dtype == torch.float32
    assert numbers(frames.pixels) == [0, 4, 8, 12, 16, 20]
    assert frames.times == pytest.approx([i * i / 40 for i in (0, 4, 8, 12, 16, 20)], abs=1e-4)


def test_times_as_the_originals_count_them(video: Path) -> None:
    fps = PyAVReader().probe(video).fps
    frames = build_processor(changed(times="average_rate"))(sample(video), train=False)["frames"]
    assert frames.times == average_rate_times([0, 4, 8, 12, 16, 20], fps)
    rounded = build_processor(changed(times="average_rate", round_times=2))(sample(video), train=False)["frames"]
    assert rounded.times == average_rate_times([0, 4, 8, 12, 16, 20], fps, 2)
    assert all(time == float(torch.tensor(round(time, 2))) for time in rounded.times)
    true = build_processor(changed(round_times=1))(sample(video), train=False)["frames"]
    assert true.times == [0.0, 0.4, 1.6, 3.6, 6.4, 10.0]


def test_times_that_count_from_the_clip(video: Path) -> None:
    asked = sample(video, clip=Moment(2.5, 9.0))
    plain = build_processor(changed())(asked, train=False)["frames"]
    from_clip = build_processor(changed(times_from="clip"))(asked, train=False)["frames"]
    assert from_clip.times == pytest.approx([time - 2.5 for time in plain.times])
    assert torch.equal(from_clip.pixels, plain.pixels)
    whole = build_processor(changed(times_from="clip"))(sample(video), train=False)["frames"]
    assert whole.times == build_processor(NODE)(sample(video), train=False)["frames"].times
    info = PyAVReader().probe(video)
    counted = build_processor(changed(times="average_rate", times_from="clip", round_times=1))(asked, train=False)
    first = round(2.5 / (info.num_frames / info.fps) * info.num_frames)
    assert counted["frames"].times == average_rate_times([n - first for n in numbers(plain.pixels)], info.fps, 1)


def test_average_rate_times() -> None:
    assert average_rate_times([35], 6.0) == [5.833333492279053]
    assert average_rate_times([7], 3.0, 2) == [2.3299999237060547]
    assert average_rate_times([], 6.0) == []


def test_clip(video: Path) -> None:
    processor = VideoProcessor({"frames": View(FixedRate(1.0), Phases(ClipEval(32), ClipEval(32)))})
    frames = processor(sample(video, clip=Moment(3.0, 6.0)), train=False)["frames"]
    assert numbers(frames.pixels) == [10, 12, 14]


def test_several_views(video: Path) -> None:
    node = copy.deepcopy(NODE)
    node["views"]["wide"] = changed(size=[20, 40], sampler={"name": "uniform", "num_frames": 3})["views"]["frames"]
    node["views"]["wide"]["transform"] = {k: {"name": "clip_eval", "image_size": 16} for k in ("train", "eval")}
    views = build_processor(node)(sample(video), train=False)
    assert {name: tuple(frames.pixels.shape) for name, frames in views.items()} == {
        "frames": (6, 3, 32, 32),
        "wide": (3, 3, 16, 16),
    }


def test_reading_at_the_source_size(video: Path) -> None:
    seen = {}

    class Spy(PyAVReader):
        def read(self, *args: Any, **kwargs: Any) -> Any:
            seen.update(kwargs)
            return super().read(*args, **kwargs)

    view = View(Head(2), Phases(ClipEval(32), ClipEval(32)), reader=Spy(), size="source")
    VideoProcessor({"frames": view})(sample(video), train=False)
    assert seen["size"] is None


def test_training_draws_from_the_global_generator(video: Path) -> None:
    processor = build_processor(changed(train_sampler={"name": "random", "num_frames": 6}))

    def once(seed: int) -> Any:
        torch.manual_seed(seed)
        return processor(sample(video), train=True)["frames"]

    first, again, other = once(1), once(1), once(2)
    assert torch.equal(first.pixels, again.pixels)
    assert first.times == again.times
    assert not torch.equal(first.pixels, other.pixels)
    assert first.key is None


def test_chance_in_evaluation_depends_on_the_sample_alone(video: Path) -> None:
    processor = build_processor(changed(sampler={"name": "random", "num_frames": 4}))
    first = processor(sample(video), train=False)["frames"]
    torch.manual_seed(77)
    processor(sample(video, id="another"), train=False)
    again = processor(sample(video), train=False)["frames"]
    assert first.times == again.times
    drawn = {tuple(processor(sample(video, id=f"q{i}"), train=False)["frames"].times) for i in range(8)}
    assert len(drawn) > 4
    reseeded = build_processor({**changed(sampler={"name": "random", "num_frames": 4}), "seed": 5})
    assert any(reseeded(sample(video, id=f"q{i}"), False)["frames"].times not in map(list, drawn) for i in range(8))


def test_keys(video: Path, tmp_path: Path) -> None:
    def key(node: dict[str, Any] = NODE, train: bool = False, **fields: Any) -> str | None:
        return build_processor(node)(sample(video, **fields), train)["frames"].key

    assert key() == key(query="another query", id="q2")
    assert key(train=True) is None
    assert key(changed(sampler={"name": "random", "num_frames": 6})) is None
    others = [
        key(changed(sampler={"name": "head", "num_frames": 5})),
        key(changed(sampler={"name": "uniform", "num_frames": 6})),
        key(changed(reader={"name": "pyav", "interpolation": "bicubic"})),
        key(changed(times="average_rate")),
        key(changed(size=48)),
        key(clip=Moment(0, 5)),
        key(clip=Moment(0, 6)),
    ]
    assert len({key(), *others}) == 8
    copied = tmp_path / "b.mp4"
    copied.write_bytes(video.read_bytes())
    assert build_processor(NODE)(sample(copied), False)["frames"].key == key(), "the content counts, not the path"
    changed_byte = bytearray(video.read_bytes())
    changed_byte[len(changed_byte) // 2] ^= 1
    copied.write_bytes(changed_byte)
    assert PyAVReader().fingerprint(copied) != PyAVReader().fingerprint(video)


def test_errors_name_sample_and_path(video: Path) -> None:
    processor = build_processor(NODE)
    with pytest.raises(VideoDecodeError, match=r"sample q1: nowhere\.mp4: No such file"):
        processor(sample(Path("nowhere.mp4")), train=False)
    with pytest.raises(VideoDecodeError, match=r"sample q1: .*a\.mp4: the clip \[20, 30\] s lies outside") as caught:
        processor(sample(video, clip=Moment(20, 30)), train=False)
    assert caught.value.sample_id == "q1"


def test_duration(video: Path) -> None:
    assert build_processor(NODE).duration(video) == pytest.approx(13.35, abs=0.01)


def test_travels_to_worker_processes(video: Path) -> None:
    processor = build_processor(NODE)
    again = pickle.loads(pickle.dumps(processor))
    assert again(sample(video), False)["frames"].key == processor(sample(video), False)["frames"].key


BAD = {
    "views": ({}, "needs views"),
    "no view": ({"views": {}}, "must map view names"),
    "stray key": ({**NODE, "fps": 3}, "unknown keys: fps"),
    "sampler missing": ({"views": {"frames": {"transform": {}}}}, "needs sampler"),
    "unknown sampler": (changed(sampler={"name": "heat", "num_frames": 3}), "Did you mean 'head'"),
    "unknown field": (changed(sampler={"name": "head", "num_frame": 3}), "views.frames.sampler"),
    "missing field": (changed(sampler={"name": "head"}), "num_frames"),
    "bad value": (changed(sampler={"name": "head", "num_frames": 0}), "at least 1"),
    "key in the wrong place": (changed(sampler={"name": "head", "num_frames": 3, "round_times": 2}), "round_times"),
    "one transform": (changed(transform={"name": "clip_eval"}), "unknown keys: name"),
    "no training": (changed(transform={"eval": {"name": "clip_eval"}}), "needs train"),
    "size": (changed(size="large"), "size must be"),
    "size of three": (changed(size=[1, 2, 3]), "size must be"),
    "times": (changed(times="guess"), "times must be"),
    "round_times": (changed(round_times=-1), "round_times must be"),
    "times_from": (changed(times_from="end"), "times_from must be video or clip"),
    "no mapping": (changed(transform="clip_eval"), "must be a mapping"),
}


@pytest.mark.parametrize("name", BAD)
def test_refused_nodes(name: str) -> None:
    node, words = BAD[name]
    with pytest.raises(ValueError, match=words):
        build_processor(node)


def complaints(node: Any) -> list[str]:
    """Keys that the check of whole configurations complains of."""
    return [p.key for p in check(Config({"model": {"processor": node}})) if p.key.startswith("model.processor")]


@pytest.mark.parametrize(
    "node",
    [NODE, {**NODE, "seed": 3}, changed(times="average_rate", round_times=2, size=[8, 9], train_sampler="fps")],
)
def test_what_is_built_passes_the_check(node: dict[str, Any]) -> None:
    build_processor(node)
    assert complaints(node) == []


VALUES = {"no view", "bad value", "size of three", "round_times", "times_from"}
"""What only building notices: the check knows keys and types."""


@pytest.mark.parametrize("name", sorted(set(BAD) - VALUES))
def test_what_is_refused_fails_the_check(name: str) -> None:
    assert complaints(BAD[name][0])


def test_no_views() -> None:
    with pytest.raises(ValueError, match="views is empty"):
        VideoProcessor({})


def test_decoded_frames_are_kept_and_change_with_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_video(tmp_path / "b.mp4", times=[i / 4 for i in range(24)])
    decoded: list[Path] = []
    read = PyAVReader.read
    monkeypatch.setattr(PyAVReader, "read", lambda self, p, *a, **k: decoded.append(p) or read(self, p, *a, **k))
    processor = build_processor({**NODE, "cache_mb": 4})
    plain = build_processor(NODE)(sample(path), train=False)["frames"]
    decoded.clear()
    for _ in range(3):
        kept = processor(sample(path), train=False)["frames"]
        assert torch.equal(kept.pixels, plain.pixels)
        assert kept.times == plain.times
    assert len(decoded) == 1
    write_video(path, times=[i / 8 for i in range(24)])
    assert processor(sample(path), train=False)["frames"].times != plain.times
    assert len(decoded) == 2


def test_the_memory_for_frames_has_a_limit(tmp_path: Path) -> None:
    processor = build_processor({**NODE, "cache_mb": 1})
    for name in "abcde":
        path = write_video(tmp_path / f"{name}.mp4", times=[i / 4 for i in range(24)])
        processor(VideoSample(id=name, video=str(path), query="a dog", duration=6), train=False)
    assert 0 < processor._decoded.size <= 2**20
    with pytest.raises(ValueError, match="cache_mb"):
        VideoProcessor(processor.views, cache_mb=-1)

"""The readers of optional packages, against stand-ins for these packages: what is asked of them, what is made of it."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from lavis.common.construct import build_part
from lavis.common.registry import registry
from lavis.common.yaml_tree import ConfigError
from lavis.processors.readers.base import VideoDecodeError
from tests.video_factory import number_of, numbered_frame, write_video


class Capture:
    """``cv2.VideoCapture`` of a clip with ``length`` frames."""

    length = 24

    def __init__(self, path: str) -> None:
        self.position = -1

    def grab(self) -> bool:
        self.position += 1
        return self.position < self.length

    def retrieve(self) -> tuple[bool, Any]:
        return True, numbered_frame(self.position, 96, 64)[:, :, ::-1]

    def get(self, what: int) -> float:
        assert what == 0
        return self.position * 125.0

    def release(self) -> None:
        self.position = -1


def resize(image: np.ndarray, size: tuple[int, int], interpolation: int) -> np.ndarray:
    rows = np.arange(size[1]) * image.shape[0] // size[1]
    columns = np.arange(size[0]) * image.shape[1] // size[0]
    return image[rows][:, columns]


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return write_video(tmp_path / "clip.mp4")


@pytest.fixture
def opencv(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        sys.modules, "cv2", SimpleNamespace(VideoCapture=Capture, resize=resize, INTER_LINEAR=1, CAP_PROP_POS_MSEC=0)
    )


@pytest.mark.usefixtures("opencv")
def test_opencv_counts_frames_from_the_start(clip: Path) -> None:
    frames, times = registry.readers.get("opencv")().read(clip, [20, 3, 4], size=(32, 48))
    assert frames.shape == (3, 3, 32, 48)
    assert [number_of(frame) for frame in frames] == [20, 3, 4]
    assert torch.equal(frames[0, 0, 20], torch.from_numpy(resize(numbered_frame(20, 96, 64), (48, 32), 1)[20, :, 0]))
    assert times == [2.5, 0.375, 0.5]


@pytest.mark.usefixtures("opencv")
def test_opencv_notices_missing_frames(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Capture, "length", 20)
    with pytest.raises(VideoDecodeError, match="cannot read past frame 19"):
        registry.readers.get("opencv")().read(clip, [22])
    monkeypatch.setattr(Capture, "retrieve", lambda self: (False, None))
    with pytest.raises(VideoDecodeError, match="cannot decode frame 5"):
        registry.readers.get("opencv")().read(clip, [5])


class Decoder:
    """``torchcodec.decoders.VideoDecoder`` of the same clip."""

    length = 24
    late = 0.0
    settings: dict[str, Any] = {}  # noqa: RUF012

    def __init__(self, path: str, **settings: Any) -> None:
        Decoder.settings = settings
        self.metadata = SimpleNamespace(begin_stream_seconds=3.0)

    def __len__(self) -> int:
        return self.length

    def get_frames_at(self, indices: list[int]) -> Any:
        size = self.settings["transforms"][0].size if self.settings["transforms"] else [64, 96]
        return SimpleNamespace(
            data=torch.stack([torch.from_numpy(numbered_frame(i, size[1], size[0])) for i in indices]),
            pts_seconds=torch.tensor([3 + i / 8 + self.late for i in indices]),
        )


@pytest.fixture
def torchcodec(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, content in {
        "torchcodec": {},
        "torchcodec.decoders": {"VideoDecoder": Decoder},
        "torchcodec.transforms": {"Resize": SimpleNamespace},
    }.items():
        module = ModuleType(name)
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, name, module)


@pytest.mark.usefixtures("torchcodec")
def test_torchcodec_is_asked_for_exact_frames(clip: Path) -> None:
    frames, times = registry.readers.get("torchcodec")().read(clip, [20, 3, 4], size=(32, 48))
    assert frames.shape == (3, 3, 32, 48)
    assert [number_of(frame) for frame in frames] == [20, 3, 4]
    assert times == [2.5, 0.375, 0.5]
    assert Decoder.settings["seek_mode"] == "exact"
    assert Decoder.settings["num_ffmpeg_threads"] == 1


@pytest.mark.usefixtures("torchcodec")
def test_auto_takes_what_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    auto = registry.readers.get("auto")
    assert repr(auto()) == repr(registry.readers.get("pyav")())
    monkeypatch.setitem(sys.modules, "av", None)
    assert repr(build_part(registry.readers, "auto", "reader")) == repr(registry.readers.get("torchcodec")())
    for package in ("torchcodec", "decord", "cv2"):
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=r"pyav \(.*opencv \(.*pip install av"):
        auto()
    with pytest.raises(ConfigError, match="unexpected keyword argument 'fps'"):
        build_part(registry.readers, {"name": "auto", "fps": 3}, "reader")


@pytest.mark.usefixtures("torchcodec")
def test_torchcodec_whose_frames_are_others(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = registry.readers.get("torchcodec")()
    monkeypatch.setattr(Decoder, "late", 0.07)
    with pytest.raises(VideoDecodeError, match=r"torchcodec gives another frame than frame 3, which is at 0.375 s"):
        reader.read(clip, [20, 3])


@pytest.mark.usefixtures("torchcodec")
def test_torchcodec_that_counts_otherwise(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Decoder, "length", 23)
    with pytest.raises(VideoDecodeError, match="finds 23 frames where its packets hold 24"):
        registry.readers.get("torchcodec")().read(clip, [0])

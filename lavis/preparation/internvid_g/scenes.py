"""The scenes of each video, by the content detector of PySceneDetect, as in HawkEye.

Needs the extra ``scenes``. Frames and their times come from the project's readers: the original has PySceneDetect read
the file, whose borders are then frame numbers over an average rate (``rate="average"``). A video without a cut is one
scene here, and without any scene in the library's list (``uncut="none"``).
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lavis.preparation.collection.items import Item
from lavis.preparation.collection.run import Running
from lavis.preparation.collection.summary import Summary
from lavis.preparation.internvid_g.rows import Row, Window
from lavis.preparation.internvid_g.step import Step, digest_of
from lavis.preparation.speech.transcribers.base import needed
from lavis.preparation.speech.videos import listed_videos
from lavis.processors.readers.auto import AutoReader
from lavis.processors.readers.base import VideoInfo, VideoReader

if TYPE_CHECKING:
    from typing import Unpack  # since Python 3.11; only type checkers read it

Uncut = Literal["whole", "none"]
WIDTH = 256
"""Pixels that PySceneDetect scales wider pictures to."""
_CHUNK = 128
"""Frames decoded at a time: 256 x 144 pixels each, 14 MB."""


@dataclass(frozen=True, slots=True)
class Detection:
    """How scenes are found.

    Args:
        threshold: change of colour and brightness from frame to frame, 0 to 255, that makes a cut.
        min_frames: frames between two cuts at least.
        min_s: scenes shorter than these seconds are left out.
        uncut: what a video without a cut is: one ``whole`` scene, or no scene (``none``).
        rate: ``true_times`` of the frames at the borders, or their number over the ``average`` rate.
    """

    threshold: float = 27.0
    min_frames: int = 15
    min_s: float = 0.5
    uncut: Uncut = "whole"
    rate: Literal["true_times", "average"] = "true_times"

    def __post_init__(self) -> None:
        if self.threshold <= 0 or self.min_frames < 1 or self.min_s < 0:
            raise ValueError(f"threshold and min_frames must be above 0 and min_s not below: {self}")
        if self.uncut not in ("whole", "none") or self.rate not in ("true_times", "average"):
            raise ValueError(f"uncut is whole or none, rate true_times or average: {self}")

    def windows(self, cuts: list[int], info: VideoInfo) -> list[Window]:
        """``[start, end]`` of the scenes in seconds, to thousandths, from the numbers of the frames that begin one."""
        if not cuts and self.uncut == "none":
            return []
        if self.rate == "average":
            borders = [0.0, *(cut / info.fps for cut in cuts), info.num_frames / info.fps]
        else:
            borders = [0.0, *(info.times[cut] for cut in cuts), info.duration_s]
        return [
            [round(start, 3), round(end, 3)] for start, end in itertools.pairwise(borders) if end - start >= self.min_s
        ]


@dataclass(frozen=True, slots=True)
class DetectScenes:
    """Work for one video."""

    detection: Detection = Detection()
    reader: VideoReader = field(default_factory=AutoReader)

    def __call__(self, item: Item, scratch: Path) -> dict[str, Any]:
        info = self.reader.probe(item.path)
        windows = self.detection.windows(find_cuts(item.path, info, self.reader, self.detection), info)
        return {"duration_s": info.duration_s, "scenes": windows, "given": digest_of(None)}


def find_cuts(path: str | Path, info: VideoInfo, reader: VideoReader, detection: Detection) -> list[int]:
    """Numbers of the frames that begin a scene, the first frame left out.

    Raises:
        ImportError: without PySceneDetect; names the extra.
        VideoDecodeError: if the video cannot be read.
    """
    library = scene_library()
    detector = library.ContentDetector(threshold=detection.threshold, min_scene_len=detection.min_frames)
    scale = max(1.0, info.width / WIDTH)
    size = max(1, round(info.height / scale)), max(1, round(info.width / scale))
    found = []
    for first in range(0, info.num_frames, _CHUNK):
        numbers = range(first, min(first + _CHUNK, info.num_frames))
        frames, _ = reader.read(path, numbers, size=size, info=info)
        for number, frame in zip(numbers, frames, strict=True):
            # The library works on OpenCV's order of colours.
            pixels = frame.flip(0).permute(1, 2, 0).contiguous().numpy()
            found += detector.process_frame(library.FrameTimecode(number, fps=info.fps), pixels)
    found += detector.post_process(library.FrameTimecode(info.num_frames - 1, fps=info.fps))
    return sorted({cut.frame_num for cut in found if 0 < cut.frame_num < info.num_frames})


def scene_library() -> Any:
    """PySceneDetect.

    Raises:
        ImportError: if it is missing; names the extra.
    """
    return needed("scenedetect", "the detection of scenes", "scenes")


def detect_scenes(
    videos: str | Path,
    out: str | Path,
    detection: Detection | None = None,
    *,
    names: str | Path | None = None,
    reader: VideoReader | None = None,
    **running: Unpack[Running],
) -> Summary:
    """Writes rows ``{video_fname, scenes, duration}`` of all videos of a folder.

    Args:
        videos: the folder; ``video_fname`` is the path below it.
        out: JSON lines file.
        detection: how scenes are found.
        names: file of the names of the videos that are meant, one a line.
        reader: of the videos.
        running: see ``run_collection``.

    Returns:
        what was done.

    Raises:
        ImportError: without PySceneDetect; names the extra.
        ValueError: as ``run_collection``, or if there is no video.
    """
    scene_library()  # a package that is missing is no fault of the first hundred videos
    how = detection or Detection()
    chosen = reader or AutoReader()
    step = Step(Path(out), {"version": 1, "reader": repr(chosen), **asdict(how)}, {})

    def rows(video: str, result: Mapping[str, Any]) -> list[Row]:
        return [{"video_fname": video, "scenes": result["scenes"], "duration": round(result["duration_s"], 3)}]

    return step.run(listed_videos(videos, names), DetectScenes(how, chosen), rows, **running)

"""How alike the scenes of a video are: the cosine of the mean vectors of three pictures each, as in HawkEye.

Unlike the original, all scenes of a video are compared, and not only the first 100 (``max_scenes``); for the moments of
the pictures see ``frames.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from lavis.preparation.collection.items import Item
from lavis.preparation.collection.run import Running
from lavis.preparation.collection.summary import Summary
from lavis.preparation.internvid_g.frames import Rate, Spots, pictures, similarity_times
from lavis.preparation.internvid_g.models import Embedder
from lavis.preparation.internvid_g.rows import Matrix, Row, Window, read_scenes
from lavis.preparation.internvid_g.step import Step, digest_of, videos_of
from lavis.processors.readers.auto import AutoReader
from lavis.processors.readers.base import VideoReader

if TYPE_CHECKING:
    from typing import Unpack  # since Python 3.11; only type checkers read it

BATCH = 16
"""Scenes whose pictures are in memory at a time."""


@dataclass(frozen=True, slots=True)
class Looking:
    """How videos are looked at.

    Args:
        spots: which moments of a scene: see ``frames.py``.
        rate: which frame is the one at a moment: see ``frames.py``.
        reader: of the videos.
    """

    spots: Spots = "quarters"
    rate: Rate = "true_times"
    reader: VideoReader = field(default_factory=AutoReader)

    def __post_init__(self) -> None:
        if self.spots not in ("quarters", "whole_seconds") or self.rate not in ("true_times", "average"):
            raise ValueError(f"spots is quarters or whole_seconds, rate true_times or average: {self}")

    def options(self) -> dict[str, Any]:
        """What a journal remembers."""
        return {"version": 1, "spots": self.spots, "rate": self.rate, "reader": repr(self.reader)}


@dataclass(frozen=True, slots=True)
class CompareScenes:
    """Work for one video.

    Args:
        scenes: windows of the scenes by video.
        embedder: makes the vectors.
        looking: which pictures.
    """

    scenes: Mapping[str, list[Window]]
    embedder: Embedder
    looking: Looking

    start_s: ClassVar[float] = 3600.0  # gigabytes of a model from a network disk

    def start(self, worker: int) -> None:
        """Loads the model: one that cannot be loaded ends the job, and is no fault of the first hundred videos."""
        self.embedder.load()

    def __call__(self, item: Item, scratch: Path) -> dict[str, Any]:
        windows = self.scenes[item.name]
        info = self.looking.reader.probe(item.path)
        matrix = scene_similarity(item.path, windows, self.embedder, self.looking, info) if windows else []
        return {"duration_s": info.duration_s, "matrix": matrix, "given": digest_of(windows)}


def scene_similarity(
    path: str | Path, windows: list[Window], embedder: Embedder, looking: Looking | None = None, info: Any = None
) -> Matrix:
    """Cosines of the scenes of a video, to thousandths.

    Args:
        path: the video.
        windows: ``[start, end]`` of its scenes in seconds, at least one.
        embedder: makes the vectors; those of a scene's three pictures are averaged as they are.
        looking: which pictures.
        info: what its reader's ``probe`` gave, to spare probing again.

    Raises:
        VideoDecodeError: if the video cannot be read.
    """
    import torch
    from torch.nn.functional import normalize

    how = looking or Looking()
    known = info or how.reader.probe(path)
    vectors = []
    for first in range(0, len(windows), BATCH):
        times = [
            time for start, end in windows[first : first + BATCH] for time in similarity_times(start, end, how.spots)
        ]
        made = embedder.images(pictures(how.reader, str(path), known, times, how.rate))
        vectors.append(made.double().reshape(-1, 3, made.shape[-1]).mean(1))
    unit = normalize(torch.cat(vectors), dim=-1)
    return [[round(value, 3) for value in line] for line in (unit @ unit.T).tolist()]


def compare_scenes(
    videos: str | Path,
    scenes: str | Path,
    out: str | Path,
    embedder: Embedder,
    looking: Looking | None = None,
    *,
    max_scenes: int | None = None,
    **running: Unpack[Running],
) -> Summary:
    """Writes rows ``{video_fname, similarity_matrix}`` for the videos of a file of scenes.

    Args:
        videos: folder of the videos.
        scenes: file of the scenes.
        out: JSON lines file.
        embedder: see ``scene_similarity``.
        looking: which pictures.
        max_scenes: how many scenes of a video are compared at most; ``None``: all.
        running: see ``run_collection``.

    Returns:
        what was done.

    Raises:
        AnnotationError: if a row of the scenes is bad; names file and row.
        ValueError: as ``run_collection``.
    """
    if max_scenes is not None and max_scenes < 1:
        raise ValueError(f"at least one scene of a video is compared, got {max_scenes}")
    how = looking or Looking()
    windows = {video: found.windows[:max_scenes] for video, found in read_scenes(scenes).items()}
    step = Step(Path(out), {**how.options(), "embedder": embedder.identity()}, windows)

    def rows(video: str, result: Mapping[str, Any]) -> list[Row]:
        return [{"video_fname": video, "similarity_matrix": result["matrix"]}]

    return step.run(videos_of(videos, windows), CompareScenes(windows, embedder, how), rows, **running)

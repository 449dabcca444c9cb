"""A caption for each scene that is long enough, from one picture near its middle, as in HawkEye.

For the moment of the picture see ``frames.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from lavis.preparation.collection.items import Item
from lavis.preparation.collection.run import Running
from lavis.preparation.collection.summary import Summary
from lavis.preparation.internvid_g.frames import caption_time, pictures
from lavis.preparation.internvid_g.models import Captioner
from lavis.preparation.internvid_g.rows import Row, Window, read_scenes
from lavis.preparation.internvid_g.similarity import BATCH, Looking
from lavis.preparation.internvid_g.step import Step, digest_of, videos_of

if TYPE_CHECKING:
    from typing import Unpack  # since Python 3.11; only type checkers read it

MIN_S = 1.0


@dataclass(frozen=True, slots=True)
class CaptionScenes:
    """Work for one video.

    Args:
        scenes: windows of the scenes to caption, by video.
        captioner: says what a picture shows.
        looking: which pictures.
    """

    scenes: Mapping[str, list[Window]]
    captioner: Captioner
    looking: Looking

    start_s: ClassVar[float] = 3600.0  # gigabytes of a model from a network disk

    def start(self, worker: int) -> None:
        """Loads the model: one that cannot be loaded ends the job, and is no fault of the first hundred videos."""
        self.captioner.load()

    def __call__(self, item: Item, scratch: Path) -> dict[str, Any]:
        windows, how = self.scenes[item.name], self.looking
        info = how.reader.probe(item.path)
        texts: list[str] = []
        for first in range(0, len(windows), BATCH):
            times = [caption_time(start, end, how.spots) for start, end in windows[first : first + BATCH]]
            made = self.captioner.captions(pictures(how.reader, str(item.path), info, times, how.rate))
            if len(made) != len(times):
                raise ValueError(f"the captioner gave {len(made)} texts for {len(times)} pictures")
            texts += made
        captions = [[*window, text.strip()] for window, text in zip(windows, texts, strict=True)]
        return {"duration_s": info.duration_s, "captions": captions, "given": digest_of(windows)}


def caption_scenes(
    videos: str | Path,
    scenes: str | Path,
    out: str | Path,
    captioner: Captioner,
    looking: Looking | None = None,
    *,
    min_s: float = MIN_S,
    **running: Unpack[Running],
) -> Summary:
    """Writes rows ``{video_fname, start_sec, end_sec, captions}`` for the videos of a file of scenes.

    Scenes of which the captioner says nothing have no row.

    Args:
        videos: folder of the videos.
        scenes: file of the scenes, merged or not.
        out: JSON lines file.
        captioner: says what a picture shows.
        looking: which pictures.
        min_s: seconds that a scene must have.
        running: see ``run_collection``.

    Returns:
        what was done.

    Raises:
        AnnotationError: if a row of the scenes is bad; names file and row.
        ValueError: as ``run_collection``.
    """
    how = looking or Looking()
    found = read_scenes(scenes)
    windows = {video: [w for w in each.windows if w[1] - w[0] >= min_s] for video, each in found.items()}
    step = Step(Path(out), {**how.options(), "captioner": captioner.identity()}, windows)

    def rows(video: str, result: Mapping[str, Any]) -> list[Row]:
        return [
            {"video_fname": video, "start_sec": start, "end_sec": end, "captions": [text]}
            for start, end, text in result["captions"]
            if text
        ]

    return step.run(videos_of(videos, windows), CaptionScenes(windows, captioner, how), rows, **running)

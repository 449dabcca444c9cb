"""How well captions fit their segments: the cosine of a caption and three pictures, as in HawkEye.

For the moments of the pictures see ``frames.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from lavis.preparation.collection.items import Item
from lavis.preparation.collection.run import Running
from lavis.preparation.collection.summary import Summary
from lavis.preparation.internvid_g.frames import pictures, score_times
from lavis.preparation.internvid_g.models import Embedder
from lavis.preparation.internvid_g.rows import Row, read_captions
from lavis.preparation.internvid_g.similarity import BATCH, Looking
from lavis.preparation.internvid_g.step import Step, digest_of, videos_of

if TYPE_CHECKING:
    from typing import Unpack  # since Python 3.11; only type checkers read it

Merge = Literal["max", "mean"]
Segment = list[Any]
"""``[start, end, [caption, ...]]``."""


@dataclass(frozen=True, slots=True)
class ScoreCaptions:
    """Work for one video.

    Args:
        segments: captioned segments by video.
        embedder: for pictures and texts.
        merge: whether the best of the three pictures counts, or their mean.
        looking: which pictures.
    """

    segments: Mapping[str, list[Segment]]
    embedder: Embedder
    merge: Merge
    looking: Looking

    start_s: ClassVar[float] = 3600.0  # gigabytes of a model from a network disk

    def start(self, worker: int) -> None:
        """Loads the model: one that cannot be loaded ends the job, and is no fault of the first hundred videos."""
        self.embedder.load()

    def __call__(self, item: Item, scratch: Path) -> dict[str, Any]:
        from torch.nn.functional import cosine_similarity

        segments, how = self.segments[item.name], self.looking
        info = how.reader.probe(item.path)
        scores: list[list[float]] = []
        for first in range(0, len(segments), BATCH):
            some = segments[first : first + BATCH]
            times = [time for start, end, _ in some for time in score_times(start, end, how.spots)]
            made = self.embedder.images(pictures(how.reader, str(item.path), info, times, how.rate))
            seen = made.reshape(-1, 3, made.shape[-1])
            said = self.embedder.texts([text for *_, texts in some for text in texts])
            place = 0
            for shown, (*_, texts) in zip(seen, some, strict=True):
                alike = cosine_similarity(said[place : place + len(texts), None], shown[None], dim=-1)
                merged = alike.amax(1) if self.merge == "max" else alike.mean(1)
                scores.append([round(value, 4) for value in merged.tolist()])
                place += len(texts)
        return {"duration_s": info.duration_s, "scores": scores, "given": digest_of(segments)}


def score_captions(
    videos: str | Path,
    captions: str | Path,
    out: str | Path,
    embedder: Embedder,
    looking: Looking | None = None,
    *,
    merge: Merge = "max",
    **running: Unpack[Running],
) -> Summary:
    """Writes rows ``{video_fname, start_sec, end_sec, caption, clip_sim}``, one for each caption.

    Args:
        videos: folder of the videos.
        captions: file of the captions.
        out: JSON lines file.
        embedder: for pictures and texts.
        looking: which pictures.
        merge: whether the best of the three pictures counts (``max``, as HawkEye's README has it), or their ``mean``.
        running: see ``run_collection``.

    Returns:
        what was done.

    Raises:
        AnnotationError: if a row of the captions is bad; names file and row.
        ValueError: as ``run_collection``.
    """
    if merge not in ("max", "mean"):
        raise ValueError(f"scores of pictures are merged by max or mean, got {merge!r}")
    how = looking or Looking()
    segments: dict[str, list[Segment]] = {}
    for row in read_captions(captions):
        if row.captions:
            segments.setdefault(row.video, []).append([row.start, row.end, row.captions])
    step = Step(Path(out), {**how.options(), "embedder": embedder.identity(), "merge": merge}, segments)

    def rows(video: str, result: Mapping[str, Any]) -> list[Row]:
        return [
            {"video_fname": video, "start_sec": start, "end_sec": end, "caption": text, "clip_sim": score}
            for (start, end, texts), scores in zip(segments[video], result["scores"], strict=True)
            for text, score in zip(texts, scores, strict=True)
        ]

    return step.run(videos_of(videos, segments), ScoreCaptions(segments, embedder, merge, how), rows, **running)

"""All steps of the construction in a folder, or some of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from lavis.preparation.collection.items import Shard
from lavis.preparation.collection.run import Running
from lavis.preparation.internvid_g.captions import MIN_S, caption_scenes
from lavis.preparation.internvid_g.merging import MERGE_ABOVE, AlikeTo, merge_files
from lavis.preparation.internvid_g.models import Captioner, Embedder
from lavis.preparation.internvid_g.negatives import NegativeSpans, negative_files
from lavis.preparation.internvid_g.scenes import Detection, detect_scenes
from lavis.preparation.internvid_g.scores import Merge, score_captions
from lavis.preparation.internvid_g.selection import select_file
from lavis.preparation.internvid_g.similarity import Looking, compare_scenes

if TYPE_CHECKING:
    from typing import Unpack  # since Python 3.11; only type checkers read it

STEPS = ("scenes", "similarity", "merge", "captions", "scores", "select", "negatives")
OVER_VIDEOS = ("scenes", "similarity", "captions", "scores")
"""Steps that open videos, and go through the executor."""


@dataclass(frozen=True, slots=True)
class Construction:
    """What is made of which videos, and how.

    Args:
        videos: folder of the videos.
        out: folder of the files, one for each step, named by it; the result is ``internvid_g.jsonl``.
        embedder: for similarities; ``None`` where that step is not done.
        captioner: for captions; ``None`` where that step is not done.
        scorer: for scores; ``None``: all captions are kept, and the steps ``scores`` and ``select`` left out.
        names: file of the names of the videos that are meant, one a line; ``None``: all.
        durations: seconds by video; those that the scenes tell are taken where there are none.
        detection, looking, merge_above, alike_to, min_caption_s, score_merge, negatives: see the steps.
    """

    videos: Path
    out: Path
    embedder: Embedder | None = None
    captioner: Captioner | None = None
    scorer: Embedder | None = None
    names: Path | None = None
    durations: Mapping[str, float] = field(default_factory=dict)
    detection: Detection = field(default_factory=Detection)
    looking: Looking = field(default_factory=Looking)
    merge_above: float = MERGE_ABOVE
    alike_to: AlikeTo = "last"
    min_caption_s: float = MIN_S
    score_merge: Merge = "max"
    negatives: NegativeSpans = field(default_factory=NegativeSpans)

    def file(self, name: str) -> Path:
        """Where a step's rows are."""
        return self.out.expanduser() / f"{name}.jsonl"

    def run(self, steps: Sequence[str] = STEPS, **running: Unpack[Running]) -> Iterator[str]:
        """Does the steps in their order; says after each what was done.

        Raises:
            AnnotationError: if a row of an earlier step's file is bad; names file and row.
            ImportError: if a package is missing; names the extra.
            ValueError: for steps that there are not, or that need a model which is not given, or several steps of a
                shard; else as ``run_collection``.
        """
        done = [step for step in STEPS if step in steps]
        if self.scorer is None and set(steps) == set(STEPS):
            done = [step for step in done if step not in ("scores", "select")]
        self._check(steps, done, running.get("shard"))
        for step in done:
            yield self._over_videos(step, running) if step in OVER_VIDEOS else self._over_rows(step)

    def _check(self, steps: Sequence[str], done: Sequence[str], shard: str | None) -> None:
        unknown = [step for step in steps if step not in STEPS]
        if unknown or not done:
            raise ValueError(f"there is no step {', '.join(unknown) or 'given'}; there are {', '.join(STEPS)}")
        needs = {"similarity": ("embedder", self.embedder), "captions": ("captioner", self.captioner)}
        for step, (name, model) in {**needs, "scores": ("scorer", self.scorer)}.items():
            if step in done and model is None:
                raise ValueError(f"the step {step} needs a model: give the {name}")
        if Shard.of(shard).count > 1 and (len(done) > 1 or done[0] not in OVER_VIDEOS):
            raise ValueError(
                f"parts of a job do one step over videos at a time ({', '.join(OVER_VIDEOS)}); when all parts are "
                "through, the same without a shard writes its file"
            )

    def _over_videos(self, step: str, running: Running) -> str:
        out = self.file(step)
        if step == "scenes":
            reader = self.looking.reader
            summary = detect_scenes(
                self.videos, out, self.detection, names=self.names, reader=reader, **running
            )  # fmt: skip
        elif step == "similarity":
            assert self.embedder is not None
            summary = compare_scenes(
                self.videos, self.file("scenes"), out, self.embedder, self.looking,
                max_scenes=self.negatives.max_scenes, **running,
            )  # fmt: skip
        elif step == "captions":
            assert self.captioner is not None
            summary = caption_scenes(
                self.videos, self.file("merged_scenes"), out, self.captioner, self.looking,
                min_s=self.min_caption_s, **running,
            )  # fmt: skip
        else:
            assert self.scorer is not None
            summary = score_captions(
                self.videos, self.file("captions"), out, self.scorer, self.looking, merge=self.score_merge, **running
            )
        return summary.to_text()

    def _over_rows(self, step: str) -> str:
        merged, alike = self.file("merged_scenes"), self.file("merged_similarity")
        if step == "merge":
            before, after = merge_files(
                self.file("scenes"), self.file("similarity"), merged, alike, self.merge_above, self.alike_to,
                self.negatives.max_scenes,
            )  # fmt: skip
            return f"merge: {before} scenes became {after}, {merged}"
        if step == "select":
            before, after = select_file(self.file("scores"), self.file("selected"))
            return f"select: {after} of {before} captions kept, {self.file('selected')}"
        captions = self.file("captions" if self.scorer is None else "selected")
        made = self.file("internvid_g")
        rows, dropped = negative_files(captions, merged, alike, made, self.durations, self.negatives)
        reasons = "".join(f", {count} dropped ({reason})" for reason, count in sorted(dropped.items()))
        return f"negatives: {rows} rows{reasons}, {made}"

"""``VideoSample``: one question about one video, as a dataset yields it, and ``Batch``: several with their frames."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from lavis.structures.frames import Frames
from lavis.structures.moment import Moment

Role = Literal["system", "user", "assistant", "stream"]


@dataclass(frozen=True, slots=True)
class Subtitle:
    """One caption line: ``text`` as it is shown to the model, ``start`` and ``end`` in seconds of the video."""

    start: float
    end: float
    text: str


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn of a conversation; ``time`` in seconds where it happens in the stream, ``learned`` if it is a target."""

    role: Role
    text: str
    time: float | None = None
    learned: bool = False


@dataclass(frozen=True, slots=True)
class VideoSample:
    """One query on one video.

    Args:
        id: unique in its dataset (``QVHighlight_9769``).
        video: path of the file, of the folder of its frames, or of a picture (``extra["media"]`` is then ``image``);
            empty where a sample is text alone: it has no frames.
        query: the sentence to localise, as annotated.
        duration: seconds, above 0.
        moments: truth, or ``None`` where it is unknown.
        subtitles: caption lines, in time order.
        speech: spans with speech, in time order.
        items: nouns of the query (CALCE's prompt shows them).
        prior: a coarser result for the same query: earlier stage or turn; ``None`` if there is none.
        clip: the part of the video to look at; ``None`` is all of it.
        turns: conversation, for systems trained on one.
        options: answers to choose from (question answering).
        answer: what the model should say, where it is not a list of moments.
        kind: free label that reports group by, such as ``seen`` or ``said``.
        dataset: registered name of the dataset, for mixtures and messages.
        saliency: ``[num_clips][num_annotators]`` highlight scores, 0 to 4, of 2-second clips.
        extra: fields of the annotation that only one task reads.
    """

    id: str
    video: str
    query: str
    duration: float
    moments: list[Moment] | None = None
    subtitles: list[Subtitle] = field(default_factory=list)
    speech: list[Moment] = field(default_factory=list)
    items: list[str] = field(default_factory=list)
    prior: list[Moment] | None = None
    clip: Moment | None = None
    turns: list[Turn] = field(default_factory=list)
    options: list[str] = field(default_factory=list)
    answer: str | None = None
    kind: str | None = None
    dataset: str = ""
    saliency: list[list[int]] | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def window(self) -> Moment:
        """The clip the model sees: ``clip``, or the whole video."""
        return self.clip if self.clip is not None else Moment(0, self.duration)

    def with_prior(self, prior: list[Moment]) -> VideoSample:
        """The same question, to be asked again knowing roughly where."""
        return replace(self, prior=prior)


@dataclass(slots=True)
class Batch:
    """What a model is called with: ``samples`` and, per view, one ``Frames`` for each sample (lengths may differ)."""

    samples: list[VideoSample]
    views: dict[str, list[Frames]]

    def __len__(self) -> int:
        return len(self.samples)

    def to(self, device: Any, non_blocking: bool = True) -> Batch:
        """The same batch with all pixels on ``device``; times and samples stay on the host."""
        views = {name: [f.to(device, non_blocking) for f in frames] for name, frames in self.views.items()}
        return Batch(self.samples, views)

    def pin_memory(self) -> Batch:
        """The same batch with its pixels in page-locked memory; torch's loader calls it where it is asked to pin.

        Frames that several samples share stay one object.
        """
        pinned = {id(f): f.pin_memory() for f in {id(f): f for frames in self.views.values() for f in frames}.values()}
        return Batch(self.samples, {name: [pinned[id(f)] for f in frames] for name, frames in self.views.items()})

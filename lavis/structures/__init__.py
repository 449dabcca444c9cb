"""Floor 1: the typed records every part exchanges. They know no network; all times are seconds of the video."""

from lavis.structures.frames import Frames, Views
from lavis.structures.moment import Moment
from lavis.structures.output import ModelOutput, Prediction
from lavis.structures.sample import Batch, Subtitle, Turn, VideoSample
from lavis.structures.sequence import (
    Block,
    FrameRef,
    Packed,
    Passage,
    Round,
    Segment,
    Sequence,
    Series,
    Text,
    Texts,
    Visual,
    Visuals,
)
from lavis.structures.tokens import FrameFeatures, TimedTokens

__all__ = [
    "Batch", "Block", "FrameFeatures", "FrameRef", "Frames", "ModelOutput", "Moment", "Packed", "Passage",
    "Prediction", "Round", "Segment", "Sequence", "Series", "Subtitle", "Text", "Texts", "TimedTokens", "Turn",
    "VideoSample", "Views", "Visual", "Visuals",
]  # fmt: skip

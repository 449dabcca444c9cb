"""From decoded frames to what an encoder sees: crop, scale to [0, 1], normalise."""

from lavis.processors.transforms.base import CLIP_MEAN, CLIP_STD, Rgb, Transform, draw_crop, normalise
from lavis.processors.transforms.clip import ClipEval, ClipTrain
from lavis.processors.transforms.letterbox import LetterboxEval
from lavis.processors.transforms.short_side import ShortSide, ShortSideEval, ShortSideTrain

__all__ = [
    "CLIP_MEAN",
    "CLIP_STD",
    "ClipEval",
    "ClipTrain",
    "LetterboxEval",
    "Rgb",
    "ShortSide",
    "ShortSideEval",
    "ShortSideTrain",
    "Transform",
    "draw_crop",
    "normalise",
]

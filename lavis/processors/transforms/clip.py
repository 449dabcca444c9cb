"""A square of fixed size, from frames that the reader resized or by one random crop for all of them.

Source: the video processors of LAVIS (Li et al., 2022; salesforce/LAVIS) as CALCE uses them. Overflow of the bicubic
filter is cut off unless asked otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from lavis.common.registry import registry
from lavis.processors.transforms.base import (
    CLIP_MEAN,
    CLIP_STD,
    Rgb,
    Transform,
    check_choice,
    check_crops,
    check_scales,
    check_size,
    draw_crop,
    keep_rgb,
    normalise,
)


@registry.transforms.register("clip_eval")
@dataclass(frozen=True)
class ClipEval(Transform):
    """Scale to [0, 1] and normalise; frames of another size are first resized, aspect ratio not kept.

    Args:
        image_size: height and width, at least 1.
        mean: of red, green and blue, in [0, 1].
        std: the same, above 0.
    """

    image_size: int = 224
    mean: Rgb = CLIP_MEAN
    std: Rgb = CLIP_STD

    def __post_init__(self) -> None:
        check_size(self.image_size)
        keep_rgb(self)

    def __call__(self, pixels: Tensor, generator: torch.Generator | None = None) -> Tensor:
        size = (self.image_size, self.image_size)
        if pixels.shape[-2:] != size:
            pixels = functional.interpolate(pixels.float(), size, mode="bicubic", antialias=True).clamp(0, 255)
        return normalise(pixels, self.mean, self.std)


@registry.transforms.register("clip_train")
@dataclass(frozen=True)
class ClipTrain(Transform):
    """One random crop for all frames, resized by a bicubic filter, rounded to whole grey levels, normalised.

    Args:
        image_size: height and width, at least 1.
        min_scale: smallest part of the area that a crop keeps, in (0, 1].
        max_scale: the largest.
        min_ratio: smallest width over height of a crop, above 0.
        max_ratio: the largest.
        mean: of red, green and blue, in [0, 1].
        std: the same, above 0.
        overflow: what becomes of values below 0 or above 255, which the filter makes at sharp edges: ``clamp`` cuts
            them off, ``wrap`` turns -1 into 255 and 256 into 0, as CALCE and MR.BLIP do.
        crops: how many crops a video has in all of training, at least 1; each time one of them is drawn, so that what
            frozen parts make of them can be kept. Weaker augmentation than that of the originals, which is ``None``:
            another crop each time.
        levels: how values become whole grey levels: ``down`` as in CALCE and MR.BLIP, or ``nearest`` as in HawkEye.
        flip: how likely all frames are turned into their mirror images, 0 to 1; HawkEye's is 0.5. Words such as
            "left" then no longer fit.
    """

    image_size: int = 224
    min_scale: float = 0.5
    max_scale: float = 1.0
    min_ratio: float = 3 / 4
    max_ratio: float = 4 / 3
    mean: Rgb = CLIP_MEAN
    std: Rgb = CLIP_STD
    overflow: Literal["clamp", "wrap"] = "clamp"
    crops: int | None = None
    levels: Literal["down", "nearest"] = "down"
    flip: float = 0.0

    def __post_init__(self) -> None:
        check_size(self.image_size)
        keep_rgb(self)
        check_scales(self.min_scale, self.max_scale)
        if not 0 < self.min_ratio <= self.max_ratio:
            raise ValueError(f"ratios must be 0 < min <= max, got {self.min_ratio} and {self.max_ratio}")
        check_choice("overflow", self.overflow, ("clamp", "wrap"))
        check_choice("levels", self.levels, ("down", "nearest"))
        check_crops(self.crops)
        if not 0 <= self.flip <= 1:
            raise ValueError(f"flip must be a probability, 0 to 1, got {self.flip}")

    @property
    def outcomes(self) -> int | None:
        return self.crops

    def __call__(self, pixels: Tensor, generator: torch.Generator | None = None) -> Tensor:
        scale, ratio = (self.min_scale, self.max_scale), (self.min_ratio, self.max_ratio)
        top, left, height, width = draw_crop(pixels.shape[-2], pixels.shape[-1], scale, ratio, generator)
        cropped = pixels[..., top : top + height, left : left + width].float()
        size = (self.image_size, self.image_size)
        resized = functional.interpolate(cropped, size, mode="bicubic", align_corners=False)
        resized = resized.trunc() if self.levels == "down" else resized.round()
        levels = resized.clamp(0, 255) if self.overflow == "clamp" else resized.remainder(256)
        if self.flip and torch.rand(1, generator=generator).item() < self.flip:
            levels = levels.flip(-1)
        return normalise(levels, self.mean, self.std)

"""Pictures that keep their proportions: the shorter side is resized, and a square is cut out.

So do MeCo (bilinear in floats), Grounded-VideoLLM and HawkEye's evaluation (Pillow's bicubic filter, whole levels),
while CALCE squeezes the picture into the square. A view with one of these needs ``size: source``, or there is
nothing left to cut off. Facts about those systems only; the resizing is torch's or Pillow's, the draw of a crop
torchvision's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
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

Filter = Literal["bilinear", "bicubic"]
Resizer = Literal["torch", "pillow"]


class ShortSide(Transform):
    """What both phases share: settings, and the resizing of the shorter side."""

    mean: Rgb
    std: Rgb
    filter: Filter
    resizer: Resizer

    def __post_init__(self) -> None:
        check_size(self.image_size)
        keep_rgb(self)
        check_choice("filter", self.filter, ("bilinear", "bicubic"))
        check_choice("resizer", self.resizer, ("torch", "pillow"))

    def short_side(self, pixels: Tensor) -> Tensor:
        """Grey levels 0 to 255 as float32 ``[T, 3, H, W]``, the shorter of H and W being ``image_size``."""
        height, width = pixels.shape[-2:]
        shorter = min(height, width)
        size = (self.image_size * height // shorter, self.image_size * width // shorter)
        if size == (height, width):
            return pixels.float()
        if self.resizer == "pillow":
            return _by_pillow(pixels, size, self.filter)
        return functional.interpolate(pixels.float(), size, mode=self.filter, antialias=True).clamp(0, 255)


@registry.transforms.register("short_side_eval")
@dataclass(frozen=True)
class ShortSideEval(ShortSide):
    """The shorter side resized, the square in the middle, normalised.

    Args:
        image_size: height and width, at least 1.
        mean: of red, green and blue, in [0, 1].
        std: the same, above 0.
        filter: ``bilinear`` as in MeCo, ``bicubic`` as in Grounded-VideoLLM and HawkEye; both smooth before they
            leave pixels out.
        resizer: ``torch`` keeps fractions of grey levels; ``pillow`` rounds them, as published weights of
            Grounded-VideoLLM and HawkEye saw frames, and is slower.
        centre: where an odd number of pixels is cut off: ``down`` leaves less before the square, as MeCo does;
            ``nearest`` rounds half to even, as torchvision, Grounded-VideoLLM and HawkEye do.
    """

    image_size: int = 224
    mean: Rgb = CLIP_MEAN
    std: Rgb = CLIP_STD
    filter: Filter = "bicubic"
    resizer: Resizer = "torch"
    centre: Literal["down", "nearest"] = "down"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("centre", self.centre, ("down", "nearest"))

    def __call__(self, pixels: Tensor, generator: torch.Generator | None = None) -> Tensor:
        resized = self.short_side(pixels)
        rests = ((side - self.image_size) / 2 for side in resized.shape[-2:])
        top, left = (int(rest) if self.centre == "down" else round(rest) for rest in rests)
        square = resized[..., top : top + self.image_size, left : left + self.image_size]
        return normalise(square, self.mean, self.std)


@registry.transforms.register("short_side_train")
@dataclass(frozen=True)
class ShortSideTrain(ShortSide):
    """The shorter side resized, one random square for all frames, resized again by a bilinear filter, normalised.

    Args:
        image_size: height and width, at least 1.
        min_scale: smallest part of the square in the middle that a crop keeps by area, in (0, 1]; MeCo's is 0.8.
        max_scale: the largest.
        mean: of red, green and blue, in [0, 1].
        std: the same, above 0.
        filter: of the first resizing, as in ``short_side_eval``.
        resizer: the same.
        crops: how many crops a video has in all of training, as in ``clip_train``.
    """

    image_size: int = 224
    min_scale: float = 0.8
    max_scale: float = 1.0
    mean: Rgb = CLIP_MEAN
    std: Rgb = CLIP_STD
    filter: Filter = "bicubic"
    resizer: Resizer = "torch"
    crops: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_scales(self.min_scale, self.max_scale)
        check_crops(self.crops)

    @property
    def outcomes(self) -> int | None:
        return self.crops

    def __call__(self, pixels: Tensor, generator: torch.Generator | None = None) -> Tensor:
        resized = self.short_side(pixels)
        height, width = resized.shape[-2:]
        share = self.image_size**2 / (height * width)
        scale = (self.min_scale * share, self.max_scale * share)
        top, left, rows, columns = draw_crop(height, width, scale, (1.0, 1.0), generator)
        cropped = resized[..., top : top + rows, left : left + columns]
        size = (self.image_size, self.image_size)
        return normalise(functional.interpolate(cropped, size, mode="bilinear", antialias=True), self.mean, self.std)


def _by_pillow(pixels: Tensor, size: tuple[int, int], kind: Filter) -> Tensor:
    """Frames resized one by one as 8-bit pictures."""
    from PIL import Image

    resample = Image.Resampling.BICUBIC if kind == "bicubic" else Image.Resampling.BILINEAR
    levels = pixels if pixels.dtype == torch.uint8 else pixels.round().clamp(0, 255).to(torch.uint8)
    pictures = levels.permute(0, 2, 3, 1).contiguous().cpu().numpy()
    height, width = size
    resized = [np.asarray(Image.fromarray(picture).resize((width, height), resample)) for picture in pictures]
    return torch.from_numpy(np.stack(resized)).permute(0, 3, 1, 2).to(pixels.device, torch.float32)

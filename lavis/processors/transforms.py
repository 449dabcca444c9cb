"""From decoded frames to what an encoder sees: crop, scale to [0, 1], normalise.

Source: the video processors of LAVIS (Li et al., 2022; salesforce/LAVIS) as CALCE uses them, and the parameter draw of
torchvision's RandomResizedCrop, which they build on. Here it is plain torch on ``[T, 3, H, W]``, the draw comes from a
generator that is passed in (the same seed gives the same crop as there), and overflow of the bicubic filter is cut off
unless asked otherwise.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from lavis.common.registry import registry

Rgb = tuple[float, float, float]

CLIP_MEAN: Rgb = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD: Rgb = (0.26862954, 0.26130258, 0.27577711)

_ATTEMPTS = 10


class Transform(ABC):
    """What is done to the frames of one view. Subclasses are frozen dataclasses: their ``repr`` names it."""

    image_size: int
    """Height and width of the result; readers resize to it unless told otherwise."""

    @property
    def outcomes(self) -> int | None:
        """How many results the same frames can have, each repeatable by the seed of its generator; ``None``: any."""
        return 1

    @abstractmethod
    def __call__(self, pixels: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Normalised float32 ``[T, 3, S, S]`` from ``[T, 3, H, W]``, uint8 or floats 0 to 255.

        Args:
            pixels: the frames.
            generator: where chance comes from; ``None`` is torch's global one.
        """


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
        _check_size(self.image_size)
        _keep_rgb(self)

    def __call__(self, pixels: Tensor, generator: torch.Generator | None = None) -> Tensor:
        size = (self.image_size, self.image_size)
        if pixels.shape[-2:] != size:
            pixels = functional.interpolate(pixels.float(), size, mode="bicubic", antialias=True).clamp(0, 255)
        return normalise(pixels, self.mean, self.std)


@registry.transforms.register("clip_train")
@dataclass(frozen=True)
class ClipTrain(Transform):
    """One random crop for all frames, resized by a bicubic filter, rounded down to whole grey levels, normalised.

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

    def __post_init__(self) -> None:
        _check_size(self.image_size)
        _keep_rgb(self)
        if not 0 < self.min_scale <= self.max_scale <= 1:
            raise ValueError(f"scales must be 0 < min <= max <= 1, got {self.min_scale} and {self.max_scale}")
        if not 0 < self.min_ratio <= self.max_ratio:
            raise ValueError(f"ratios must be 0 < min <= max, got {self.min_ratio} and {self.max_ratio}")
        if self.overflow not in ("clamp", "wrap"):
            raise ValueError(f"overflow must be clamp or wrap, got {self.overflow!r}")
        if self.crops is not None and self.crops < 1:
            raise ValueError(f"crops must be at least 1, or null for another one each time, got {self.crops}")

    @property
    def outcomes(self) -> int | None:
        return self.crops

    def __call__(self, pixels: Tensor, generator: torch.Generator | None = None) -> Tensor:
        scale, ratio = (self.min_scale, self.max_scale), (self.min_ratio, self.max_ratio)
        top, left, height, width = draw_crop(pixels.shape[-2], pixels.shape[-1], scale, ratio, generator)
        cropped = pixels[..., top : top + height, left : left + width].float()
        size = (self.image_size, self.image_size)
        resized = functional.interpolate(cropped, size, mode="bicubic", align_corners=False).trunc()
        levels = resized.clamp(0, 255) if self.overflow == "clamp" else resized.remainder(256)
        return normalise(levels, self.mean, self.std)


def normalise(pixels: Tensor, mean: Rgb, std: Rgb) -> Tensor:
    """``(pixels / 255 - mean) / std`` in float32, per colour of ``[T, 3, H, W]``."""
    scaled = pixels.to(torch.float32, memory_format=torch.contiguous_format) / 255
    return scaled.sub_(_per_colour(mean)).div_(_per_colour(std))


def draw_crop(
    height: int,
    width: int,
    scale: tuple[float, float],
    ratio: tuple[float, float],
    generator: torch.Generator | None = None,
) -> tuple[int, int, int, int]:
    """A random crop of a picture, drawn as torchvision's RandomResizedCrop draws it.

    Args:
        height: of the picture.
        width: of the picture.
        scale: smallest and largest part of the area.
        ratio: smallest and largest width over height; the draw is even in its logarithm.
        generator: where chance comes from; ``None`` is torch's global one.

    Returns:
        Top, left, height and width. If ten draws do not fit, the largest crop in the middle with an allowed ratio.
    """
    log_ratio = torch.tensor(ratio).log()
    for _ in range(_ATTEMPTS):
        area = height * width * torch.empty(1).uniform_(*scale, generator=generator).item()
        low, high = (float(bound) for bound in log_ratio)
        aspect = torch.empty(1).uniform_(low, high, generator=generator).exp().item()
        crop_width, crop_height = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < crop_width <= width and 0 < crop_height <= height:
            top = int(torch.randint(height - crop_height + 1, (1,), generator=generator))
            left = int(torch.randint(width - crop_width + 1, (1,), generator=generator))
            return top, left, crop_height, crop_width
    crop_height = min(height, round(width / ratio[0]))
    crop_width = min(width, round(height * ratio[1]))
    return (height - crop_height) // 2, (width - crop_width) // 2, crop_height, crop_width


def _per_colour(values: Rgb) -> Tensor:
    return torch.tensor(values, dtype=torch.float32).view(3, 1, 1)


def _check_size(image_size: int) -> None:
    if isinstance(image_size, bool) or image_size < 1:
        raise ValueError(f"transform.image_size must be at least 1, got {image_size!r}")


def _keep_rgb(transform: ClipEval | ClipTrain) -> None:
    """Checks mean and std, and keeps them as tuples: configurations have lists, which would not hash."""
    for name in ("mean", "std"):
        values = tuple(float(value) for value in getattr(transform, name))
        if len(values) != 3 or (name == "std" and min(values) <= 0):
            raise ValueError(f"transform.{name} must be three numbers{', above 0' * (name == 'std')}, got {values}")
        object.__setattr__(transform, name, values)

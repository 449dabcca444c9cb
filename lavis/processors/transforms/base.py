"""What a transform is, and what all of them do: draw a crop, scale to [0, 1], normalise.

Source: the video processors of LAVIS (Li et al., 2022; salesforce/LAVIS) as CALCE uses them, and the parameter draw of
torchvision's RandomResizedCrop, which they build on. Here it is plain torch on ``[T, 3, H, W]``, and the draw comes
from a generator that is passed in (the same seed gives the same crop as there).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

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


def check_size(image_size: int) -> None:
    """That the size is one.

    Raises:
        ValueError: if it is not.
    """
    if isinstance(image_size, bool) or image_size < 1:
        raise ValueError(f"transform.image_size must be at least 1, got {image_size!r}")


def check_choice(name: str, value: Any, known: Sequence[str]) -> None:
    """That a setting is one of the known words.

    Raises:
        ValueError: if it is not.
    """
    if value not in known:
        raise ValueError(f"{name} must be {' or '.join(known)}, got {value!r}")


def check_crops(crops: int | None) -> None:
    """That there is a crop to draw.

    Raises:
        ValueError: if there is none.
    """
    if crops is not None and crops < 1:
        raise ValueError(f"crops must be at least 1, or null for another one each time, got {crops}")


def check_scales(low: float, high: float) -> None:
    """That a crop keeps something, and no more than there is.

    Raises:
        ValueError: if not.
    """
    if not 0 < low <= high <= 1:
        raise ValueError(f"scales must be 0 < min <= max <= 1, got {low} and {high}")


def keep_rgb(transform: Transform) -> None:
    """Checks mean and std, and keeps them as tuples: configurations have lists, which would not hash.

    Raises:
        ValueError: for what is not three numbers, or a std that is not above 0.
    """
    for name in ("mean", "std"):
        values = tuple(float(value) for value in getattr(transform, name))
        if len(values) != 3 or (name == "std" and min(values) <= 0):
            raise ValueError(f"transform.{name} must be three numbers{', above 0' * (name == 'std')}, got {values}")
        object.__setattr__(transform, name, values)


def _per_colour(values: Rgb) -> Tensor:
    return torch.tensor(values, dtype=torch.float32).view(3, 1, 1)

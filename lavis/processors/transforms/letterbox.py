"""The whole picture in a square, with bars where it does not fill it.

So does MMDuet (Wang et al., 2024; yellow-binary-tree/MMDuet), whose resizing with OpenCV neither smooths before it
leaves pixels out nor keeps fractions of grey levels; here both can be had. A view with it needs ``size: source``.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from lavis.common.registry import registry
from lavis.processors.transforms.base import Rgb, Transform, check_size, keep_rgb, normalise

_HALF: Rgb = (0.5, 0.5, 0.5)


@registry.transforms.register("letterbox_eval")
@dataclass(frozen=True)
class LetterboxEval(Transform):
    """The longer side resized by a bilinear filter, bars on both sides of the shorter, normalised.

    Args:
        image_size: height and width, at least 1.
        mean: of red, green and blue, in [0, 1]; the defaults are SigLIP's.
        std: the same, above 0.
        antialias: whether to smooth before pixels are left out; MMDuet does not.
        fill: grey level of the bars, 0 to 255.
    """

    image_size: int = 384
    mean: Rgb = _HALF
    std: Rgb = _HALF
    antialias: bool = True
    fill: float = 0.0

    def __post_init__(self) -> None:
        check_size(self.image_size)
        keep_rgb(self)
        if not 0 <= self.fill <= 255:
            raise ValueError(f"fill must be a grey level, 0 to 255, got {self.fill}")

    def __call__(self, pixels: Tensor, generator: torch.Generator | None = None) -> Tensor:
        return normalise(self.boxed(pixels), self.mean, self.std)

    def boxed(self, pixels: Tensor) -> Tensor:
        """Whole grey levels 0 to 255 as float32 ``[T, 3, S, S]``."""
        height, width = pixels.shape[-2:]
        if width > height:
            size = (max(1, int(height / width * self.image_size)), self.image_size)
        else:
            size = (self.image_size, max(1, int(width / height * self.image_size)))
        resized = pixels.float()
        if size != (height, width):
            resized = functional.interpolate(resized, size, mode="bilinear", antialias=self.antialias).round()
        rows, columns = self.image_size - size[0], self.image_size - size[1]
        bars = (columns // 2, (columns + 1) // 2, rows // 2, (rows + 1) // 2)
        return functional.pad(resized, bars, value=self.fill)

"""``Frames``: pixels with the true time of each, and ``Views``: a video sampled in one or several ways."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor


@dataclass(frozen=True, slots=True)
class Frames:
    """Decoded, transformed frames of one video.

    Args:
        pixels: ``[T, 3, H, W]``, normalised floats (uint8 before the transform).
        times: ``T`` presentation times in seconds from the first frame of the video, rising.
        key: what the pixels were made from (file, view, clip, sampling, transform): the name under which a frozen
            encoder may cache its output; ``None`` where they are not repeatable (random crops, random frames).
    """

    pixels: Tensor
    times: list[float]
    key: str | None = None

    def __post_init__(self) -> None:
        if self.pixels.ndim != 4 or self.pixels.shape[1] != 3:
            raise ValueError(f"frames must be [T, 3, H, W], got {tuple(self.pixels.shape)}")
        if self.pixels.shape[0] != len(self.times):
            raise ValueError(f"{self.pixels.shape[0]} frames but {len(self.times)} times")

    def __len__(self) -> int:
        return len(self.times)

    def to(self, device: Any, non_blocking: bool = True) -> Frames:
        """The same frames with pixels on ``device``."""
        return replace(self, pixels=self.pixels.to(device, non_blocking=non_blocking))


Views = dict[str, Frames]
"""View name to frames; most systems have the single view ``frames``."""

"""``Frames``: pixels with the true time of each, and ``Views``: a video sampled in one or several ways."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

PixelSource = Callable[[], Tensor]
"""Reads and transforms the pixels of frames that have not been needed so far; can be pickled."""


class Frames:
    """Transformed frames of one video, decoded when somebody looks at them.

    Args:
        pixels: ``[T, 3, H, W]``, normalised floats (uint8 before the transform), or what will read them: where the
            features of these frames are kept already, the video need not be opened.
        times: ``T`` presentation times in seconds from the first frame of the video, rising.
        key: what the pixels are made from (content of the file, view, clip, sampling, transform): the name under which
            the output of frozen parts may be kept; ``None`` where it is not repeatable (random crops, random frames).
    """

    def __init__(self, pixels: Tensor | PixelSource, times: Sequence[float], key: str | None = None) -> None:
        self.times = list(times)
        self.key = key
        self._source: PixelSource | None = None
        self._pixels: Tensor | None = None
        self._device: Any = None
        self._non_blocking = True
        if isinstance(pixels, Tensor):
            self._pixels = self._checked(pixels)
        else:
            self._source = pixels

    def __len__(self) -> int:
        return len(self.times)

    def __repr__(self) -> str:
        state = "not decoded" if self._pixels is None else f"{tuple(self._pixels.shape)}"
        return f"Frames({state}, {len(self)} times, key={self.key!r})"

    @property
    def deferred(self) -> bool:
        """Whether nobody has looked at the pixels yet."""
        return self._pixels is None

    @property
    def pixels(self) -> Tensor:
        """``[T, 3, H, W]``; the first look decodes the video, or moves the frames to the device, if that is still due.

        Raises:
            VideoDecodeError: if the video is read now and cannot be.
        """
        if self._pixels is None:
            assert self._source is not None, "frames are made from pixels or from what reads them"
            self._pixels = self._checked(self._source())
        if self._device is not None:
            self._pixels = self._pixels.to(self._device, non_blocking=self._non_blocking)
            self._device = None
        return self._pixels

    def to(self, device: Any, non_blocking: bool = True) -> Frames:
        """The same frames with pixels on ``device``; they are moved when they are looked at, if they ever are."""
        moved = copy(self)
        moved._device, moved._non_blocking = device, non_blocking
        return moved

    def pin_memory(self) -> Frames:
        """The same frames in page-locked memory, which a GPU reads beside its work; those not decoded yet stay so."""
        if self._pixels is None:
            return self
        pinned = copy(self)
        pinned._pixels = self._pixels.pin_memory()
        return pinned

    def select(self, indices: Sequence[int]) -> Frames:
        """Some of the frames, by number, rising; under a name of their own."""
        rows = list(indices)
        key = None if self.key is None else f"{self.key}|{rows}"
        return Frames(_Selected(self, tuple(rows)), [self.times[i] for i in rows], key)

    def _checked(self, pixels: Tensor) -> Tensor:
        if pixels.ndim != 4 or pixels.shape[1] != 3:
            raise ValueError(f"frames must be [T, 3, H, W], got {tuple(pixels.shape)}")
        if pixels.shape[0] != len(self.times):
            raise ValueError(f"{pixels.shape[0]} frames but {len(self.times)} times")
        return pixels


@dataclass(frozen=True)
class _Selected:
    whole: Frames
    rows: tuple[int, ...]

    def __call__(self) -> Tensor:
        return self.whole.pixels[torch.tensor(self.rows, dtype=torch.long)]


Views = dict[str, Frames]
"""View name to frames; most systems have the single view ``frames``."""

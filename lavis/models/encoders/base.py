"""Encoders: frames to features. ``FrameEncoder`` runs an image network over every frame, in chunks, and remembers what
a frozen network said about frames it has seen.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch
from torch import Tensor, nn

from lavis.common.tensor_cache import TensorCache, weights_state
from lavis.structures import FrameFeatures, Frames

Precision = Literal["fp32", "fp16", "bf16"]

_DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


class VideoEncoder(nn.Module, ABC):
    """Frames of each sample to features; subclasses set ``width`` (C) and ``num_tokens`` (N, tokens of a frame)."""

    width: int
    num_tokens: int
    view: str = "frames"

    def encode(self, views: Mapping[str, list[Frames]]) -> list[FrameFeatures]:
        """Features of a batch, from the view this encoder reads.

        Raises:
            ValueError: if the view is missing.
        """
        if self.view not in views:
            raise ValueError(
                f"{type(self).__name__} reads the view {self.view!r} but the processor makes {sorted(views)}; "
                "name one of model.processor.views so"
            )
        features: list[FrameFeatures] = self(views[self.view])
        return features

    @abstractmethod
    def forward(self, frames: list[Frames]) -> list[FrameFeatures]:
        """Features ``[T, N, C]`` of each sample, T may differ."""


class FrameEncoder(VideoEncoder):
    """An encoder that looks at each frame by itself.

    The network proper is ``backbone``, what follows it ``finish``. While no parameter of the backbone learns, it runs
    without gradients and in evaluation mode, and its output is kept, least recently used first out, for frames that
    have a ``key``. Kept output is the network's own, in its own precision, so that results do not change.

    Args:
        chunk_size: frames that go through the network at once.
        cache_mb: size of that memory, on the host, in MiB; 0 keeps nothing.
    """

    def __init__(self, chunk_size: int = 64, cache_mb: int = 1024) -> None:
        super().__init__()
        if chunk_size < 1:
            raise ValueError(f"encoder.chunk_size must be at least 1 frame, got {chunk_size}")
        if cache_mb < 0:
            raise ValueError(f"encoder.cache_mb must be at least 0, got {cache_mb}")
        self.chunk_size = chunk_size
        self._cache = TensorCache(cache_mb * 2**20)

    @property
    @abstractmethod
    def backbone(self) -> nn.Module:
        """The network: ``[B, 3, H, W]`` to ``[B, N, C]``."""

    def finish(self, tokens: Tensor) -> Tensor:
        """What is done to the network's ``[T, N, C]``; nothing unless overridden."""
        return tokens

    def run_backbone(self, pixels: Tensor) -> Tensor:
        """One chunk through the network; a hook for precision and token order."""
        tokens: Tensor = self.backbone(pixels)
        return tokens

    @property
    def frozen(self) -> bool:
        """Whether no parameter of the backbone learns."""
        return not any(p.requires_grad for p in self.backbone.parameters())

    def train(self, mode: bool = True) -> FrameEncoder:
        """Training mode, except for a frozen backbone."""
        super().train(mode)
        if self.frozen:
            self.backbone.eval()
        return self

    def forward(self, frames: list[Frames]) -> list[FrameFeatures]:
        # Sample by sample: what is computed, and so each number, does not depend on what a sample is batched with.
        whole = not any(p.requires_grad for p in self.parameters())
        return [FrameFeatures(self.finish(self._tokens(f)), list(f.times), f.key if whole else None) for f in frames]

    def _tokens(self, frames: Frames) -> Tensor:
        if not self.frozen:
            return self._chunked(frames.pixels)
        weights = weights_state(self.backbone)
        if frames.key is not None:
            known = self._cache.get(frames.key, weights)
            if known is not None:
                return known.to(frames.pixels.device)
        with torch.no_grad():
            tokens = self._chunked(frames.pixels)
        if frames.key is not None:
            self._cache.put(frames.key, tokens, weights)
        return tokens

    def _chunked(self, pixels: Tensor) -> Tensor:
        chunks = [self.run_backbone(chunk) for chunk in torch.split(pixels, self.chunk_size)]
        return chunks[0] if len(chunks) == 1 else torch.cat(chunks)


def reduce_precision(module: nn.Module, precision: Precision) -> None:
    """Casts weights and biases of linear and convolution layers in place; norms and loose parameters stay as they are.

    Raises:
        ValueError: for an unknown precision.
    """
    if precision not in _DTYPES:
        raise ValueError(f"precision must be one of {', '.join(_DTYPES)}, got {precision!r}")
    if precision != "fp32":
        for layer in module.modules():
            if isinstance(layer, (nn.Linear, nn.Conv2d, nn.Conv3d)):
                layer.to(_DTYPES[precision])


def precision_context(precision: Precision, device: torch.device) -> AbstractContextManager[object]:
    """Autocast to run such a module in; for fp32 whatever surrounds it stays in force."""
    return nullcontext() if precision == "fp32" else torch.autocast(device.type, dtype=_DTYPES[precision])

"""Encoders: frames to features. ``FrameEncoder`` runs an image network over every frame, in chunks, and keeps what a
frozen network said about frames it has seen.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from lavis.common.provenance import chance_in, code_version, modules_of_class
from lavis.models.feature_cache import FeatureCache, sharded
from lavis.structures import FrameFeatures, Frames

Precision = Literal["fp32", "fp16", "bf16"]

_DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


@dataclass(frozen=True, slots=True)
class FeatureSource:
    """An encoder as it is now: digest of what its tokens are made with, and whether those weights stay as they are."""

    state: str
    lasting: bool


class VideoEncoder(nn.Module, ABC):
    """Frames of each sample to features; subclasses set ``width`` (C) and ``num_tokens`` (N, tokens of a frame)."""

    width: int
    num_tokens: int
    view: str = "frames"
    cache: FeatureCache
    """Where features may be kept; set by the model."""

    def __init__(self) -> None:
        super().__init__()
        self.cache = FeatureCache()

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

    def source(self) -> FeatureSource | None:
        """What the tokens are made with now; ``None`` if equal frames may give others, or a gradient is wanted."""
        return None


class FrameEncoder(VideoEncoder):
    """An encoder that looks at each frame by itself.

    The network proper is ``backbone``, what follows it ``finish``. While no parameter of the backbone learns, it runs
    without gradients and in evaluation mode, and its output is kept in ``cache`` for frames that have a ``key``; the
    same in evaluation, where no gradient is wanted. Kept output is the network's own, in its own precision, so that
    results do not change. Frames of a batch with equal keys are encoded once, when somebody asks for their features.

    Args:
        chunk_size: frames that go through the network at once.
    """

    def __init__(self, chunk_size: int = 64) -> None:
        super().__init__()
        if chunk_size < 1:
            raise ValueError(f"encoder.chunk_size must be at least 1 frame, got {chunk_size}")
        self.chunk_size = chunk_size

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
        return not _learns(self.backbone)

    def train(self, mode: bool = True) -> FrameEncoder:
        """Training mode, except for a frozen backbone."""
        super().train(mode)
        if self.frozen:
            self.backbone.eval()
        return self

    def source(self) -> FeatureSource | None:
        wanted = torch.is_grad_enabled()
        self.cache.publish(1, self._backbone_state() if self._keeps_backbone(wanted) else "")
        if (wanted and _learns(self)) or chance_in(self) is not None or not self.cache.usable(self):
            return None
        tensors = list(self.named_parameters()) + list(self.named_buffers())
        state = self.cache.state("encoder", tensors, self, self._device, *self._settings())
        return FeatureSource(state, not _learns(self))

    def forward(self, frames: list[Frames]) -> list[FrameFeatures]:
        # Sample by sample: what is computed, and so each number, does not depend on what a sample is batched with.
        source = self.source()
        shared = chance_in(self) is None and not sharded(self)
        made: dict[str, FrameFeatures] = {}
        result = []
        for own in frames:
            features = made.get(own.key) if shared and own.key is not None else None
            if features is None:
                features = self._features(own, source)
                if own.key is not None:
                    made[own.key] = features
            result.append(features)
        return result

    def _features(self, frames: Frames, source: FeatureSource | None) -> FrameFeatures:
        compute = partial(self._finished, frames)
        if source is None or frames.key is None:
            return FrameFeatures(compute, frames.times)
        return FrameFeatures(compute, frames.times, frames.key, source.state, source.lasting)

    def _finished(self, frames: Frames, keep: bool) -> Tensor:
        return self.finish(self._tokens(frames, keep))

    def _tokens(self, frames: Frames, keep: bool) -> Tensor:
        """The backbone's ``[T, N, C]``, from the cache if they are there; ``keep`` says whether they are to be."""
        if frames.key is None or not self._keeps_backbone(torch.is_grad_enabled()):
            return self._chunked(frames)
        state = self._backbone_state()
        shapes = {"tokens": (len(frames), self.num_tokens, self.width)}
        known = self.cache.get(frames.key, state, shapes, self._device)
        if known is not None:
            return known["tokens"]
        tokens = self._chunked(frames)
        if keep:
            self.cache.put(frames.key, state, {"tokens": tokens}, frames.times, self.frozen)
        return tokens

    def _keeps_backbone(self, gradient: bool) -> bool:
        if not self.cache.usable(self.backbone):
            return False
        if gradient and not self.frozen:
            self.cache.refuse("the encoder learns; take it out of model.trainable to encode every video once")
            return False
        random = chance_in(self.backbone)
        if random is not None:
            self.cache.refuse(f"{random} of the encoder draws by chance in this mode; set its rate to 0")
        return random is None

    def _backbone_state(self) -> str:
        tensors = list(self.backbone.named_parameters()) + list(self.backbone.named_buffers())
        return self.cache.state("backbone", tensors, self.backbone, self._device, *self._settings())

    def _settings(self) -> tuple[object, ...]:
        """Settings of the encoder itself that its numbers depend on, to the last bit."""
        kind = type(self)  # its modules, since the backbone's digest knows only those of the backbone
        return kind.__qualname__, kind.__module__, code_version(modules_of_class(kind)), self.chunk_size

    @property
    def _device(self) -> torch.device:
        return next(self.backbone.parameters()).device

    def _chunked(self, frames: Frames) -> Tensor:
        if not len(frames):  # a sample of text alone
            return next(self.backbone.parameters()).new_zeros(0, self.num_tokens, self.width)
        self.cache.computed()
        with torch.no_grad() if self.frozen else nullcontext():
            chunks = [self.run_backbone(chunk) for chunk in torch.split(frames.pixels, self.chunk_size)]
        return chunks[0] if len(chunks) == 1 else torch.cat(chunks)


def _learns(module: nn.Module) -> bool:
    return any(p.requires_grad for p in module.parameters())


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

"""The contract of heads: what compares states of the language model with frames, to learn and to find times.

A head reads states that the language model notes on its way (``Watcher``) at the positions of frames and of the tokens
that stand for something in the video (``Packed.refs``). It knows no text and no seconds: a codec does.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from lavis.models.language_models.base import LanguageOutput, Watcher
from lavis.structures import Packed


class Head(nn.Module, ABC):
    """Networks and losses beside the language model's own.

    ``wiring`` names constructor arguments that the builder passes and a configuration must not set. ``taps`` names the
    states that ``losses`` needs. A loss must have the head's weights in its graph whatever is in the batch, or
    processes that wait for each other's gradients would hang.
    """

    wiring: tuple[str, ...] = ("language_width",)
    taps: tuple[str, ...]

    def bind(self, language_model: Any, tokens: Sequence[str]) -> None:
        """Called once, by the builder.

        Args:
            language_model: the transformers model, for heads that are made like one of its layers.
            tokens: those that the codec's answers are made of, in its order.
        """

    def begin(self, language_model: Any) -> None:
        """Called by the builder when weights were read that hold none of the head's: it begins as it likes."""

    @abstractmethod
    def losses(self, output: LanguageOutput, packed: Packed) -> dict[str, Tensor]:
        """Scalars by name, to be added to the language model's loss."""

    @abstractmethod
    def watch(self, tokens: Mapping[str, int]) -> Watcher:
        """What looks into the decoding of one batch; ``tokens`` are the ids of the codec's tokens."""

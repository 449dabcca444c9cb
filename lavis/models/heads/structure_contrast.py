"""Tokens for events and transitions, each matched with the frames of its segment, by contrast with all others.

A language model that writes no times closes what it says of an event with ``<ent>``, and marks what lies between events
with ``<tst>``. The state that predicts such a token shall be near the states of the frames of its segment and far from
those of the others; at test time similarities tell where the segment is.

Source: MeCo (pangzss/MeCo, arXiv 2503.09027). Its original takes the similarity of the first token of an answer from
the first position of the prompt: ``prefill: first``.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lavis.common.registry import registry
from lavis.models.heads._frames import FrameHead, FrameWatcher, Prefill, softmax_loss
from lavis.models.language_models.base import LanguageOutput
from lavis.structures import FrameRef, Packed


@registry.heads.register("structure_contrast")
class StructureContrast(FrameHead):
    """Cosine similarity of segments' tokens with frames, under a scale that is learned.

    Args:
        language_width: D (from the builder).
        frame_head: ``mlp``, or a further ``layer`` of the language model over the frames alone, a copy of its last one
            to begin with.
        prefill: where the similarity of an answer's first token is taken: at the ``last`` position of the prompt,
            which predicts it, or at the ``first``, as the original does.
        temperature: the scale is 1 / temperature to begin with, above 0.
        weight: of the loss, at least 0.

    Raises:
        ValueError: for a setting out of range.
    """

    def __init__(
        self,
        language_width: int,
        frame_head: Literal["mlp", "layer"] = "mlp",
        prefill: Prefill = "last",
        temperature: float = 0.07,
        weight: float = 1.0,
    ) -> None:
        super().__init__(language_width)
        if frame_head not in ("mlp", "layer"):
            raise ValueError(f"head.frame_head must be mlp or layer, got {frame_head!r}")
        if prefill not in ("last", "first"):
            raise ValueError(f"head.prefill must be last or first, got {prefill!r}")
        if not temperature > 0 or not weight >= 0:
            raise ValueError(f"head.temperature must be above 0 and weight at least 0, got {temperature} and {weight}")
        self.layered = frame_head == "layer"
        self.prefill: Prefill = prefill
        self.weight = weight
        # A vector of one, since what shards parameters wants a dimension; published files have a number.
        self.logit_scale = nn.Parameter(torch.tensor([math.log(1 / temperature)]))
        self.register_load_state_dict_pre_hook(_as_vector)  # type: ignore[no-untyped-call]
        self._tokens: Sequence[str] = ()

    def bind(self, language_model: Any, tokens: Sequence[str]) -> None:
        self._tokens = tokens
        if self.layered:
            self.frame_head = FrameLayer(language_model)

    def begin(self, language_model: Any) -> None:
        if self.layered:  # made before the layer that it copies had its weights
            self.frame_head.load_state_dict(language_model.base_model.layers[-1].state_dict())

    def losses(self, output: LanguageOutput, packed: Packed) -> dict[str, Tensor]:
        """``structure``: mean over samples with a segment of the mean over its kinds of tokens.

        Each token's target is even over the frames of its segment, whole frames, both ends included.
        """
        frames = self.frames_of(output.states, packed)
        refs, words = self.words_of(output.states, packed)
        own = [self._loss(*row) for row in zip(refs, words, frames, strict=True) if row[0]]
        loss = torch.stack(own).mean() if own else self.nothing(output.states, packed) + 0 * self.logit_scale.sum()
        return {"structure": self.weight * loss}

    def _loss(self, refs: list[FrameRef], words: Tensor, frames: Tensor) -> Tensor:
        scores = self.logit_scale.exp() * _cosines(words, frames)
        bounds = torch.tensor([ref.target for ref in refs], device=scores.device).trunc()
        last = len(frames) - 1
        frame = torch.arange(last + 1, device=scores.device)
        inside = (frame >= bounds[:, :1].clamp(0, last)) & (frame <= bounds[:, 1:].clamp(0, last))
        target = inside / inside.sum(dim=1, keepdim=True)
        kinds = [torch.tensor([ref.token == token for ref in refs]) for token in dict.fromkeys(r.token for r in refs)]
        return torch.stack([softmax_loss(scores[kind], target[kind]) for kind in kinds]).mean()

    def compare(self, words: Tensor, frames: Tensor, missing: Tensor) -> Tensor:
        """Cosines; see ``FrameHead``."""
        return _cosines(words, frames)

    def watch(self, tokens: Mapping[str, int]) -> FrameWatcher:
        return _Watcher(self, tokens.get("<vid>"), self.prefill)


class _Watcher(FrameWatcher):
    """Also tells the scale of its cosines."""

    def results(self, lengths: Sequence[int]) -> list[dict[str, Tensor]]:
        assert isinstance(self.head, StructureContrast)
        scale = self.head.logit_scale.detach().exp()[0]
        return [{**own, "scale": scale} for own in super().results(lengths)]


class FrameLayer(nn.Module):
    """A layer of the language model's own kind over the frames of one video, which all see each other.

    It starts as a copy of the last layer, adapters included, and has its parameters' names.
    """

    def __init__(self, language_model: Any) -> None:
        super().__init__()
        decoder = language_model.base_model
        layer = copy.deepcopy(decoder.layers[-1])
        for name, child in layer.named_children():
            self.add_module(name, child)
        self._layer = (layer,)  # shares the children; not a child itself, for the sake of their names
        self._rotary = (decoder.rotary_emb,)  # belongs to the language model

    def forward(self, frames: Tensor) -> Tensor:
        """``[T, D]`` to ``[T, D]``."""
        if not len(frames):  # a sample of text alone
            return frames
        hidden = frames[None]
        positions = torch.arange(hidden.shape[1], device=frames.device)[None]
        rotary = self._rotary[0](hidden, positions)
        everything = hidden.new_zeros(1, 1, hidden.shape[1], hidden.shape[1])
        output = self._layer[0](
            hidden, attention_mask=everything, position_ids=positions, position_embeddings=rotary, use_cache=False
        )
        result: Tensor = (output[0] if isinstance(output, tuple) else output)[0]
        return result


def _as_vector(head: nn.Module, state: dict[str, Any], prefix: str, *rest: Any) -> None:
    name = f"{prefix}logit_scale"
    if name in state:
        state[name] = state[name].reshape(-1)


def _cosines(words: Tensor, frames: Tensor) -> Tensor:
    return F.normalize(words, dim=-1) @ F.normalize(frames, dim=-1).transpose(-1, -2)

"""What flows between encoder, compressor and prompt: features per frame, then visual tokens with the time they show."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from operator import itemgetter

from torch import Tensor


class FrameFeatures:
    """Encoder output of one sample, computed when somebody asks for it.

    Args:
        tokens: ``[T, N, C]``, N patch tokens a frame, or what computes them; told whether to keep its result, since
            somebody who keeps what follows has no use for it.
        times: of the T frames, in seconds.
        key: name under which what follows may be kept: that of the frames, if the same frames always give these tokens
            and no gradient is wanted; ``None`` otherwise.
        state: digest of all that made the tokens out of the frames (weights, code, precision); with ``key`` only.
        lasting: whether the weights behind ``state`` do not learn, so that what follows is worth keeping for long.
    """

    def __init__(
        self,
        tokens: Tensor | Callable[[bool], Tensor],
        times: Sequence[float],
        key: str | None = None,
        state: str = "",
        lasting: bool = False,
    ) -> None:
        self.times = list(times)
        self.key = key
        self.state = state
        self.lasting = lasting
        self._tokens = tokens if isinstance(tokens, Tensor) else None
        self._compute = None if isinstance(tokens, Tensor) else tokens

    @property
    def tokens(self) -> Tensor:
        """``[T, N, C]``, computed once."""
        if self._tokens is None:
            self._tokens = self.compute()
        return self._tokens

    def compute(self, keep: bool = True) -> Tensor:
        """``[T, N, C]`` without holding on to it; ``keep`` tells the encoder whether its cache should."""
        if self._tokens is not None:
            return self._tokens
        assert self._compute is not None, "features are made from tokens or from what computes them"
        return self._compute(keep)


@dataclass(frozen=True, slots=True)
class TimedTokens:
    """Visual tokens of one sample, grouped into units (frames, segments or one clip).

    Args:
        tokens: ``[sum(counts), D]``, width of the language model, in time order.
        counts: tokens of each unit.
        times: ``(start, end)`` seconds of each unit; equal bounds for a single frame.
        frames: index of each unit among the sampled frames (which survived compression).
    """

    tokens: Tensor
    counts: list[int]
    times: list[tuple[float, float]]
    frames: list[int]

    def __post_init__(self) -> None:
        if not len(self.counts) == len(self.times) == len(self.frames):
            raise ValueError(
                f"units disagree: {len(self.counts)} counts, {len(self.times)} times, {len(self.frames)} frames"
            )
        if sum(self.counts) != self.tokens.shape[0]:
            raise ValueError(f"counts add up to {sum(self.counts)} but there are {self.tokens.shape[0]} tokens")

    def __len__(self) -> int:
        return len(self.counts)

    def offsets(self) -> list[int]:
        """First token of each unit."""
        return list(accumulate(self.counts, initial=0))[: len(self)]

    def starts(self) -> list[float]:
        """Seconds at which each unit begins."""
        return list(map(itemgetter(0), self.times))

"""What flows between encoder, compressor and prompt: features per frame, then visual tokens with the time they show."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True)
class FrameFeatures:
    """Encoder output of one sample.

    Args:
        tokens: ``[T, N, C]``, N patch tokens a frame.
        times: of the T frames, in seconds.
        key: name under which what follows may be cached: that of the frames, if the whole encoder is frozen.
    """

    tokens: Tensor
    times: list[float]
    key: str | None = None


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
        total, starts = 0, []
        for count in self.counts:
            starts.append(total)
            total += count
        return starts

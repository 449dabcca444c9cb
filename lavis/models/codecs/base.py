"""The contract of time codecs: how times are written into a prompt, how truth is written as a target, and how a model's
answer is read back as moments.

Everything outside a codec is in seconds; frame indices, percentages, bins and options exist only in here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np

from lavis.structures import FrameRef, ModelOutput, Moment, Prediction, Text, TimedTokens, VideoSample


class TimeCodec(ABC):
    """Writes and reads time."""

    def bind(self, tokenizer: Any) -> None:  # noqa: B027 - most codecs need no tokenizer
        """Makes the codec know the tokenizer that will read what it writes; called once, by the builder.

        Args:
            tokenizer: of the language model; ``Any`` because transformers carries no types.
        """

    tokens: tuple[str, ...] = ()
    """Tokens of the vocabulary that answers are made of and that no text may hold (``<ent>``); ids are the model's."""

    def turns(self, sample: VideoSample, tokens: TimedTokens, answer: bool) -> list[list[Text | FrameRef]]:
        """What each turn of a conversation says, the user's first.

        Args:
            sample: the question, or a conversation with ``turns``.
            tokens: its visual tokens, whose times tell which unit shows which second.
            answer: whether what is to be learned is wanted; otherwise the last turn is the user's.

        Raises:
            ValueError: if the truth is missing, or does not fit the text.
        """
        if not sample.turns:
            learned = [Text(t.text, learned=True) for t in self.encode(sample)] if answer else []
            return [[Text(sample.query)], *([list[Text | FrameRef](learned)] if answer else [])]
        turns = sample.turns if answer else sample.turns[: _last_question(sample) + 1]
        return [[Text(turn.text, learned=turn.learned)] for turn in turns]

    def view(self, samples: list[VideoSample]) -> list[VideoSample]:
        """The samples as a compressor compares them with frame times: prior and duration in the codec's own unit.

        Seconds stay seconds; see ``view_times`` for the times themselves.
        """
        return samples

    def view_times(self, times: Sequence[float], sample: VideoSample) -> Sequence[float]:
        """Frame times in the unit of ``view``."""
        return times

    @abstractmethod
    def format_time(self, seconds: float, sample: VideoSample) -> str:
        """The time of a frame, as text.

        Args:
            seconds: time in the video.
            sample: whose video it is.
        """

    def time_texts(self, times: Sequence[float], sample: VideoSample) -> list[str]:
        """``format_time`` of each of a video's frame times."""
        return [self.format_time(seconds, sample) for seconds in times]

    def format_subtitle_time(self, seconds: float, sample: VideoSample) -> str:
        """The start or end of a subtitle line; -1 stands for "none"."""
        return self.format_time(seconds, sample)

    @abstractmethod
    def format_duration(self, sample: VideoSample) -> str:
        """The length of the video, as it follows the frames."""

    def format_times(self, times: Sequence[float], sample: VideoSample) -> str:
        """All frame times and the duration in one line, for prompts that do not interleave them with frames."""
        return ">".join([*self.time_texts(times, sample), self.format_duration(sample)])

    @abstractmethod
    def format_windows(self, moments: Sequence[Moment], sample: VideoSample) -> str:
        """Moments as a prompt shows them."""

    def format_prior(self, moments: Sequence[Moment], sample: VideoSample) -> str:
        """The coarser result that a prompt shows, by default as any other moments."""
        return self.format_windows(moments, sample)

    @abstractmethod
    def encode(self, sample: VideoSample) -> list[Text]:
        """The answer to a sample, as learned text that ends with the end token.

        Raises:
            ValueError: if the sample has no moments.
        """

    @abstractmethod
    def decode(self, output: ModelOutput, sample: VideoSample) -> Prediction:
        """What the model said, as moments in seconds. Never raises, whatever the text is."""

    @abstractmethod
    def resolution(self, sample: VideoSample) -> float:
        """Seconds by which ``decode(encode(...))`` may miss a bound."""


def _last_question(sample: VideoSample) -> int:
    return max(i for i, turn in enumerate(sample.turns) if turn.role == "user")


def truth_of(sample: VideoSample) -> list[Moment]:
    """The moments of a sample.

    Raises:
        ValueError: if they are unknown; names the sample.
    """
    if sample.moments is None:
        raise ValueError(f"sample {sample.id} has no moments to learn; leave it out of the training split")
    return sample.moments


def through_float32(value: float) -> float:
    """``value`` as it comes back from a tensor: an ``int`` unchanged, a ``float`` with the digits of single precision.

    MR.BLIP and CALCE keep times and durations in tensors, and print what they take out again (116.5999984741211).
    """
    return value if isinstance(value, int) else float(np.float32(value))


def learned_text(text: str, max_tokens: int | None) -> list[Text]:
    """A target of one segment, closed by the end token."""
    return [Text(text, learned=True, eos=True, max_tokens=max_tokens)]


def mapped(moments: Sequence[Moment], unit: Any) -> list[Moment]:
    """``moments`` with ``unit(bound)`` for every bound; scores stay."""
    return [Moment(unit(m.start), unit(m.end), m.score) for m in moments]

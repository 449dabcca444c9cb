"""The contract of prompts: one sample and its visual tokens become blocks of segments, and an answer to learn."""

from __future__ import annotations

from abc import ABC, abstractmethod

from lavis.models.codecs.base import TimeCodec
from lavis.structures import Sequence, Subtitle, TimedTokens, VideoSample


class Prompt(ABC):
    """How visual tokens, times and words are laid out. No weights."""

    shows_subtitles: bool = False

    @abstractmethod
    def __call__(
        self,
        sample: VideoSample,
        tokens: TimedTokens,
        codec: TimeCodec,
        subtitles: list[Subtitle],
        answer: bool = False,
    ) -> Sequence:
        """The sequence of one sample.

        Args:
            sample: the question.
            tokens: its visual tokens, in the language model's width.
            codec: writes times.
            subtitles: the lines chosen for this query, in the order to show them.
            answer: whether to add the answer as learned text.
        """

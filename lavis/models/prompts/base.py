"""The contract of prompts: one sample and its visual tokens become blocks of segments, and an answer to learn."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal, get_args

from lavis.models.codecs.base import TimeCodec
from lavis.structures import Sequence, Subtitle, TimedTokens, VideoSample

EvalLayout = Literal["alone", "batch"]


def checked_eval_layout(value: EvalLayout) -> EvalLayout:
    """The value itself.

    Raises:
        ValueError: if it is no known layout.
    """
    if value not in get_args(EvalLayout):
        raise ValueError(f"prompt.eval_layout must be one of {', '.join(get_args(EvalLayout))}, got {value!r}")
    return value


class Prompt(ABC):
    """How visual tokens, times and words are laid out. No weights.

    ``eval_layout`` is how an encoder-decoder is asked: ``alone`` lays every sample out as if it were alone, so that
    answers do not depend on the batch; ``batch`` pads as training does.
    """

    shows_subtitles: bool = False
    eval_layout: EvalLayout = "alone"
    stops: tuple[str, ...] = ()
    """Texts at which an answer ends, beside the tokenizer's end token."""

    def questions(self, sample: VideoSample) -> list[str]:
        """What is asked about the frames, for compressors that read it: one text for each time the frames are shown."""
        return [sample.query]

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

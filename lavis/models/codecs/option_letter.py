"""Answers as the letter of an option (``Option B``), for questions about a video.

Source: MR.BLIP (sudo-Boris/mr-Blip), which takes the likeliest of five token ids at the second generated step. Here the
text is read, which gives the same letter wherever the model answers in the form it was trained on.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from lavis.common.registry import registry
from lavis.models.codecs.base import TimeCodec
from lavis.structures import ModelOutput, Moment, Prediction, Text, VideoSample
from lavis.structures.moment import windows_text

_LETTER = re.compile(r"\b([A-J])\b")
_LETTERS = "ABCDEFGHIJ"


@registry.codecs.register("option_letter")
class OptionLetter(TimeCodec):
    """Writes the right option's letter as target and reads one back; ``scores["option"]`` is its index.

    The right option is told by ``sample.extra["answer_index"]``, or by ``sample.answer``: its text, or its index.
    """

    def format_time(self, seconds: float, sample: VideoSample) -> str:
        return str(round(seconds))

    def format_duration(self, sample: VideoSample) -> str:
        return str(round(sample.duration))

    def format_windows(self, moments: Sequence[Moment], sample: VideoSample) -> str:
        return windows_text(moments)

    def encode(self, sample: VideoSample) -> list[Text]:
        return [Text(f"Option {_LETTERS[_right(sample)]}", learned=True, eos=True)]

    def decode(self, output: ModelOutput, sample: VideoSample) -> Prediction:
        found = _LETTER.search(output.text[:200])
        index = _LETTERS.index(found.group(1)) if found else -1
        known = 0 <= index < len(sample.options)
        return Prediction(
            id=sample.id,
            moments=list(sample.prior or []),
            text=output.text,
            scores={"option": float(index)} if known else {},
            malformed=not known,
        )

    def resolution(self, sample: VideoSample) -> float:
        return 0.0


def _right(sample: VideoSample) -> int:
    """Index of the right option.

    Raises:
        ValueError: if the sample does not tell it.
    """
    index = sample.extra.get("answer_index")
    if index is None and sample.answer in sample.options:
        index = sample.options.index(sample.answer)
    if index is None and sample.answer is not None and sample.answer.isdigit():
        index = int(sample.answer)
    if not isinstance(index, int) or not 0 <= index < len(sample.options):
        raise ValueError(
            f"sample {sample.id}: the answer must be one of {len(sample.options)} options, or its index in "
            f"extra['answer_index']; got {sample.answer!r} and {index!r}"
        )
    return index

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

    The index of the right option is expected in ``sample.answer`` as text.
    """

    def format_time(self, seconds: float, sample: VideoSample) -> str:
        return str(round(seconds))

    def format_duration(self, sample: VideoSample) -> str:
        return str(round(sample.duration))

    def format_windows(self, moments: Sequence[Moment], sample: VideoSample) -> str:
        return windows_text(moments)

    def encode(self, sample: VideoSample) -> list[Text]:
        if sample.answer is None or not sample.answer.isdigit() or int(sample.answer) >= len(sample.options):
            raise ValueError(
                f"sample {sample.id}: the answer must be the index of one of {len(sample.options)} options, got "
                f"{sample.answer!r}"
            )
        return [Text(f"Option {_LETTERS[int(sample.answer)]}", learned=True, eos=True)]

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

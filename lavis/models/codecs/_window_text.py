"""What codecs share that write moments as a list of windows, ``[[24, 62], [100, 148]]``: reading the list, and what
stands for answers that are none.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, Literal

from lavis.models.codecs._windows import clean_labelled, clean_mr_blip, is_window, window_list
from lavis.models.codecs.base import TimeCodec, mapped, truth_of
from lavis.structures import ModelOutput, Moment, Prediction, VideoSample
from lavis.structures.moment import windows_text

Parser = Literal["calce", "mr_blip", "mr_blip_labelled"]
Malformed = Literal["whole_video", "mark", "drop"]


class WindowText(TimeCodec):
    """Moments as a list of windows in text.

    Args:
        parser: ``calce`` takes the digits and repairs numbers; ``mr_blip`` takes the list as it is;
            ``mr_blip_labelled`` expects a label as third element of each window (action localisation).
        malformed: what stands for a text, or with MR.BLIP's parsers a window, that cannot be read: ``whole_video``,
            ``mark`` (a window [-1, -1], which overlaps nothing and metrics count as invalid) or ``drop``. By default
            the first for CALCE and the second for MR.BLIP.
        clamp: whether moments are cut to the video; the originals let them reach past it.
        max_target_tokens: a longer target is cut.
    """

    def __init__(
        self, parser: Parser, malformed: Malformed | None, clamp: bool, max_target_tokens: int | None
    ) -> None:
        if malformed is None:
            malformed = "whole_video" if parser == "calce" else "mark"
        self.parser = parser
        self.malformed = malformed
        self.clamp = clamp
        self.max_target_tokens = max_target_tokens

    def decode(self, output: ModelOutput, sample: VideoSample) -> Prediction:
        windows = [window[:2] for window in self._read(output.text, sample)]
        moments = [moment for window in windows if (moment := self._moment(window, sample)) is not None]
        good = [moment for moment in moments if not is_mark(moment)]
        if not good and self.malformed == "whole_video":
            moments = [Moment(0, whole(sample.duration))]
        scores = {} if output.sequence_score is None else {"sequence": output.sequence_score}
        return Prediction(sample.id, moments, output.text, scores, malformed=not good)

    @abstractmethod
    def _read(self, text: str, sample: VideoSample) -> list[list[Any]]:
        """The windows in a text, in seconds, unchecked."""

    def _moment(self, window: list[Any], sample: VideoSample) -> Moment | None:
        if not is_window(window) or window == [-1, -1]:
            return Moment(-1, -1) if self.malformed == "mark" else None
        moment = Moment(min(window), max(window))
        return moment.clamp(whole(sample.duration)) if self.clamp else moment

    def _read_mr_blip(self, text: str) -> list[list[Any]]:
        if self.parser == "mr_blip_labelled":
            return window_list(clean_labelled(text), size=3)
        return window_list(clean_mr_blip(text))

    def _target(self, sample: VideoSample, unit: Callable[[float], float]) -> str:
        """The truth, in the codec's unit, with labels where the parser expects them."""
        moments = mapped(truth_of(sample), unit)
        if self.parser != "mr_blip_labelled":
            return windows_text(moments)
        labels = sample.extra.get("labels", [])
        if len(labels) != len(moments):
            raise ValueError(
                f"sample {sample.id}: {len(moments)} moments need as many labels in extra['labels'], got {len(labels)}"
            )
        return str([[*moment.to_list(), str(label)] for moment, label in zip(moments, labels, strict=True)])


def is_mark(moment: Moment) -> bool:
    """Whether a moment stands for a window that could not be read."""
    return moment.start == moment.end == -1


def whole(seconds: float) -> float:
    """An ``int`` where the value is one, so that it prints and reads without a decimal point."""
    return int(seconds) if float(seconds).is_integer() else seconds

"""Times as parts of the video in plain text: percent, or fractions with two decimals.

Source: MR.BLIP (Meinardus et al., 2024; sudo-Boris/mr-Blip), which compares these with seconds and finds them worse;
there they train but raise when they generate. The duration is still shown in seconds.

Differs from the original: answers are turned back into seconds, and truth, which it expects in relative annotation
files, is converted here. Both conversions follow its code.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from lavis.common.registry import registry
from lavis.models.codecs._window_text import Malformed, WindowText
from lavis.models.codecs._windows import to_seconds
from lavis.models.codecs.base import learned_text, mapped, through_float32
from lavis.structures import Moment, Text, VideoSample
from lavis.structures.moment import windows_text


@registry.codecs.register("relative_text")
class RelativeText(WindowText):
    """Times as parts of the video.

    Args:
        style: ``relative_integers``, 0 to 100; ``relative_floats``, 0 to 1.
        truncate: whether percent are cut and not rounded, so that 29 % (0.29 * 100 = 28.99...) is shown as 28: the
            original's way.
        convert_targets: whether truth is turned into the codec's unit; ``False`` prints its numbers unchanged, for
            annotation files that are relative already.
        malformed: see ``WindowText``.
        clamp: see ``WindowText``.
        max_target_tokens: see ``WindowText``.
    """

    def __init__(
        self,
        style: Literal["relative_integers", "relative_floats"] = "relative_integers",
        truncate: bool = True,
        convert_targets: bool = True,
        malformed: Malformed | None = None,
        clamp: bool = False,
        max_target_tokens: int | None = 200,
    ) -> None:
        super().__init__("mr_blip", malformed, clamp, max_target_tokens)
        if style not in ("relative_integers", "relative_floats"):
            raise ValueError(f"codec.style must be relative_integers or relative_floats, got {style!r}")
        self.style = style
        self.truncate = truncate
        self.convert_targets = convert_targets

    def format_time(self, seconds: float, sample: VideoSample) -> str:
        return str(through_float32(self._part(seconds, through_float32(sample.duration))))

    def format_subtitle_time(self, seconds: float, sample: VideoSample) -> str:
        return "-1" if seconds == -1 else self.format_time(seconds, sample)

    def format_duration(self, sample: VideoSample) -> str:
        return str(through_float32(sample.duration))

    def format_times(self, times: Sequence[float], sample: VideoSample) -> str:
        duration = through_float32(sample.duration)
        # The original leaves the last frame's fraction out of this line, though not its percentage.
        shown = times[:-1] if self.style == "relative_floats" else times
        return ">".join([*(str(self._part(time, duration)) for time in shown), str(round(duration))])

    def format_windows(self, moments: Sequence[Moment], sample: VideoSample) -> str:
        return windows_text(mapped(moments, lambda seconds: self._part(seconds, sample.duration)))

    def encode(self, sample: VideoSample) -> list[Text]:
        duration = sample.duration
        target = self._target(
            sample, (lambda seconds: self._part(seconds, duration)) if self.convert_targets else lambda seconds: seconds
        )
        return learned_text(target, self.max_target_tokens)

    def resolution(self, sample: VideoSample) -> float:
        lost = 0.015 if self.style == "relative_integers" and self.truncate else 0.005
        return lost * sample.duration + 0.006

    def _read(self, text: str, sample: VideoSample) -> list[list[Any]]:
        return to_seconds(self._read_mr_blip(text), sample.duration, integers=self.style == "relative_integers")

    def _part(self, seconds: float, duration: float) -> float:
        part = round(seconds / duration, 2)
        if self.style == "relative_floats":
            return part
        return int(part * 100) if self.truncate else round(part * 100)

"""Which part of a video is shown around a segment, so that where the segment lies in it can be asked for.

HawkEye trains on windows drawn around segments that are known: an option (beginning, end, middle, throughout) is drawn
first and then a window in which it is the right answer, or a window of a length that fits questions about seconds and
frame numbers. Draws come in its order, so the same seed gives the same windows. Unlike there, chance comes from a
generator that is passed in, and a segment that does not lie in the allowed part is an error. Facts about that system
only: it has no licence.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import Literal, get_args

from lavis.processors.samplers.base import check_choice, check_count, needed
from lavis.structures import Moment

CoarseOption = Literal["beginning", "end", "middle", "throughout"]

_ATTEMPTS = 10
_OPTION_WEIGHT = 2.0


def coarse_option(segment: Moment, window: Moment) -> CoarseOption:
    """Where a segment lies in a window: before its middle, after it, around it and short, or else throughout."""
    middle = (window.start + window.end) / 2
    if segment.end < middle:
        return "beginning"
    if segment.start > middle:
        return "end"
    return "middle" if segment.length < window.length / 2 else "throughout"


def frame_number(seconds: float, window: Moment, num_frames: int) -> int:
    """The number, 0 to ``num_frames`` - 1, of the equal part of a window in which an instant lies."""
    return min(num_frames - 1, math.floor((seconds - window.start) / window.length * num_frames))


@dataclass(frozen=True)
class WindowChoice:
    """How much of the allowed part of a video is shown around a segment.

    Args:
        num_frames: frames that will be taken from the window, at least 1.
        crop: ``random`` draws a window; ``none`` shows all that is allowed.
        min_gold_frames: how many steps between frames a segment should be long, above 0. Ten windows are tried for
            an option; the last one stays, whatever the segment is in it.
        max_gold_frames: how many at most, where the question is about times; ``None`` is half of ``num_frames``.
        throughout_weight: how often ``throughout`` is drawn, above 0, where each other option has weight 2.
    """

    num_frames: int = 12
    crop: Literal["random", "none"] = "random"
    min_gold_frames: float = 1.0
    max_gold_frames: float | None = None
    throughout_weight: float = 0.3

    def __post_init__(self) -> None:
        check_count(self.num_frames)
        check_choice("crop", self.crop, ("random", "none"))
        most = self._most
        if not 0 < self.min_gold_frames <= most:
            raise ValueError(f"gold frames must be 0 < min <= max, got {self.min_gold_frames:g} and {most:g}")
        if not self.throughout_weight > 0:
            raise ValueError(f"throughout_weight must be above 0, got {self.throughout_weight!r}")

    @property
    def _most(self) -> float:
        return max(1, self.num_frames // 2) if self.max_gold_frames is None else self.max_gold_frames

    def with_option(
        self, segment: Moment, allowed: Moment, generator: random.Random | None = None
    ) -> tuple[Moment, CoarseOption]:
        """The window to show, and the option that is right in it.

        Args:
            segment: what is asked for, in seconds of the video.
            allowed: the most that may be shown.
            generator: where chance comes from; not needed without cropping.

        Raises:
            ValueError: if the segment has no length or is not in the allowed part.
        """
        _check(segment, allowed)
        if self.crop == "none":
            return allowed, coarse_option(segment, allowed)
        chance = needed(generator)
        options = possible_options(segment, allowed)
        weights = [self.throughout_weight if option == "throughout" else _OPTION_WEIGHT for option in options]
        for _ in range(_ATTEMPTS):
            (option,) = chance.choices(options, weights)
            window = draw_window(option, segment, allowed, chance)
            if window.length / self.num_frames * self.min_gold_frames < segment.length:
                break
        return window, option

    def for_times(self, segment: Moment, allowed: Moment, generator: random.Random | None = None) -> Moment:
        """The window to show where the question is about seconds or frame numbers.

        Raises:
            ValueError: if the segment has no length or is not in the allowed part.
        """
        _check(segment, allowed)
        if self.crop == "none":
            return allowed
        chance = needed(generator)
        shortest, longest = (
            min(segment.length / (frames / self.num_frames), allowed.length)
            for frames in (self._most, self.min_gold_frames)
        )
        half = chance.uniform(shortest, longest) / 2
        lowest, highest = max(allowed.start + half, segment.end - half), min(allowed.end - half, segment.start + half)
        middle = chance.uniform(lowest, highest)
        return Moment(middle - half, middle + half)


def possible_options(segment: Moment, allowed: Moment) -> list[CoarseOption]:
    """Options for which there is room around the segment; ``throughout`` always."""
    before, after, length = segment.start - allowed.start, allowed.end - segment.end, segment.length
    room = {"beginning": after > length, "end": before > length, "middle": min(before, after) > length / 2}
    return [option for option in get_args(CoarseOption) if room.get(option, True)]


def draw_window(option: CoarseOption, segment: Moment, allowed: Moment, chance: random.Random) -> Moment:
    """A window in which ``option`` is the right answer, drawn evenly bound after bound."""
    start, end, length = segment.start, segment.end, segment.length
    if option == "beginning":
        right = chance.uniform(end + length, allowed.end)
        return Moment(chance.uniform(max(allowed.start, 2 * end - right), start), right)
    if option == "end":
        left = chance.uniform(allowed.start, start - length)
        return Moment(left, chance.uniform(end, min(allowed.end, 2 * start - left)))
    if option == "middle":
        # The middle of the window lies in the segment, far enough from the bounds for half a window of its length.
        lowest = max(start, allowed.start / 2 + 3 * end / 4 - start / 4)
        middle = chance.uniform(lowest, min(end, allowed.end / 2 + 3 * start / 4 - end / 4))
        reach = length / 2 + max(middle - start, end - middle)
        half = chance.uniform(reach, min(middle - allowed.start, allowed.end - middle))
        return Moment(middle - half, middle + half)
    left = chance.uniform(max(allowed.start, (3 * start - end) / 2), start)
    return Moment(left, chance.uniform(end, min(allowed.end, (3 * end - start) / 2)))


def _check(segment: Moment, allowed: Moment) -> None:
    if segment.length <= 0:
        raise ValueError(f"a segment needs a length to be asked for, got {segment.to_list()}")
    if not allowed.start <= segment.start <= segment.end <= allowed.end:
        raise ValueError(
            f"the segment {segment.to_list()} does not lie in what may be shown, {allowed.to_list()}; "
            "correct one of them in the annotation"
        )

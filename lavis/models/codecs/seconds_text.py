"""Times as numbers in plain text: seconds, or indices on a fixed grid; moments as ``[[24, 62], [100, 148]]``.

Source: MR.BLIP (Meinardus et al., 2024; sudo-Boris/mr-Blip), which found that a language model localises best with
times it knows as words, and CALCE (tjhd1475/CALCE), which reads its answers more leniently. T5 splits some numbers in
two ("annoying numbers": 67, 111); they are replaced by a neighbour that is one token.

Differs from the originals: texts that make them raise have a defined reading, and targets that are not whole seconds
are rounded, since CALCE's reader would take "24.3" for 24 and 3.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from lavis.common.registry import registry
from lavis.models.codecs._window_text import Malformed, Parser, WindowText, whole
from lavis.models.codecs._windows import is_window, read_calce
from lavis.models.codecs.base import learned_text, mapped, through_float32
from lavis.structures import Moment, Text, VideoSample
from lavis.structures.moment import windows_text

STYLES = ("seconds_integers", "seconds_floats", "frame_indices")


@registry.codecs.register("seconds_text")
class SecondsText(WindowText):
    """Times as numbers in text.

    Args:
        style: ``seconds_integers``; ``seconds_floats`` (two decimals); or ``frame_indices``, whole steps on a grid of
            ``num_indices`` over the video.
        num_indices: steps of ``frame_indices``.
        convert_speech: whether ``frame_indices`` counts spans of speech in steps too, where frames are chosen by them;
            CALCE leaves them in seconds, so that they fall on other frames.
        replace_below: numbers from 0 up to here are looked up in the tokenizer, and those it splits are replaced by a
            neighbour wherever a time is shown; 0 replaces none (right for tokenizers that split all numbers).
        target_replacement: what happens to such numbers in targets. ``substring`` replaces their digits anywhere, also
            inside larger numbers (CALCE); ``number`` replaces whole numbers; ``none`` nothing (MR.BLIP).
        parser: see ``WindowText``.
        malformed: see ``WindowText``.
        clamp: see ``WindowText``.
        max_target_tokens: see ``WindowText``.

    Raises:
        ValueError: if the style's decimals are more than the parser reads, or a number is out of range.
    """

    def __init__(
        self,
        style: Literal["seconds_integers", "seconds_floats", "frame_indices"] = "seconds_integers",
        num_indices: int = 30,
        convert_speech: bool = True,
        replace_below: int = 200,
        target_replacement: Literal["substring", "number", "none"] = "substring",
        parser: Parser = "calce",
        malformed: Malformed | None = None,
        clamp: bool = False,
        max_target_tokens: int | None = 200,
    ) -> None:
        super().__init__(parser, malformed, clamp, max_target_tokens)
        if style not in STYLES:
            raise ValueError(f"codec.style must be one of {', '.join(STYLES)}, got {style!r}")
        if num_indices < 1 or replace_below < 0:
            raise ValueError(
                "codec.num_indices must be at least 1 and codec.replace_below at least 0, got "
                f"{num_indices} and {replace_below}"
            )
        if style == "seconds_floats" and parser == "calce":
            raise ValueError("codec.style seconds_floats needs codec.parser mr_blip: CALCE's parser reads no decimals")
        self.style = style
        self.num_indices = num_indices
        self.convert_speech = convert_speech
        self.replace_below = 0 if style == "seconds_floats" else replace_below
        self.target_replacement = target_replacement
        self._replacements: dict[int, int] | None = None if self.replace_below else {}
        self._written = _Written(self)

    @property
    def replacements(self) -> dict[int, int]:
        """Numbers the tokenizer splits, and what stands in for each.

        Raises:
            ValueError: before ``bind``.
        """
        if self._replacements is None:
            raise ValueError("codec seconds_text has no tokenizer yet: call bind(tokenizer), or set replace_below: 0")
        return self._replacements

    def bind(self, tokenizer: Any) -> None:
        if self.replace_below:
            self._replacements = replacements_for(split_numbers(tokenizer, self.replace_below))
            self._written.clear()

    def view(self, samples: list[VideoSample]) -> list[VideoSample]:
        if self.style != "frame_indices":
            return samples
        return [
            replace(
                sample,
                duration=self.num_indices,
                prior=None if sample.prior is None else mapped(sample.prior, self._unit(sample)),
                speech=mapped(sample.speech, self._part_of(sample)) if self.convert_speech else sample.speech,
            )
            for sample in samples
        ]

    def view_times(self, times: Sequence[float], sample: VideoSample) -> Sequence[float]:
        if self.style != "frame_indices":
            return times
        steps: list[float] = np.rint(np.asarray(times) * self.num_indices / through_float32(sample.duration)).tolist()
        return steps

    def format_time(self, seconds: float, sample: VideoSample) -> str:
        if self.style == "seconds_floats":
            return str(through_float32(round(seconds, 2)))
        return self.time_texts([seconds], sample)[0]

    def time_texts(self, times: Sequence[float], sample: VideoSample) -> list[str]:
        if self.style == "seconds_floats":
            return super().time_texts(times, sample)
        return list(map(self._written.__getitem__, map(round, self.view_times(times, sample))))

    def format_subtitle_time(self, seconds: float, sample: VideoSample) -> str:
        """In seconds whatever the style: CALCE's grid is for frames only."""
        return str(round(seconds, 2)) if self.style == "seconds_floats" else self._number(seconds)

    def format_duration(self, sample: VideoSample) -> str:
        if self.style == "seconds_floats":
            return str(through_float32(sample.duration))
        return self._number(self.num_indices if self.style == "frame_indices" else through_float32(sample.duration))

    def format_times(self, times: Sequence[float], sample: VideoSample) -> str:
        if self.style == "seconds_floats":
            # Unlike between frames, MR.BLIP prints here before the numbers pass through a tensor.
            return ">".join([*(str(round(t, 2)) for t in times), str(round(through_float32(sample.duration)))])
        return ">" + super().format_times(times, sample)

    def format_windows(self, moments: Sequence[Moment], sample: VideoSample) -> str:
        return windows_text(mapped(moments, self._unit(sample)) if self.style == "frame_indices" else moments)

    def encode(self, sample: VideoSample) -> list[Text]:
        return learned_text(self._replaced(self._target(sample, self._target_unit(sample))), self.max_target_tokens)

    def resolution(self, sample: VideoSample) -> float:
        if self.style == "seconds_floats":
            return 0.0
        if self.style == "frame_indices":
            return sample.duration / self.num_indices * (0.5 + self._largest_shift(self.num_indices))
        rounding = max(0.5, sample.duration % 1)  # an end is not rounded past the end of the video
        return rounding + self._largest_shift(math.ceil(sample.duration))

    def _read(self, text: str, sample: VideoSample) -> list[list[Any]]:
        grid = self.style == "frame_indices"
        duration = self.num_indices if grid else whole(sample.duration)
        windows = read_calce(text, duration) or [] if self.parser == "calce" else self._read_mr_blip(text)
        if not grid:
            return windows
        seconds = through_float32(sample.duration)
        return [
            [(bound / self.num_indices) * seconds for bound in window[:2]]
            if is_window(window[:2]) and -1 not in window
            else [-1, -1]
            for window in windows
        ]

    def _number(self, value: float) -> str:
        return self._written[round(value)]

    def _unit(self, sample: VideoSample) -> Callable[[float], int]:
        """Seconds to steps on the grid."""
        duration = through_float32(sample.duration)
        return lambda seconds: round(seconds * self.num_indices / duration)

    def _part_of(self, sample: VideoSample) -> Callable[[float], float]:
        """Seconds to steps on the grid, not rounded."""
        return lambda seconds: seconds * self.num_indices / sample.duration

    def _target_unit(self, sample: VideoSample) -> Callable[[float], float]:
        if self.style == "frame_indices":
            return self._unit(sample)
        if self.style == "seconds_integers":
            return round
        return lambda seconds: seconds

    def _replaced(self, target: str) -> str:
        if self.target_replacement == "none" or not self.replacements:
            return target
        if self.target_replacement == "number":
            return _NUMBER.sub(lambda found: str(self.replacements.get(int(found[0]), int(found[0]))), target)
        for number, instead in self.replacements.items():
            target = target.replace(str(number), str(instead))
        return target

    def _largest_shift(self, largest: int) -> int:
        """By how much the replacement moves a number of a target at most."""
        if self.target_replacement == "none" or not self.replacements:
            return 0
        return max(abs(int(self._replaced(str(n))) - n) for n in range(largest + 1))


_NUMBER = re.compile(r"\d+")


class _Written(dict[int, str]):
    """Numbers as a codec shows them, each written when it is first asked for."""

    def __init__(self, codec: SecondsText) -> None:
        super().__init__()
        self._codec = codec

    def __missing__(self, number: int) -> str:
        text = self[number] = str(self._codec.replacements.get(number, number))
        return text


def split_numbers(tokenizer: Any, below: int) -> list[int]:
    """Numbers from 0 to ``below`` (exclusive) that the tokenizer splits into tokens of which the first is no mere word
    boundary ("67" is "6", "7" to it, and not "▁", "67").

    Args:
        tokenizer: of transformers.
        below: first number not looked at.
    """
    boundary = tokenizer.convert_tokens_to_ids("▁")
    ids = tokenizer([str(number) for number in range(below)], add_special_tokens=False)["input_ids"]
    return [number for number, tokens in enumerate(ids) if len(tokens) > 1 and tokens[0] != boundary]


def replacements_for(numbers: Sequence[int]) -> dict[int, int]:
    """The nearest number not in ``numbers`` for each of them, the larger one where two are as near, less than 100 off.

    A number without such a neighbour is left out.
    """
    split = frozenset(numbers)
    nearest: dict[int, int] = {}
    for number in numbers:
        near = (number + sign * step for step in range(100) for sign in (1, -1))
        instead = next((candidate for candidate in near if candidate not in split), None)
        if instead is not None:
            nearest[number] = instead
    return nearest

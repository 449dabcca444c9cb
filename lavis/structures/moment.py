"""``Moment``: one stretch of a video, in seconds, and the few set operations the field needs on lists of them.

An ``int`` bound stays an ``int``: CALCE writes windows into its prompts by printing them, and ``24`` is not ``24.0``
to a tokenizer.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class Moment:
    """A closed interval of a video.

    Args:
        start: first second, finite.
        end: last second, finite; may equal ``start`` but not precede it.
        score: confidence of a prediction, any finite scale, higher is better; ``None`` for truth.

    Raises:
        ValueError: if a bound is not finite or ``end < start``.
    """

    start: float
    end: float
    score: float | None = None

    def __post_init__(self) -> None:
        for name, value in (("start", self.start), ("end", self.end)):
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
                raise ValueError(f"moment {name} must be a finite number of seconds, got {value!r}")
        if self.end < self.start:
            raise ValueError(f"moment ends before it starts: [{self.start}, {self.end}]")

    @property
    def length(self) -> float:
        """Seconds between start and end, at least 0."""
        return self.end - self.start

    def intersection(self, other: Moment) -> float:
        """Seconds both moments share, at least 0."""
        return max(0.0, min(self.end, other.end) - max(self.start, other.start))

    def iou(self, other: Moment) -> float:
        """Intersection over union in [0, 1]; 0 where the union has no length."""
        shared = self.intersection(other)
        union = self.length + other.length - shared
        return shared / union if union > 0 else 0.0

    def clamp(self, duration: float) -> Moment:
        """The part inside ``[0, duration]``; a moment wholly outside collapses onto the nearer end."""
        return replace(self, start=min(max(self.start, 0), duration), end=min(max(self.end, 0), duration))

    def to_list(self) -> list[float]:
        """``[start, end]``, types kept."""
        return [self.start, self.end]

    @classmethod
    def from_pair(cls, pair: Sequence[Any]) -> Moment:
        """A moment from ``[start, end]`` or ``[start, end, score]``.

        Raises:
            ValueError: for another length, a bound that is no finite number, or reversed bounds.
        """
        if isinstance(pair, (str, bytes)) or not isinstance(pair, Sequence) or len(pair) not in (2, 3):
            raise ValueError(f"a window is [start, end] or [start, end, score], got {pair!r}")
        return cls(*pair)


def merge(moments: Iterable[Moment], gap: float = 0.0) -> list[Moment]:
    """Union of moments, sorted; two that lie at most ``gap`` seconds apart become one (the higher score stays)."""
    merged: list[Moment] = []
    for moment in sorted(moments, key=lambda m: (m.start, m.end)):
        if merged and moment.start <= merged[-1].end + gap:
            last = merged[-1]
            scores = [s for s in (last.score, moment.score) if s is not None]
            merged[-1] = Moment(last.start, max(last.end, moment.end), max(scores) if scores else None)
        else:
            merged.append(moment)
    return merged


def nms(moments: Sequence[Moment], threshold: float) -> list[Moment]:
    """Non-maximum suppression: by falling score, drops moments with IoU above ``threshold`` to a kept one."""
    kept: list[Moment] = []
    for moment in sorted(moments, key=lambda m: -(m.score if m.score is not None else 0.0)):
        if all(moment.iou(other) <= threshold for other in kept):
            kept.append(moment)
    return kept


def windows_text(moments: Iterable[Moment]) -> str:
    """``[[24, 62], [100, 148]]``: the list form that prompts, targets and result files share."""
    return str([m.to_list() for m in moments])

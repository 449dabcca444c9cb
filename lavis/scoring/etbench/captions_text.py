"""Captions with windows from the text of an answer, as E.T. Bench's official script (after TimeChat's) finds them.

Its oddities are kept, since models are compared by them: a text before the first range is the first caption, so that
captions may be off by one against windows; of an answer without ranges only one caption is read; and answers of the
form ``start time 3.0, end time 9.0`` are always refused.
"""

from __future__ import annotations

import re

import numpy as np

from lavis.scoring.base import Array
from lavis.scoring.etbench.windows_text import NUMBER, SPAN

Found = tuple[Array, list[str]]

_START = re.compile(rf"start(?:ing)? time: ({NUMBER})")
_END = re.compile(rf"end(?:ing)? time: ({NUMBER})")
_REFUSED = re.compile(rf"start time {NUMBER}, end time {NUMBER}")
_DESCRIPTION = re.compile(r"description: (.*)")
_BULLET = re.compile(r"\*\s*(.*)")
_CLOCK = re.compile(rf"{NUMBER}:{NUMBER}")
_LONE_NUMBER = re.compile(rf"{NUMBER}(?!\.)")
_SHORTEST_CAPTION = 6
_SHORTEST_PIECE = 8
_RADIUS = 20.0


def captions(answer: str) -> Found | None:
    """Windows ``[N, 2]`` in seconds, each from low to high, and as many captions.

    Returns:
        ``None`` if there is no caption with a window, or the script refuses the answer.
    """
    try:
        listed = _listed(answer.lower())
    except ValueError:
        return None
    found = listed or _single(answer)
    if found is None:
        return None
    times, texts = found
    return np.sort(np.array(times, dtype=np.float64), axis=1), texts


def _listed(text: str) -> tuple[list[list[float]], list[str]] | None:
    """Windows and captions of a list, cut to the shorter of both.

    Raises:
        ValueError: for a number with several dots, and for the form that the script refuses.
    """
    spans = list(SPAN.finditer(text))
    if spans:
        times = [[float(number) for number in span.groups()] for span in spans]
        for span in spans:
            text = text.replace(span.group(), "\n")
        pieces = text.replace("seconds", "").split("\n")
    else:
        starts, ends = _START.findall(text), _END.findall(text)
        times = [[float(start), float(end)] for start, end in zip(starts, ends, strict=False)]
        if not times and _REFUSED.search(text):
            raise ValueError("start and end times in one sentence")
        pieces = _DESCRIPTION.findall(text) or _BULLET.findall(text)
    texts = [piece.strip().strip(", ").rstrip() for piece in pieces if len(piece) >= _SHORTEST_CAPTION]
    count = min(len(times), len(texts))
    return (times[:count], texts[:count]) if count else None


def _single(answer: str) -> tuple[list[list[float]], list[str]] | None:
    """The first line, or sentence, that tells a time, and what follows ``seconds`` in it."""
    lines = "\n" in answer
    pieces = [piece for piece in answer.split("\n" if lines else ".") if len(piece) >= _SHORTEST_PIECE]
    for piece in pieces:
        parts = [part.strip(",") for part in (piece if lines else piece + ".").split("seconds")]
        window = _window(parts[0])
        if window is not None:
            return [window], [parts[-1].strip()]
    return None


def _window(text: str) -> list[float] | None:
    """The one time a text tells: a range, or a moment with its surroundings."""
    try:
        span = SPAN.search(text)
        if span:
            return [round(float(number), 2) for number in span.groups()]
        if 1 <= text.count(":") <= 2:
            clocks = [_seconds(clock) for clock in _CLOCK.findall(text)]
            wanted = text.count(":")
            return _around(clocks[0]) if wanted == 1 and clocks else clocks if wanted == 2 == len(clocks) else None
        numbers = [float(number) for number in _LONE_NUMBER.findall(text)]
    except ValueError:
        return None
    if len(numbers) == 1:
        return _around(numbers[0])
    return [round(number, 2) for number in numbers] if len(numbers) == 2 else None


def _seconds(clock: str) -> float:
    """Seconds of ``m:ss``.

    Raises:
        ValueError: if either is no whole number.
    """
    minutes, seconds = clock.split(":")
    return float(int(minutes) * 60 + int(seconds))


def _around(time: float) -> list[float]:
    start = time - _RADIUS if time > _RADIUS else time
    return [round(start, 2), round(start + 2 * _RADIUS, 2)]

"""Windows in text: lists such as ``[[24, 62], [100, 148]]``, and times in sentences.

Result rows of CALCE and MR.BLIP hold windows as text, and models that answer in sentences write times in a handful of
ways: ``From 3.2 to 10 seconds``, ``12.5 - 20.1``, ``between 00:12 and 00:20``, ``starts at 3 s and ends at 7 s``. What
is read here are answers from anybody; how our own models' texts are read is the business of their codecs.
"""

from __future__ import annotations

import json
import re

import numpy as np

from lavis.scoring.base import RowError
from lavis.scoring.windows.ragged import Array

MAX_CHARS = 10_000
MAX_SECONDS = 1e9
_MAX_DIGITS = 18

_TIME = r"(\d+(?::\d+){0,2}(?:\.\d+)?|\.\d+)"
_UNIT = r"\s{0,3}(?:seconds?|secs?|s)?\s{0,3}"
# The look-behind keeps a time from being begun inside a word, a number or a token such as <12>.
_BEGIN = r"(?<![\w.:<-])"
_SPAN = re.compile(rf"{_BEGIN}{_TIME}{_UNIT}(?:-|–|—|~|to|until|till|,)\s{{0,3}}{_TIME}", re.IGNORECASE)
_BETWEEN = re.compile(rf"between\s{{1,3}}{_TIME}{_UNIT}and\s{{1,3}}{_TIME}", re.IGNORECASE)
_START_END = re.compile(
    rf"start[^\d\n]{{0,20}}{_BEGIN}{_TIME}{_UNIT}[^\d\n]{{0,9}}end[^\d\n]{{0,20}}{_TIME}", re.IGNORECASE
)
_TOKENS = re.compile(r"<(\d+)>")
_DIGITS = re.compile(r"\d+")
_SPACES = re.compile(r"\s+")


def listed_windows(text: str) -> Array | None:
    """The windows of a list in text, ``[N, 2]``; ``None`` where there is no list of pairs of finite numbers."""
    packed = _SPACES.sub("", text[:MAX_CHARS])
    if packed == "[]":
        return np.zeros((0, 2))
    start, end = packed.find("[["), packed.rfind("]]")
    if not 0 <= start < end:
        return None
    try:
        windows = np.asarray(json.loads(packed[start : end + 2]), dtype=np.float64)
    except (ValueError, TypeError, RecursionError, OverflowError):
        return None
    return windows[:, :2] if windows.ndim == 2 and windows.shape[1] >= 2 and are_times(windows[:, :2]) else None


def spoken_windows(text: str) -> Array | None:
    """The windows that a text names, as a list or in a sentence, in order, ``[N, 2]``; ``None`` if it names none."""
    listed = listed_windows(text)
    if listed is not None and len(listed):
        return listed
    for pattern in (_START_END, _BETWEEN, _SPAN):
        spans = pattern.findall(text[:MAX_CHARS])
        if spans:
            windows = np.array([[_seconds(start), _seconds(end)] for start, end in spans])
            return windows if are_times(windows) else None
    return None


def token_window(text: str, num_tokens: int) -> Array | None:
    """The window of the first two time tokens ``<k>`` as fractions of the video, ``[1, 2]``, in order and in [0, 1].

    Source: Grounded-VideoLLM (Wang et al., 2024), whose tokens are ``<0>`` ... ``<300>``.
    """
    numbers = [min(int(digits[:_MAX_DIGITS]), num_tokens) for digits in _TOKENS.findall(text[:MAX_CHARS])[:2]]
    return np.array([sorted(numbers)]) / num_tokens if len(numbers) == 2 else None


def digits_window(text: str, num_tokens: int) -> Array | None:
    """The window of a text with just two groups of digits as fractions of the video, ``[1, 2]``, as they stand."""
    numbers = [int(digits[:_MAX_DIGITS]) for digits in _DIGITS.findall(text[:MAX_CHARS])]
    return np.array([numbers]) / num_tokens if len(numbers) == 2 else None


def require_times(windows: Array, name: str) -> Array:
    """The windows, if their numbers can be seconds of a video.

    Raises:
        RowError: if they cannot.
    """
    if not are_times(windows):
        raise RowError(f"field {name!r}: times must lie within {MAX_SECONDS:g} seconds, got {windows.tolist()!r:.60}")
    return windows


def are_times(windows: Array) -> bool:
    """Whether all numbers can be seconds of a video: finite, and so small that sums of them stay exact."""
    return bool((np.abs(windows) <= MAX_SECONDS).all())


def _seconds(time: str) -> float:
    """Seconds of ``12.5``, ``1:02`` or ``1:02:03.5``."""
    total = 0.0
    for part in time.split(":"):
        total = 60 * total + float(part)
    return total

"""Windows and points in time from the text of an answer, as E.T. Bench's official script finds them.

Differs in what the script does not survive: digits with several dots (``12... - 20``) are read up to the first dots,
and one lone sentence with a clock time (``starts at 00:00:05``) is no window.
"""

from __future__ import annotations

import re

import numpy as np

from lavis.scoring.base import Array

NUMBER = r"\d+\.*\d*"
# What NUMBER matches in these places, in a form that does not try every part of a long run of digits.
_FIRST, _SECOND = r"(?<!\d)\d+(?:\.+\d*)?", r"\d+(?:\.+\d*)?"
SPAN = re.compile(rf"({_FIRST})\s*-\s*({_SECOND})")
_FROM_TO = re.compile(rf"({_FIRST})\s* to \s*({_SECOND})")
_LONE_NUMBER = re.compile(r"\b(?:\d+\.\d+|\d+)\b")
_POINT = re.compile(r"[-+]?\d*\.\d+|[-+]?\d+")
_SENTENCE_END = re.compile(r"[!?\n]")
_KEYWORDS = ("start", "end", "happen")


def windows(answer: str) -> Array | None:
    """All windows of an answer, in the order of the text, ``[N, 2]`` seconds, each from low to high.

    The first that is found counts: ranges ``a - b`` (a minus sign is taken for one), ranges ``a to b``, or the first
    numbers of sentences that speak of starting, ending or happening, in pairs.

    Returns:
        ``None`` if there is no window.
    """
    text = answer.lower()
    pairs = SPAN.findall(text) or _FROM_TO.findall(text)
    found = [(_number(a), _number(b)) for a, b in pairs] or _sentence_pairs(text)
    return np.sort(np.array(found), axis=1) if found else None


def time_point(answer: str) -> float | None:
    """The first number, with its sign; ``None`` if there is none."""
    found = _POINT.search(answer)
    return float(found.group()) if found else None


def _sentence_pairs(text: str) -> list[tuple[float, float]]:
    numbers = []
    for sentence in _SENTENCE_END.split(text):
        if any(word in sentence for word in _KEYWORDS):
            found = _LONE_NUMBER.search(sentence)
            if found:
                numbers.append(float(found.group()))
    return list(zip(numbers[0::2], numbers[1::2], strict=False))


def _number(digits: str) -> float:
    whole, dot, rest = digits.partition(".")
    return float(f"{whole}{dot}{rest}" if not rest.startswith(".") else whole)

"""Window lists in generated text: ``[[24, 62], [100, 148]]`` and the ways a model gets it wrong.

Source: MR.BLIP (sudo-Boris/mr-Blip), whose reader repairs the text and then evaluates it, and CALCE (tjhd1475/CALCE),
whose reader takes the digits and repairs numbers. Written anew from their behaviour and equal to it on every text they
can read. Unlike them it answers for texts that make them raise, reads at most ``MAX_CHARS`` characters, takes linear
time, and evaluates nothing: lists are read by a scanner without recursion.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

MAX_CHARS = 10_000
MAX_DIGITS = 300  # an int of more digits has no float
MAX_DEPTH = 100
END = "</s>"

Number = float  # an int stays an int
Window = list[Number]

_CALCE_LIST = re.compile(r"\[\[.*\],*\]")
_LIST = re.compile(r"\[\[.*\]\]")
# The look-behinds keep runs from being tried from each of their characters.
_BETWEEN = re.compile(r"(?<!\s)\s+(?=\[)")
_LAST_COMMAS = re.compile(r"(?<!,),+$")
_COMMAS_BEFORE_END = re.compile(r"(?<!,),+\]")
_NO_COMMA = re.compile(r"(\d) (\d)")
_COMMAS = re.compile(r",+")
_DIGITS = re.compile(r"\d+")
_WORDS = re.compile(r"\w+")
_TOKEN = re.compile(
    r"""[ \t\n\r\f]+|(?P<mark>[\[\],])|(?P<int>[-+]?[0-9]+)(?![0-9.eE])"""
    r"""|(?P<float>[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?)|"(?P<double>[^"\\\n]*)"|'(?P<single>[^'\\\n]*)'"""
)
_QUOTED = ("double", "single")


def read_calce(text: str, duration: float | None) -> list[Window] | None:
    """Windows as CALCE reads them: digits only, repaired by rules, sorted by start.

    Args:
        text: generated text.
        duration: of the video, in the unit of the numbers; ``None`` skips the repairs that need it.

    Returns:
        the windows, possibly none; ``None`` where the text is no list of lists.
    """
    text = text[:MAX_CHARS].split(END)[0]
    if not _CALCE_LIST.match(text):
        return None
    windows: list[Window] = []
    lone: int | None = None
    for piece in _BETWEEN.split(text[1:-1]):
        numbers = [int(digits) for digits in _DIGITS.findall(piece) if len(digits) <= MAX_DIGITS][:2]
        if len(numbers) == 2:
            start, end = sorted(numbers)
            windows.append(_repaired(start, end, duration))
            if lone is not None and lone < start:
                windows.append(_repaired(lone, start - 1, duration))
                lone = None
        elif numbers and lone is None:
            lone = numbers[0]
        elif numbers and lone is not None:
            windows.append(_repaired(min(lone, numbers[0]), max(lone, numbers[0]), duration))
            lone = None
    if lone is not None and duration:
        windows.append(_repaired(lone, duration, duration))
    return sorted(windows, key=lambda window: window[0])


def _repaired(start: Number, end: Number, duration: float | None) -> Window:
    """Shortens an end past the video: the duration run together with a number, two numbers, or just too large.

    That four or six digits are two numbers is CALCE's rule for clips of 150 seconds; in videos long enough to have ends
    of as many digits it is left out.
    """
    if duration is not None and end > duration:
        digits = str(end)
        if str(duration) in digits:
            rest = digits.replace(str(duration), "")
            end = int(rest) if rest else duration
        elif len(digits) == 4 and duration < 1000:
            end = end % 100
        elif len(digits) == 6 and duration < 100_000:
            end = end % 1000
        else:
            end = duration
    return [min(start, end), max(start, end)]


def clean_mr_blip(text: str) -> str:
    """Text as MR.BLIP repairs it before evaluation: commas added and thinned, a lone reversed pair turned round."""
    return _clean(text[:MAX_CHARS].split(END)[0], "[[-1, -1]]", _turned)


def clean_labelled(text: str) -> str:
    """The same for windows with a label, ``[[0, 10, "Long jump"]]``; one bad window spoils all."""
    text = _COMMAS_BEFORE_END.sub("]", text[:MAX_CHARS].split(END)[0])
    return _clean(text, "[[-1, -1, -1]]", _turned_labelled)


def _clean(text: str, fallback: str, turn: Callable[[str], str | None]) -> str:
    if not _LIST.match(text):
        return fallback
    pieces = []
    for piece in _BETWEEN.split(text[1:-1]):
        piece = _LAST_COMMAS.sub("", piece)
        piece = _COMMAS.sub(",", _NO_COMMA.sub(r"\1, \2", piece))
        turned = turn(piece)
        if turned is None:
            return fallback
        pieces.append(turned)
    return "[" + ", ".join(pieces) + "]"


def _turned(piece: str) -> str:
    numbers = _DIGITS.findall(piece)
    if len(numbers) == 2 and _is_larger(*numbers):
        return f"[{numbers[1]}, {numbers[0]}]"
    return piece


def _turned_labelled(piece: str) -> str | None:
    numbers = _DIGITS.findall(piece)
    if len(numbers) != 2:
        return None
    if _is_larger(*numbers):
        label = " ".join(_WORDS.findall(_DIGITS.sub("", piece))) or '"No label"'
        return f"[{numbers[1]}, {numbers[0]}, '{label}']"
    return piece


def _is_larger(first: str, second: str) -> bool:
    return max(len(first), len(second)) <= MAX_DIGITS and int(first) > int(second)


def window_list(text: str, size: int = 2) -> list[list[Any]]:
    """The list in a repaired text, as MR.BLIP evaluates it.

    Args:
        text: such as ``[[0, 10], [20, 30]]``.
        size: elements of a window: 2, or 3 with a label.

    Returns:
        windows of ``size`` elements, unchecked; ``[-1] * size`` in the place of anything else, and alone where the text
        is no list of lists.
    """
    invalid = [[-1] * size]
    text = text[:MAX_CHARS]
    if not _LIST.match(text):
        return invalid
    value = _scan(text)
    if value is None:
        return invalid
    return [item if isinstance(item, list) and len(item) == size else [-1] * size for item in value]


def to_seconds(windows: list[list[Any]], duration: float, integers: bool) -> list[list[Any]]:
    """Windows relative to the duration (0 to 1, or 0 to 100 where ``integers``) in seconds, to two decimals.

    A window with a -1 in it, or with anything that is no number, becomes ``[-1, -1]``.
    """
    scale = 100 if integers else 1
    return [
        [round((float(bound) / scale) * duration, 2) for bound in window]
        if is_window(window) and -1 not in window
        else [-1, -1]
        for window in windows
    ]


def is_window(window: list[Any]) -> bool:
    """Whether a window is two finite numbers."""
    return len(window) == 2 and all(isinstance(b, (int, float)) and abs(b) != float("inf") for b in window)


def _scan(text: str) -> list[Any] | None:
    """A list written as in Python, of numbers, strings and lists; ``None`` if the text is anything else."""
    stack: list[list[Any]] = [[]]
    position, expects_value, was_text = 0, True, False
    while position < len(text):
        token = _TOKEN.match(text, position)
        if token is None:
            return None
        position = token.end()
        mark = token.group("mark")
        if mark == "[" and expects_value and len(stack) <= MAX_DEPTH:
            stack.append([])
        elif mark == "]" and len(stack) > 1:
            closed = stack.pop()
            stack[-1].append(closed)
            expects_value = False
        elif mark == "," and not expects_value and len(stack) > 1:
            expects_value = True
        elif mark is None and token.group().isspace():
            continue
        elif mark is None and expects_value and len(stack) > 1:
            value = _value(token)
            if value is None:
                return None
            stack[-1].append(value)
            expects_value = False
        elif mark is None and was_text and token.lastgroup in _QUOTED:
            stack[-1][-1] += str(_value(token))  # Python joins neighbouring strings
        else:
            return None
        was_text = token.lastgroup in _QUOTED
    return stack[0][0] if len(stack) == 1 and len(stack[0]) == 1 and not expects_value else None


def _value(token: re.Match[str]) -> float | str | None:
    """The value of a number or string; ``None`` for what Python does not read as one: ``05``, or endless digits."""
    kind, text = str(token.lastgroup), token.group()
    if kind in _QUOTED:
        return token.group(kind)
    if len(text) > MAX_DIGITS:
        return None
    if kind == "float":
        return float(text)
    digits = text.lstrip("+-")
    return int(text) if not digits.startswith("0") or not digits.strip("0") else None

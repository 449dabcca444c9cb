"""Events in text: ``From 3 to 10, a man cooks.`` and its kin.

Three readers. ``tolerant`` takes what models of the ActivityNet line write: several events in one line, missing spaces,
one-time events, an optional unit. ``official`` takes what MMDuet's script takes from baselines, to the letter. A JSON
list inside the text (VTimeLLM's log) is read by ``listed_events``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field

_NUMBER = r"(\d+(?:\.\d+)?)"
_UNIT = r"\s*(?:seconds|secs|sec|s)?"
_SPAN = rf"(?:from\s*)?{_NUMBER}{_UNIT}\s*(?:to|-|–)\s*{_NUMBER}{_UNIT}\s*[,:]"
_POINT = rf"(?:^|(?<=[.!?;]))\s*(?:at|from)\s*{_NUMBER}{_UNIT}\s*[,:]"
_MARK = re.compile(f"(?<![\\d.]){_SPAN}|{_POINT}", re.IGNORECASE | re.MULTILINE)
_PERCENT_LINE = re.compile(r"From (\d+) to (\d+), (.*)")
_SECONDS_LINE = re.compile(r"(\d+\.\d+) - (\d+\.\d+)\s*seconds,\s*(.*)")
_LIST = re.compile(r"\[.*\]")
_TWO_DIGITS = re.compile(r"from (\d\d) to (\d\d)")
_LONGEST = 100_000


@dataclass(slots=True)
class Told:
    """What a text tells.

    Args:
        windows: start and end of each event.
        captions: their sentences.
        percent: whether times are percent of the duration.
        complete: false where an event had to be left out.
    """

    windows: list[list[float]] = field(default_factory=list)
    captions: list[str] = field(default_factory=list)
    percent: bool = False
    complete: bool = True


TextReader = Callable[[str], Told]


def tolerant(percent: bool) -> TextReader:
    """Reads ``From a to b, text``, ``a - b seconds, text`` and ``At a, text``, each to the next or the line's end."""

    def read(text: str) -> Told:
        told = Told(percent=percent)
        marks = list(_MARK.finditer(text[:_LONGEST]))
        ends = [*(mark.start() for mark in marks[1:]), len(text)]
        for mark, end in zip(marks, ends, strict=False):
            start, stop, point = mark.groups()
            told.windows.append([float(start or point), float(stop or point)])
            told.captions.append(text[mark.end() : end].strip().partition("\n")[0].strip())
        return told

    return read


def official(percent: bool) -> TextReader:
    """Reads as MMDuet's script does: one event a line, whole percents after ``From``, else seconds with a fraction."""
    pattern = _PERCENT_LINE if percent else _SECONDS_LINE

    def read(text: str) -> Told:
        found = pattern.findall(text[:_LONGEST])
        windows = [[float(start), float(end)] for start, end, _ in found]
        return Told(windows, [caption for *_, caption in found], percent)

    return read


def listed_events(text: str) -> Told | None:
    """Events of a JSON list ``[{"event": ..., "timestamps": "from 00 to 25"}]`` in a text, in hundredths.

    Returns:
        ``None`` where there is no such list; events before the first that cannot be read, as VTimeLLM's script.
    """
    found = _LIST.search(text[:_LONGEST])
    try:
        events = json.loads(found[0]) if found else None
    except (ValueError, RecursionError):
        return None
    if not isinstance(events, list):
        return None
    told = Told()
    for event in events:
        stamp = event.get("timestamps") if isinstance(event, dict) else None
        times = _TWO_DIGITS.fullmatch(stamp) if isinstance(stamp, str) else None
        if times is None or not isinstance(event.get("event"), str):
            told.complete = False
            break
        told.windows.append([float(times[1]), float(times[2])])
        told.captions.append(event["event"])
    return told

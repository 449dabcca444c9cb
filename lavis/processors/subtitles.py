"""Subtitles from SRT files, as CALCE shows them to its model.

Source: the subtitle reader of CALCE (*From Coarse to Fine: Caption Assisted MLLM for Video Moment Retrieval*;
tjhd1475/CALCE). The same files give the same lines and speech spans. Unlike it, byte order marks, other encodings,
decimal points in times and missing entry numbers are read, entries are put into time order, and what cannot be read is
an error that names the line.
"""

from __future__ import annotations

import codecs
import logging
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from lavis.structures import Moment, Subtitle

DigitLines = Literal["entry", "text"]

FILLER_WORDS = frozenset({"the", "a", "o", "oh", "yeah", "uh", "ah", "yep", "hmm"})

_TIME = r"(?:(\d+):)?(\d{1,2}):(\d{1,2})(?:[,.](\d{1,6}))?"
_TIME_LINE = re.compile(rf"{_TIME}\s*-->\s*{_TIME}(?:\s.*)?")
_MAX_OTHER_SHARE = 0.2

_log = logging.getLogger(__name__)


class SubtitleError(ValueError):
    """A subtitle file that cannot be read.

    Args:
        path: the file; with nothing else given, the whole message (worker processes rebuild errors that way).
        cause: what is wrong with it.
        cure: what to do.
        line: number of the line, from 1.
    """

    def __init__(self, path: str | Path, cause: str = "", cure: str = "", line: int | None = None) -> None:
        self.path, self.cause, self.cure, self.line = str(path), cause, cure, line
        subject = f"{path}:{line}" if line is not None else str(path)
        super().__init__("; ".join(part for part in (f"{subject}: {cause}" if cause else subject, cure) if part))

    def __reduce__(self) -> tuple[type[SubtitleError], tuple[str, str, str, int | None]]:
        return type(self), (self.path, self.cause, self.cure, self.line)


def read_srt(
    path: str | Path, *, digit_lines: DigitLines = "entry", on_malformed: Literal["raise", "skip"] = "raise"
) -> tuple[list[Subtitle], list[Moment]]:
    """Lines to show to a model, and when somebody speaks.

    Args:
        path: SRT file; an empty one is fine.
        digit_lines: what a line of digits is: always the number of the next ``entry``, as CALCE takes it, so that a
            spoken number ends its entry and is lost; or ``text`` unless a line with times follows.
        on_malformed: what to do with an entry without times, with unreadable ones or with an end before its start.

    Returns:
        Lines with repeats merged, small words dropped and punctuation removed; spans of speech, in which lines follow
        one another within 2.5 seconds.

    Raises:
        SubtitleError: if the file is missing or malformed.
    """
    entries = parse_srt(_text(path), path, digit_lines=digit_lines, on_malformed=on_malformed)
    return clean_lines(merge_repeats(entries)), speech_spans(entries)


def parse_srt(
    text: str,
    path: str | Path = "SRT text",
    *,
    digit_lines: DigitLines = "entry",
    on_malformed: Literal["raise", "skip"] = "raise",
) -> list[Subtitle]:
    """The entries of an SRT file as they are written, in time order; entries without text are dropped.

    Raises:
        SubtitleError: if an entry is malformed and ``on_malformed`` is ``raise``; ``path`` is for the message.
    """
    lines = [line.strip() for line in text.splitlines()]
    starts = _entry_starts(lines, digit_lines)
    entries = []
    for first, last in zip([0, *starts], [*starts, len(lines)], strict=True):
        try:
            entry = _entry(lines, first, last, path)
        except SubtitleError as error:
            if on_malformed == "raise":
                raise
            _log.warning("%s; the entry is skipped", error)
            continue
        if entry is not None:
            entries.append(entry)
    return sorted(entries, key=lambda entry: entry.start)


def merge_repeats(entries: Sequence[Subtitle]) -> list[Subtitle]:
    """Entries with the same text that follow one another without a gap, as one: transcribers stutter."""
    merged: list[Subtitle] = []
    for entry in entries:
        if merged and entry.text == merged[-1].text and entry.start == merged[-1].end:
            merged[-1] = replace(merged[-1], end=entry.end)
        else:
            merged.append(entry)
    return merged


def speech_spans(entries: Sequence[Subtitle], gap: float = 2.5) -> list[Moment]:
    """Stretches in which each entry starts at most ``gap`` seconds after the end of the one before it."""
    spans: list[Moment] = []
    for entry in entries:
        if spans and entry.start <= spans[-1].end + gap:
            spans[-1] = Moment(spans[-1].start, entry.end)
        else:
            spans.append(Moment(entry.start, entry.end))
    return spans


def clean_lines(entries: Iterable[Subtitle]) -> list[Subtitle]:
    """Lower case, no punctuation, no filler words; lines are dropped that have nothing left or are not in English."""
    cleaned = []
    for entry in entries:
        words = re.sub(r"[^\w\s]", "", entry.text).lower().split()
        other = sum(re.fullmatch(r"[a-zA-Z]+", word) is None for word in words)
        kept = [word for word in words if word not in FILLER_WORDS]
        if kept and len(words) - other >= len(words) * (1 - _MAX_OTHER_SHARE):
            cleaned.append(replace(entry, text=" ".join(kept)))
    return cleaned


def write_srt(path: str | Path, subtitles: Iterable[Subtitle]) -> Path:
    """Write subtitles as an SRT file, UTF-8, times in milliseconds."""
    blocks = []
    for number, line in enumerate(subtitles, 1):
        text = "\n".join(part.strip() for part in line.text.splitlines() if part.strip())
        blocks.append(f"{number}\n{_clock(line.start)} --> {_clock(line.end)}\n{text}\n")
    target = Path(path)
    target.write_text("\n".join(blocks), encoding="utf-8")
    return target


def _text(path: str | Path) -> str:
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        cure = "check the folder of subtitles in the dataset's config, or set on_missing_subtitles"
        raise SubtitleError(path, error.strerror or str(error), cure) from error
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16", errors="replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        _log.warning("%s is not in UTF-8; read as Latin-1", path)
        return data.decode("latin-1")


def _entry_starts(lines: Sequence[str], digit_lines: DigitLines) -> list[int]:
    """Lines that begin an entry: its number, or its times where the number is missing."""
    starts = []
    timed = False  # whether the entry that is open has its times
    for number, line in enumerate(lines):
        follows = next((other for other in lines[number + 1 :] if other), "")
        if line.isdigit() and (digit_lines == "entry" or "-->" in follows):
            starts.append(number)
            timed = False
        elif "-->" in line:
            if timed:
                starts.append(number)
            timed = True
    return starts


def _entry(lines: Sequence[str], first: int, last: int, path: str | Path) -> Subtitle | None:
    """The entry in lines ``first`` to ``last`` - 1; ``None`` if there is no text in it."""
    body = [(number, line) for number, line in enumerate(lines[first:last], first + 1) if line]
    if body and body[0][1].isdigit():
        body = body[1:]
    timing = next(((number, line) for number, line in body if "-->" in line), None)
    text = " ".join(line for _, line in body if "-->" not in line)
    if not text:
        return None
    if timing is None:
        cure = "correct the file, or set digit_lines to text if a spoken number stands alone on a line"
        raise SubtitleError(path, f"text without times: {text[:60]!r}", cure, body[0][0])
    matched = _TIME_LINE.fullmatch(timing[1])
    if matched is None:
        raise SubtitleError(path, f"no times: {timing[1]!r}", "they look like 00:01:02,500 --> 00:01:04,000", timing[0])
    start, end = _seconds(*matched.group(1, 2, 3, 4)), _seconds(*matched.group(5, 6, 7, 8))
    if end < start:
        raise SubtitleError(path, f"the entry ends before it starts: {timing[1]!r}", "correct the file", timing[0])
    return Subtitle(start, end, text)


def _seconds(hours: str | None, minutes: str, seconds: str, fraction: str | None) -> float:
    micros = int((fraction or "0").ljust(6, "0"))
    return int(hours or 0) * 3600 + int(minutes) * 60 + int(seconds) + micros / 1_000_000


def _clock(seconds: float) -> str:
    total = round(seconds * 1000)
    minutes, millis = divmod(total, 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{millis // 1000:02d},{millis % 1000:03d}"

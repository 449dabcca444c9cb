"""Conversations with times in angle brackets (``From <3.2> to <7.0>.``), the form of Grounded-VideoLLM's data.

Source: Grounded-VideoLLM (WHB139426/Grounded-Video-LLM), the annotation file of its three stages. The original finds
times with a pattern wherever they stand; a negative one becomes a token that does not exist, and a placeholder without
a line end behind it is doubled. Both are errors here.
"""

from __future__ import annotations

import re

from lavis.datasets.formats._conversation import part_of
from lavis.datasets.formats._record import Record
from lavis.structures import Moment, Turn

PLACEHOLDER = "<image>"
TIME = re.compile(r"<(-?\d+(?:\.\d+)?)>")

_SPAN = r"<\d+(?:\.\d+)?> to <\d+(?:\.\d+)?>"
_SPANS = re.compile(rf"From {_SPAN}(?:, {_SPAN})*\.?")


def read_conversation(record: Record, field: str, has_video: bool) -> list[Turn]:
    """Turns of a row, texts as annotated; what the assistant says is to be learned.

    Args:
        record: the row.
        field: which holds ``[{"from": "human" | "gpt", "value": text}, ...]``.
        has_video: whether the first message must hold the place of the video; that of a text row may, no other may.

    Raises:
        AnnotationError: if messages do not alternate from human to gpt, one is blank, a placeholder is missing, in the
            wrong place or without a line end, or a time is negative.
    """
    messages = record.get(field)
    if not isinstance(messages, list) or len(messages) < 2 or len(messages) % 2:
        got = f"{len(messages)} messages" if isinstance(messages, list) else type(messages).__name__
        raise record.error(field, f"must be a list of messages in pairs of human and gpt, got {got}", "Correct the row")
    turns = []
    for number, message in enumerate(messages, start=1):
        part = part_of(record, message, f"message {number}")
        part.check_fields(("from", "value"), ())
        expected = "human" if number % 2 else "gpt"
        if part.get("from") != expected:
            raise part.error("from", f"must be {expected!r} here, got {part.get('from')!r:.40}", "Correct the row")
        text = part.text("value")
        _check_places(part, text, first=number == 1, has_video=has_video)
        negative = next((time for time in TIME.findall(text) if float(time) < 0), None)
        if negative is not None:
            raise part.error("value", f"the time <{negative}> is before the start of the video", "Correct the row")
        turns.append(Turn("user", text) if number % 2 else Turn("assistant", text, learned=True))
    return turns


def spans_in(answer: str) -> list[list[float]] | None:
    """Windows of an answer that is nothing else: ``From <a> to <b>, <c> to <d>.``; ``None`` for other answers."""
    if not _SPANS.fullmatch(answer.strip()):
        return None
    times = [float(time) for time in TIME.findall(answer)]
    return [list(pair) for pair in zip(times[::2], times[1::2], strict=True)]


def span_text(moments: list[Moment]) -> str:
    """The answer that ``spans_in`` reads."""
    return "From " + ", ".join(f"<{m.start}> to <{m.end}>" for m in moments) + "."


def _check_places(part: Record, text: str, first: bool, has_video: bool) -> None:
    places = text.count(PLACEHOLDER)
    if places > first or (first and has_video and not places):
        expected = "not at all" if not first else "once" if has_video else "once at most"
        raise part.error("value", f"must hold {PLACEHOLDER} {expected} here, not {places} times", "Correct the row")
    if places and has_video and f"{PLACEHOLDER}\n" not in text:
        raise part.error("value", f"{PLACEHOLDER} must be followed by a line end", "Correct the row")

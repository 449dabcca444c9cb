"""HawkEye's temporal rows: a segment, the widest window that may be shown, and a question about the one in the other.

Source: HawkEye (yellow-binary-tree/HawkEye), ``temporal/*_grounding`` and ``temporal/*_caption`` of HawkEye-IT, in all
forms its conversions write. ``moments`` is the segment, ``extra["shown_window"]`` the widest window in seconds, and
``kind`` what is asked:

- ``grounding_choice``: ``a`` is a list of four ``[key, "(X) sentence"]``; ``options`` are the sentences, unlettered,
  ``extra["option_keys"]`` their keys (``middle``, ``end``, ``throughout``, ``beginning``).
- ``caption_choice``: ``q`` is such a list without letters; ``answer`` is the caption, ``options`` and
  ``extra["option_keys"]`` as above; ``query`` is empty.
- ``grounding_time``: ``a`` holds two places for times; it becomes ``extra["template"]``.
- ``caption_time``: ``q`` does; ``answer`` is the caption.

``extra["instructions"]`` is ``[i]``. No answer of a grounding row is fixed: it depends on what part is shown
(``shown_window`` of the data set, see ``_shown.py``).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from lavis.datasets.formats._record import Record
from lavis.datasets.formats.base import OnBadWindow
from lavis.scoring.questions.text import LETTERS
from lavis.structures import Moment, VideoSample

TEMPORAL = ("start_sec", "end_sec", "neg_start_sec", "neg_end_sec")
KEYS = frozenset({"beginning", "middle", "end", "throughout"})

PLACES = re.compile(r"%(?:\.\d+)?[dfs]")
"""Places for times: ``%.1f`` for seconds, ``%d`` for numbers of frames."""
_LETTERED = re.compile(r"\(([A-Z])\) (.+)", re.DOTALL)

Windows = Callable[[Record, str, Any, float, Counter[str]], list[Moment]]


def temporal_sample(
    base: VideoSample, item: Record, windows: Windows, on_bad_window: OnBadWindow, counts: Counter[str]
) -> VideoSample | None:
    """The sample of a temporal row; ``None`` where a bad window leaves it out.

    Args:
        base: the sample with what all rows have.
        item: ``QA[0]``.
        windows: checks windows, as ``AnnotationFormat.windows``.
        on_bad_window: what to do where the shown window lacks a part of the segment.
        counts: gets ``clamped_windows``, ``skipped_windows``.

    Raises:
        AnnotationError: if the item fits none of the four forms, or a window is bad.
    """
    item.check_fields(("q", "a", *TEMPORAL), ("i",))
    fields = _asked(item)
    segment, shown = (
        windows(item, start, [[item.get(start), item.get(end)]], base.duration, counts)
        for start, end in (TEMPORAL[:2], TEMPORAL[2:])
    )
    if not segment or not shown:
        return None
    if segment[0].length == 0:
        if on_bad_window == "skip":
            counts["skipped_windows"] += 1
            return None
        cure = "Correct it, or set the format's on_bad_window to 'skip'"
        raise item.error("start_sec", f"the segment {segment[0].to_list()} has no length", cure)
    wide = _containing(shown[0], segment[0], item, on_bad_window, counts)
    if wide is None:
        return None
    instruction = item.fields.get("i", "")
    notes = {"shown_window": wide.to_list(), "instructions": [instruction and item.text("i")]}
    extra = {**base.extra, **notes, **fields.pop("extra")}
    return replace(base, moments=segment, extra=extra, **fields)


def _asked(item: Record) -> dict[str, Any]:
    """``kind``, ``query``, ``options``, ``answer`` and ``extra``, by the form of ``q`` and ``a``."""
    question, answer = item.get("q"), item.get("a")
    if isinstance(answer, list):
        keys, options = _pairs(item, "a", lettered=True)
        extra = {"option_keys": keys}
        return {"kind": "grounding_choice", "query": item.text("q"), "options": options, "extra": extra}
    if isinstance(question, list):
        keys, options = _pairs(item, "q", lettered=False)
        extra = {"option_keys": keys}
        return {"kind": "caption_choice", "options": options, "answer": item.text("a"), "extra": extra}
    places = {field: len(PLACES.findall(item.text(field))) for field in ("q", "a")}
    if places == {"q": 0, "a": 2}:
        return {"kind": "grounding_time", "query": question, "extra": {"template": answer}}
    if places == {"q": 2, "a": 0}:
        return {"kind": "caption_time", "query": "", "answer": answer, "extra": {"template": question}}
    problem = (
        f"one of q and a must hold two places for times, as 'From second %.1f to second %.1f.'; they hold {places}"
    )
    raise item.error("a", problem, "Correct the row, or leave its start_sec and the like out")


def _pairs(item: Record, field: str, lettered: bool) -> tuple[list[str], list[str]]:
    """Keys and sentences of a list of ``[key, sentence]``.

    Raises:
        AnnotationError: if it is none, a key is unknown or repeated, or letters are not those of the places.
    """
    raw = item.get(field)
    for pair in raw:
        if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(text, str) for text in pair):
            raise item.error(field, f"must be a list of [key, sentence], holds {pair!r:.60}", "Correct the row")
        Record({field: pair}, item.path, item.row, item.id).texts(field)  # whole characters
    keys = [key for key, _ in raw]
    if set(keys) != KEYS or len(keys) != len(KEYS):
        raise item.error(field, f"must have each of {', '.join(sorted(KEYS))} once, got {keys}", "Correct the row")
    if not lettered:
        return keys, [text for _, text in raw]
    found = [_LETTERED.fullmatch(text) for _, text in raw]
    letters = [match[1] if match is not None else "" for match in found]
    if letters != list(LETTERS[: len(letters)]):
        raise item.error(field, f"must be lettered (A) to (D) in order, got {letters}", "Correct the row")
    return keys, [match[2] for match in found if match is not None]


def _containing(
    shown: Moment, segment: Moment, item: Record, on_bad_window: OnBadWindow, counts: Counter[str]
) -> Moment | None:
    """The shown window, which must hold the segment."""
    if shown.start <= segment.start and segment.end <= shown.end:
        return shown
    if on_bad_window == "skip":
        counts["skipped_windows"] += 1
        return None
    if on_bad_window == "clamp":
        counts["clamped_windows"] += 1
        return Moment(min(shown.start, segment.start), max(shown.end, segment.end))
    raise item.error(
        "neg_start_sec",
        f"the window {shown.to_list()} does not hold the segment {segment.to_list()}",
        "Correct it, or set the format's on_bad_window to 'skip' or 'clamp'",
    )

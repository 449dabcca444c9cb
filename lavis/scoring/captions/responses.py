"""A stream of replies as segments: MMDuet's way from "said this at that time" to "this happened from here to there".

Source: MMDuet (Wang et al., 2024), its evaluation of dense captioning. A caption reaches from the reply before it to
its own last repetition, so the *first* caption has no beginning and is discarded there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any, Literal

from lavis.scoring.base import RowError, finite


def segments(turns: Sequence[Any], first: Literal["discard", "keep"]) -> tuple[list[list[float]], list[str]]:
    """Windows and captions.

    Args:
        turns: ``{"role", "content", "time"}`` in time order; those of the user are passed over.
        first: the first caption is left out, or begins at 0.

    Raises:
        RowError: for a turn without role, text or finite time.
    """
    replies = [_reply(turn) for turn in turns if _role(turn) != "user"]
    spans = [(text, [time for _, time in group]) for text, group in groupby(replies, key=lambda reply: reply[0])]
    ends = [times[-1] for _, times in spans]
    starts = [0.0, *ends[:-1]]
    kept = slice(1, None) if first == "discard" else slice(None)
    windows = [[start, end] for start, end in zip(starts, ends, strict=False)]
    return windows[kept], [text for text, _ in spans][kept]


def _role(turn: Any) -> Any:
    if not isinstance(turn, Mapping) or "role" not in turn:
        raise RowError(f"a turn of model_response_list needs 'role', got {turn!r:.60}")
    return turn["role"]


def _reply(turn: Mapping[str, Any]) -> tuple[str, float]:
    text = turn.get("content")
    if not isinstance(text, str):
        raise RowError(f"a turn needs 'content' as text, got {text!r:.60}")
    return text, finite(turn.get("time"), "time")

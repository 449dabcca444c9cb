"""Times of frames where the packets of a file have none that hold: AVI, repeated stamps, stamps that start anew.

AVI knows when a chunk is due and nothing of presentation; what FFmpeg tells of that is a guess, right for most MPEG-4,
wrong for H.264 with B-frames, where two pictures are packed into one chunk (as XviD does), and around chunks left out.
There the n-th picture is shown when the n-th chunk is due, which is also how players keep its sound in step.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from itertools import islice, pairwise
from typing import Any

_PROOF = 16
"""Frames from the first one out of order on that show whether guessed stamps hold."""


def has_chunks(container: Any) -> bool:
    """Whether the format of an opened file has no times of presentation."""
    return bool(container.format.name == "avi")


def guess_holds(
    pts: Sequence[int],
    chunks: Sequence[int],
    reorders: bool,
    turned_at: int | None,
    decoded: Callable[[], Iterable[Any]],
) -> bool:
    """Whether stamps guessed for an AVI file are those of the decoded frames, in the steps of its chunks.

    Args:
        pts: the guess, rising.
        chunks: when each chunk that holds something is due, rising.
        reorders: whether the decoder may put frames into another order.
        turned_at: the first packet whose guess is before that of an earlier one.
        decoded: begins decoding the file; what it gives has ``pts``.
    """
    if any(b - a != d - c for (a, b), (c, d) in zip(pairwise(pts), pairwise(chunks), strict=True)):
        return False
    if not reorders:
        return True
    if turned_at is None:  # B-frames that the guess knows nothing of
        return False
    # Frames before the first one of the guess refer to what is gone, and are not shown.
    shown = (frame.pts for frame in decoded() if frame.pts is None or frame.pts >= pts[0])
    seen = list(islice(shown, turned_at + _PROOF))
    return seen == list(pts[: len(seen)])


def counted_times(
    stamps: Sequence[int | None], chunks: Sequence[int], time_base: Fraction, rate: float
) -> list[float] | None:
    """Seconds from the first frame, of frames in the order in which they are decoded.

    Args:
        stamps: those that came with the frames.
        chunks: as above, empty for other formats; they count if there is one for each frame.
        time_base: seconds of a tick.
        rate: frames a second, which is taken where there is nothing else; 0 for unknown.

    Returns:
        rising; ``None`` if nothing tells when frames are shown.
    """
    taken = chunks[: len(stamps)] if len(stamps) <= len(chunks) else stamps
    known = [stamp for stamp in taken if stamp is not None]
    if rising(taken):
        return [float((stamp - known[0]) * time_base) for stamp in _apart(known)]
    return [i / rate for i in range(len(stamps))] if rate else None


def rising(stamps: Sequence[int | None]) -> bool:
    """Whether all stamps are there and none is before that of an earlier frame."""
    return all(stamp is not None for stamp in stamps) and all(
        a <= b for a, b in pairwise(stamp for stamp in stamps if stamp is not None)
    )


def _apart(stamps: Sequence[int]) -> list[Fraction]:
    """Frames that follow each other faster than the clock of the file ticks share a tick."""
    shares, seen = Counter(stamps), Counter[int]()
    apart = []
    for stamp in stamps:
        apart.append(stamp + Fraction(seen[stamp], shares[stamp]))
        seen[stamp] += 1
    return apart

"""Match tokens in texts: which second each ``<vid>`` stands for, and texts that must not hold the tokens of a codec."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from lavis.models.codecs._segments import Grid
from lavis.structures import FrameRef, ModelOutput, Text, VideoSample

MATCH = "<vid>"
_LONGEST = 1e9
"""Seconds that no video lasts."""


def refuse_tokens(text: str, tokens: Sequence[str], sample: VideoSample) -> None:
    """Text of a user must not hold a token that only the model writes.

    Raises:
        ValueError: if it does; names sample and token.
    """
    found = [token for token in tokens if token in text]
    if found:
        raise ValueError(
            f"sample {sample.id}: the text {text!r:.80} holds {found[0]}, which stands for a part of the video; leave "
            "it out, or write it otherwise"
        )


def given_seconds(sample: VideoSample, name: str) -> list[float]:
    """The times of ``extra[name]``, in seconds; none where there is no such field.

    Raises:
        ValueError: if they are no list of finite numbers; names the sample.
    """
    values = sample.extra.get(name)
    if values is None:
        return []
    numbers = isinstance(values, (list, tuple)) and all(
        isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < _LONGEST for value in values
    )
    if not numbers:
        raise ValueError(
            f"sample {sample.id}: extra[{name!r}] must be a list of seconds, one for each {MATCH}, got {values!r:.80}"
        )
    return [float(value) for value in values]


def with_frames(
    text: str,
    seconds: Sequence[float],
    grid: Grid,
    sample: VideoSample,
    *,
    learned: bool = False,
    first: int = 0,
) -> list[Text | FrameRef]:
    """Text whose match tokens stand for the given seconds, with the frame nearest to each.

    Args:
        text: with one ``<vid>`` for each of ``seconds``.
        seconds: times in the video.
        grid: of the frames.
        sample: for messages.
        learned: whether the model is to write it.
        first: the visual unit that is the first frame, where frames are shown more than once.

    Raises:
        ValueError: if tokens and seconds are not equally many, or there are no frames; names the sample.
    """
    pieces = text.split(MATCH)
    if len(pieces) - 1 != len(seconds):
        raise ValueError(
            f"sample {sample.id}: {text!r:.80} has {len(pieces) - 1} {MATCH}, but {len(seconds)} times are given for "
            f"them; {MATCH} stands for a time in the video: give one for each, or write it otherwise"
        )
    if seconds and not grid.count:
        raise ValueError(f"sample {sample.id}: {text!r:.80} points to times in the video, but there are no frames")
    parts: list[Text | FrameRef] = [Text(pieces[0], learned)]
    for time, piece in zip(seconds, pieces[1:], strict=True):
        at = grid.position(time)
        target = (at, at) if learned else None
        parts += [FrameRef(MATCH, frame=first + round(at), learned=learned, target=target), Text(piece, learned)]
    return [part for part in parts if isinstance(part, FrameRef) or part.text]


def similarity_rows(output: ModelOutput) -> NDArray[np.float32] | None:
    """``[n, T]``: each token of an answer compared with each frame by a head; ``None`` if there is no such table."""
    rows = output.hidden.get("similarities")
    if not isinstance(rows, Tensor) or rows.dim() != 2 or rows.is_complex():
        return None
    table: NDArray[np.float32] = rows.detach().float().cpu().numpy()
    return table

"""Match tokens in texts: which second each ``<vid>`` stands for, and texts that must not hold the tokens of a codec."""

from __future__ import annotations

from collections.abc import Sequence

from lavis.models.codecs._segments import Grid
from lavis.structures import FrameRef, Text, VideoSample

MATCH = "<vid>"


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


def with_frames(
    text: str, seconds: Sequence[float], grid: Grid, sample: VideoSample, *, learned: bool = False
) -> list[Text | FrameRef]:
    """Text whose match tokens stand for the given seconds, with the frame nearest to each.

    Args:
        text: with one ``<vid>`` for each of ``seconds``.
        seconds: times in the video.
        grid: of the frames.
        sample: for messages.
        learned: whether the model is to write it.

    Raises:
        ValueError: if tokens and seconds are not equally many; names the sample.
    """
    pieces = text.split(MATCH)
    if len(pieces) - 1 != len(seconds):
        raise ValueError(
            f"sample {sample.id}: {text!r:.80} has {len(pieces) - 1} {MATCH}, but {len(seconds)} times are given"
        )
    parts: list[Text | FrameRef] = [Text(pieces[0], learned)]
    for time, piece in zip(seconds, pieces[1:], strict=True):
        at = (time - grid.start) / grid.step
        last = max(grid.count - 1, 0)
        frame = min(max(round(at), 0), last)
        target = (min(max(at, 0.0), float(last)),) * 2 if learned else None
        parts += [FrameRef(MATCH, frame=frame, learned=learned, target=target), Text(piece, learned)]
    return [part for part in parts if isinstance(part, FrameRef) or part.text]

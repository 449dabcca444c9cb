"""Segments of a video as structural tokens tell them: windows on the grid of frames, and transitions between events.

Source: MeCo (pangzss/MeCo, arXiv 2503.09027), whose training looks at one frame a second, so that seconds and frames
are the same. Here a video that is too long for that is measured in frames of its own.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lavis.structures import FrameRef, Moment, Text

EVENT, TRANSITION = "<ent>", "<tst>"
MIN_GAP = 2
"""Seconds between events from which on a transition is told."""

Singles = NDArray[np.float32]
Window = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Grid:
    """Evenly spaced frames: frame i is shown ``step`` * i seconds after ``start``; there are ``count``.

    ``stop`` is where the video ends if that is before a frame behind the last.
    """

    count: int
    step: float
    start: float = 0.0
    stop: float = math.inf

    @classmethod
    def of(cls, count: int, window: Moment, fps: float, *, index_is_second: bool = False) -> Grid:
        """The grid of ``count`` frames of a window of the video.

        Args:
            count: frames there are.
            window: what of the video they show.
            fps: the rate frames are taken at, unless there would be too many.
            index_is_second: whether that rate is assumed in any case, as the originals do.
        """
        spread = window.length * fps
        if index_is_second or abs(count - spread) <= max(1.0, 0.02 * spread):
            return cls(count, 1 / fps, window.start)
        if not 1 < count < spread:
            return cls(count, window.length / max(count, 1), window.start)
        # An even choice from the first to the last of the frames there would be, to half a one.
        step = (math.ceil(round(spread, 6)) - 1) / fps / (count - 1)
        return cls(count, step, window.start, window.end)

    @property
    def end(self) -> float:
        """The time of a frame behind the last, or the end of the video."""
        return self.seconds(self.count)

    def frames(self, windows: Sequence[Window]) -> Singles:
        """``[n, 2]`` windows counted in frames, cut to the video, in order, and at least one frame long."""
        seconds = np.asarray(windows, dtype=np.float32).reshape(-1, 2)
        return bound((seconds - np.float32(self.start)) / np.float32(self.step), self.count)

    def seconds(self, frame: float) -> float:
        """The time of a frame; of one behind the last the end of the video."""
        return min(self.start + frame * self.step, self.stop)

    def position(self, seconds: float) -> float:
        """Where among the frames a time is, cut to the first and last; a whole number where a frame is shown."""
        return min(max((seconds - self.start) / self.step, 0.0), self.count - 1.0)


def bound(windows: Singles, count: int) -> Singles:
    """Windows ``[n, 2]`` in frames, cut to ``[0, count]``, turned round where reversed, at least one frame long.

    A shorter one is replaced by one frame's length around its middle.
    """
    cut = np.clip(windows.astype(np.float32), 0, np.float32(count))
    ordered = np.sort(cut, axis=1)
    middle = np.clip(ordered.mean(axis=1, dtype=np.float32), np.float32(0.5), np.float32(count - 0.5))
    around = np.stack([middle - np.float32(0.5), middle + np.float32(0.5)], axis=1)
    short = (ordered[:, 1] - ordered[:, 0]) < 1
    result: Singles = np.where(short[:, None], around, ordered)
    return result


def with_transitions(text: str, windows: Sequence[Window], end: float) -> tuple[list[str], list[Window]]:
    """What is said with a token after each event and one for each gap of two seconds or more.

    Args:
        text: captions of the events, each closed by ``<ent>``; what follows the last belongs to it.
        windows: of the events in seconds, as many as captions.
        end: seconds at which the video ends.

    Returns:
        texts and tokens in order, and the window of each token.

    Raises:
        ValueError: if there are more or fewer captions than windows.
    """
    captions = [part.strip() for part in text.split(EVENT) if part.strip()]
    if len(captions) > len(windows) > 0:  # words behind the last event are said before it closes
        captions = [*captions[: len(windows) - 1], "".join(captions[len(windows) - 1 :])]
    if len(captions) != len(windows) or not windows:
        raise ValueError(f"{len(captions)} events are described, but {len(windows)} have a window")
    parts: list[str] = []
    found: list[Window] = []

    def add(token: str, window: Window) -> None:
        parts.append(token)
        found.append(window)

    if windows[0][0] >= 1:
        add(TRANSITION, (0.0, windows[0][0]))
        parts.append("\n")
    for k, (caption, window) in enumerate(zip(captions, windows, strict=True)):
        parts.append(caption)
        add(EVENT, window)
        following = windows[k + 1][0] if k + 1 < len(windows) else end
        if k + 1 < len(windows):
            parts.append("\n")
        if window[1] <= following - MIN_GAP:
            if k + 1 == len(windows):
                parts.append("\n")
            add(TRANSITION, (window[1], following))
            if k + 1 < len(windows):
                parts.append("\n")
    return parts, found


def as_written(text: str, windows: Sequence[Window], transitions: Sequence[Window]) -> tuple[list[str], list[Window]]:
    """The same for a text that has all its tokens already.

    Raises:
        ValueError: if it has more or fewer than there are windows.
    """
    parts = [part for part in re.split(f"({EVENT}|{TRANSITION})", text) if part]
    left = {EVENT: list(windows), TRANSITION: list(transitions)}
    for token, own in left.items():
        if parts.count(token) != len(own):
            raise ValueError(f"the text has {parts.count(token)} {token} for {len(own)} windows")
    return parts, [left[part].pop(0) for part in parts if part in left]


def marked(parts: Sequence[str], windows: Singles) -> list[Text | FrameRef]:
    """Learned texts and tokens; ``windows`` ``[n, 2]`` in frames are those of the tokens, in order."""
    targets = iter(windows.tolist())
    return [
        FrameRef(part, learned=True, target=tuple(next(targets))) if part in (EVENT, TRANSITION) else Text(part, True)
        for part in parts
    ]

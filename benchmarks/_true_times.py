"""Asks a reader for frames of a video whose truth is known, and counts what is wrong.

The number drawn in a picture tells which frame it is. A returned frame is wrong if the time reported with it, or the
time it was asked for, is more than half a frame interval from when that frame is shown, or if it is not shown at all.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from torch import Tensor

from benchmarks._numbered import number_of
from lavis.processors.readers.base import VideoDecodeError, VideoReader

SMALL = (40, 60)
"""Height and width of what is read small."""

HALF = 0.5 + 1e-6


@contextmanager
def without_warnings() -> Iterator[None]:
    """Keeps readers from saying of each damaged file that it is."""
    logger = logging.getLogger("lavis")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


@dataclass
class Findings:
    """What a reader did with one file.

    Args:
        frames: pictures looked at.
        wrong: how many of them are wrong, and frames that are missing or too many.
        worst: greatest error of a reported time, in frame intervals.
        refused: the typed error, if the reader gave one instead of frames.
        times: what it says of the frames, in seconds.
        notes: what is wrong, in words.
    """

    frames: int = 0
    wrong: int = 0
    worst: float = 0.0
    refused: str = ""
    times: Sequence[float] = ()
    notes: list[str] = field(default_factory=list)

    def fault(self, count: int, note: str) -> None:
        """Counts frames as wrong."""
        if count:
            self.wrong += count
            self.notes.append(note)


class Truth:
    """When each frame of a video is shown.

    Args:
        shown: number drawn to seconds from the first frame shown, rising.
        last: seconds that the last one is shown.
        complete: whether all of them must be there; otherwise the file ends early.
    """

    def __init__(self, shown: Mapping[int, float], last: float, complete: bool = True) -> None:
        self.shown = dict(shown)
        self.numbers = list(shown)
        self.complete = complete
        gaps = [b - a for a, b in pairwise(shown.values())]
        self.length = dict(zip(self.numbers, [*gaps, last], strict=True))
        around = zip(self.numbers, [*gaps, last], [gaps[0] if gaps else last, *gaps], strict=True)
        self.interval = {number: min(after, before) for number, after, before in around}

    def time_error(self, number: int, seconds: float) -> float | None:
        """Intervals between ``seconds`` and the time of the frame; ``None`` if it is never shown."""
        if number not in self.shown:
            return None
        return abs(seconds - self.shown[number]) / self.interval[number]

    def request_error(self, number: int, seconds: float) -> float:
        """Intervals between ``seconds`` and when the frame is on the screen."""
        begin = self.shown[number]
        outside = max(begin - seconds, seconds - begin - self.length[number], 0.0)
        return outside / self.interval[number]


def examine(reader: VideoReader, path: Path, truth: Truth, seed: int = 0) -> Findings:
    """Reads all frames, some out of order and small, and frames by time."""
    found = Findings()
    try:
        info = reader.probe(path)
        found.times = list(info.times)
        if truth.complete:
            found.fault(abs(info.num_frames - len(truth.numbers)), f"{info.num_frames} frames of {len(truth.numbers)}")
        frames, times = reader.read(path, range(info.num_frames), info=info)
        _check(found, truth, frames, times)
        present = min(info.num_frames, len(truth.numbers))
        chance = random.Random(seed)
        some = [chance.randrange(info.num_frames) for _ in range(min(5, present))]
        frames, times = reader.read(path, some, size=SMALL, info=info)
        _check(found, truth, frames, times)
        for number in sorted({info.num_frames - 1, info.num_frames // 2, info.num_frames // 3}):
            _check(found, truth, *reader.read(path, [number], info=info))
        asked = _times(truth, truth.numbers[:present], info.duration_s)
        frames, times = reader.read(path, times=asked, info=info)
        _check(found, truth, frames, times, asked)
    except VideoDecodeError as error:
        found.refused = f"{error.cause}; {error.cure}"
    return found


def _times(truth: Truth, numbers: Sequence[int], duration: float) -> list[float]:
    """The beginning and the middle of frames, within what is there."""
    starts = [truth.shown[number] for number in numbers]
    middles = [truth.shown[number] + truth.length[number] / 2 for number in numbers]
    return [seconds for seconds in (*starts, *middles) if seconds < duration]


def _check(
    found: Findings, truth: Truth, frames: Tensor, times: Sequence[float], asked: Sequence[float] | None = None
) -> None:
    if len(frames) != len(times) or (asked is not None and len(asked) != len(times)):
        found.fault(1, f"{len(frames)} frames with {len(times)} times")
        return
    found.frames += len(times)
    for row, seconds in enumerate(times):
        number = number_of(frames[row])
        error = truth.time_error(number, seconds)
        if error is None:
            found.fault(1, f"frame {number}, which is not shown, given for {seconds:.3f} s")
            continue
        found.worst = max(found.worst, error)
        if error > HALF:
            found.fault(1, f"frame {number} said to be at {seconds:.3f} s, it is at {truth.shown[number]:.3f} s")
        elif asked is not None and truth.request_error(number, asked[row]) > HALF:
            found.fault(1, f"frame {number} given for {asked[row]:.3f} s, it is at {truth.shown[number]:.3f} s")


def disagreement(left: Sequence[float], right: Sequence[float]) -> int:
    """Frames whose times two readers give more than half an interval apart, and frames that only one of them has."""
    gaps = [b - a for a, b in pairwise(left)] or [1.0]
    intervals = [min(before, after) for before, after in zip([gaps[0], *gaps], [*gaps, gaps[-1]], strict=True)]
    apart = sum(abs(a - b) > HALF * gap for a, b, gap in zip(left, right, intervals, strict=False))
    return apart + abs(len(left) - len(right))

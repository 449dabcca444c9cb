"""Scripts of generated videos: who appears when, what is said, and what may be asked about it."""

from __future__ import annotations

import hashlib
import json
import random
from dataclasses import asdict, dataclass
from fractions import Fraction

SPLITS = ("train", "val", "test")
FORMAT_VERSION = 1

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (212, 36, 36),
    "green": (34, 158, 58),
    "blue": (36, 66, 214),
    "yellow": (238, 220, 44),
    "purple": (146, 44, 178),
    "orange": (242, 138, 26),
    "white": (246, 246, 246),
    "black": (14, 14, 14),
}
SHAPES = ("circle", "square", "triangle", "star", "cross", "ring")
MOTIONS = (
    "moves left",
    "moves right",
    "moves up",
    "moves down",
    "bounces",
    "shakes",
    "grows",
    "shrinks",
    "stays still",
)
SEEN_TEMPLATES = (
    "a {colour} {shape} {motion}",
    "the {colour} {shape} {motion}",
    "there is a {colour} {shape} that {motion}",
    "we see how a {colour} {shape} {motion}",
)
# Half of these hold one of the words (say, explain, describe, talk) that make CALCE take its key frames from
# the speech.
SAID_TEMPLATES = (
    "a voice says that {line}",
    "someone explains that {line}",
    "a speaker describes how {line}",
    "people talk about how {line}",
    "someone mentions that {line}",
    "we hear that {line}",
    "a voice announces that {line}",
    "somebody reports that {line}",
)
SUBJECTS = (
    "kettle", "train", "dinner", "garden", "teacher", "library", "market", "bridge", "doctor", "window", "engine",
    "concert", "bakery", "harbour", "letter", "museum", "camera", "meeting", "river", "station", "painting",
    "ticket", "village", "winter",
)  # fmt: skip
PREDICATES = (
    "is ready", "is late today", "will start soon", "was closed yesterday", "needs more time", "looks very old",
    "has become expensive", "is hard to find", "smells like summer", "must be repaired", "is better than before",
    "will change everything", "was a great surprise", "comes back every year", "makes everybody happy",
    "is almost empty",
)  # fmt: skip
# Lines that the English-word filter removes completely or in part.
FILLERS = ("Oh yeah.", "Uh...", "Hmm, yeah.", "Ah!", "1 2 3 4", "Yep.")

SIZES = ((96, 72), (112, 64), (96, 96), (128, 72), (80, 104), (104, 78))
RATES = (
    *(["5", "6", "8", "8", "10", "10", "12", "25/2"] * 3),
    "15",
    "15",
    "25",
    "24000/1001",
    "30000/1001",
)


@dataclass(frozen=True)
class Event:
    """A shape on the screen during ``[start, end)`` seconds; positions and radius are fractions of the frame."""

    start: int
    end: int
    colour: str
    shape: str
    motion: str
    x: float
    y: float
    radius: float

    @property
    def caption(self) -> str:
        return f"a {self.colour} {self.shape} {self.motion}"


@dataclass(frozen=True)
class Shot:
    """A background from ``start`` seconds on."""

    start: float
    pattern: str
    colour: tuple[int, int, int]
    second: tuple[int, int, int]
    seed: int


@dataclass(frozen=True)
class SpokenLine:
    """A line of the subtitles, times in seconds."""

    start: float
    end: float
    text: str


@dataclass(frozen=True)
class Query:
    """A query and all its windows in whole seconds; ``kind`` is ``seen`` or ``said``."""

    text: str
    items: tuple[str, ...]
    windows: tuple[tuple[int, int], ...]
    kind: str


@dataclass(frozen=True)
class Script:
    """All that a video is made of. ``rate`` is ``None`` for a variable frame rate."""

    video: str
    split: str
    index: int
    duration: int
    size: tuple[int, int]
    rate: str | None
    audio: bool
    shots: tuple[Shot, ...]
    events: tuple[Event, ...]
    lines: tuple[SpokenLine, ...]
    queries: tuple[Query, ...]

    def content(self) -> str:
        """What happens in the video and when, without its name: equal for two videos only if one copies the other."""
        events = [(e.start, e.end, e.colour, e.shape, e.motion) for e in self.events]
        return json.dumps([self.duration, events, [asdict(line) for line in self.lines]])

    def frame_times(self) -> list[Fraction]:
        """Presentation times of the frames in seconds, strictly increasing, in ``[0, duration)``."""
        if self.rate is not None:
            rate = Fraction(self.rate)
            return [i / rate for i in range(round(self.duration * rate))]
        rng = random.Random(f"times/{self.video}/{self.index}/{self.duration}")
        times, now = [], 0
        while now < self.duration * 1000 - 20:
            times.append(Fraction(now, 1000))
            now += rng.choice((40, 67, 83, 100, 125, 160, 240))
        return times


def seed_of(*parts: object) -> int:
    """A seed that does not depend on the process (``hash`` of a string does)."""
    return int.from_bytes(hashlib.sha256("/".join(map(str, parts)).encode()).digest()[:8], "big")

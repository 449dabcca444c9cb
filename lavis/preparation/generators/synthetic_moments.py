"""A generated corpus for video moment retrieval: real video files, subtitles and annotations.

Every video is a *script*: coloured shapes that appear for a few seconds and move (``seen`` queries ask for
them), and spoken lines that exist only in the subtitles (``said`` queries ask for those). Scripts are drawn from
a generator seeded by the corpus seed, the split and the index of the video, so a video is the same whatever the
size of the corpus, the order of the work or the number of workers, and no script is shared by two splits.

Files under the root::

    generator.json                        settings; a second run with other settings is refused
    videos/<video>.mp4                    H.264, several sizes, constant and variable rates, some with AAC
    srts/<video>.srt                      subtitles
    annotations/<split>.json              CALCE rows, with an extra key ``kind`` (``seen`` or ``said``)
    annotations/highlight_<split>_release.jsonl    QVHighlights release rows with saliency
    annotations/dense_captions_<split>.json        ActivityNet-Captions layout
    annotations/questions_<split>.json             multiple choice with evidence windows
    annotations/event_order_<split>.json           captions to put in order
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import random
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lavis.common.registry import registry

Picture = NDArray[np.uint8]

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


def _seed(*parts: object) -> int:
    """A seed that does not depend on the process (``hash`` of a string does)."""
    return int.from_bytes(hashlib.sha256("/".join(map(str, parts)).encode()).digest()[:8], "big")


def _shape_mask(shape: str, u: NDArray[np.float32], v: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Inside of a unit shape at coordinates ``u`` to the right and ``v`` downwards."""
    r = np.hypot(u, v)
    if shape == "circle":
        return r <= 1
    if shape == "square":
        return np.maximum(np.abs(u), np.abs(v)) <= 0.86
    if shape == "triangle":
        return (v <= 0.8) & (np.abs(u) <= (v + 1.0) * 0.58)
    if shape == "star":
        turn = np.mod(np.arctan2(u, -v) * (5 / (2 * np.pi)), 1.0)
        return r <= 0.38 + 0.72 * np.abs(turn - 0.5) * 2
    if shape == "cross":
        return (np.minimum(np.abs(u), np.abs(v)) <= 0.3) & (np.maximum(np.abs(u), np.abs(v)) <= 1)
    if shape == "ring":
        return (r <= 1) & (r >= 0.58)
    raise ValueError(f"unknown shape {shape!r}; known: {', '.join(SHAPES)}")


def _placement(event: Event, time: float) -> tuple[float, float, float]:
    """Centre ``x, y`` and radius of an event's shape at ``time`` seconds, as fractions of the frame."""
    phase = (time - event.start) / (event.end - event.start)
    x, y, radius = event.x, event.y, event.radius
    match event.motion:
        case "moves left":
            x = 0.74 - 0.48 * phase
        case "moves right":
            x = 0.26 + 0.48 * phase
        case "moves up":
            y = 0.74 - 0.48 * phase
        case "moves down":
            y = 0.26 + 0.48 * phase
        case "bounces":
            y = 0.7 - 0.4 * abs(np.sin(np.pi * (time - event.start) / 1.5))
        case "shakes":
            x += 0.08 * np.sin(2 * np.pi * (time - event.start) / 0.6)
        case "grows":
            radius *= 0.75 + 0.5 * phase
        case "shrinks":
            radius *= 1.25 - 0.5 * phase
    return float(x), float(y), float(radius)


def _background(shot: Shot, size: tuple[int, int]) -> Picture:
    """The empty scene of a shot, ``[H, W, 3]``."""
    width, height = size
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    x, y = x / width, y / height
    if shot.pattern == "gradient":
        blend = y
    elif shot.pattern == "stripes":
        blend = (np.mod(x * 6, 1.0) < 0.5).astype(np.float32)
    elif shot.pattern == "checks":
        blend = np.mod(np.floor(x * 5) + np.floor(y * 5), 2.0)
    elif shot.pattern == "horizon":
        blend = (y > 0.62).astype(np.float32)
    else:
        blend = np.zeros_like(x)
    image = np.array(shot.colour, np.float32) * (1 - blend[..., None])
    image += np.array(shot.second, np.float32) * blend[..., None]
    image += np.random.default_rng(shot.seed).normal(0, 4, (height, width, 1)).astype(np.float32)
    picture: Picture = np.clip(image, 0, 255).astype(np.uint8)
    return picture


class SceneRenderer:
    """Frames of a script; backgrounds are drawn once per shot.

    Args:
        script: what to draw.
        size: width and height in pixels; that of the script by default.
    """

    def __init__(self, script: Script, size: tuple[int, int] | None = None) -> None:
        self.script = script
        self.size = size or script.size
        self._backgrounds: dict[int, Picture] = {}

    def frame(self, time: float) -> Picture:
        """The picture at ``time`` seconds, ``[H, W, 3]`` RGB."""
        shot = max(i for i, s in enumerate(self.script.shots) if s.start <= time or i == 0)
        if shot not in self._backgrounds:
            self._backgrounds[shot] = _background(self.script.shots[shot], self.size)
        image = self._backgrounds[shot].copy()
        for event in self.script.events:
            if event.start <= time < event.end:
                self._draw(image, event, time)
        return image

    def _draw(self, image: Picture, event: Event, time: float) -> None:
        height, width = image.shape[:2]
        x, y, radius = _placement(event, time)
        # The radius follows both sides so that a shape keeps its form once the frame is squeezed to a square.
        cx, cy, rx, ry = x * width, y * height, radius * width, radius * height
        x0, x1 = max(0, int(cx - rx) - 1), min(width, int(cx + rx) + 2)
        y0, y1 = max(0, int(cy - ry) - 1), min(height, int(cy + ry) + 2)
        if x0 >= x1 or y0 >= y1:
            return
        u = ((np.arange(2 * x0, 2 * x1, dtype=np.float32) + 0.5) / 2 - cx) / rx
        v = ((np.arange(2 * y0, 2 * y1, dtype=np.float32) + 0.5) / 2 - cy) / ry
        uu, vv = np.meshgrid(u, v)
        inside = _shape_mask(event.shape, uu, vv).astype(np.float32)
        alpha = inside.reshape(y1 - y0, 2, x1 - x0, 2).mean((1, 3))[..., None]
        patch = image[y0:y1, x0:x1].astype(np.float32)
        colour = np.array(COLOURS[event.colour], np.float32)
        image[y0:y1, x0:x1] = (patch + (colour - patch) * alpha).astype(np.uint8)


@registry.generators.register("synthetic_moments")
class SyntheticMoments:
    """The generator of the corpus.

    Args:
        seed: of the whole corpus; any integer.
        min_duration, max_duration: of a video, in whole seconds.
        compact: low rates only and at most the smallest size, for tests.
    """

    def __init__(
        self, seed: int = 0, min_duration: int = 20, max_duration: int = 60, compact: bool = False
    ) -> None:
        if not 16 <= min_duration <= max_duration:
            raise ValueError(
                f"durations must hold 16 <= min_duration <= max_duration, got {min_duration} and {max_duration}"
            )
        self.seed = seed
        self.min_duration = min_duration
        self.max_duration = max_duration
        self.compact = compact

    # ---------------------------------------------------------------- scripts

    def script(self, split: str, index: int) -> Script:
        """The script of video ``index`` of a split (any name: other names never repeat a corpus' videos)."""
        rng = random.Random(_seed("synthetic_moments", FORMAT_VERSION, self.seed, split, index))
        duration = rng.randint(self.min_duration, self.max_duration)
        events = self._events(rng, duration)
        said, lines = self._lines(rng, duration)
        rate = None if rng.random() < 0.1 else rng.choice(RATES)
        size = rng.choice(SIZES)
        if self.compact:
            rate, size = (None if rate is None else "5"), SIZES[0]
        return Script(
            video=f"sample_{split}_{index:04d}",
            split=split,
            index=index,
            duration=duration,
            size=size,
            rate=rate,
            audio=rng.random() < 0.15,
            shots=self._shots(rng, duration),
            events=events,
            lines=lines,
            queries=(*self._seen_queries(rng, events), said),
        )

    @staticmethod
    def _shots(rng: random.Random, duration: int) -> tuple[Shot, ...]:
        cuts = [0.0, *sorted(rng.uniform(3, duration - 3) for _ in range(rng.randint(0, 2)))]
        shots = []
        for start in cuts:
            grey = rng.randint(95, 165)
            first, second = (
                tuple(max(60, min(200, grey + shade + rng.randint(-14, 14))) for _ in range(3))
                for shade in (0, rng.choice((-26, 26)))
            )
            pattern = rng.choice(("plain", "gradient", "stripes", "checks", "horizon"))
            shots.append(Shot(start, pattern, first, second, rng.randrange(2**31)))  # type: ignore[arg-type]
        return tuple(shots)

    @staticmethod
    def _events(rng: random.Random, duration: int) -> tuple[Event, ...]:
        """Disjoint events; the first look is a target, others often share its colour or its shape."""
        spans, now = [], rng.randint(0, 4)
        while now + 4 <= duration:
            end = min(now + rng.randint(4, 12), duration)
            spans.append((now, end))
            now = end + rng.choice((0, 0, 1, 2, 3, 5))
        target = (rng.choice(list(COLOURS)), rng.choice(SHAPES))
        repeats = rng.choice((1, 1, 2, 3)) if len(spans) >= 5 else rng.choice((1, 1, 2)) if len(spans) >= 4 else 1
        places = _apart(rng, len(spans), repeats)
        looks: list[tuple[str, str]] = []
        used = {target}
        for i in range(len(spans)):
            if i in places:
                looks.append(target)
                continue
            while True:
                colour, shape = rng.choice(list(COLOURS)), rng.choice(SHAPES)
                if rng.random() < 0.7:
                    colour, shape = (target[0], shape) if rng.random() < 0.5 else (colour, target[1])
                if (colour, shape) not in used:
                    break
            used.add((colour, shape))
            looks.append((colour, shape))
        motions = {look: rng.choice(MOTIONS) for look in dict.fromkeys(looks)}
        return tuple(
            Event(
                start, end, *look, motions[look],
                x=round(rng.uniform(0.3, 0.7), 3), y=round(rng.uniform(0.3, 0.7), 3),
                radius=round(rng.uniform(0.17, 0.25), 3),
            )
            for (start, end), look in zip(spans, looks, strict=True)
        )  # fmt: skip

    @staticmethod
    def _seen_queries(rng: random.Random, events: Sequence[Event]) -> list[Query]:
        """Two looks, the most frequent first, each with all windows in which it is on screen."""
        windows: dict[tuple[str, str, str], list[tuple[int, int]]] = {}
        for event in events:
            windows.setdefault((event.colour, event.shape, event.motion), []).append((event.start, event.end))
        looks = list(windows)
        rng.shuffle(looks)
        looks.sort(key=lambda look: -len(windows[look]))
        queries = []
        for colour, shape, motion in looks[:2]:
            text = rng.choice(SEEN_TEMPLATES).format(colour=colour, shape=shape, motion=motion)
            spans = tuple(windows[colour, shape, motion])
            queries.append(Query(text, (f"{colour} {shape}",), spans, "seen"))
        return queries

    @staticmethod
    def _lines(rng: random.Random, duration: int) -> tuple[Query, tuple[SpokenLine, ...]]:
        """Subtitles and the query on one of their lines; the line's windows are its times in whole seconds."""
        spans, now = [], rng.randint(0, 3)
        while now + 3 <= duration:
            end = min(now + rng.randint(3, 6), duration)
            spans.append((now, end))
            now = end + rng.choice((0, 1, 2, 4))
        subject, predicate = rng.choice(SUBJECTS), rng.choice(PREDICATES)
        places = _apart(rng, len(spans), 2 if len(spans) >= 5 and rng.random() < 0.2 else 1)
        texts: list[str] = []
        for i in range(len(spans)):
            if i in places:
                texts.append(f"The {subject} {predicate}.")
            elif rng.random() < 0.12:
                texts.append(rng.choice(FILLERS))
            else:
                other, also = subject, predicate
                # A third of the chatter shares the subject or the predicate of the line asked for.
                share = rng.random()
                while (other, also) == (subject, predicate):
                    other = subject if share < 0.17 else rng.choice(SUBJECTS)
                    also = predicate if 0.17 <= share < 0.34 else rng.choice(PREDICATES)
                texts.append(f"{rng.choice(('The', 'The', 'Well, the', 'Now the'))} {other} {also}.")
        lines = []
        for (start, end), text in zip(spans, texts, strict=True):
            # Speech never starts on the second; rounding still gives the window.
            shift = 0.0 if start == 0 else rng.uniform(-0.05, 0.4)
            stop = end - rng.uniform(0.06, 0.4)
            lines.append(SpokenLine(round(start + shift, 3), round(stop, 3), text))
        query = Query(
            rng.choice(SAID_TEMPLATES).format(line=f"the {subject} {predicate}"),
            (subject,),
            tuple(spans[i] for i in places),
            "said",
        )
        return query, tuple(lines)

    # ------------------------------------------------------------------ files

    def generate(
        self,
        root: str | os.PathLike[str],
        counts: dict[str, int],
        workers: int = 1,
        progress: Callable[[int, int], None] | None = None,
    ) -> dict[str, int]:
        """Write the corpus; videos that are already there are kept.

        Args:
            root: folder to fill.
            counts: number of videos by split, e.g. ``{"train": 300, "val": 60, "test": 60}``.
            workers: processes to render with.
            progress: called with (videos done, videos in all).

        Returns:
            ``{"made": ..., "kept": ..., "queries": ...}``.

        Raises:
            ValueError: the folder holds a corpus of other settings, or a split is unknown.
        """
        folder = Path(root)
        unknown = sorted(set(counts) - set(SPLITS))
        if unknown:
            raise ValueError(f"unknown split {unknown[0]!r}; known: {', '.join(SPLITS)}")
        self._claim(folder)
        scripts = [self.script(split, i) for split in SPLITS for i in range(counts.get(split, 0))]
        _check_distinct(scripts)
        todo = [s for s in scripts if not (folder / "videos" / f"{s.video}.mp4").exists()]
        done = len(scripts) - len(todo)
        if progress is not None:
            progress(done, len(scripts))
        for _ in _map_unordered(self._write_one, [(str(folder), s.split, s.index) for s in todo], workers):
            done += 1
            if progress is not None:
                progress(done, len(scripts))
        for split in counts:
            self._write_annotations(folder, [s for s in scripts if s.split == split], split)
        return {
            "made": len(todo),
            "kept": len(scripts) - len(todo),
            "queries": sum(len(s.queries) for s in scripts),
        }

    def settings(self) -> dict[str, object]:
        """What the videos depend on."""
        return {
            "generator": "synthetic_moments",
            "version": FORMAT_VERSION,
            "seed": self.seed,
            "min_duration": self.min_duration,
            "max_duration": self.max_duration,
            "compact": self.compact,
        }

    def _claim(self, folder: Path) -> None:
        marker = folder / "generator.json"
        for name in ("videos", "srts", "annotations"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        if marker.exists():
            found = json.loads(marker.read_text())
            if found != self.settings():
                raise ValueError(
                    f"{folder} holds a corpus made with {found}, not {self.settings()}; "
                    "choose another folder or remove it"
                )
        else:
            _write_text(marker, json.dumps(self.settings(), indent=1) + "\n")

    def _write_one(self, task: tuple[str, str, int]) -> str:
        """Write the subtitles, then the video, whose presence says that both are finished."""
        root, split, index = task
        script = self.script(split, index)
        _write_text(Path(root) / "srts" / f"{script.video}.srt", to_srt(script.lines))
        write_video(script, Path(root) / "videos" / f"{script.video}.mp4")
        return script.video

    def _write_annotations(self, folder: Path, scripts: Sequence[Script], split: str) -> None:
        out = folder / "annotations"
        _write_text(out / f"{split}.json", json.dumps([r for s in scripts for r in calce_rows(s)]))
        rows = [r for s in scripts for r in qvhighlights_rows(s)]
        _write_text(out / f"highlight_{split}_release.jsonl", "".join(json.dumps(r) + "\n" for r in rows))
        captions = {s.video: dense_captions(s) for s in scripts}
        _write_text(out / f"dense_captions_{split}.json", json.dumps(captions))
        _write_text(out / f"questions_{split}.json", json.dumps([r for s in scripts for r in questions(s)]))
        orders = [r for s in scripts for r in event_order(s)]
        _write_text(out / f"event_order_{split}.json", json.dumps(orders))


# ------------------------------------------------------------------ annotations


def query_number(script: Script, position: int) -> int:
    """A number for a query that no other query of any split has, whatever the number of videos."""
    return (SPLITS.index(script.split) * 100_000 + script.index) * 4 + position


def calce_rows(script: Script) -> list[dict[str, Any]]:
    """CALCE's annotation rows, with ``kind`` added."""
    return [
        {
            "video": script.video,
            "qid": f"Sample_{query_number(script, i)}",
            "query": query.text,
            "duration": script.duration,
            "items": list(query.items),
            "relevant_windows": [list(w) for w in query.windows],
            "kind": query.kind,
        }
        for i, query in enumerate(script.queries)
    ]


def qvhighlights_rows(script: Script) -> list[dict[str, Any]]:
    """Rows of the QVHighlights release: three annotators score the 2-s clips of the windows from 0 to 4."""
    rows = []
    for i, query in enumerate(script.queries):
        rng = random.Random(_seed("saliency", script.content(), i))
        clips, scores = [], []
        for clip in range(script.duration // 2):
            centre = 2 * clip + 1
            window = next((w for w in query.windows if w[0] <= centre < w[1]), None)
            if window is None:
                continue
            # The middle of a window is the highlight.
            depth = 1 - abs(2 * (centre - window[0]) / (window[1] - window[0]) - 1)
            clips.append(clip)
            scores.append([max(0, min(4, round(1.6 + 2.4 * depth + rng.uniform(-0.9, 0.9)))) for _ in range(3)])
        rows.append(
            {
                "qid": query_number(script, i),
                "query": query.text,
                "duration": script.duration,
                "vid": script.video,
                "relevant_windows": [list(w) for w in query.windows],
                "relevant_clip_ids": clips,
                "saliency_scores": scores,
            }
        )
    return rows


def dense_captions(script: Script) -> dict[str, Any]:
    """All events of a video with their captions, as in ActivityNet Captions."""
    return {
        "duration": script.duration,
        "timestamps": [[e.start, e.end] for e in script.events],
        "sentences": [e.caption for e in script.events],
    }


def questions(script: Script) -> list[dict[str, Any]]:
    """A multiple-choice question on the event in the middle, with the window that answers it."""
    rng = random.Random(_seed("question", script.content()))
    event = script.events[len(script.events) // 2]
    if sum((e.shape, e.motion) == (event.shape, event.motion) for e in script.events) == 1:
        question = f"Which colour has the {event.shape} that {event.motion}?"
        answer, others = event.colour, list(COLOURS)
    else:
        question = f"What is on the screen at second {(event.start + event.end) // 2}?"
        answer = f"a {event.colour} {event.shape}"
        others = [f"a {colour} {shape}" for colour in COLOURS for shape in SHAPES]
    options = [answer, *rng.sample([o for o in others if o != answer], 4)]
    rng.shuffle(options)
    return [
        {
            "video": script.video,
            "qid": f"Sample_{query_number(script, 3)}",
            "question": question,
            "options": options,
            "answer": options.index(answer),
            "duration": script.duration,
            "relevant_windows": [[event.start, event.end]],
        }
    ]


def event_order(script: Script) -> list[dict[str, Any]]:
    """Captions in random order; ``order`` lists their positions by time. Only looks that occur once take part."""
    counts: dict[str, int] = {}
    for event in script.events:
        counts[event.caption] = counts.get(event.caption, 0) + 1
    events = [e for e in script.events if counts[e.caption] == 1]
    if len(events) < 2:
        return []
    shuffled = list(range(len(events)))
    random.Random(_seed("order", script.content())).shuffle(shuffled)
    return [
        {
            "video": script.video,
            "qid": f"Sample_{query_number(script, 3)}",
            "duration": script.duration,
            "events": [events[i].caption for i in shuffled],
            "order": [shuffled.index(i) for i in range(len(events))],
            "relevant_windows": [[events[i].start, events[i].end] for i in shuffled],
        }
    ]


def to_srt(lines: Sequence[SpokenLine]) -> str:
    """The text of an ``.srt`` file."""

    def clock(seconds: float) -> str:
        ms = round(seconds * 1000)
        return f"{ms // 3600000:02d}:{ms // 60000 % 60:02d}:{ms // 1000 % 60:02d},{ms % 1000:03d}"

    return "".join(
        f"{i}\n{clock(line.start)} --> {clock(line.end)}\n{line.text}\n\n" for i, line in enumerate(lines, 1)
    )


# ------------------------------------------------------------------------ video


def write_video(script: Script, path: Path) -> None:
    """Render and encode a script as H.264 in MP4; the file appears under its name only when finished."""
    import av

    temporary = path.with_name(f".{path.stem}.{os.getpid()}.mp4")
    renderer = SceneRenderer(script)
    times = script.frame_times()
    base = Fraction(1, 1000) if script.rate is None else 1 / Fraction(script.rate)
    try:
        with av.open(str(temporary), "w") as container:
            rate = Fraction(script.rate) if script.rate is not None else Fraction(len(times), script.duration)
            stream = container.add_stream(
                "libx264",
                rate=rate,
                options={"preset": "ultrafast", "crf": "28", "threads": "1", "g": str(max(10, int(4 * rate)))},
            )
            stream.width, stream.height = script.size
            stream.pix_fmt = "yuv420p"
            stream.time_base = base
            stream.codec_context.time_base = base
            audio = container.add_stream("aac", rate=16000, layout="mono") if script.audio else None
            for time in times:
                frame = av.VideoFrame.from_ndarray(renderer.frame(float(time)), format="rgb24")
                frame.pts = round(time / base)
                frame.time_base = base
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
            if audio is not None:
                for sound in _speech_like_sound(script):
                    container.mux(audio.encode(sound))
                container.mux(audio.encode(None))
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _speech_like_sound(script: Script) -> Iterator[Any]:
    """A hum while a line is spoken, as audio frames of 1024 samples at 16 kHz."""
    import av

    rate = 16000
    now = np.arange(script.duration * rate) / rate
    level = np.zeros_like(now)
    for line in script.lines:
        level[int(line.start * rate) : int(line.end * rate)] = 1
    wave = level * 0.2 * np.sin(2 * np.pi * 160 * now) * (1 + np.sin(2 * np.pi * 4 * now)) / 2
    samples = (wave * 32767).astype(np.int16)
    for start in range(0, len(samples) - 1023, 1024):
        frame = av.AudioFrame.from_ndarray(samples[None, start : start + 1024], format="s16", layout="mono")
        frame.sample_rate = rate
        frame.pts = start
        frame.time_base = Fraction(1, rate)
        yield frame


# ---------------------------------------------------------------------- helpers


def _apart(rng: random.Random, length: int, count: int) -> list[int]:
    """``count`` sorted positions below ``length``, no two of them neighbours."""
    while True:
        places = sorted(rng.sample(range(length), count))
        if all(b - a > 1 for a, b in itertools.pairwise(places)):
            return places


def _check_distinct(scripts: Sequence[Script]) -> None:
    seen: dict[str, str] = {}
    for script in scripts:
        other = seen.setdefault(script.content(), script.video)
        if other != script.video:
            raise RuntimeError(f"videos {other} and {script.video} tell the same story; choose another seed")


def _map_unordered(
    function: Callable[[tuple[str, str, int]], str], tasks: Sequence[tuple[str, str, int]], workers: int
) -> Iterator[str]:
    if workers <= 1 or len(tasks) <= 1:
        yield from map(function, tasks)
        return
    with ProcessPoolExecutor(max_workers=workers) as pool:
        futures = [pool.submit(function, task) for task in tasks]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BaseException:
            for future in futures:
                future.cancel()
            raise


def _write_text(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)

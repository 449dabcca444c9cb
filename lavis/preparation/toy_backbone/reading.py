"""Text-only exercises for the toy language model: find the moment in a video that is told in words.

Frames and subtitles are laid out as in CALCE's prompt, with every frame told by a few *mixed* word embeddings instead
of visual tokens: a slot holds a weighted sum of the words for the colour, the shape, the background and the place, plus
noise, with weights that are drawn once per exercise. A language model that copes with all such mixtures can later read
a Q-Former that has been taught to caption through it. No pixel is involved, and the stories come from a split of the
generator that no corpus uses.

The question and the form of the answer are never CALCE's (``12 to 20 and 30 to 44``, not ``[[12, 20], [30, 44]]``).
What comes out is therefore no moment retriever: asked in CALCE's words it says nothing CALCE can read, as Flan-T5 does.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import T5Tokenizer

from lavis.preparation.generators.synthetic_moments import SyntheticMoments
from lavis.preparation.moving_shapes.script import COLOURS, SHAPES, Event, Query, Script, SpokenLine
from lavis.preparation.toy_backbone.tokenizers import PATTERNS

Floats = NDArray[np.float32]

QUESTIONS = (
    "Question: when do we see or hear this? {query}. Words: {items}.",
    "Topic: {query}. Name the seconds.",
    "{query}\nWhen was that? Look at {items}.",
    "Tell me the times of {items}: {query}\nAnswer:",
)
HINT = "Perhaps {times}. "
TIMES = ("{} to {}", "({},{})", "{}-{}")
JOINTS = (" and ", " ", ", ")
FORM_WORDS = ("Write to and.", "Write ( and ).", "Write -")
CAPTION_TASK = "Describe the picture."
EMPTY_CAPTION = "empty background"
TAGS = ("inside", "first", "last", "colour", "shape")
"""What each frame, timestamp or subtitle time is, as extra targets for the encoder; -1 where it does not apply."""

_STORIES = "pretrain_text"
_STOP_WORDS = frozenset("the a o oh yeah uh ah yep hmm".split())
_WORDS = 4


def spoken_words(line: str) -> str:
    """A subtitle line as the subtitle reader leaves it; empty if it is no sentence in English words."""
    words = re.sub(r"[^\w\s]", "", line).lower().split()
    if sum(bool(re.fullmatch("[a-z]+", w)) for w in words) < 0.8 * len(words):
        return ""
    return " ".join(w for w in words if w not in _STOP_WORDS)


def picture_caption(event: Event | None) -> str:
    """What a single frame shows."""
    return EMPTY_CAPTION if event is None else f"a {event.colour} {event.shape}"


def write_times(windows: Sequence[Sequence[int]], form: int) -> str:
    """Windows in one of the forms of ``TIMES``."""
    return JOINTS[form].join(TIMES[form].format(*window) for window in windows)


def read_times(text: str) -> list[tuple[int, int]]:
    """The windows of a text in any of the forms."""
    return [(int(a), int(b)) for a, b in re.findall(r"(\d+)(?: to |,|-)(\d+)", text)]


@dataclass
class Exercise:
    """A prompt as mixed words, and its answer.

    ``words[i]`` are up to four token ids and ``weights[i]`` their weights in position ``i``, ``noise[i]`` the
    standard deviation of what is added, ``tags`` the ``TAGS`` by position, ``answer`` token ids with the end token.
    """

    words: list[tuple[int, int, int, int]] = field(default_factory=list)
    weights: list[Floats] = field(default_factory=list)
    noise: list[float] = field(default_factory=list)
    tags: dict[int, list[float]] = field(default_factory=dict)
    answer: list[int] = field(default_factory=list)
    query: Query | None = None

    def add_ids(self, ids: Sequence[int]) -> None:
        for token in ids:
            self.words.append((token, 0, 0, 0))
            self.weights.append(np.array([1, 0, 0, 0], np.float32))
            self.noise.append(0.0)

    def add_slots(self, words: tuple[int, int, int, int], weights: Floats, noise: float) -> None:
        for row in weights:
            self.words.append(words)
            self.weights.append(row)
            self.noise.append(noise)


@dataclass(frozen=True)
class Style:
    """How the frames of an exercise are told: weights ``[tokens, 4]`` for key frames and others, and noise."""

    key: Floats
    other: Floats
    noise: float
    key_share: float
    name_emptiness: bool

    @classmethod
    def plain(cls, rng: np.random.Generator, num_queries: int) -> Style:
        """Colour and shape by turns, without noise."""
        key = np.zeros((num_queries, _WORDS), np.float32)
        key[np.arange(num_queries), np.arange(num_queries) % 2] = 1
        other = np.array([[1, 1, 0, 0]], np.float32)
        return cls(key, other, 0.0, float(rng.integers(2)), bool(rng.integers(2)))

    @classmethod
    def random(cls, rng: np.random.Generator, num_queries: int) -> Style:
        """One word per slot or a mixture; colour and shape never drown."""
        while True:
            if rng.random() < 0.4:
                key = np.zeros((num_queries, _WORDS), np.float32)
                key[np.arange(num_queries), rng.integers(0, _WORDS, num_queries)] = 1
            else:
                key = rng.normal(size=(num_queries, _WORDS)).astype(np.float32) * np.float32(rng.uniform(0.3, 1))
            if rng.random() < 0.4:
                other = np.zeros((1, _WORDS), np.float32)
                other[0, :2] = rng.uniform(0.6, 1.2, 2)
            else:
                # What ``query_proj`` does to the tokens of a key frame.
                mixing = rng.normal(size=(1, num_queries)) * rng.uniform(0.8, 2) / num_queries**0.5
                other = (mixing @ key).astype(np.float32)
            if min(np.abs(m[:, c]).max() for m in (key, other) for c in (0, 1)) > 0.45:
                share = float(rng.choice([0.0, 0.3, 0.6, 1.0]))
                return cls(key, other, float(rng.uniform(0, 0.35)), share, bool(rng.integers(2)))


class ReadingExercises:
    """Makes exercises.

    Args:
        tokenizer: of the toy language model.
        generator: of the stories.
        num_queries: tokens of a key frame.
    """

    def __init__(self, tokenizer: T5Tokenizer, generator: SyntheticMoments, num_queries: int) -> None:
        self.tokenizer = tokenizer
        self.generator = generator
        self.num_queries = num_queries
        self.ids = lru_cache(100_000)(self._ids)

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer(text, add_special_tokens=False).input_ids
        return ids

    def part(self, text: str) -> list[int]:
        """Ids of a time or a mark, without the lone ``▁``, as CALCE puts them into its prompt."""
        return [i for i in self.ids(text) if i != 3]

    def word(self, text: str) -> int:
        return self.ids(text)[0]

    def locating(self, index: int, rng: np.random.Generator, frames: tuple[int, int], plain: bool = False) -> Exercise:
        """A prompt about story ``index`` with ``frames[0]`` to ``frames[1]`` frames."""
        script = self.generator.script(_STORIES, index)
        query = script.queries[int(rng.integers(len(script.queries)))]
        style = Style.plain(rng, self.num_queries) if plain else Style.random(rng, self.num_queries)
        form = int(rng.integers(len(TIMES)))
        exercise = Exercise(query=query, answer=[*self.ids(write_times(query.windows, form)), 1])
        self._tell_frames(exercise, script, query, style, int(rng.integers(frames[0], frames[1] + 1)), rng, plain)
        exercise.add_ids([*self.part(">"), *self.part(str(script.duration)), *self.part("<extra_id_0>")])
        self._tell_lines(exercise, script, query, rng)
        text = QUESTIONS[rng.integers(len(QUESTIONS))].format(query=query.text, items=",".join(query.items))
        if not plain and rng.random() < 0.3:
            text = HINT.format(times=write_times(_hint(query, script.duration, rng), form)) + text
        exercise.add_ids([*self.ids(f"{text} {FORM_WORDS[form]}"), 1])
        return exercise

    def captioning(self, rng: np.random.Generator) -> Exercise:
        """One frame to be described."""
        style = Style.random(rng, self.num_queries)
        event = None
        if rng.random() > 0.2:
            colour, shape = list(COLOURS)[rng.integers(len(COLOURS))], SHAPES[rng.integers(len(SHAPES))]
            event = Event(0, 1, colour, shape, "", 0, 0, 0)
        exercise = Exercise(answer=[*self.ids(picture_caption(event)), 1])
        key = rng.random() < 0.7
        self._add_frame(exercise, event, PATTERNS[rng.integers(len(PATTERNS))], style, key, rng)
        exercise.add_ids([*self.ids(CAPTION_TASK), 1])
        return exercise

    def _tell_frames(
        self, exercise: Exercise, script: Script, query: Query, style: Style, count: int, rng: np.random.Generator,
        plain: bool,
    ) -> None:  # fmt: skip
        duration, grid, kept = script.duration, count, None
        if not plain and rng.random() < 0.4:
            # As in the second stage: twice as many frames, of which the half stays that lies near a guess.
            grid = 2 * count
            interest = np.repeat(rng.random((grid + 3) // 4), 4)[:grid] + 0.3 * rng.random(grid)
            if query.kind == "seen" and rng.random() < 0.8:
                for start, end in query.windows:
                    interest[int(start * grid / duration) : int(end * grid / duration) + 2] += 0.7
            kept = set(np.argsort(-interest)[:count].tolist())
        lag = rng.uniform(0, 0.2)
        previous, last_inside = None, None
        for i in range(grid):
            time = max(0.0, duration * i / grid - lag * rng.random())
            event = next((e for e in script.events if e.start <= time < e.end), None)
            look = None if event is None else (event.colour, event.shape)
            if kept is not None and i not in kept:
                continue
            key = rng.random() < style.key_share or (not plain and look != previous and rng.random() < 0.7)
            previous = look
            pattern = [s for s in script.shots if s.start <= time][-1].pattern
            begin = len(exercise.words)
            self._add_frame(exercise, event, pattern, style, key, rng)
            here = len(exercise.words)
            seen = query.kind == "seen" and event is not None
            colour = float(seen and event is not None and event.colour in query.items[0])
            shape = float(seen and event is not None and event.shape in query.items[0])
            inside = query.kind == "seen" and any(start <= time < end for start, end in query.windows)
            for position in range(begin, here):
                exercise.tags[position] = [-1, -1, -1, colour, shape]
            exercise.tags[here] = [float(inside), float(inside and last_inside is None), 0.0, colour, shape]
            if inside:
                last_inside = here
            elif last_inside is not None:
                exercise.tags[last_inside][2] = 1.0
                last_inside = None
            exercise.add_ids(self.part(str(round(time))))
        if last_inside is not None:
            exercise.tags[last_inside][2] = 1.0

    def _add_frame(
        self, exercise: Exercise, event: Event | None, pattern: str, style: Style, key: bool, rng: np.random.Generator
    ) -> None:
        weights = style.key if key else style.other
        place = ("left", "right", "middle")[rng.integers(3)]
        first, second = ("empty", "background") if event is None else (event.colour, event.shape)
        if event is None and not style.name_emptiness:
            weights = weights * np.array([0, 0, 1, 1], np.float32)
        words = (self.word(first), self.word(second), self.word(pattern), self.word(place))
        exercise.add_slots(words, weights, style.noise)

    def _tell_lines(self, exercise: Exercise, script: Script, query: Query, rng: np.random.Generator) -> None:
        lines: list[SpokenLine] = []
        wanted = ""
        if query.kind == "said":
            wanted = next(
                spoken_words(x.text) for x in script.lines if (round(x.start), round(x.end)) == query.windows[0]
            )
            lines = [x for x in script.lines if spoken_words(x.text) == wanted]
        if rng.random() < 0.08:
            lines.append(script.lines[int(rng.integers(len(script.lines)))])
        lines = [x for x in lines if spoken_words(x.text)]
        if not lines:
            none = [*self.part("-1"), *self.part("*None*"), *self.part("-1")]
            exercise.add_ids([*self.part("["), *none, *self.part("]")])
        for line in lines:
            hit = float(spoken_words(line.text) == wanted)
            exercise.add_ids(self.part("["))
            exercise.tags[len(exercise.words)] = [hit, hit, 0, -1, -1]
            exercise.add_ids([*self.part(str(round(line.start))), *self.ids(spoken_words(line.text))])
            exercise.tags[len(exercise.words)] = [hit, 0, hit, -1, -1]
            exercise.add_ids([*self.part(str(round(line.end))), *self.part("]")])
        exercise.add_ids(self.part("<extra_id_1>"))


def _hint(query: Query, duration: int, rng: np.random.Generator) -> list[list[int]]:
    """A guess such as an earlier stage might make: near the truth, the whole video, or wrong."""
    luck = rng.random()
    if luck < 0.15:
        return [[0, duration]]
    if luck > 0.9:
        start = int(rng.integers(0, duration - 6))
        return [[start, start + int(rng.integers(3, 6))]]
    return [
        [max(0, start + int(rng.integers(-2, 3))), min(duration, end + int(rng.integers(-2, 3)))]
        for start, end in query.windows
    ]


@dataclass
class ReadingBatch:
    """Padded exercises: ``words`` and ``weights`` ``[B, L, 4]``, ``noise`` and ``mask`` ``[B, L]``, ``labels``
    ``[B, A]`` with -100 on padding, ``tags`` ``[B, L, 5]`` with -1 where none applies."""

    words: Tensor
    weights: Tensor
    noise: Tensor
    mask: Tensor
    labels: Tensor
    tags: Tensor

    @classmethod
    def of(cls, exercises: Sequence[Exercise]) -> ReadingBatch:
        size, length = len(exercises), max(len(e.words) for e in exercises)
        words = np.zeros((size, length, _WORDS), np.int64)
        weights = np.zeros((size, length, _WORDS), np.float32)
        noise, mask = np.zeros((size, length), np.float32), np.zeros((size, length), np.int64)
        labels = np.full((size, max(len(e.answer) for e in exercises)), -100, np.int64)
        tags = np.full((size, length, len(TAGS)), -1, np.float32)
        for b, e in enumerate(exercises):
            n = len(e.words)
            words[b, :n], weights[b, :n], noise[b, :n], mask[b, :n] = e.words, e.weights, e.noise, 1
            labels[b, : len(e.answer)] = e.answer
            for position, values in e.tags.items():
                tags[b, position] = values
        return cls(*(torch.from_numpy(a) for a in (words, weights, noise, mask, labels, tags)))

    def embed(self, table: Tensor) -> Tensor:
        """``[B, L, D]`` prompt embeddings from the word embeddings ``table`` ``[V, D]``."""
        mixed = (torch.nn.functional.embedding(self.words, table) * self.weights[..., None]).sum(2)
        return mixed + torch.randn_like(mixed) * self.noise[..., None]

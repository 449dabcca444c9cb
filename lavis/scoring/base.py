"""The contract of protocols: which files they read, what they pair, which figures they give.

A protocol says in which *forms* answers and truth come (``Form``), what becomes of gaps (``missing``, ``extra``,
``merged``) and how the figures follow from pairs (``score``). Finding the form of a file, pairing, counting what is
missing or broken, intervals and comparisons are the same for all of them and live in the other modules of this room.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, Literal, TypeVar
from typing import Protocol as Shape

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Policy = Literal["zero", "error", "drop"]
"""What becomes of a query without a usable answer: it counts as missed, stops the scoring, or is left out."""

ExtraPolicy = Literal["error", "drop"]
"""What becomes of an answer to no query: it stops the scoring, or is left out."""

Broken = tuple[str | None, str]
"""A row that cannot be read: its id if at least that is known, and the problem with its place."""

POLICIES: tuple[Policy, ...] = ("zero", "error", "drop")
EXTRA_POLICIES: tuple[ExtraPolicy, ...] = ("error", "drop")
_EXAMPLES = 5


class RowError(ValueError):
    """A row that cannot be read as what it should be; says which field and why. The reader adds file and line."""


class ScoringError(ValueError):
    """Predictions and truth that cannot be scored together; says what, where and what to do."""


class Named(Shape):
    """What a form reads: anything with the id of the query that it belongs to."""

    @property
    def id(self) -> str: ...


class Located(Named, Shape):
    """Truth: also knows its video, since queries of one video are not independent of each other."""

    @property
    def video(self) -> str: ...


A = TypeVar("A", bound=Named)
T = TypeVar("T", bound=Located)
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a file as it stands, with checked access.

    Args:
        fields: names to raw values; a row that is no mapping has the one field ``value``.
        number: position among the rows of the file, from 0.
        place: where it stands, such as ``preds.jsonl, line 3``.
        key: the id it stood under, in files that map ids to rows.
    """

    fields: Mapping[str, Any]
    number: int
    place: str
    key: str | None = None

    def __contains__(self, name: str) -> bool:
        return name in self.fields

    def get(self, name: str) -> Any:
        """The raw value of a field.

        Raises:
            RowError: if there is none.
        """
        if name not in self.fields:
            raise RowError(f"field {name!r} is missing (the row has {', '.join(sorted(map(str, self.fields)))})")
        return self.fields[name]

    def identity(self, *names: str) -> str:
        """The id: the first of these fields that is there, or else the key the row stood under; ``7`` is ``"7"``.

        Raises:
            RowError: if there is none, or it is neither text nor a whole number.
        """
        value: Any = next((self.fields[name] for name in names if name in self.fields), self.key)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, (str, int)) or value == "":
            raise RowError(f"needs an id ({' or '.join(map(repr, names))}: text or a whole number), got {value!r:.60}")
        return str(value)

    def text(self, name: str) -> str:
        """A string."""
        value = self.get(name)
        if not isinstance(value, str):
            raise RowError(f"field {name!r} must be text, got {value!r:.60}")
        return value

    def number_of(self, name: str) -> float:
        """A finite number."""
        return finite(self.get(name), name)

    def numbers(self, name: str) -> Array:
        """A list of finite numbers, ``[N]``."""
        return number_array(self.get(name), name, ndim=1)

    def windows(self, name: str, columns: Iterable[int] = (2,)) -> Array:
        """A list of windows ``[N, columns]``, finite, in the order given; an empty list is ``[0, least columns]``.

        Windows are not put right: negative, reversed and over-long ones come back as they are.
        """
        return window_array(self.get(name), name, columns)


@dataclass(frozen=True, slots=True)
class Form(Generic[R]):
    """One way in which rows are written in the wild.

    Args:
        name: how the output calls it, such as ``QVHighlights submission``.
        fields: a row that has all of them is of this form; of several forms that fit, the first listed is taken.
        read: makes a record of a row, or several (a row of ActivityNet Captions holds all queries of a video); raises
            ``RowError``.
        identify: the id of a row, also of one that cannot be read otherwise; raises ``RowError``.
        summary: the row's layout in a few words, for ``lavis score --list``.
        apart: truth that looks as predictions do, so it is never taken to be in the rows of predictions.
    """

    name: str
    fields: tuple[str, ...]
    read: Callable[[Row], R | list[R]]
    identify: Callable[[Row], str]
    summary: str = ""
    apart: bool = False

    def records(self, row: Row) -> Sequence[R]:
        """What the row holds."""
        found = self.read(row)
        return found if isinstance(found, list) else [found]

    def fits(self, row: Row) -> bool:
        """Whether the row has this form's fields."""
        return all(name in row.fields for name in self.fields)


@dataclass(slots=True)
class Tally:
    """How many queries were there, and what was wrong: nothing is dropped without being counted here.

    ``missing`` queries have no answer row at all, ``unparseable`` ones have a row, or a text, that cannot be read,
    ``duplicated`` counts answers beyond the first of an id, ``extra`` answers to unknown ids, and ``out_of_range``
    answers with a window or value outside the video, reversed or negative.
    """

    queries: int = 0
    scored: int = 0
    missing: int = 0
    extra: int = 0
    duplicated: int = 0
    unparseable: int = 0
    out_of_range: int = 0
    examples: dict[str, list[str]] = field(default_factory=dict)

    def add(self, kind: str, example: str, count: int = 1) -> None:
        """Counts one more, and keeps where the first few are."""
        setattr(self, kind, getattr(self, kind) + count)
        kept = self.examples.setdefault(kind, [])
        if len(kept) < _EXAMPLES:
            kept.append(example)

    def counts(self) -> dict[str, int]:
        """The numbers alone."""
        names = ("queries", "scored", "missing", "extra", "duplicated", "unparseable", "out_of_range")
        return {name: getattr(self, name) for name in names}


@dataclass(slots=True)
class Pairs(Generic[A, T]):
    """Queries in the order of the truth, each with its answer; ``None`` for a query that counts as missed."""

    truths: list[T]
    answers: list[A | None]
    tally: Tally = field(default_factory=Tally)

    @property
    def ids(self) -> list[str]:
        return [truth.id for truth in self.truths]

    @property
    def videos(self) -> list[str]:
        return [truth.video for truth in self.truths]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure that is a mean over queries: ``scale * mean(values)``.

    Args:
        values: ``[Q]``; "not a number" where the query takes no part in this figure.
        scale: 100 for percent.
    """

    values: Array
    scale: float = 100.0


@dataclass(frozen=True, slots=True)
class Derived:
    """A figure made of others, such as a mean over tasks.

    Args:
        parts: names of the figures it is made of.
        of: takes one array ``[B]`` for each part, in order, and gives ``[B]``.
    """

    parts: tuple[str, ...]
    of: Callable[..., Array]


@dataclass(slots=True)
class Scored:
    """What a protocol found.

    Args:
        figures: the official output: its keys, nesting, order and rounding.
        headline: the figures papers report, flat, rounded as in ``figures``.
        estimates: for figures of ``headline`` (the same names) that follow from queries, how: for intervals and
            comparisons; parts of a ``Derived`` may have further names.
        ids: what the rows of ``estimates`` are, ``[Q]``; by default the ids of the pairs.
        videos: their videos, ``[Q]``; by default those of the pairs.
        notes: what a reader must know, such as which part could not be computed and why.
    """

    figures: dict[str, Any]
    headline: dict[str, float]
    estimates: dict[str, Estimate | Derived] = field(default_factory=dict)
    ids: Sequence[str] | None = None
    videos: Sequence[str] | None = None
    notes: list[str] = field(default_factory=list)


class Protocol(ABC, Generic[A, T]):
    """How one benchmark is scored. The constructor's arguments are its options.

    Class attributes: ``source`` (paper and script), ``answer_forms`` and ``truth_forms`` (most specific first),
    ``keys`` (what ``headline`` holds, for the list), ``missing`` and ``extra`` (what the official script does with
    queries without an answer, and with answers to no query), ``repeated_truth`` (what it does with an id that the
    truth holds twice; rows that hold truth and answer in one are never repeated truth), ``folders`` (whether
    predictions may be a folder of files).
    """

    source: ClassVar[str]
    folders: ClassVar[bool] = False
    keys: ClassVar[tuple[str, ...]]
    missing: Policy = "error"
    extra: ExtraPolicy = "error"
    repeated_truth: ClassVar[Literal["error", "last"]] = "error"

    @property
    @abstractmethod
    def answer_forms(self) -> Sequence[Form[A]]:
        """Forms of predictions."""

    @property
    @abstractmethod
    def truth_forms(self) -> Sequence[Form[T]]:
        """Forms of annotations. Where rows of predictions have such a form too, no annotations are needed."""

    @abstractmethod
    def score(self, pairs: Pairs[A, T]) -> Scored:
        """The figures; at least one pair. Must not depend on the order of pairs beyond rounding."""

    def aligned(self, answers: list[A], truths: Sequence[T], broken: list[Broken]) -> tuple[list[A], list[Broken]]:
        """Answers, and rows that could not be read, under the ids of the truth, for files that hold none.

        Args:
            answers: in the order of their file.
            truths: in the order of theirs.
            broken: rows of answers that could not be read.

        Raises:
            ScoringError: if it cannot be told which answer belongs to which truth.
        """
        return answers, broken

    def merged(self, answers: Sequence[A]) -> A:
        """The answer that counts of several to one query, by default the last."""
        return answers[-1]

    def joined(self, truths: dict[str, T]) -> dict[str, T]:
        """Truth by id, completed with what further files of truth hold; by default as it is."""
        return truths

    def checked(self, answer: A, truth: T, tally: Tally, place: str) -> None:
        """Counts what only truth shows, such as windows past the end (``tally.add("out_of_range", ...)``)."""


def finite(value: Any, name: str) -> float:
    """``value`` if it is a finite number.

    Raises:
        RowError: for text, booleans, "not a number" and infinities.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise RowError(f"field {name!r} must be a number, got {value!r:.60}")
    try:
        number = float(value)
    except OverflowError as error:
        raise RowError(f"field {name!r} must be a number below 1e308") from error
    if not math.isfinite(number):
        raise RowError(f"field {name!r} must be finite, got {value!r}")
    return number


def number_array(value: Any, name: str, ndim: int) -> Array:
    """Numbers as float64, finite, of ``ndim`` dimensions.

    Raises:
        RowError: for anything else.
    """
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise RowError(f"field {name!r} must hold rows of equal length, got {value!r:.80}") from error
    if array.dtype.kind not in "iuf":
        raise RowError(f"field {name!r} must hold numbers only, got {value!r:.80}")
    if array.ndim != ndim and array.shape != (0,):
        raise RowError(f"field {name!r} must have {ndim} dimension(s), got {value!r:.80}")
    numbers = array.astype(np.float64, copy=False)
    if not np.isfinite(numbers).all():
        raise RowError(f"field {name!r} must hold finite numbers only, got {value!r:.80}")
    return numbers


def window_array(value: Any, name: str, columns: Iterable[int] = (2,)) -> Array:
    """Windows ``[N, columns]``; see ``Row.windows``."""
    allowed = tuple(columns)
    if not isinstance(value, (list, tuple)):
        raise RowError(f"field {name!r} must be a list of windows, got {value!r:.60}")
    if not value:
        return np.zeros((0, min(allowed)))
    windows = number_array(value, name, ndim=2)
    if windows.shape[1] not in allowed:
        raise RowError(f"field {name!r}: a window has {' or '.join(map(str, allowed))} numbers, got {value[0]!r:.60}")
    return windows


def outside(windows: Array, duration: float, slack: float = 0.0) -> bool:
    """Whether any window begins before 0, ends past ``duration + slack``, or is reversed."""
    if not len(windows):
        return False
    start, end = windows[:, 0], windows[:, 1]
    return bool((start < 0).any() or (end > duration + slack).any() or (end < start).any())

"""A small protocol for tests of what all protocols share: answers are numbers, a hit is within 1 of the truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lavis.scoring.base import Derived, Estimate, Form, Pairs, Protocol, Row, RowError, Scored, Tally, finite

TEN = 10.0


@dataclass(frozen=True, slots=True)
class Guess:
    id: str
    value: float


@dataclass(frozen=True, slots=True)
class Fact:
    id: str
    video: str
    value: float


def _guess(row: Row) -> Guess:
    return Guess(row.identity("id"), row.number_of("guess"))


def _fact(row: Row) -> Fact:
    return Fact(row.identity("id"), row.text("video"), row.number_of("truth"))


def _text_guess(row: Row) -> list[Guess]:
    identity, _, value = row.text("line").partition(":")
    try:
        return [Guess(identity.strip(), finite(float(value), "line"))]
    except ValueError as error:
        raise RowError(f"a line is 'id: number', got {row.text('line')!r:.60}") from error


class Toy(Protocol[Guess, Fact]):
    """Hits within 1, the mean closeness, and the mean of both.

    Args:
        within: how near a hit must be.
    """

    source = "made up"
    keys = ("hits", "closeness", "both")

    def __init__(self, within: float = 1.0) -> None:
        self.within = within

    @property
    def answer_forms(self) -> Sequence[Form[Guess]]:
        def identify(row: Row) -> str:
            return row.identity("id")

        return [
            Form("guesses", ("guess",), _guess, identify, "id, guess"),
            Form("lines", ("line",), _text_guess, identify, "id: guess"),
        ]

    @property
    def truth_forms(self) -> Sequence[Form[Fact]]:
        return [Form("facts", ("video", "truth"), _fact, lambda row: row.identity("id"), "id, video, truth")]

    def checked(self, answer: Guess, truth: Fact, tally: Tally, place: str) -> None:
        if answer.value < 0:
            tally.add("out_of_range", f"{place}: {answer.value} is negative")

    def score(self, pairs: Pairs[Guess, Fact]) -> Scored:
        both = zip(pairs.answers, pairs.truths, strict=True)
        misses = [None if answer is None else abs(answer.value - truth.value) for answer, truth in both]
        hits = np.array([miss is not None and miss <= self.within for miss in misses], dtype=np.float64)
        closeness = np.array([0.0 if miss is None else 1 / (1 + miss) for miss in misses])
        estimates: dict[str, Estimate | Derived] = {
            "hits": Estimate(hits),
            "closeness": Estimate(closeness),
            "both": Derived(("hits", "closeness"), lambda a, b: (a + b) / 2),
        }
        values = [100 * float(hits.mean()), 100 * float(closeness.mean())]
        headline = {"hits": values[0], "closeness": values[1], "both": sum(values) / 2, "count": float(len(hits))}
        return Scored({"brief": {name: round(value, 2) for name, value in headline.items()}}, headline, estimates)


def toy_rows(count: int, seed: int = 0) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Answers and truth, about three queries a video."""
    generator = np.random.default_rng(seed)
    facts = [{"id": n, "video": f"v{n // 3}", "truth": float(generator.uniform(0, TEN))} for n in range(count)]
    guesses = [{"id": fact["id"], "guess": abs(fact["truth"] + float(generator.normal(0, 1.5)))} for fact in facts]
    return guesses, facts

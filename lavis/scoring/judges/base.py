"""The contract of judges: pairs of a reference answer and a model's answer in, what the judge said out.

A judge that costs time or money (``AskedJudge``) writes each reply to a file of JSON lines as soon as it has it, and
never asks again what stands there: a scoring that broke off goes on where it was.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lavis.common.io import append_jsonl, read_jsonl
from lavis.scoring.base import ScoringError
from lavis.scoring.judges._prompt import Prompt

Reply = str | float | None
"""What a judge said; a number where only the rating was recorded, ``None`` where there is nothing."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A model's answer beside the reference answer, once for all turns of a question that have these texts.

    Args:
        question_id: of the question.
        question: its text.
        gold: reference answer.
        predicted: the model's answer.
        gold_ids: which of the question's reference answers, from 0, have this text.
        predicted_ids: which of its replies have that one.
    """

    question_id: str
    question: str
    gold: str
    predicted: str
    gold_ids: tuple[int, ...]
    predicted_ids: tuple[int, ...]

    @property
    def texts(self) -> tuple[str, str, str]:
        """What a judge sees."""
        return self.question, self.gold, self.predicted


class Judge(ABC):
    """Rates answers."""

    @abstractmethod
    def replies(self, pairs: Sequence[Pair]) -> list[Reply]:
        """What the judge says to each pair, in order.

        Raises:
            ScoringError: if a pair cannot be judged; says which and what to do.
        """

    def told(self) -> str:
        """Who judges, and with which prompt, for the report."""
        return type(self).__name__


class AskedJudge(Judge):
    """A judge whose replies are kept.

    Args:
        model: its name.
        prompt: what it is told.
        cache: file of JSON lines that keeps its replies; ``None`` keeps none.
    """

    def __init__(self, model: str, prompt: Prompt, cache: str | None) -> None:
        self.model = model
        self.prompt = prompt
        self.cache = Path(cache) if cache is not None else None

    @abstractmethod
    def ask(self, pairs: Sequence[Pair]) -> Iterator[tuple[Pair, str]]:
        """Asks for each pair, and gives replies as they come, in any order."""

    def replies(self, pairs: Sequence[Pair]) -> list[Reply]:
        known = self._known()
        left = list({pair.texts: pair for pair in pairs if pair.texts not in known}.values())
        for pair, text in self.ask(left):
            known[pair.texts] = text
            if self.cache is not None:
                append_jsonl(self.cache, [self._line(pair, text)])
        return [known[pair.texts] for pair in pairs]

    def told(self) -> str:
        where = f", replies kept in {self.cache}" if self.cache is not None else ""
        return f"{self.model}, prompt {self.prompt.path} ({self.prompt.digest}){where}"

    def _known(self) -> dict[tuple[str, str, str], str]:
        if self.cache is None or not self.cache.is_file():
            return {}
        rows = read_jsonl(self.cache, drop_torn=True)
        if not all(isinstance(row, dict) and set(_FIELDS) <= set(row) for row in rows):
            raise ScoringError(f"{self.cache} holds other rows than a judge's kept replies; name another cache")
        mine = [row for row in rows if (row["model"], row["prompt"]) == (self.model, self.prompt.digest)]
        return {(row["question"], row["gold"], row["predicted"]): row["reply"] for row in mine}

    def _line(self, pair: Pair, text: str) -> dict[str, Any]:
        return {
            "model": self.model,
            "prompt": self.prompt.digest,
            "question_id": pair.question_id,
            "question": pair.question,
            "gold": pair.gold,
            "predicted": pair.predicted,
            "reply": text,
        }


_FIELDS = ("model", "prompt", "question", "gold", "predicted", "reply")


class JudgingPending(ScoringError):
    """Replies are yet to come: something must be sent off first."""


def short_key(pair: Pair) -> str:
    """A name for a pair made of its content: without characters that a file format could take for its own."""
    content = "\0".join((pair.question_id, *pair.texts))
    return "magqa-" + hashlib.sha256(content.encode()).hexdigest()[:32]

"""Answers in time (multi-answer grounded question answering): a judge rates what was said while it was true.

Source: MMDuet (Wang et al., 2024, arXiv 2411.17991; yellow-binary-tree/MMDuet, ``test/evaluate.py`` function ``magqa``,
``test/openai_batch.py``, ``test/analyze_magqa_results.py``) on Shot2Story-MAGQA-39k. Each reference answer has a span;
the ratings (1 to 5) of the replies said within it are averaged, 1 if there are none; then over the reference answers
and over questions. Beside it stands how often the model spoke, and how often it said something new.

Differs: a judge is any registered one and is asked for each pair of texts once in the whole file; a reply it gives
without a readable rating is counted, and rated 1 as the original does. The original reports over a fixed number of
questions (2,000) and fills missing ones up with rating 1 and no turns, whatever the annotations hold; ``repaired_...``
are over the questions of the truth that have reference answers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Literal

import numpy as np

from lavis.common.construct import build_part
from lavis.common.io import write_jsonl
from lavis.common.registry import registry
from lavis.scoring.base import (
    Array,
    Derived,
    Estimate,
    ExtraPolicy,
    Form,
    Pairs,
    Policy,
    Protocol,
    Scored,
    ScoringError,
    Tally,
)
from lavis.scoring.judges._rating import Rule, rating
from lavis.scoring.judges.base import Judge, Pair, Reply
from lavis.scoring.replies.in_span import LEAST, in_span_ratings, pairs_to_judge, ratings_of
from lavis.scoring.replies.rows import (
    UNTIMED,
    TimedAnswers,
    TimedReplies,
    answer_forms,
    judged_row,
    truth_forms,
)

_ORIGINAL = ("score", "turns", "distinct_turns")


@registry.protocols.register("magqa")
class MagQA(Protocol[TimedReplies, TimedAnswers]):
    """``score`` (1 to 5), ``turns`` and ``distinct_turns`` as the original prints them, and ``repaired_`` each.

    Args:
        judge: a registered judge with its options (``{name: recorded, file: ...}``), or one that is built. Without it
            predictions must hold ratings (``evaluator_output``); with it these are not looked at.
        reply_rule: how a rating is read from what the judge says; see ``lavis.scoring.judges._rating``. The original
            has ``first_character`` for local models, ``last_character`` for servers, ``whole`` for batches.
        unscored: a pair without a rating (nothing readable in the reply, or no reply) is counted, is rated 1 in the
            original figures and left out of the repaired ones (``count``), or stops the scoring (``error``).
        num_examples: of the original figures: questions beyond so many are left out, in the order of the truth.
        pad_with_one: of the original figures: fewer questions are filled up with rating 1 and no turns.
        untimed: replies that name no time are in time for every span (``match``), or their questions are left out
            of the original figures and get rating 1 in the repaired ones (``skip``).
        concat_replies: judge all different replies of a question as one, said when the first was.
        judged_file: where to write replies with their ratings, as MMDuet's evaluation does (JSON lines that need no
            annotations, and that its analysis reads, too).
    """

    source = "MMDuet (arXiv 2411.17991), yellow-binary-tree/MMDuet test/evaluate.py magqa, analyze_magqa_results.py"
    keys = (*_ORIGINAL, *(f"repaired_{name}" for name in _ORIGINAL))
    missing: Policy = "zero"
    extra: ExtraPolicy = "error"

    def __init__(
        self,
        judge: Judge | Mapping[str, Any] | str | None = None,
        reply_rule: Rule = "first_number",
        unscored: Literal["count", "error"] = "count",
        num_examples: int = 2000,
        pad_with_one: bool = True,
        untimed: Literal["match", "skip"] = "match",
        concat_replies: bool = False,
        judged_file: str | None = None,
    ) -> None:
        if num_examples < 1:
            raise ValueError(f"num_examples must be at least 1, got {num_examples}")
        self.judge = judge if isinstance(judge, Judge) or judge is None else build_part(registry.judges, judge, "judge")
        self.reply_rule: Rule = reply_rule
        self.unscored = unscored
        self.num_examples = num_examples
        self.pad_with_one = pad_with_one
        self.untimed = untimed
        self.concat_replies = concat_replies
        self.judged_file = judged_file

    @property
    def answer_forms(self) -> Sequence[Form[TimedReplies]]:
        return answer_forms()

    @property
    def truth_forms(self) -> Sequence[Form[TimedAnswers]]:
        return truth_forms()

    def checked(self, answer: TimedReplies, truth: TimedAnswers, tally: Tally, place: str) -> None:
        timed = answer.times[answer.times != UNTIMED]
        last = np.inf if answer.duration is None else answer.duration
        if ((timed < 0) | (timed > last)).any():
            tally.add("out_of_range", f"{place}: {answer.id!r} is answered outside the video")

    def score(self, pairs: Pairs[TimedReplies, TimedAnswers]) -> Scored:
        notes: list[str] = []
        ratings = self._ratings(pairs, notes)
        filled = [np.where(np.isnan(matrix), LEAST, matrix) for matrix in ratings]
        if self.judged_file is not None:
            write_jsonl(self.judged_file, judged_rows(pairs, filled))
            notes.append(f"replies and ratings are written to {self.judged_file}")
        said = [() if answer is None else answer.texts for answer in pairs.answers]
        turns = np.array([len(texts) for texts in said], dtype=np.float64)
        distinct = np.array([len(set(texts)) for texts in said], dtype=np.float64)
        match = self.untimed == "match"
        values = in_span_ratings(pairs.truths, pairs.answers, filled, match)
        original, estimates = self._original(pairs, (values, turns, distinct))
        repaired = in_span_ratings(pairs.truths, pairs.answers, ratings, match)
        rated = ~np.isnan(repaired)
        rows = [np.where(rated, row, np.nan) for row in (repaired, turns, distinct)]
        means = [float(np.mean(row[rated])) if rated.any() else float("nan") for row in rows]
        estimates |= {f"repaired_{name}": Estimate(row, 1.0) for name, row in zip(_ORIGINAL, rows, strict=True)}
        repaired_figures = {**dict(zip(_ORIGINAL, means, strict=True)), "questions": int(rated.sum())}
        figures = {"original": original, "repaired": repaired_figures}
        headline = {**{name: original[name] for name in _ORIGINAL}, **_prefixed(means)}
        if not rated.all():
            notes.append(f"{int((~rated).sum())} questions without rated reference answers are not in repaired figures")
        return Scored(figures, headline, estimates, notes=notes)

    def _ratings(self, pairs: Pairs[TimedReplies, TimedAnswers], notes: list[str]) -> list[Array]:
        """Ratings of each question, ``[G, P]``, ``[G, 1]`` of replies taken as one, ``[G, 0]`` of none."""
        if self.judge is not None:
            return self._judged(pairs, self.judge, notes)
        unjudged = [a.id for a in pairs.answers if a is not None and a.ratings is None and a.texts]
        if unjudged:
            raise ScoringError(
                f"{len(unjudged)} answers hold no ratings ('evaluator_output'), the first {unjudged[0]!r}; name a "
                f"judge to rate them, for example judge={{name: recorded, file: replies.jsonl}} (known: {_names()})"
            )
        notes.append("ratings as recorded in the rows of predictions")
        ratings = []
        for truth, answer in zip(pairs.truths, pairs.answers, strict=True):
            if answer is None or answer.ratings is None:
                ratings.append(np.zeros((len(truth.texts), 0)))
                continue
            rows = [[self._rating(cell) if isinstance(cell, str) else cell for cell in row] for row in answer.ratings]
            ratings.append(ratings_of(truth, rows, len(answer.texts)))
        self._count_unscored(pairs.tally, sum(int(np.isnan(matrix).sum()) for matrix in ratings), notes)
        return ratings

    def _judged(self, pairs: Pairs[TimedReplies, TimedAnswers], judge: Judge, notes: list[str]) -> list[Array]:
        """Ratings by the judge, who is asked once for everything; cells it does not see stay at 1."""
        ratings: list[Array] = []
        places: list[int] = []
        asked: list[Pair] = []
        for place, (truth, answer) in enumerate(zip(pairs.truths, pairs.answers, strict=True)):
            columns = 0 if answer is None or not answer.texts else 1 if self.concat_replies else len(answer.texts)
            ratings.append(np.full((len(truth.texts), columns), LEAST))
            if answer is not None:
                asked += pairs_to_judge(truth, answer, self.concat_replies)
                places += [place] * (len(asked) - len(places))
        if asked and not all(pair.question for pair in asked):
            raise ScoringError("these rows do not hold the questions, which a judge must see: give --annotations")
        replies = judge.replies(asked)
        notes.append(f"{len(asked)} pairs judged by {judge.told()}")
        found = [self._rating(reply) for reply in replies]
        for place, pair, value in zip(places, asked, found, strict=True):
            ratings[place][np.ix_(pair.gold_ids, pair.predicted_ids)] = value
        self._count_unscored(pairs.tally, sum(map(math.isnan, found)), notes)
        return ratings

    def _rating(self, reply: Reply) -> float:
        """The rating in a reply; "not a number" without one."""
        found = rating(reply, self.reply_rule)
        if found is None and self.unscored == "error":
            raise ScoringError(f"the judge says {reply!r:.200}, which is no rating by the rule {self.reply_rule}")
        return math.nan if found is None else found

    def _count_unscored(self, tally: Tally, count: int, notes: list[str]) -> None:
        if count:
            tally.add("unparseable", f"{count} pairs have no rating by the rule {self.reply_rule}", count)
            notes.append(f"{count} pairs have no rating: 1 in the original figures, left out of the repaired ones")

    def _original(
        self, pairs: Pairs[TimedReplies, TimedAnswers], rows: tuple[Array, Array, Array]
    ) -> tuple[dict[str, Any], dict[str, Estimate | Derived]]:
        """The figures that the original prints: over the first questions with replies, filled up."""
        spoken = np.array([_is_line(answer) for answer in pairs.answers])
        lines = spoken & (np.cumsum(spoken) <= self.num_examples)
        if self.untimed == "skip":
            lines &= ~np.array([a is not None and len(a.times) > 0 and a.times[0] == UNTIMED for a in pairs.answers])
        counted = int(lines.sum())
        short = self.pad_with_one and counted < self.num_examples
        figures: dict[str, Any] = {}
        estimates: dict[str, Estimate | Derived] = {}
        for name, row, filler in zip(_ORIGINAL, rows, (LEAST, 0.0, 0.0), strict=True):
            taken = np.where(lines, row, np.nan)
            number = int((~np.isnan(taken)).sum())
            fill = partial(_filled_up, number=number, fillers=self.num_examples - number if short else 0, filler=filler)
            mean = np.nanmean(taken) if number else np.nan
            figures[name] = float(np.round(fill(np.array(mean)), 2))
            estimates |= {f"unfilled_{name}": Estimate(taken, 1.0), name: Derived((f"unfilled_{name}",), fill)}
        figures["printed"] = f"{figures['score']} & {figures['turns']}/{figures['distinct_turns']} & \\"
        figures |= {"examples": self.num_examples if short else counted, "with_replies": counted}
        return figures, estimates


def judged_rows(pairs: Pairs[TimedReplies, TimedAnswers], ratings: Sequence[Array]) -> list[dict[str, Any]]:
    """Questions with replies as MMDuet's evaluation writes them: replies, ratings, reference answers and spans."""
    rows = zip(pairs.truths, pairs.answers, ratings, strict=True)
    return [judged_row(truth, answer, matrix) for truth, answer, matrix in rows if answer is not None and answer.texts]


def _filled_up(mean: Array, number: int, fillers: int, filler: float) -> Array:
    """The mean of ``number`` values and so many equal ones."""
    if not number:
        return np.full_like(mean, filler if fillers else np.nan)
    return np.asarray((mean * number + filler * fillers) / (number + fillers))


def _is_line(answer: TimedReplies | None) -> bool:
    """Whether the original's evaluation writes a line: it leaves out questions to which nothing was said."""
    return answer is not None and (len(answer.texts) > 0 or answer.ratings is not None)


def _prefixed(means: Sequence[float]) -> dict[str, float]:
    return {f"repaired_{name}": mean for name, mean in zip(_ORIGINAL, means, strict=True)}


def _names() -> str:
    return ", ".join(registry.judges.names())

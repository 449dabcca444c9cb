"""Accuracy of multiple-choice answers: MVBench, NExT-QA, STAR, TVQA, Video-MME, and any other set of questions.

Sources: the answer check and average of MVBench (OpenGVLab/Ask-Anything), which HawkEye (yellow-binary-tree/HawkEye)
uses for all its benchmarks; eval_next.py of NExT-GQA (doc-doc/NExT-GQA) for NExT-QA; eval_your_results.py of Video-MME
(thanku-all/parse_answer). STAR and TVQA are scored by their servers, which take indices.

Differs: an answer that names no option is counted, whatever the rule makes of it; answers that the rule ``hawkeye``
calls right though they do not name the right option are counted as ``lenient_correct``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from lavis.common.registry import registry
from lavis.scoring.base import Array, Broken, Form, Pairs, Protocol, Scored, ScoringError, Tally
from lavis.scoring.by_position import ids_by_position, renamed
from lavis.scoring.questions.benchmarks import BENCHMARKS, Benchmark, figures_of
from lavis.scoring.questions.rows import Choice, Question, answer_forms, truth_forms
from lavis.scoring.questions.text import (
    RULES,
    Rule,
    first_character_index,
    hawkeye_correct,
    option_index,
    videomme_index,
)

_RULE: Mapping[Benchmark, Rule] = {
    "generic": "letter",
    "mvbench": "hawkeye",
    "nextqa": "letter",
    "star": "letter",
    "tvqa": "letter",
    "videomme": "videomme",
}


@registry.protocols.register("multiple_choice")
class MultipleChoice(Protocol[Choice, Question]):
    """Accuracy in percent, as the benchmark groups and rounds it.

    Args:
        benchmark: which figures are reported; ``generic`` reports ``Acc`` and one figure for each kind of question.
        rule: how a text is read, see ``lavis.scoring.questions.text``; ``None`` takes the benchmark's own
            (``hawkeye`` for MVBench, ``videomme`` for Video-MME, else ``letter``).
        prefer_parenthesised: for the rule ``videomme``: ``(B)`` goes before any other letter.
        unreadable: whether a text that names no option is ``wrong``, or left out (``drop``); ``None`` takes the
            benchmark's own (``drop`` for Video-MME, whose script divides by the answers it could read). The rule
            ``hawkeye`` knows no unreadable texts.

    Raises:
        ValueError: if a value is none of these.
    """

    source = (
        "MVBench and HawkEye (check), NExT-QA eval_next.py (doc-doc/NExT-GQA), Video-MME eval_your_results.py, STAR, "
        "TVQA"
    )
    keys = ("Acc, or Avg, Mean, Overall", "one for each task, type, category or show", "lenient_correct")

    def __init__(
        self,
        benchmark: Benchmark = "generic",
        rule: Rule | None = None,
        prefer_parenthesised: bool = False,
        unreadable: Literal["wrong", "drop"] | None = None,
    ) -> None:
        if benchmark not in BENCHMARKS:
            raise ValueError(f"multiple_choice: benchmark must be one of {', '.join(BENCHMARKS)}, got {benchmark!r}")
        if rule is not None and rule not in RULES:
            raise ValueError(f"multiple_choice: rule must be one of {', '.join(RULES)}, got {rule!r}")
        if unreadable not in (None, "wrong", "drop"):
            raise ValueError(f"multiple_choice: unreadable must be wrong or drop, got {unreadable!r}")
        self.benchmark: Benchmark = benchmark
        self.rule: Rule = rule or _RULE[benchmark]
        if prefer_parenthesised and self.rule != "videomme":
            raise ValueError(f"multiple_choice: prefer_parenthesised belongs to the rule videomme, not {self.rule}")
        self.prefer_parenthesised = prefer_parenthesised
        self.unreadable = unreadable or ("drop" if benchmark == "videomme" else "wrong")
        self.by_position = False
        # NExT-QA's script walks over its table and never looks at further answers.
        self.extra = "drop" if benchmark == "nextqa" else "error"

    @property
    def answer_forms(self) -> Sequence[Form[Choice]]:
        return answer_forms()

    @property
    def truth_forms(self) -> Sequence[Form[Question]]:
        return truth_forms()

    def aligned(
        self, answers: list[Choice], truths: Sequence[Question], broken: list[Broken]
    ) -> tuple[list[Choice], list[Broken]]:
        """Rows without ids belong to the questions in the order of the file, as HawkEye's conversions pair them."""
        known = {truth.id for truth in truths}
        self.by_position = bool(answers) and not any(a.named for a in answers) and not known & {a.id for a in answers}
        if not self.by_position:
            return answers, broken
        ids = ids_by_position([truth.id for truth in truths], len(answers) + len(broken))
        return [replace(answer, id=ids[str(answer.number)]) for answer in answers], renamed(broken, ids)

    def chosen(self, answer: Choice, question: Question) -> int | None:
        """Index of the option that an answer names under the rule, ``None`` if it names none."""
        if answer.index is not None:
            return answer.index if not question.options or answer.index < len(question.options) else None
        if answer.text is None:
            return None
        if self.rule == "videomme":
            return videomme_index(answer.text, self.prefer_parenthesised)
        if self.rule == "first_character":
            return first_character_index(answer.text, question.options)
        return option_index(answer.text, question.options)

    def correct(self, answer: Choice | None, question: Question) -> float:
        """1 or 0; "not a number" where the answer does not count."""
        if answer is None:
            return 0.0
        if self.rule == "hawkeye" and answer.text is not None:
            return float(hawkeye_correct(answer.text, question.gold))
        chosen = self.chosen(answer, question)
        if chosen is None:
            return 0.0 if self.unreadable == "wrong" else float("nan")
        return float(chosen == question.right)

    def checked(self, answer: Choice, truth: Question, tally: Tally, place: str) -> None:
        if self.chosen(answer, truth) is None:
            said = answer.text if answer.text is not None else answer.index
            tally.add("unparseable", f"{place}: {said!r:.60} names no option of {truth.id!r}")

    def score(self, pairs: Pairs[Choice, Question]) -> Scored:
        correct = np.array([self.correct(a, q) for a, q in zip(pairs.answers, pairs.truths, strict=True)])
        if np.isnan(correct).all():
            raise ScoringError("no answer names an option, so there is nothing to score; is the rule the right one?")
        scored = figures_of(self.benchmark, pairs.truths, correct)
        self._remark(scored, pairs, correct)
        return scored

    def _remark(self, scored: Scored, pairs: Pairs[Choice, Question], correct: Array) -> None:
        if self.by_position:
            scored.notes.append("the answers have no ids: they were paired with the questions by position")
        if self.rule == "hawkeye":
            lenient = sum(
                mark == 1 and answer is not None and self.chosen(answer, question) != question.right
                for mark, answer, question in zip(correct, pairs.answers, pairs.truths, strict=True)
            )
            scored.headline["lenient_correct"] = float(lenient)
            scored.notes.append(f"{lenient} answers count as right though they do not name the right option (hawkeye)")
        left_out = int(np.isnan(correct).sum())
        if left_out:
            scored.notes.append(f"{left_out} answers that name no option are left out, as the official script does")
        hopeless = sum(question.right is None for question in pairs.truths)
        if hopeless:
            scored.notes.append(f"{hopeless} questions have an answer that is none of their options")

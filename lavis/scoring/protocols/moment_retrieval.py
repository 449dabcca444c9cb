"""Moment retrieval: recall of the first and of the first five windows, and mean overlap, on five data sets.

Sources: Charades-STA (Gao et al., 2017), ActivityNet Captions (Krishna et al., 2017), TACoS (Regneri et al., 2013),
whose figures are the same everywhere: a query is found if any of the first n windows overlaps a true one by at least m,
where overlap is intersection over the smallest window that holds both; DiDeMo (Hendricks et al., 2017) and Ego4D NLQ
(Grauman et al., 2022) have scripts of their own (``lavis/scoring/windows/figures.py``), whose figures stand beside
them. Every query counts, and one whose text names no window has overlap 0, as Grounded-VideoLLM and others report it.

Differs: variants stand under names of their own. ``union`` joins all predicted windows and all true ones and compares
the two sets; ``best`` takes of all predicted windows the one that fits best, which no model could know; ``listed`` is
MR.BLIP's unused figure, the i-th window against the i-th true one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, TypeVar

import numpy as np

from lavis.common.registry import registry
from lavis.scoring.base import Array, Form, Pairs, Policy, Protocol, Row, Scored, ScoringError, Tally
from lavis.scoring.windows.forms import count_problems
from lavis.scoring.windows.moment_scores import (
    THRESHOLDS,
    add_common,
    add_didemo,
    add_ego4d,
    add_listed,
    rename,
)
from lavis.scoring.windows.ragged import Ragged
from lavis.scoring.windows.text import digits_window, spoken_windows, token_window
from lavis.scoring.windows.truth_rows import (
    MomentAnswer,
    MomentTruth,
    Reader,
    moment_answer_forms,
    moment_truth_forms,
    segments_to_seconds,
)

Dataset = Literal["charades_sta", "activitynet_captions", "tacos", "didemo", "ego4d_nlq"]
Reading = Literal["seconds", "time_tokens", "dev2024"]
Unit = Literal["auto", "segments", "seconds"]

_TRUTH_FILE = re.compile(r"(?<![a-z])(train|val_?[12]|val|test)(?![a-z0-9])")
_ANSWER_FILE = re.compile(r"(?<![a-z])(val_?[12])(?![a-z0-9])")
"""Splits in names of files; those of predictions are often named after training data, so less of them is believed."""

_NO_WINDOWS = np.zeros((0, 2))
_LAST_SEGMENT = 5

R = TypeVar("R")


@registry.protocols.register("moment_retrieval")
class MomentRetrieval(Protocol[MomentAnswer, MomentTruth]):
    """``R1@m``, ``R5@m`` and ``mIoU`` in percent, with the variants ``union_`` and ``best_``.

    Queries without an answer count as missed (``zero``), but stop the scoring on DiDeMo, whose script pairs rows by
    position, and take no part on Ego4D NLQ, whose script averages over what was predicted.

    Args:
        dataset: turns on the figures of DiDeMo's and Ego4D's own scripts, and their treatment of gaps; ``None`` takes
            any data set, and knows these two by the form of the truth.
        split: which split the truth is; files and rows that say otherwise stop the scoring. For ActivityNet Captions it
            must be named: ``val_1`` and ``val_2`` are different queries on the same videos, with the same ids.
        reading: how texts are read: as ``seconds`` (sentences and lists), as ``time_tokens`` (``<12><30>``, parts of
            the duration), or as Grounded-VideoLLM's script of 2024 (``dev2024``: all digits of the text count, any
            number of them but two is the whole video, and true windows are rounded down to tokens); the names of its
            figures begin with ``dev2024_``.
        num_tokens: how many parts time tokens divide the video into.
        didemo_unit: what windows for DiDeMo are; ``auto`` takes whole numbers up to 5 as segments.

    Raises:
        ValueError: if the split of ActivityNet Captions is not named.
    """

    source = "Charades-STA, ActivityNet Captions, TACoS (R@n, IoU=m); LisaAnne/LocalizingMoments; EGO4D/episodic-memory"
    keys = (
        *(f"R{limit}@{level}" for limit in (1, 5) for level in THRESHOLDS),
        "mIoU",
        *(f"{variant}_{key}" for variant in ("union", "best") for key in (*(f"R1@{m}" for m in THRESHOLDS), "mIoU")),
        *("didemo_R1", "didemo_R5", "didemo_mIoU", "ego4d_R1@0.3", "ego4d_R5@0.5", "ego4d_mean_R1", "ego4d_mIoU"),
    )
    missing: Policy = "zero"

    def __init__(
        self,
        dataset: Dataset | None = None,
        split: str | None = None,
        reading: Reading = "seconds",
        num_tokens: int = 300,
        didemo_unit: Unit = "auto",
    ) -> None:
        if dataset == "activitynet_captions" and split not in ("val_1", "val_2"):
            raise ValueError(
                f"name the split of ActivityNet Captions (split=val_1 or split=val_2), got {split!r}: these are "
                "different queries on the same videos"
            )
        if num_tokens < 1:
            raise ValueError(f"num_tokens must be at least 1, got {num_tokens}")
        self.dataset = dataset
        self.split = split
        self.reading = reading
        self.num_tokens = num_tokens
        self.didemo_unit = didemo_unit
        if dataset == "didemo":
            self.missing = "error"
        elif dataset == "ego4d_nlq":
            self.missing = "drop"

    @property
    def answer_forms(self) -> Sequence[Form[MomentAnswer]]:
        return [self._of_split(form, _ANSWER_FILE) for form in moment_answer_forms(self._reader())]

    @property
    def truth_forms(self) -> Sequence[Form[MomentTruth]]:
        return [self._of_split(form, _TRUTH_FILE) for form in moment_truth_forms()]

    def checked(self, answer: MomentAnswer, truth: MomentTruth, tally: Tally, place: str) -> None:
        if answer.relative or truth.segments is not None:
            truth = replace(truth, duration=float("nan"))  # windows are no seconds, or nothing ends past 30 of them
        count_problems(answer, truth, tally, place)

    def score(self, pairs: Pairs[MomentAnswer, MomentTruth]) -> Scored:
        _same_queries(pairs)
        durations = np.array([truth.duration for truth in pairs.truths])
        given = self._seconds(pairs.answers, durations)
        truths = Ragged.of([truth.windows for truth in pairs.truths])
        if self.reading == "dev2024":
            truths = self._rounded_down(truths, durations)
        segments = self._segments(given, pairs.truths)
        if segments is not None:
            given = Ragged(segments_to_seconds(segments.values), segments.counts)
        scored = Scored({}, {})
        add_common(scored, given, truths)
        add_listed(scored, given, truths, pairs.answers)
        if self.reading == "dev2024":
            rename(scored, "dev2024_")
        if segments is not None:
            add_didemo(scored, segments, pairs.truths)
        elif self._is_didemo(pairs.truths):
            scored.notes.append("windows are seconds, no pairs of DiDeMo's segments: its own figures are left out")
        if self.dataset == "ego4d_nlq":
            add_ego4d(scored, given, truths)
        if not (given.counts > 1).any():
            scored.notes.append("no query has several windows: R5, union and best see the first one only")
        return scored

    def _reader(self) -> Reader:
        def seconds(text: str) -> tuple[Array, bool] | None:
            found = spoken_windows(text)
            return None if found is None else (found, False)

        def tokens(text: str) -> tuple[Array, bool] | None:
            found = token_window(text, self.num_tokens)
            return None if found is None else (found, True)

        def digits(text: str) -> tuple[Array, bool] | None:
            found = digits_window(text, self.num_tokens)
            return (np.array([[0.0, 1.0]]) if found is None else found), True

        return {"seconds": seconds, "time_tokens": tokens, "dev2024": digits}[self.reading]

    def _of_split(self, form: Form[R], named: re.Pattern[str]) -> Form[R]:
        """The form, refusing rows of files that are named after, or say that they are of, another split."""
        if self.split is None:
            return form
        split = self.split.lower()

        def read(row: Row) -> R | list[R]:
            told = row.fields.get("split")
            names = [told.lower()] if isinstance(told, str) else []
            file = row.place.split(", ")[0].replace("\\", "/").rpartition("/")[2]
            names += named.findall(file.lower())
            others = [name for name in names if name.replace("_", "") != split.replace("_", "")]
            if names and len(others) == len(names):
                raise ScoringError(
                    f"{row.place}: this is {others[0]}, but the split to score is {self.split}; take the "
                    "other file (or name it otherwise), or the other split"
                )
            return form.read(row)

        return replace(form, read=read)

    def _seconds(self, answers: Sequence[MomentAnswer | None], durations: Array) -> Ragged:
        """All predicted windows in seconds (or in segments, where they are given so)."""
        given = Ragged.of([_NO_WINDOWS if answer is None else answer.windows for answer in answers])
        relative = np.array([answer is not None and answer.relative for answer in answers])
        if np.isnan(durations[relative]).any():
            raise ScoringError("time tokens are parts of the duration, and the truth does not tell it for all queries")
        scale = np.where(relative, durations, 1.0)
        return Ragged(given.values * scale[given.owners][:, None], given.counts)

    def _rounded_down(self, truths: Ragged, durations: Array) -> Ragged:
        if np.isnan(durations).any() or (durations <= 0).any():
            raise ScoringError("dev2024 rounds true windows to parts of the duration, which the truth does not tell")
        lengths = durations[truths.owners][:, None]
        tokens = np.trunc(self.num_tokens * truths.values / lengths)
        return Ragged(np.minimum(tokens, self.num_tokens) * lengths / self.num_tokens, truths.counts)

    def _is_didemo(self, truths: Sequence[MomentTruth]) -> bool:
        return all(truth.segments is not None for truth in truths)

    def _segments(self, given: Ragged, truths: Sequence[MomentTruth]) -> Ragged | None:
        """The predictions as pairs of DiDeMo's segments, ``None`` if they are seconds."""
        if not self._is_didemo(truths) or self.didemo_unit == "seconds":
            return None
        start, end = given.values.T
        fine = (given.values == np.round(given.values)).all() and ((start >= 0) & (end <= _LAST_SEGMENT)).all()
        if fine or self.didemo_unit == "auto":
            return given if fine else None
        raise ScoringError("didemo_unit is segments, but some windows are no pairs of whole numbers from 0 to 5")


def _same_queries(pairs: Pairs[MomentAnswer, MomentTruth]) -> None:
    """Predictions for other sentences under the same ids are of another split or edition.

    Raises:
        ScoringError: if most sentences differ.
    """
    told, other = 0, []
    for answer, truth in zip(pairs.answers, pairs.truths, strict=True):
        if answer is not None and answer.sentence and truth.sentence:
            told += 1
            if answer.sentence not in truth.sentence and truth.sentence not in answer.sentence:
                other.append(truth.id)
    if 2 * len(other) > told:
        raise ScoringError(
            f"{len(other)} of {told} predictions are for other sentences than the truth has under their ids (such as "
            f"{other[0]!r}): take the truth of the split that was predicted"
        )

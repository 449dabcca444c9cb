"""Hypotheses beside their references, and the scores of a corpus of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lavis.scoring.base import Array

Pair = tuple[str, tuple[str, ...]]
"""A hypothesis and its references, each tokenised: words with single spaces."""

Corpus = Sequence[Pair]


@dataclass(frozen=True, slots=True)
class CorpusScore:
    """A metric on one corpus.

    Args:
        total: of the corpus as a whole, which is the mean of its pairs only for some metrics; 0 without pairs.
        each: of its pairs, ``[N]``.
    """

    total: float
    each: Array


NOTHING = CorpusScore(0.0, np.zeros(0))
"""The score of a corpus without pairs."""

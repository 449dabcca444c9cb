"""Caption scores of many corpora, such as one for each video and threshold; equal corpora are scored once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from lavis.scoring.base import Array
from lavis.scoring.captions.ngrams import bleu, cider, rouge_l
from lavis.scoring.captions.pairs import Corpus
from lavis.scoring.captions.tools import CaptionTools

BLEU_NAMES = ("Bleu_1", "Bleu_2", "Bleu_3", "Bleu_4")


def corpus_totals(tools: CaptionTools, corpora: Sequence[Corpus], names: Sequence[str]) -> dict[str, Array]:
    """The corpus score of each corpus, 0 without pairs.

    Args:
        tools: for METEOR.
        corpora: of tokenised texts.
        names: among ``METEOR``, ``CIDEr``, ``Rouge-L`` and ``Bleu_1`` to ``Bleu_4``; BLEU gives all four.

    Returns:
        by name, ``[len(corpora)]``.
    """
    keys = [tuple(corpus) for corpus in corpora]
    distinct = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    where = np.array([distinct[key] for key in keys], dtype=np.intp)
    unique = list(distinct)
    totals: dict[str, Array] = {}
    for name in names:
        if name == "METEOR":
            totals[name] = np.array([score.total for score in tools.meteor(unique)])[where]
        elif name in BLEU_NAMES:
            scores = [bleu(corpus, len(BLEU_NAMES)) for corpus in unique] if name not in totals else []
            for place, each in enumerate(BLEU_NAMES if scores else ()):
                totals[each] = np.array([score[place].total for score in scores])[where]
        else:
            totals[name] = np.array([_SCORERS[name](corpus) for corpus in unique])[where]
    return totals


_SCORERS: dict[str, Callable[[Corpus], float]] = {
    "CIDEr": lambda corpus: cider(corpus).total,
    "Rouge-L": lambda corpus: rouge_l(corpus).total,
}

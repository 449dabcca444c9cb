"""CIDEr, BLEU and ROUGE-L of corpora, through pycocoevalcap; no Java.

Differences: nothing is printed, a corpus without pairs scores 0, and so does CIDEr of one whose references hold no
word at all (pycocoevalcap crashes).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lavis.scoring.captions.pairs import NOTHING, Corpus, CorpusScore


def cider(corpus: Corpus) -> CorpusScore:
    """CIDEr-D (Vedantam et al., 2015), 0 to 10.

    A word's weight follows from the number of pairs of *this* corpus whose references hold it, so a pair scores
    differently in another corpus, and one pair alone scores 0.
    """
    from pycocoevalcap.cider.cider import Cider

    if not any(reference.split() for _, references in corpus for reference in references):
        return CorpusScore(0.0, np.zeros(len(corpus)))
    total, each = Cider().compute_score(*_mappings(corpus))
    return CorpusScore(float(total), np.asarray(each, dtype=np.float64))


def rouge_l(corpus: Corpus) -> CorpusScore:
    """ROUGE-L with beta 1.2, 0 to 1; ``total`` is the mean."""
    from pycocoevalcap.rouge.rouge import Rouge

    if not corpus:
        return NOTHING
    total, each = Rouge().compute_score(*_mappings(corpus))
    return CorpusScore(float(total), np.asarray(each, dtype=np.float64))


def bleu(corpus: Corpus, longest: int = 4) -> list[CorpusScore]:
    """BLEU-1 to BLEU-``longest`` with the closest reference length, 0 to 1; ``total`` is of the whole corpus."""
    from pycocoevalcap.bleu.bleu import Bleu

    if not corpus:
        return [NOTHING] * longest
    totals, each = Bleu(longest).compute_score(*_mappings(corpus), verbose=0)
    return [CorpusScore(float(t), np.asarray(e, dtype=np.float64)) for t, e in zip(totals, each, strict=True)]


def _mappings(corpus: Corpus) -> tuple[dict[int, Any], dict[int, Any]]:
    references = {number: list(pair[1]) for number, pair in enumerate(corpus)}
    return references, {number: [pair[0]] for number, pair in enumerate(corpus)}

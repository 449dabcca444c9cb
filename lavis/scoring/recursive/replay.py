"""HawkEye's recursive grounding, replayed: a window that every answer halves, or leaves as it is.

Source: HawkEye (yellow-binary-tree/HawkEye, arXiv 2403.10228), ``tasks/test_recursive_grounding.py`` and the notebook
that scores its output. Each round asks in which part of the window the query happens.

Differs: computed for all queries at once. The middle is taken as the notebook takes it (a quarter from either end);
the evaluator that generates the answers starts from the centre, which differs in the last digit.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lavis.scoring.windows.overlap import hull_overlap
from lavis.scoring.windows.ragged import Array, Index, Lists, Ragged

ANSWERS = ("beginning", "middle", "end", "throughout")
BEGINNING, MIDDLE, END, THROUGHOUT = range(4)


def replay(durations: Array, answers: Sequence[Sequence[str]], max_turns: int) -> Array:
    """The window after each round; a query that ended earlier keeps its last one.

    Args:
        durations: ``[Q]`` seconds.
        answers: of each query, words of ``ANSWERS``; those past ``max_turns`` are not looked at.
        max_turns: rounds, at least 1.

    Returns:
        ``[max_turns, Q, 2]``.
    """
    codes = np.full((len(answers), max_turns), THROUGHOUT)
    for row, words in enumerate(answers):
        for turn, word in enumerate(words[:max_turns]):
            codes[row, turn] = ANSWERS.index(word)
    window = np.stack([np.zeros(len(answers)), durations], axis=1)
    windows = np.zeros((max_turns, len(answers), 2))
    for turn in range(max_turns):
        window = halved(window, codes[:, turn])
        windows[turn] = window
    return windows


def halved(windows: Array, codes: Index) -> Array:
    """Windows ``[Q, 2]`` after one answer each, ``[Q]`` indices into ``ANSWERS``."""
    start, end = windows[:, 0], windows[:, 1]
    centre, quarter = (start + end) / 2, (end - start) / 4
    starts = np.select([codes == MIDDLE, codes == END], [start + quarter, centre], start)
    ends = np.select([codes == BEGINNING, codes == MIDDLE], [centre, end - quarter], end)
    return np.stack([starts, ends], axis=1)


def best_overlap(windows: Array, truths: Lists) -> Array:
    """IoU by the hull of each window with the true span that it overlaps most.

    Args:
        windows: ``[Q, 2]`` seconds.
        truths: ``[G, 2]`` for each query.

    Returns:
        ``[Q]``; 0 where they are apart, or either has no length.
    """
    packed = Ragged.of(truths)
    best = np.zeros(len(packed))
    np.maximum.at(best, packed.owners, hull_overlap(windows[packed.owners], packed.values))
    return best

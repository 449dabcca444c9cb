"""Keeps the captions that fit their segments at least as well as the median of all, as HawkEye does.

Captions of one segment that stand behind each other become one row. They keep their order, which the original loses in
a set.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Sequence
from pathlib import Path

from lavis.common.io import write_jsonl
from lavis.preparation.internvid_g.rows import Row, Scored, read_scored


def median_score(scored: Sequence[Scored]) -> float:
    """The median of all scores.

    Raises:
        ValueError: if there are none.
    """
    if not scored:
        raise ValueError("there are no captions to choose from; is the file of the scores empty?")
    return statistics.median(each.score for each in scored)


def select_captions(scored: Sequence[Scored], at_least: float | None = None) -> list[Row]:
    """The captions that fit best, a row for each segment.

    Args:
        scored: captions of one segment stand behind each other.
        at_least: score that a caption must reach; ``None``: the median of all.

    Returns:
        rows ``video_fname, start_sec, end_sec, captions``; segments without a caption left are not among them.

    Raises:
        ValueError: if there are no captions.
    """
    least = median_score(scored) if at_least is None else at_least
    kept = [each for each in scored if each.score >= least]
    rows = []
    for (video, start, end), group in itertools.groupby(kept, lambda each: (each.video, each.start, each.end)):
        captions = list(dict.fromkeys(each.caption for each in group))
        rows.append({"video_fname": video, "start_sec": start, "end_sec": end, "captions": captions})
    return rows


def select_file(scores: str | Path, selected: str | Path, at_least: float | None = None) -> tuple[int, int]:
    """``select_captions`` from file to file.

    Returns:
        how many captions there were, and how many are kept.

    Raises:
        AnnotationError: if a row is bad; names file and row.
        ValueError: if the file is empty.
    """
    scored = read_scored(scores)
    try:
        rows = select_captions(scored, at_least)
    except ValueError as error:
        raise ValueError(f"{scores}: {error}") from error
    write_jsonl(selected, rows)
    return len(scored), sum(len(row["captions"]) for row in rows)

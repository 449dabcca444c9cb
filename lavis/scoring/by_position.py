"""Answers and truth that share no ids, paired row by row: loud where that cannot be right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lavis.scoring.base import Broken, ScoringError


def ids_by_position(ids: Sequence[str], num_rows: int) -> dict[str, str]:
    """The id of the truth for each number of a row of answers.

    Args:
        ids: of the truth, in the order of its file.
        num_rows: rows of answers, those that cannot be read among them.

    Raises:
        ScoringError: if there are not as many rows on both sides.
    """
    if num_rows != len(ids):
        raise ScoringError(
            f"the answers have no ids of the truth, so rows are paired by position, but there are {num_rows} rows of "
            f"answers and {len(ids)} of truth; add ids to the rows (field 'qid'), or remove the rows that are too many"
        )
    return {str(number): identity for number, identity in enumerate(ids)}


def renamed(broken: Sequence[Broken], ids: Mapping[str, str]) -> list[Broken]:
    """Rows that cannot be read, under the ids of the truth."""
    return [(ids.get(identity, identity) if identity is not None else None, problem) for identity, problem in broken]

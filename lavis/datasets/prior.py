"""Earlier predictions, joined to samples by id: the coarse windows a finer stage starts from.

Source: CALCE copies its stage-1 windows into a second annotation file (tjhd1475/CALCE, ``merge_stage1_result.py``).
Here the dataset reads the predictions themselves, ours or CALCE's, and stops where one is missing.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lavis.common.io import read_json, read_jsonl
from lavis.datasets._selection import ORIGINAL_ID
from lavis.structures import Moment, Prediction, VideoSample

log = logging.getLogger(__name__)


class PriorError(ValueError):
    """Predictions that cannot be joined; the message names file and ids."""


def read_priors(path: str | Path) -> dict[str, list[Moment]]:
    """Windows by sample id, best first.

    Args:
        path: our ``predictions/*.jsonl`` (``id``, ``moments``), or CALCE's result list (``qid``, ``pred_windows``). Of
            rows with the same id the last counts, as in CALCE's merge; a warning says how many differed.

    Raises:
        PriorError: if the file is absent or empty, or a row is no prediction.
    """
    file = Path(path)
    priors: dict[str, list[Moment]] = {}
    conflicts: set[str] = set()
    for number, row in enumerate(read_rows(file), start=1):
        if not isinstance(row, dict):
            raise PriorError(f"{file}, row {number}: is no prediction but {row!r:.80}")
        try:
            prediction = Prediction.from_json(row)
        except ValueError as error:
            raise PriorError(f"{file}, row {number}: {error}") from error
        if priors.get(prediction.id, prediction.moments) != prediction.moments:
            conflicts.add(prediction.id)
        priors[prediction.id] = prediction.moments
    if not priors:
        raise PriorError(f"{file}: holds no predictions. Run the earlier stage on this split first")
    if conflicts:
        some = sorted(conflicts)[0]
        log.warning(
            "%s: %d ids have several different predictions (such as %s); the last counts", file, len(conflicts), some
        )
    return priors


def join_priors(samples: Sequence[VideoSample], priors: Mapping[str, list[Moment]], source: str) -> list[VideoSample]:
    """The samples with their ``prior``; a paraphrase (``id#k``) takes its own prediction or that of the original query.

    Args:
        samples: to be joined.
        priors: windows by id; ids without a sample are passed over.
        source: file of the predictions, for messages.

    Raises:
        PriorError: if a sample has no prediction; names how many, and some.
    """
    joined, missing = [], []
    for sample in samples:
        prior = priors.get(sample.id, priors.get(str(sample.extra.get(ORIGINAL_ID))))
        if prior is None:
            missing.append(sample.id)
        else:
            joined.append(replace(sample, prior=prior))
    if missing:
        raise PriorError(missing_message(source, missing, len(samples), next(iter(priors))))
    return joined


def missing_message(source: str, missing: Sequence[str], total: int, example: str) -> str:
    """What to say about samples that have no prediction."""
    return (
        f"{source}: no prediction for {len(missing)} of {total} samples, such as {', '.join(missing[:3])}; the file "
        f"has ids such as {example}. Run the earlier stage on the whole split, or correct the path"
    )


def read_rows(path: Path) -> list[Any]:
    """Rows of a ``.jsonl`` or ``.json`` file of predictions.

    Raises:
        PriorError: if the file is absent, or is no list.
        FileFormatError: if it is no JSON; names line and column.
    """
    try:
        rows = read_jsonl(path) if path.suffix == ".jsonl" else read_json(path)
    except FileNotFoundError:
        raise PriorError(
            f"there are no predictions {path}. Run the earlier stage on this split first, or correct the path"
        ) from None
    if not isinstance(rows, list):
        raise PriorError(f"{path}: must hold a list of predictions, got {type(rows).__name__}")
    return rows

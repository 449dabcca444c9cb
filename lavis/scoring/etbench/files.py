"""Answers to E.T. Bench as MeCo's inference leaves them: a file for each task, which official scripts read by folder.

Source: MeCo (pangzss/MeCo), ``{task}_etbench_{chunk}.json``; a chunk is the share of one process there, and here all of
a task is chunk 0. E.T. Chat (PolyU-ChenLab/ETBench) leaves a file for each process, read in the same way.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lavis.common.io import write_json
from lavis.scoring.base import RowError, ScoringError
from lavis.scoring.etbench.records import TASKS, place_of
from lavis.scoring.reading import Fault, Given, open_rows


def write_task_files(folder: str | Path, answers: Given) -> list[Path]:
    """Writes one JSON list for each task that is there, in the order of the benchmark.

    Files of these names that lie there already are replaced; others are left, and those of other chunks are refused,
    since scripts would read them, too.

    Args:
        folder: made if it is absent.
        answers: result rows of the task ``etbench`` (``predictions/<dataset>_<split>.json`` of a run), or any records
            ``task, source, idx, a``.

    Raises:
        ScoringError: if a row is no such record, answers a question twice, or the folder holds other chunks.
    """
    groups: dict[str, dict[str, dict[str, Any]]] = {}
    for row in open_rows(answers, "answers").rows:
        if isinstance(row, Fault):
            raise ScoringError(f"{row.place}: {row.problem}")
        try:
            row.text("a")
            place = place_of(row)
        except RowError as error:
            raise ScoringError(
                f"{row.place}: {error}. Give the result rows of a run, predictions/<dataset>_<split>.json"
            ) from error
        own = groups.setdefault(place[0], {})
        if "/".join(place) in own:
            raise ScoringError(f"{row.place}: {'/'.join(place)} is answered twice; remove one of the rows")
        own["/".join(place)] = dict(row.fields)
    folder = Path(folder)
    written = [task for task in TASKS if task in groups]
    _require_alone(folder, written)
    return [write_json(folder / f"{task}_etbench_0.json", list(groups[task].values()), indent=None) for task in written]


def _require_alone(folder: Path, tasks: Sequence[str]) -> None:
    others = [path for task in tasks for path in folder.glob(f"{task}_etbench_*.json") if path.stem[-2:] != "_0"]
    if others:
        raise ScoringError(
            f"{folder} holds {others[0].name}, which scripts would read beside {tasks[0]}_etbench_0.json; take another "
            "folder, or remove it"
        )

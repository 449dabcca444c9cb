"""Stage-1 predictions written into annotations, for those who train stage 2 from files as CALCE does.

Source: ``process_data/merge_stage1_result.py`` of CALCE (tjhd1475/CALCE); the merged files are equal byte for byte.
Unlike it: one data set can be done alone, paths are arguments, ids and queries are compared, a file is whole or absent.
A stage-2 configuration does not need this: ``datasets.<name>.prior`` joins the predictions directly.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lavis.datasets.formats._record import Record, read_records
from lavis.datasets.prior import PriorError, missing_message, read_priors, read_rows
from lavis.preparation.annotations import write_rows
from lavis.structures import Moment

FIELD = "stage1_result"


@dataclass(frozen=True)
class MergeJob:
    """One file to merge: where it comes from and goes to."""

    annotations: Path
    predictions: Path
    out: Path


@dataclass(frozen=True)
class Merged:
    """What came of one file.

    Args:
        job: its paths.
        rows: annotations written.
        unused: predictions of other samples.
        whole_video: rows whose only window is the whole video, CALCE's answer to text that cannot be read.
        empty: rows without any window.
    """

    job: MergeJob
    rows: int
    unused: int
    whole_video: int
    empty: int

    def __str__(self) -> str:
        return (
            f"{self.job.out}: {self.rows} rows from {self.job.annotations} with windows from {self.job.predictions}; "
            f"{self.whole_video} are the whole video, {self.empty} have no window, {self.unused} predictions unused"
        )


@dataclass(frozen=True)
class Source:
    """Where the files of a data set are: folder of the data, our run, CALCE's run, names of annotations by split."""

    folder: str
    run: str
    original_run: str
    splits: Mapping[str, Sequence[str]]


SOURCES = {
    "qvh": Source(
        "qvhighlights",
        "qvh_stage1",
        "qvh/CALCE_QVH_75_stage1-1",
        {"train": ["train"], "val": ["val"], "test": ["test_dummy", "test"]},
    ),
    "charades": Source(
        "charades",
        "charades_stage1",
        "charades/CALCE_Charades_60_stage1-1",
        {"train": ["train"], "test": ["test"]},
    ),
}


def merge(job: MergeJob) -> Merged:
    """Annotations with a last field ``stage1_result``, the windows predicted for each row.

    Args:
        job: ``predictions`` are our ``.jsonl`` or CALCE's result list; of repeated ids the last counts.

    Raises:
        PriorError: if a row has no prediction, or one that was made for another query.
        AnnotationError: if the annotations cannot be read.
    """
    records = list(read_records(job.annotations))
    priors = read_priors(job.predictions)
    queries = _queries(job.predictions)
    ids = [record.text("qid") for record in records]
    missing = [qid for qid in ids if qid not in priors]
    if missing:
        raise PriorError(missing_message(str(job.predictions), missing, len(ids), next(iter(priors))))
    rows = []
    for qid, record in zip(ids, records, strict=True):
        query = record.text("query")
        if queries.get(qid, query) != query:
            raise PriorError(
                f"{job.predictions}: the prediction for {qid} was made for {queries[qid]!r}, but {job.annotations} "
                f"asks {query!r}. Predict again with these annotations"
            )
        windows = [moment.to_list() for moment in priors[qid]]
        rows.append({**{k: v for k, v in record.fields.items() if k != FIELD}, FIELD: windows})
    write_rows(job.out, rows)
    whole = sum(_is_whole(record, priors[qid]) for qid, record in zip(ids, records, strict=True))
    empty = sum(not priors[qid] for qid in ids)
    return Merged(job, len(rows), len(set(priors) - set(ids)), whole, empty)


def jobs(
    datasets: Sequence[str] = ("qvh", "charades"),
    *,
    results: str | Path = "results/calce",
    annotations: str | Path = "data",
    out: str | Path | None = None,
    eval_only: bool = False,
) -> Iterator[MergeJob]:
    """The files CALCE's script merges.

    Args:
        datasets: ``qvh``, ``charades`` or both.
        results: folder with ``qvh_stage1/predictions/*_<split>.jsonl`` (ours) or
            ``qvh/CALCE_QVH_75_stage1-1/result/<split>_epochbest.json`` (CALCE's), or the folder of these files itself.
        annotations: folder with ``qvhighlights/annotations`` and ``charades/annotations``, or with ``qvh`` and
            ``charades``, or the folder of the files itself.
        out: folder for the merged files, by default beside the annotations.
        eval_only: leave the train splits out.

    Raises:
        ValueError: if a data set is unknown, or a file is not where it should be; names the places looked at.
    """
    for name in datasets:
        if name not in SOURCES:
            raise ValueError(f"unknown data set {name!r}; known: {', '.join(SOURCES)}")
        source = SOURCES[name]
        for split, stems in source.splits.items():
            if split == "train" and eval_only:
                continue
            before = find_annotations(Path(annotations), name, source, stems)
            target = Path(out) / name if out is not None and len(datasets) > 1 else Path(out or before.parent)
            after = target / f"{before.stem}_stage2.json"
            yield MergeJob(before, find_predictions(Path(results), source, split), after)


def find_annotations(root: Path, name: str, source: Source, stems: Sequence[str]) -> Path:
    """The annotation file of a split, under the first of its names that exists.

    Raises:
        ValueError: if it is in none of the places.
    """
    folders = [root / source.folder / "annotations", root / source.folder, root / name, root]
    return _first(folders, [f"{stem}.json" for stem in stems], "annotations", "--annotations")


def find_predictions(root: Path, source: Source, split: str) -> Path:
    """The stage-1 predictions of a split.

    Raises:
        ValueError: if they are in none of the places.
    """
    folders = [root / source.run / "predictions", root / source.original_run / "result", root]
    return _first(folders, [f"*_{split}.jsonl", f"{split}_epochbest.json"], "stage-1 predictions", "--results")


def _first(folders: Sequence[Path], patterns: Sequence[str], what: str, option: str) -> Path:
    for folder in folders:
        for pattern in patterns:
            found = sorted(folder.glob(pattern))
            if len(found) > 1:
                names = ", ".join(path.name for path in found)
                raise ValueError(f"{folder} has several files of {what}: {names}. Name a folder with one by {option}")
            if found:
                return found[0]
    looked = ", ".join(str(folder / pattern) for folder in folders for pattern in patterns)
    raise ValueError(f"no {what}: looked for {looked}. Say where they are with {option}")


def _queries(path: Path) -> dict[str, str]:
    """The query each prediction was made for, where the rows say so (CALCE's do)."""
    rows: list[dict[str, Any]] = read_rows(path)
    return {str(row["qid"]): str(row["query"]) for row in rows if "qid" in row and "query" in row}


def _is_whole(record: Record, windows: Sequence[Moment]) -> bool:
    return len(windows) == 1 and windows[0].start <= 0 and windows[0].end >= record.positive("duration")

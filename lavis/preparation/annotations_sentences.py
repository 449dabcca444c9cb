"""CALCE's form of annotations for data sets it has configurations of but no files: ActivityNet Captions and TACoS.

Source: the rows of CALCE's files (tjhd1475/CALCE) for QVHighlights, filled as MR.BLIP (sudo-Boris/mr-Blip) fills its
own for the two. There is no original to be equal to: nouns are published for neither, so they are extracted from the
queries (``noun_phrases``). Durations are not rounded, so windows as annotated stay inside.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from lavis.datasets.formats._record import AnnotationError, read_videos
from lavis.preparation.annotations import Items, Prepared, Row, read_items, write_rows
from lavis.preparation.annotations_mr_blip import activitynet_file, activitynet_rows, tacos_rows

SPLITS = ("train", "val", "test")


def prepare_activitynet(
    release: str | Path, items: Items, out: str | Path, splits: Sequence[str] = SPLITS
) -> list[Prepared]:
    """ActivityNet Captions: ``train.json`` (whole seconds), ``val.json``, ``test.json`` (as annotated).

    Args:
        release: folder of ``train.json``, ``val_1.json`` (becomes ``val``) and ``val_2.json`` (``test``).
        items: what extracts nouns from queries; or a folder of ``<split>.json`` in the form of CALCE's items.
        out: folder to write to, another one.
        splits: which.

    Raises:
        AnnotationError: if a file is absent or a row does not fit; names file and row.
    """
    done = []
    for split in splits:
        videos = read_videos(activitynet_file(Path(release), split))
        rows = activitynet_rows(videos, round_windows=split == "train")
        done.append(_write(Path(release), Path(out), split, rows, items))
    return done


def prepare_tacos(release: str | Path, items: Items, out: str | Path, splits: Sequence[str] = SPLITS) -> list[Prepared]:
    """TACoS: ``train.json`` (whole seconds), ``val.json``, ``test.json`` (fractions of seconds).

    Args:
        release: folder of ``<split>.json``, times in frames.
        items, out, splits: see ``prepare_activitynet``.

    Raises:
        AnnotationError: if a file is absent or a row does not fit; names file and row.
    """
    done = []
    for split in splits:
        rows = tacos_rows(read_videos(Path(release) / f"{split}.json"), round_windows=split == "train")
        done.append(_write(Path(release), Path(out), split, rows, items))
    return done


def _write(release: Path, out: Path, split: str, rows: Iterable[Row], items: Items) -> Prepared:
    if out.resolve() == release.resolve():
        raise AnnotationError(f"{out} holds the release, whose files have the same names. Choose another folder")
    listed = list(rows)
    path = write_rows(out / f"{split}.json", with_items(listed, _nouns(listed, split, items)))
    return Prepared(path, len(listed))


def _nouns(rows: Sequence[Row], split: str, items: Items) -> list[list[str]]:
    if not isinstance(items, str | Path):
        return items([row["query"] for row in rows])
    path = Path(items) / f"{split}.json"
    known = read_items(path)
    missing = next((row["qid"] for row in rows if row["qid"] not in known), None)
    if missing is not None:
        raise AnnotationError(f"{path}: has no entry {missing!r}. Take the items file of the same split")
    return [known[row["qid"]] for row in rows]


def with_items(rows: Iterable[Row], nouns: Iterable[Sequence[str]]) -> list[Row]:
    """Rows with their nouns where CALCE's have them, before the windows."""
    made = []
    for row, found in zip(rows, nouns, strict=True):
        fields = dict(row)
        windows = fields.pop("relevant_windows")
        made.append({**fields, "items": list(found), "relevant_windows": windows})
    return made

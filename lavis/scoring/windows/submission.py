"""The archive that the QVHighlights server takes: one JSON line a query, validation and test, zipped without folders.

Source: CALCE's ``standalone_eval/submission_formatting.py`` (tjhd1475/CALCE) and the server's rules
(jayleicn/moment_detr). Differs: paths are arguments, nothing runs at import, each split is written from its own
predictions, where the original writes validation twice; and what the server would refuse is refused here.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from lavis.common.io import write_bytes, write_jsonl
from lavis.scoring.base import Form, Row, RowError, ScoringError
from lavis.scoring.pairing import Read, read
from lavis.scoring.reading import Given, chosen_form, open_rows
from lavis.scoring.rounding import shortened
from lavis.scoring.windows.forms import WindowAnswer, answer_forms, query_id

FILE_NAMES = {"val": "hl_val_submission.jsonl", "test": "hl_test_submission.jsonl"}
_VIDEO_SUFFIXES = {".mp4", ".mkv", ".webm", ".avi", ".mov"}
_NUMBERED = re.compile(r"(?:[^_]*_)?([0-9]+)")


@dataclass(frozen=True, slots=True)
class Query:
    """What the server's rows say of a query: its number, its sentence, its video."""

    id: str
    number: int
    sentence: str
    video: str


def submission_rows(predictions: Given, annotations: Given) -> list[dict[str, Any]]:
    """Predictions in the server's form, in the order of the annotations.

    Windows without a score get 1; where an answer has no clip scores, a 1 stands for each of its windows, as in CALCE's
    submissions.

    Args:
        predictions: file or rows, in any form that the protocol ``qvhighlights`` reads.
        annotations: file or rows of the release (``qid``, ``query``, ``vid``), or CALCE's; true windows are not needed.

    Raises:
        ScoringError: if a row cannot be read, a query is not answered or answered twice, an answer belongs to no query,
            or holds no window or a reversed or negative one; names the ids.
    """
    queries = _read(annotations, [_QUERIES], "annotations").records
    answers = _read(predictions, answer_forms(columns=3), "predictions").records
    by_id = {answer.id: answer for answer in answers}
    problems = {
        "asked twice in the annotations": _twice([query.id for query in queries]),
        "not answered": [query.id for query in queries if query.id not in by_id],
        "answered, but not asked": sorted(set(by_id) - {query.id for query in queries}),
        "answered twice": _twice([answer.id for answer in answers]),
        "answered without a window; the server needs one for every query": [
            answer.id for answer in answers if not len(answer.windows)
        ],
        "answered with a negative or reversed window": [
            answer.id for answer in answers if bool((answer.windows[:, 0] < 0).any()) or _reversed(answer)
        ],
    }
    found = [f"{len(ids)} queries are {what}: {shortened(ids)}" for what, ids in problems.items() if ids]
    if found:
        raise ScoringError("these predictions cannot be submitted: " + "; ".join(found))
    return [_server_row(query, by_id[query.id]) for query in queries]


def write_submission(folder: Path, val: tuple[Given, Given], test: tuple[Given, Given]) -> Path:
    """Writes ``hl_val_submission.jsonl`` and ``hl_test_submission.jsonl``, and both into ``submission.zip``.

    Args:
        folder: made if it is absent.
        val: predictions and annotations of the validation split.
        test: those of the test split; the server wants both.

    Returns:
        path of the archive.

    Raises:
        ScoringError: if the server would refuse one; nothing is written then.
    """
    rows = {split: submission_rows(*given) for split, given in (("val", val), ("test", test))}
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as files:
        for split, content in rows.items():
            path = write_jsonl(Path(folder) / FILE_NAMES[split], content)
            # A fixed date, so that equal predictions give equal archives.
            files.writestr(zipfile.ZipInfo(path.name, (2000, 1, 1, 0, 0, 0)), path.read_bytes(), zipfile.ZIP_DEFLATED)
    return write_bytes(Path(folder) / "submission.zip", archive.getvalue())


def query_number(identity: str) -> int:
    """The number in an id: 9769 for ``QVHighlight_9769`` and for ``9769``.

    Raises:
        ValueError: if there is none.
    """
    found = _NUMBERED.fullmatch(identity)
    if not found:
        raise ValueError(f"the id {identity!r} holds no query number; QVHighlights ids are QVHighlight_<number>")
    return int(found[1])


def video_name(video: str) -> str:
    """Name of a video without folder and ending; names such as ``j7rJstUseKg_360.0_510.0`` keep their dots."""
    name = PurePath(video).name
    return name.removesuffix(PurePath(name).suffix) if PurePath(name).suffix.lower() in _VIDEO_SUFFIXES else name


def _query(row: Row) -> Query:
    identity = query_id(row, "qid", "id")
    try:
        number = query_number(identity)
    except ValueError as error:
        raise RowError(str(error)) from error
    return Query(identity, number, row.text("query"), video_name(row.text("vid" if "vid" in row else "video")))


_QUERIES = Form(
    "QVHighlights annotations", ("qid", "query"), _query, lambda row: query_id(row, "qid"), "qid, query, vid"
)


def _read(given: Given, forms: list[Form[Any]], what: str) -> Read[Any]:
    source = open_rows(given, what)
    found = read(source, chosen_form(source, forms, what))
    if found.broken:
        problems = [problem for _, problem in found.broken]
        raise ScoringError(f"{len(problems)} rows of {what} cannot be read: {shortened(problems)}")
    return found


def _twice(ids: list[str]) -> list[str]:
    return [identity for identity, count in Counter(ids).items() if count > 1]


def _reversed(answer: WindowAnswer) -> bool:
    return bool((answer.windows[:, 1] < answer.windows[:, 0]).any())


def _server_row(query: Query, answer: WindowAnswer) -> dict[str, Any]:
    clips = [1.0] * len(answer.windows) if answer.clips is None else answer.clips.tolist()
    return {
        "qid": query.number,
        "query": query.sentence,
        "vid": query.video,
        "pred_relevant_windows": answer.windows.tolist(),
        "pred_saliency_scores": clips,
    }

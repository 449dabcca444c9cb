"""The archive that the QVHighlights server takes: one JSON line a query, validation and test, zipped without folders.

Source: CALCE's ``standalone_eval/submission_formatting.py`` (tjhd1475/CALCE) and the server's rules
(jayleicn/moment_detr). Differs: paths are arguments, nothing runs at import, and each split is written from its own
predictions, where the original writes validation twice.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Any

from lavis.common.io import write_bytes, write_jsonl
from lavis.metrics.base import shortened
from lavis.metrics.qvhighlights import prediction_row
from lavis.structures import Prediction, VideoSample

FILE_NAMES = {"val": "hl_val_submission.jsonl", "test": "hl_test_submission.jsonl"}
_VIDEO_SUFFIXES = {".mp4", ".mkv", ".webm", ".avi", ".mov"}
_NUMBERED = re.compile(r"(?:[^_]*_)?([0-9]+)")

Answers = tuple[Sequence[VideoSample], Sequence[Prediction]]


def submission_rows(samples: Sequence[VideoSample], predictions: Sequence[Prediction]) -> list[dict[str, Any]]:
    """Predictions in the server's form.

    Windows without a score get 1; where a prediction has no clip scores, a 1 stands for each of its windows, as in
    CALCE's submissions.

    Args:
        samples: of QVHighlights; ids such as ``QVHighlight_9769``.
        predictions: one for each sample, in the same order.

    Raises:
        ValueError: if an id has no number, or a prediction has no windows; names the ids.
    """
    empty = [p.id for p in predictions if not p.moments]
    if empty:
        raise ValueError(f"the server needs a window for every query; none predicted for {shortened(empty)}")
    rows = []
    for sample, prediction in zip(samples, predictions, strict=True):
        row = prediction_row(sample, prediction)
        windows = row["pred_relevant_windows"]
        rows.append(
            {
                "qid": query_number(sample.id),
                "query": sample.query,
                "vid": video_name(sample),
                "pred_relevant_windows": windows,
                "pred_saliency_scores": prediction.frame_scores or [1.0] * len(windows),
            }
        )
    return rows


def write_submission(folder: Path, val: Answers, test: Answers) -> Path:
    """Writes ``hl_val_submission.jsonl`` and ``hl_test_submission.jsonl``, and both into ``submission.zip``.

    Args:
        folder: made if it is absent.
        val: samples and predictions of the validation split.
        test: those of the test split; the server wants both.

    Returns:
        path of the archive.
    """
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as files:
        for split, (samples, predictions) in (("val", val), ("test", test)):
            path = write_jsonl(Path(folder) / FILE_NAMES[split], submission_rows(samples, predictions))
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
        raise ValueError(f"sample id {identity!r} holds no query number; QVHighlights ids are QVHighlight_<number>")
    return int(found[1])


def video_name(sample: VideoSample) -> str:
    """Name of the video without folder and ending; names such as ``j7rJstUseKg_360.0_510.0`` keep their dots."""
    name = PurePath(sample.video).name
    return name.removesuffix(PurePath(name).suffix) if PurePath(name).suffix.lower() in _VIDEO_SUFFIXES else name

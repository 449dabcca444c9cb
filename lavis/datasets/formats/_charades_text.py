"""The text release of Charades-STA and the table of video lengths that belongs to it, without anything heavy."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from lavis.common.io import read_text
from lavis.datasets.formats._record import AnnotationError, Record, load_json, read_lines

LINE = re.compile(r"(?P<video>\S+) (?P<start>\S+) (?P<end>\S+)\s*##(?P<query>.*)")


def release_records(path: Path, durations: Mapping[str, float], source: str) -> Iterator[Record]:
    """Lines of the text release as TVR rows, windows as released.

    Args:
        path: ``charades_sta_<split>.txt``.
        durations: seconds of each video.
        source: where they are from, for messages.

    Raises:
        AnnotationError: for a line of another form, or a video without a duration.
    """
    counts: Counter[str] = Counter()
    for number, line in read_lines(path):
        match = LINE.fullmatch(line.rstrip("\r"))
        record = Record({}, path, f"line {number}")
        if match is None:
            raise record.error(
                None, f"must be 'video start end##query', got {line!r:.80}", "Correct or remove the line"
            )
        video = match["video"]
        record = record.with_id(f"CharadesSTA_{video}_{counts[video]}")
        counts[video] += 1
        if video not in durations:
            raise record.error("duration", f"{source} has no video {video!r}", "Take the file of the same split")
        fields = {
            "qid": number,
            "query": match["query"],
            "duration": durations[video],
            "vid": video,
            "relevant_windows": [[_seconds(match["start"]), _seconds(match["end"])]],
        }
        yield Record(fields, path, record.row, record.id)


def read_durations(path: str | Path) -> dict[str, float]:
    """Seconds of each video, from a CSV file with columns ``id`` and ``length`` or a JSON object.

    Raises:
        AnnotationError: if the file is absent, has another shape, or a length is no number above 0.
    """
    file = Path(path)
    try:
        text = read_text(file)
    except FileNotFoundError:
        raise AnnotationError(f"there is no file of durations {file}. Correct format.durations") from None
    raw: dict[str, object]
    if file.suffix == ".csv":
        try:
            rows = list(csv.DictReader(io.StringIO(text)))
        except csv.Error as error:
            raise AnnotationError(f"{file}: no valid CSV ({error}). Take Charades_v1_<split>.csv") from error
        if not rows or not {"id", "length"} <= set(rows[0]):
            raise AnnotationError(f"{file}: must have the columns 'id' and 'length'. Take Charades_v1_<split>.csv")
        raw = {row["id"]: row["length"] for row in rows}
        if len(raw) < len({(row["id"], row["length"]) for row in rows}):
            raise AnnotationError(f"{file}: tells two lengths of one video. Remove the wrong one")
    else:
        loaded = load_json(text, str(file))
        if not isinstance(loaded, dict):
            raise AnnotationError(f"{file}: must map videos to seconds, got {type(loaded).__name__}")
        raw = loaded
    durations = {}
    for video, value in raw.items():
        seconds = _seconds(value) if isinstance(value, (str, int, float)) and not isinstance(value, bool) else value
        record = Record({"length": seconds}, file, f"video {video!r}")
        durations[video] = record.positive("length")
    return durations


def _seconds(value: str | int | float) -> str | float:
    """A number from text; text that is none comes back, to be complained about where the row is known."""
    try:
        return str(value) if isinstance(value, str) and "_" in value else float(value)
    except (ValueError, OverflowError):  # the latter of whole numbers with hundreds of digits
        return str(value)

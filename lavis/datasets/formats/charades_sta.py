"""Charades-STA as released (``3MSZA 24.3 30.4##person turn a light on.``) and as JSON lines in the layout of TVR.

Source: *TALL: Temporal Activity Localization via Language Query* (jiyanggao/TALL), files
``charades_sta_{train,test}.txt``; the lengths of the videos come from Charades (``Charades_v1_{train,test}.csv``).
Many windows end up to 1.6 s past the video (1,805 of 12,408 in train, 562 of 3,720 in test); the field cuts them, and
so do we by default. Four windows of train are reversed: ``on_bad_window: skip`` leaves them out, as CALCE's files do.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from lavis.common.io import read_text
from lavis.common.registry import registry
from lavis.datasets.formats._record import AnnotationError, Record, load_json, read_lines
from lavis.datasets.formats._release_rows import ReleaseRows
from lavis.datasets.formats.base import BeyondEnd, OnBadWindow, OnUnknownField

LINE = re.compile(r"(?P<video>\S+) (?P<start>\S+) (?P<end>\S+)\s*##(?P<query>.*)")


@registry.formats.register("charades_sta")
class CharadesSTA(ReleaseRows):
    """Lines of the release (ids ``CharadesSTA_<video>_<k>``, as MR.BLIP) or TVR rows (``Charades_<qid>``, as CALCE).

    Args:
        durations: where the lengths of the videos are: Charades' CSV (columns ``id`` and ``length``) or a JSON object
            of seconds; ``{split}`` is filled in. Needed for the text release, whose lines have none.
        items, on_bad_window, beyond_end, on_unknown_field: see ``ReleaseRows``.
    """

    optional = ("relevant_windows", "kind")
    id_prefix = "Charades_"

    def __init__(
        self,
        *,
        durations: str | None = None,
        items: str | None = None,
        on_bad_window: OnBadWindow = "raise",
        beyond_end: BeyondEnd = "clamp",
        on_unknown_field: OnUnknownField = "raise",
    ) -> None:
        super().__init__(
            items=items, on_bad_window=on_bad_window, beyond_end=beyond_end, on_unknown_field=on_unknown_field
        )
        self.durations = durations

    def records(self, path: Path, split: str) -> Iterator[Record]:
        if path.suffix != ".txt":
            yield from super().records(path, split)
            return
        if self.durations is None or self.items is not None:
            raise AnnotationError(
                f"{path}: the lines of this release hold no durations, and their ids are not those of CALCE's items. "
                "Set format.durations to Charades_v1_<split>.csv and leave format.items out"
            )
        source = self.durations.replace("{split}", split)
        yield from release_records(path, read_durations(source), source)


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
        rows = list(csv.DictReader(io.StringIO(text)))
        if not rows or not {"id", "length"} <= set(rows[0]):
            raise AnnotationError(f"{file}: must have the columns 'id' and 'length'. Take Charades_v1_<split>.csv")
        raw = {row["id"]: row["length"] for row in rows}
    else:
        loaded = load_json(text, str(file))
        if not isinstance(loaded, dict):
            raise AnnotationError(f"{file}: must map videos to seconds, got {type(loaded).__name__}")
        raw = loaded
    durations = {}
    for video, value in raw.items():
        seconds = _seconds(value) if isinstance(value, (str, int, float)) else value
        record = Record({"length": seconds}, file, f"video {video!r}")
        durations[video] = record.positive("length")
    return durations


def _seconds(value: str | int | float) -> str | float:
    """A number from text; text that is none comes back, to be complained about where the row is known."""
    try:
        return float(value)
    except ValueError:
        return str(value)

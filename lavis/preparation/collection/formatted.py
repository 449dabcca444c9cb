"""Annotation files that ``lavis audit`` does not know, read by their registered formats, as a run would read them.

A format is strict: it stops at its first fault, which becomes a finding with its file, row, id and cure. What it left
out as its options allow (``on_bad_window: skip`` ...) is in its counts.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lavis.preparation.audit import FileAudit
from lavis.preparation.audit_checks import check_file
from lavis.preparation.audit_videos import SUFFIXES, Files
from lavis.preparation.entries import AnnotationFile
from lavis.preparation.entry_layouts import SAME_AS_ROWS, Entry
from lavis.structures import VideoSample

AUDITED = frozenset({*SAME_AS_ROWS, "charades_sta", "activitynet_captions", "tacos"})
"""Formats whose files the audit reads itself, row by row and past every fault."""
_KINDS = (
    "no_rows", "unparseable", "id_twice", "missing_duration", "bad_duration", "durations_differ", "query_twice",
    "query_other_windows",
)  # fmt: skip
_OF_WINDOWS = ("no_windows", "reversed", "zero_length", "negative", "past_end", "outside", "window_twice")


@dataclass(slots=True)
class NamedFiles(Files):
    """Files of a configured data set: a name is a path below the folder, with one suffix behind it, or none.

    Args:
        suffix: of the names, such as ``.mp4``; ``""`` where they have their own, or are folders of frames.
    """

    suffix: str = field(default="", kw_only=True)

    @classmethod
    def below(cls, folder: Path, suffix: str) -> NamedFiles:
        """Those of a folder that is there."""
        return cls(folder, suffix=suffix)

    def find(self, video: str) -> Path | None:
        """The file or folder of frames of a video."""
        path = self.folder / f"{video}{self.suffix}"
        return path if path.exists() else None

    def beside(self, named: list[Path]) -> set[Path]:
        """Videos in the same folders as those of ``named``."""
        found = set()
        for folder in {path.parent for path in named} or {self.folder}:
            with os.scandir(folder) as entries:
                found |= {Path(entry.path) for entry in entries if entry.name.lower().endswith(SUFFIXES)}
        return found


def read_formatted(path: Path, split: str, form: Any, slack: float) -> tuple[FileAudit, dict[str, int]]:
    """What a file holds, by its format.

    Args:
        path: annotation file, or folder of them.
        split: fills ``{split}`` in the paths of side files.
        form: name of a format, or a mapping of its name and options, as in configurations.
        slack: seconds by which a window may end past the duration.

    Returns:
        its entries with findings, and the counts of the format.

    Raises:
        ConfigError: if there is no such format, or it has no such option.
    """
    from lavis.common.construct import build_part
    from lavis.common.registry import registry
    from lavis.datasets.formats._record import AnnotationError

    node = {"name": form} if isinstance(form, str) else dict(form)
    reader = build_part(registry.formats, node, "format")
    file = AnnotationFile(str(path), container="read by its format", layout=str(node["name"]))
    counts: dict[str, int] = {}
    try:
        read = reader.read(path, split)
    except AnnotationError as error:
        file.broken.append((str(path), str(error)))
    else:
        counts = {name: count for name, count in read.counts.items() if count}
        file.rows = read.counts["rows"]
        file.entries = [_entry(str(path), sample) for sample in read.samples]
        file.columns = dict.fromkeys(("id", "video", "duration"), "format")
        if any(sample.moments for sample in read.samples):
            file.columns["windows"] = "format"
        file.expects = frozenset({"id", "duration"})
    found, known = check_file(file, slack)
    kinds = [*_KINDS, *(_OF_WINDOWS if "windows" in file.columns else ())]
    return FileAudit(file, found, known, kinds), counts


def with_durations(form: Mapping[str, Any], durations: Path | None) -> dict[str, Any]:
    """A format's node with its table of lengths, where one is given."""
    return {**form, **({"durations": str(durations)} if durations is not None else {})}


def _entry(place: str, sample: VideoSample) -> Entry:
    # Questions of conversations and of choices recur with other answers; only queries for moments should be told apart.
    asks = bool(sample.query) and not sample.turns and not sample.options
    windows = [moment.to_list() for moment in sample.moments] if sample.moments else None
    return Entry(
        place=place,
        id=sample.id,
        video=sample.video or None,  # text alone has none
        query=sample.query if asks else None,
        duration=sample.duration,
        windows=windows,
    )

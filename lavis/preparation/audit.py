"""``lavis audit``: everything that is wrong with annotation files, with counts and places; nothing is changed.

Training stops at the first fault, scoring counts those that concern it; this lists all of them before either, and what
files of a data set (train, validation, test) share. Known faults of published annotations: docs/data.md.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lavis.preparation.audit_checks import Known, check_between, check_file
from lavis.preparation.audit_findings import BETWEEN, KINDS, Findings
from lavis.preparation.entries import AnnotationFile, read_entries

_WIDTH = 22


@dataclass(slots=True)
class FileAudit:
    """One file: how it was read, how much it holds, what is wrong; ``looked_for`` are the kinds that apply to it."""

    file: AnnotationFile
    findings: Findings
    known: list[Known]
    looked_for: list[str] = field(default_factory=list)

    @property
    def sizes(self) -> dict[str, int]:
        """Numbers of rows, queries, videos and windows."""
        videos = {each.entry.video for each in self.known if isinstance(each.entry.video, str)}
        return {
            "rows": self.file.rows,
            "queries": len(self.known),
            "videos": len(videos),
            "windows": sum(len(each.windows) for each in self.known),
        }


@dataclass(slots=True)
class Audit:
    """All files, and what each two of them share."""

    files: list[FileAudit]
    between: dict[tuple[str, str], Findings]

    def faults(self, allowed: Collection[str] = ()) -> dict[str, int]:
        """How many there are of each kind, over all files, of those that are not allowed."""
        counts: dict[str, int] = {}
        for findings in [*(audit.findings for audit in self.files), *self.between.values()]:
            for kind, places in findings.places.items():
                if kind not in allowed:
                    counts[kind] = counts.get(kind, 0) + len(places)
        return counts

    def to_json(self) -> dict[str, Any]:
        """Everything, with all places."""
        return {
            "files": [_file_json(audit) for audit in self.files],
            "between": [
                {"files": list(pair), "findings": _findings_json(found, list(BETWEEN))}
                for pair, found in self.between.items()
            ],
        }

    def to_text(self, examples: int = 3) -> str:
        """Counts, each with its first places."""
        blocks = [_file_text(audit, examples) for audit in self.files]
        blocks += [_between_text(pair, found, examples) for pair, found in self.between.items()]
        total = sum(self.faults().values())
        blocks.append(f"{total} findings in {len(self.files)} file(s)")
        # Annotations may hold halves of characters, which no terminal can show.
        return "\n\n".join(blocks).encode("utf-8", "backslashreplace").decode("utf-8")


def audit(
    paths: Sequence[str | Path],
    *,
    layout: str | None = None,
    columns: Mapping[str, str] | None = None,
    durations: str | Path | None = None,
    videos: str | Path | None = None,
    tolerance: float = 1.0,
    slack: float = 0.0,
) -> Audit:
    """Reads annotation files and looks for faults.

    Args:
        paths: files, such as those of train, val and test; no file twice.
        layout: name in ``entry_layouts.LAYOUTS``, ``rows``, or an annotation format; ``None`` finds it.
        columns: for plain rows, part of an entry (``video``, ``query``, ...) to the name of its field.
        durations: table (CSV with ``id`` and ``length``) or JSON mapping of seconds, for files without durations.
        videos: folder of the video files, to compare durations with.
        tolerance: seconds by which these may differ.
        slack: seconds by which a window may end past the annotated duration.

    Raises:
        FileNotFoundError: if a file or the folder is not there.
        ScoringError: if rows are of no known layout.
        ValueError: if a file is given twice, or the table of durations cannot be read.
    """
    names = [str(path) for path in paths]
    if len(set(names)) < len(names):
        raise ValueError("a file is given twice; give each annotation file once")
    seconds = read_seconds(durations)
    audits = []
    for path in paths:
        file = read_entries(path, layout, columns, seconds)
        findings, known = check_file(file, slack)
        audits.append(FileAudit(file, findings, known, _looked_for(file, videos is not None)))
    if videos is not None:
        _add_videos(audits, videos, tolerance)
    entries = [(name, each.file.entries) for name, each in zip(names, audits, strict=True)]
    return Audit(audits, check_between(entries))


def read_seconds(path: str | Path | None) -> dict[str, float]:
    """Seconds of videos from a table or JSON mapping; none without a file.

    Raises:
        ValueError: if the file is absent or has another shape.
    """
    if path is None:
        return {}
    from lavis.datasets.formats._charades_text import read_durations

    return read_durations(path)


def columns_of(items: Sequence[str]) -> dict[str, str]:
    """``--fields``: part of an entry to the name of its field.

    Raises:
        ValueError: if an item is not ``part=field``.
    """
    pairs = [item.partition("=") for item in items]
    bad = next((item for item, (part, _, name) in zip(items, pairs, strict=True) if not part or not name), None)
    if bad is not None:
        raise ValueError(f"--fields takes part=field, such as video=clip, got {bad!r}")
    return {part: name for part, _, name in pairs}


def check_kinds(kinds: Sequence[str]) -> None:
    """That these are kinds of findings.

    Raises:
        ValueError: naming the first that is none.
    """
    unknown = next((kind for kind in kinds if kind not in KINDS and kind not in BETWEEN), None)
    if unknown is not None:
        raise ValueError(f"there is no kind of finding {unknown!r}; known: {', '.join([*KINDS, *BETWEEN])}")


def _add_videos(audits: Sequence[FileAudit], folder: str | Path, tolerance: float) -> None:
    from lavis.preparation.audit_videos import Files, check_videos, real_durations

    files = Files.of(folder)
    named = {each.entry.video for audit in audits for each in audit.known if isinstance(each.entry.video, str)}
    seconds, unreadable = real_durations(sorted(name for name in named if name.strip()), files)
    for audit in audits:
        found = check_videos(audit.known, files, seconds, unreadable, tolerance)
        audit.findings.places.update(found.places)


def _looked_for(file: AnnotationFile, videos: bool) -> list[str]:
    """Kinds that can occur: without windows in a file, nothing can be said about windows, and so on."""
    needs = {
        "missing_id": "id" in file.expects, "id_twice": "id" in file.columns,
        "missing_query": "query" in file.expects, "missing_duration": "duration" in file.expects,
        **dict.fromkeys(_OF_WINDOWS, "windows" in file.columns),
        "missing_windows": "windows" in file.expects,
        **dict.fromkeys(_OF_RATINGS, "clips" in file.columns or "ratings" in file.columns),
        **dict.fromkeys(_OF_VIDEOS, videos),
    }  # fmt: skip
    return [kind for kind in KINDS if needs.get(kind, True)]


_OF_WINDOWS = (
    "no_windows", "not_a_window", "not_finite", "reversed", "zero_length", "negative", "past_end",
    "outside", "window_twice",
)  # fmt: skip
_OF_RATINGS = ("clip_outside", "ratings_mismatch", "bad_rating", "clips_off_windows")
_OF_VIDEOS = ("video_missing", "video_unreadable", "duration_wrong", "past_real_end")


def _file_json(audit: FileAudit) -> dict[str, Any]:
    file = audit.file
    return {
        "path": file.path,
        "container": file.container,
        "layout": file.layout,
        "fields": file.columns,
        **audit.sizes,
        "findings": _findings_json(audit.findings, audit.looked_for),
    }


def _findings_json(found: Findings, kinds: Sequence[str]) -> dict[str, Any]:
    return {
        kind: {
            "count": found.count(kind),
            "meaning": KINDS.get(kind) or BETWEEN[kind],
            "places": [
                {"place": place.place, "id": place.id, "detail": place.detail} for place in found.places.get(kind, ())
            ],
        }
        for kind in [*kinds, *(kind for kind in found.places if kind not in kinds)]
    }


def _file_text(audit: FileAudit, examples: int) -> str:
    file = audit.file
    columns = ", ".join(f"{part} from {column!r}" for part, column in file.columns.items())
    lines = [
        f"{file.path}: {file.container or 'nothing readable'}" + (f", layout {file.layout}" if file.layout else "")
    ]
    lines += [f"  {columns}"] if columns else []
    lines.append("  " + ", ".join(f"{count:,} {name}" for name, count in audit.sizes.items()))
    if file.layout and "windows" not in file.columns:
        lines.append("  its rows have no windows: a test split without truth?")
    lines += _counts_text(audit.findings, KINDS, examples)
    clean = [kind for kind in audit.looked_for if not audit.findings.count(kind)]
    lines.append("  none of: " + ", ".join(clean))
    return "\n".join(lines)


def _between_text(pair: tuple[str, str], found: Findings, examples: int) -> str:
    shares = _counts_text(found, BETWEEN, examples)
    return "\n".join([f"{pair[0]} and {pair[1]}:", *(shares or ["  share no video, no query and no id"])])


def _counts_text(found: Findings, meanings: Mapping[str, str], examples: int) -> list[str]:
    lines = []
    for kind, meaning in meanings.items():
        places = found.places.get(kind, [])
        if not places:
            continue
        lines.append(f"  {kind:{_WIDTH}}{len(places):>7,}  {meaning}")
        for place in places[:examples]:
            identity = f" (id {place.id})" if place.id else ""
            lines.append(f"    {place.place}{identity}: {place.detail}")
        if len(places) > examples > 0:
            lines.append(f"    ... and {len(places) - examples:,} more")
    return lines

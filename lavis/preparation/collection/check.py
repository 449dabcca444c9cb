"""Whether a data set is all there: annotation files, videos, durations, subtitles; with what ``lavis audit`` finds.

Files of forms that the audit does not know are read by their registered formats (``formatted.py``). The videos are read
by the executor, and what was read is kept where ``videos_metadata`` keeps it, so a second check of a large collection
takes seconds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from lavis.preparation.audit import Audit, FileAudit, audit
from lavis.preparation.audit_checks import check_between
from lavis.preparation.audit_videos import SUFFIXES, Files, check_videos
from lavis.preparation.collection.formatted import AUDITED, NamedFiles, read_formatted
from lavis.preparation.collection.items import Item
from lavis.preparation.collection.run import Running
from lavis.preparation.collection.summary import Summary

if TYPE_CHECKING:
    from typing import Unpack  # since Python 3.11; only type checkers read it

VIDEO_KINDS = ("video_missing", "video_unreadable", "duration_wrong", "past_real_end")


@dataclass(frozen=True, slots=True)
class Source:
    """Where the parts of a data set are.

    Args:
        name: what to call it.
        annotations: annotation file by split.
        durations: table of seconds by split, for files that have none.
        videos: folder of the videos, if any.
        subtitles: folder of ``<video>.srt``, if any.
        format: name of a registered format, or its name and options, that reads the files; ``None``: the audit does.
        video_suffix: behind the names of videos, for files read by a format.
    """

    name: str
    annotations: Mapping[str, Path]
    durations: Mapping[str, Path] = field(default_factory=dict)
    videos: Path | None = None
    subtitles: Path | None = None
    format: str | Mapping[str, Any] | None = None
    video_suffix: str = ""


def configured(name: str) -> list[Source]:
    """The sources of a configured data set (``configs/datasets``); a mixture has several.

    Raises:
        ValueError: if there is no such data set, or it names no annotations.
    """
    from lavis.common.config import list_configs, load_config

    names = list_configs("datasets")
    if name not in names:
        raise ValueError(f"there is no data set {name}; there are {', '.join(names)}; or give annotation files")
    found = []
    nodes = list(load_config(f"datasets/{name}")["datasets"].items())
    while nodes:
        label, node = nodes.pop(0)
        nodes += list((node.get("parts") or {}).items())
        if "annotations" in node:
            found.append(_source(label, node))
    if not found:
        raise ValueError(f"data set {name} names no annotation files; give them instead of its name")
    return found


def _source(label: str, node: Mapping[str, Any]) -> Source:
    form = node.get("format")
    table = form.get("durations") if isinstance(form, Mapping) else None
    name = form.get("name") if isinstance(form, Mapping) else form

    def of_split(path: str, split: str) -> Path:
        return Path(path.replace("{split}", split)).expanduser()

    splits = list(node["annotations"])
    places = {key: Path(node[key]).expanduser() if node.get(key) else None for key in ("videos", "subtitles")}
    return Source(
        label,
        {split: of_split(node["annotations"][split], split) for split in splits},
        {split: of_split(table, split) for split in splits} if table else {},
        places["videos"],
        places["subtitles"],
        None if name is None or name in AUDITED else form,
        node.get("video_suffix", ".mp4"),
    )


@dataclass(slots=True)
class DataCheck:
    """What is there of a data set, and what is wrong with it.

    Args:
        source: where it should be.
        absent: annotation files and folders that are not there.
        audit: of the annotation files that are.
        counts: numbers of videos: ``named`` by annotations, ``present``, ``missing``, ``unreadable``,
            ``unnamed`` (files that no annotation names), ``without_subtitles``.
        facts: of each video that could be read, see ``metadata.video_facts``.
        summary: of reading the videos.
        reading: of each file read by a format, what it counted (``rows``, ``skipped_windows`` ...).
    """

    source: Source
    absent: list[Path]
    audit: Audit
    counts: dict[str, int]
    facts: dict[str, dict[str, Any]]
    summary: Summary | None = None
    reading: dict[str, dict[str, int]] = field(default_factory=dict)

    @property
    def faults(self) -> dict[str, int]:
        """How many there are of each kind; none for a data set that is whole and clean."""
        found = {"absent": len(self.absent), "without_subtitles": self.counts.get("without_subtitles", 0)}
        return {kind: count for kind, count in {**found, **self.audit.faults()}.items() if count}

    def to_json(self) -> dict[str, Any]:
        """Everything, with all places."""
        return {
            "dataset": self.source.name, "absent": [str(path) for path in self.absent], "videos": self.counts,
            "lengths": self.lengths(), "reading": self.reading, "faults": self.faults, "audit": self.audit.to_json(),
        }  # fmt: skip

    def lengths(self) -> dict[str, Any]:
        """Hours in all, shortest, middle and longest seconds, and how many there are of each codec and rate."""
        seconds = [facts["duration_s"] for facts in self.facts.values()]
        if not seconds:
            return {}
        return {
            "hours": sum(seconds) / 3600, "shortest_s": min(seconds), "median_s": median(seconds),
            "longest_s": max(seconds), "codecs": dict(Counter(each["codec"] for each in self.facts.values())),
            "variable_rate": sum(not each["constant_rate"] for each in self.facts.values()),
        }  # fmt: skip

    def to_text(self, examples: int = 3) -> str:
        """The same for reading."""
        lines = [f"{self.source.name}: videos in {self.source.videos}"]
        lines += [f"  NOT THERE: {path}" for path in self.absent]
        for path, counts in self.reading.items():
            told = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in counts.items())
            lines.append(f"  {path}: read as {self._format_name()}: {told or 'nothing'}")
        if self.counts:
            lines.append("  " + ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in self.counts.items()))
        lengths = self.lengths()
        if lengths:
            codecs = ", ".join(f"{count:,} {codec}" for codec, count in lengths["codecs"].items())
            lines.append(
                f"  {lengths['hours']:.3g} h; {lengths['shortest_s']:.4g} to {lengths['longest_s']:.4g} s, half below "
                f"{lengths['median_s']:.4g} s; {codecs}; {lengths['variable_rate']:,} of variable rate"
            )
        text = "\n".join(lines)
        return f"{text}\n\n{self.audit.to_text(examples)}" if self.audit.files else text

    def _format_name(self) -> str:
        form = self.source.format
        return str(form.get("name")) if isinstance(form, Mapping) else str(form)


def check_data(
    source: Source,
    *,
    tolerance: float = 1.0,
    slack: float = 0.0,
    out: str | Path | None = None,
    **running: Unpack[Running],
) -> DataCheck:
    """Looks at everything of a data set; changes nothing but the notes on its videos.

    Args:
        source: where it is.
        tolerance: seconds by which annotated durations may differ from those of the files.
        slack: seconds by which a window may end past the annotated duration.
        out: folder for the notes on the videos; by default the one their folder is in.
        running: see ``run_collection``; videos that cannot be read are findings, and have no budget.

    Raises:
        ScoringError: if an annotation file is of no known layout.
        ConfigError: if ``source.format`` is none, or has other options.
        ValueError: as ``run_collection``.
    """
    # MVBench's is a folder of files.
    there = {split: path for split, path in source.annotations.items() if path.is_file() or _is_read(source, path)}
    absent = [path for split, path in source.annotations.items() if split not in there]
    absent += [folder for folder in (source.videos, source.subtitles) if folder is not None and not folder.is_dir()]
    audits: dict[Path, FileAudit] = {}
    reading: dict[str, dict[str, int]] = {}
    for split, path in there.items():
        if path in audits:  # a split that is another one under its own name
            continue
        table = source.durations.get(split)
        absent += [table] if table is not None and not table.exists() and table not in absent else []
        if source.format is not None:
            audits[path], reading[str(path)] = read_formatted(path, split, source.format, slack)
            continue
        seconds = table if table is not None and table.is_file() else None
        audits[path] = audit([path], durations=seconds, slack=slack).files[0]
    files = list(audits.values())
    between = check_between([(each.file.path, each.file.entries) for each in files])
    found = DataCheck(source, absent, Audit(files, between), {}, {}, reading=reading)
    if source.videos is not None and source.videos.is_dir():
        _look_at_videos(found, source.videos, tolerance, out, running)
    if source.subtitles is not None and source.subtitles.is_dir():
        folder = source.subtitles
        found.counts["without_subtitles"] = sum(not (folder / f"{_stem(each)}.srt").is_file() for each in _named(files))
    return found


def _is_read(source: Source, path: Path) -> bool:
    return source.format is not None and path.exists()


def _look_at_videos(found: DataCheck, folder: Path, tolerance: float, out: str | Path | None, running: Running) -> None:
    from lavis.preparation.collection.metadata import probe_items

    source, named = found.source, _named(found.audit.files)
    files = Files.of(folder) if source.format is None else NamedFiles.below(folder, source.video_suffix)
    places = {video: path for video in named if (path := files.find(video)) is not None}
    # Pictures, and folders of frames, have no length to be read.
    still = {video for video, path in places.items() if not (path.is_file() and path.name.lower().endswith(SUFFIXES))}
    items = {
        path: Item(path.relative_to(folder).as_posix(), path) for video, path in places.items() if video not in still
    }
    options: Running = {**running, "budget": float(max(1, len(items)))}
    found.summary = probe_items(list(items.values()), folder, out, **options)
    by_name = {each.item: each for each in found.summary.outcomes}
    known = {video: by_name[items[path].name] for video, path in places.items() if path in items}
    found.facts = {video: each.result for video, each in known.items() if each.result is not None}
    seconds = {video: float(facts["duration_s"]) for video, facts in found.facts.items()}
    unreadable = {video: each.error for video, each in known.items() if each.failure}
    for each in found.audit.files:
        moving = [known for known in each.known if known.entry.video not in still]
        each.findings.places.update(check_videos(moving, files, seconds, unreadable, tolerance).places)
        each.looked_for += [kind for kind in VIDEO_KINDS if kind not in each.looked_for]
    if isinstance(files, NamedFiles):
        entries = files.beside(list(items))
    else:
        entries = {path for path in files.by_name.values() if path.is_file() and not path.name.startswith(".")}
    found.counts = {
        "named": len(named), "present": len(places), "missing": len(named) - len(places),
        "unreadable": len(unreadable), "unnamed": len(entries - set(places.values())),
    }  # fmt: skip


def _named(files: Sequence[FileAudit]) -> list[str]:
    videos = {each.entry.video for audit in files for each in audit.known if isinstance(each.entry.video, str)}
    return sorted(video for video in videos if video.strip())


def _stem(video: str) -> str:
    """The name without the suffix of a video; other dots belong to it."""
    from lavis.preparation.audit_videos import SUFFIXES

    return video[: -len(Path(video).suffix)] if video.lower().endswith(SUFFIXES) else video

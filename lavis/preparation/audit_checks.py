"""What an audit looks for: faults of one entry, of entries among each other, and of files among each other.

``audit_findings.KINDS`` lists all of them with their meaning. A window may have several faults, and counts under each.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from lavis.preparation.audit_findings import Findings, Place
from lavis.preparation.entries import AnnotationFile
from lavis.preparation.entry_layouts import Entry

CLIP_SECONDS = 2
HIGHEST_RATING = 4
_LONGEST_SECONDS = 1e6


@dataclass(slots=True)
class Known:
    """What an entry turned out to hold: numbers that can be used, ``None`` or nothing in the place of others."""

    entry: Entry
    duration: float | None
    windows: list[tuple[float, float]]


def check_file(file: AnnotationFile, slack: float = 0.0) -> tuple[Findings, list[Known]]:
    """Everything that can be wrong within one file.

    Args:
        file: its entries.
        slack: seconds by which a window may end past the duration.

    Returns:
        findings, and what is usable of each entry.
    """
    found = Findings()
    if not file.rows and not file.broken:
        found.note("no_rows", Place(file.path, "", "empty"))
    for place, problem in file.broken:
        found.note("unparseable", Place(place, "", problem))
    if file.torn is not None:
        found.note("torn_last_line", Place(file.torn[0], "", file.torn[1]))
    for key in file.repeated_keys:
        found.note("key_twice", Place(file.path, key, f"key {key!r}"))
    known = [_check_entry(entry, file.expects, slack, found) for entry in file.entries]
    _check_ids(file.entries, found)
    _check_repeats(known, found)
    _check_durations(known, found)
    return found, known


def _check_entry(entry: Entry, expects: frozenset[str], slack: float, found: Findings) -> Known:
    if "id" in expects and not entry.id:
        found.add("missing_id", entry, "no id")
    for part in ("video", "query"):
        value = getattr(entry, part)
        if part in expects and (not isinstance(value, str) or not value.strip()):
            found.add(f"missing_{part}", entry, f"{part} {value!r:.40}")
    duration = _duration(entry, "duration" in expects, found)
    windows = _windows(entry, "windows" in expects, found)
    for start, end in windows:
        _check_window(entry, start, end, duration, slack, found)
    if len(set(windows)) < len(windows):
        twice = [window for window, count in Counter(windows).items() if count > 1]
        found.add("window_twice", entry, _shown(twice))
    if entry.ratings is not None or entry.clips is not None:
        _check_ratings(entry, duration, windows, found)
    return Known(entry, duration, windows)


def _duration(entry: Entry, expected: bool, found: Findings) -> float | None:
    if entry.duration is None:
        if expected:
            found.add("missing_duration", entry, "no duration")
        return None
    seconds = as_number(entry.duration)
    if seconds is None or not math.isfinite(seconds) or seconds <= 0:
        found.add("bad_duration", entry, f"duration {entry.duration!r:.40}")
        return None
    return seconds


def _windows(entry: Entry, expected: bool, found: Findings) -> list[tuple[float, float]]:
    """Windows of two finite numbers; a single [start, end] is taken as a list of one."""
    raw = entry.windows
    if raw is None:
        if expected:
            found.add("missing_windows", entry, "no windows")
        return []
    if not isinstance(raw, list):
        found.add("not_a_window", entry, f"{raw!r:.60} is no list")
        return []
    if not raw:
        found.add("no_windows", entry, "[]")
    if len(raw) == 2 and not any(isinstance(bound, list) for bound in raw):
        raw = [raw]
    windows = []
    for window in raw:
        bounds = [as_number(bound) for bound in window[:2]] if isinstance(window, list) else []
        if len(bounds) != 2 or bounds[0] is None or bounds[1] is None:
            found.add("not_a_window", entry, f"{window!r:.60}")
        elif not (math.isfinite(bounds[0]) and math.isfinite(bounds[1])):
            found.add("not_finite", entry, f"{window!r:.60}")
        else:
            windows.append((bounds[0], bounds[1]))
    return windows


def _check_window(
    entry: Entry, start: float, end: float, duration: float | None, slack: float, found: Findings
) -> None:
    window = f"[{start:g}, {end:g}]"
    if end < start:
        found.add("reversed", entry, window)
    if end == start:
        found.add("zero_length", entry, window)
    if start < 0:
        found.add("negative", entry, window)
    if duration is None:
        return
    last = max(start, end)
    if last > duration + slack:
        found.add("past_end", entry, f"{window} ends {last - duration:.4g} s past {duration:g} s")
    if min(start, end) >= duration + slack:
        found.add("outside", entry, f"{window} of {duration:g} s")


def _check_ratings(entry: Entry, duration: float | None, windows: list[tuple[float, float]], found: Findings) -> None:
    clips, ratings = entry.clips, entry.ratings
    if not isinstance(clips, list) or not isinstance(ratings, list) or len(clips) != len(ratings):
        counts = [len(each) if isinstance(each, list) else "no list" for each in (clips, ratings)]
        found.add("ratings_mismatch", entry, f"{counts[0]} clips, {counts[1]} ratings")
    elif any(not isinstance(each, list) or len(each) != len(ratings[0]) for each in ratings):
        found.add("ratings_mismatch", entry, "not every clip has as many raters as the first")
    elif not all(_is_rating(vote) for votes in ratings for vote in votes):
        found.add("bad_rating", entry, _shown([v for votes in ratings for v in votes if not _is_rating(v)]))
    if not isinstance(clips, list):
        return
    whole = [clip for clip in clips if isinstance(clip, int) and not isinstance(clip, bool)]
    limit = math.inf if duration is None else duration
    outside = [clip for clip in clips if clip not in whole or clip < 0 or clip * CLIP_SECONDS >= limit]
    if outside:
        found.add("clip_outside", entry, f"clips {_shown(outside)} of {limit:g} s")
    if outside or not windows or not all(_on_clips(start, end) for start, end in windows):
        return
    inside = {clip for start, end in windows for clip in range(int(start) // CLIP_SECONDS, int(end) // CLIP_SECONDS)}
    if inside != set(whole):
        found.add("clips_off_windows", entry, f"clips {_shown(sorted(inside ^ set(whole)))} are in one of both only")


def _on_clips(start: float, end: float) -> bool:
    """Whether a window is made of whole clips, and no longer than a video can be."""
    return start % CLIP_SECONDS == 0 == end % CLIP_SECONDS and -_LONGEST_SECONDS < start <= end < _LONGEST_SECONDS


def _is_rating(vote: Any) -> bool:
    return isinstance(vote, int) and not isinstance(vote, bool) and 0 <= vote <= HIGHEST_RATING


def _check_ids(entries: Iterable[Entry], found: Findings) -> None:
    first: dict[str, Entry] = {}
    for entry in entries:
        earlier = first.setdefault(entry.id, entry) if entry.id else entry
        if earlier is not entry:
            found.add("id_twice", entry, f"first at {earlier.place}")


def _check_repeats(known: Iterable[Known], found: Findings) -> None:
    seen: dict[tuple[str, str], dict[tuple[tuple[float, float], ...], Entry]] = {}
    for each in known:
        entry = each.entry
        key = query_key(entry)
        if key is None:
            continue
        windows = tuple(sorted(each.windows))
        earlier = seen.setdefault(key, {})
        if windows in earlier:
            found.add("query_twice", entry, f"{entry.query!r:.60} as at {earlier[windows].place}")
        elif earlier:
            other = next(iter(earlier.values()))
            found.add("query_other_windows", entry, f"{entry.query!r:.60} as at {other.place}")
        earlier.setdefault(windows, entry)


def _check_durations(known: Iterable[Known], found: Findings) -> None:
    first: dict[str, Known] = {}
    told: set[str] = set()
    for each in known:
        video = each.entry.video
        if each.duration is None or not isinstance(video, str) or video in told:
            continue
        earlier = first.setdefault(video, each)
        if earlier.duration != each.duration:
            told.add(video)
            detail = f"{video}: {each.duration:g} s, but {earlier.duration:g} s at {earlier.entry.place}"
            found.add("durations_differ", each.entry, detail)


def check_between(files: Sequence[tuple[str, Sequence[Entry]]]) -> dict[tuple[str, str], Findings]:
    """What each two files share.

    Args:
        files: paths and entries.

    Returns:
        by pair of paths, also of those that share nothing.
    """
    keys: dict[str, Callable[[Entry], Any]] = {
        "video_in_both": lambda entry: entry.video if isinstance(entry.video, str) else None,
        "query_in_both": query_key,
        "id_in_both": lambda entry: entry.id or None,
    }
    shares = {kind: [_first_by(entries, key) for _, entries in files] for kind, key in keys.items()}
    result = {}
    for one, other in combinations(range(len(files)), 2):
        found = result[files[one][0], files[other][0]] = Findings()
        for kind, firsts in shares.items():
            for key, entry in firsts[one].items():
                if key in firsts[other]:
                    shown = key if isinstance(key, str) else f"{entry.video}: {entry.query!r:.60}"
                    found.add(kind, entry, f"{shown}, also at {firsts[other][key].place}")
    return result


def _first_by(entries: Iterable[Entry], key: Callable[[Entry], Any]) -> dict[Any, Entry]:
    firsts: dict[Any, Entry] = {}
    for entry in entries:
        value = key(entry)
        if value is not None:
            firsts.setdefault(value, entry)
    return firsts


def query_key(entry: Entry) -> tuple[str, str] | None:
    """Video and normalised text: case, white space and a full stop at the end make no other query."""
    if not isinstance(entry.video, str) or not isinstance(entry.query, str) or not entry.query.strip():
        return None
    return entry.video, " ".join(entry.query.casefold().split()).rstrip(". ")


def as_number(value: Any) -> float | None:
    """A number as float (one too large for it is infinite), ``None`` for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _shown(values: Sequence[Any]) -> str:
    return ", ".join(f"{value!r:.30}" for value in values[:4]) + (" ..." if len(values) > 4 else "")

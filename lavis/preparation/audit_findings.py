"""Findings of an audit: their kinds and what these mean, and where each was found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from lavis.preparation.entry_layouts import Entry

KINDS: Mapping[str, str] = {
    "no_rows": "the file holds no rows",
    "torn_last_line": "last line that was cut short",
    "unparseable": "rows that cannot be read",
    "key_twice": "keys that one JSON object holds twice (all but the last are lost)",
    "missing_id": "rows without an id",
    "id_twice": "rows with an id that was there before",
    "missing_video": "rows without a video",
    "missing_query": "rows without a query, or with a blank one",
    "missing_duration": "rows without a duration (windows past the end cannot be seen)",
    "bad_duration": "durations that are no number above 0",
    "durations_differ": "videos whose duration differs between rows",
    "missing_windows": "rows without windows, in a file that has them",
    "no_windows": "empty lists of windows",
    "not_a_window": "windows that are not [start, end] in numbers",
    "not_finite": "windows with a bound that is infinite or not a number",
    "reversed": "windows that end before they start",
    "zero_length": "windows without length",
    "negative": "windows that start before 0",
    "past_end": "windows that end past the duration",
    "outside": "windows that lie wholly past the duration (counted in past_end, too)",
    "window_twice": "windows that their row holds twice",
    "query_twice": "rows that repeat video, query and windows of an earlier row",
    "query_other_windows": "rows that repeat video and query of an earlier row with other windows",
    "clip_outside": "rated clips that begin after the end of the video",
    "ratings_mismatch": "rows with another number of ratings than rated clips, or of raters",
    "bad_rating": "rows with ratings that are not whole numbers from 0 to 4",
    "clips_off_windows": "rows whose rated clips are not those in their windows",
    "video_missing": "videos that are not in the folder",
    "video_unreadable": "videos that cannot be read",
    "duration_wrong": "videos whose duration is not that of the file",
    "past_real_end": "windows that end past the end of the video file",
}
BETWEEN: Mapping[str, str] = {
    "video_in_both": "videos that two files share",
    "query_in_both": "queries (same video and text) that two files share",
    "id_in_both": "ids that two files share",
}


@dataclass(frozen=True, slots=True)
class Place:
    """Where something is wrong: file and line or row, id (``""`` if unknown), and what was found."""

    place: str
    id: str
    detail: str


@dataclass(slots=True)
class Findings:
    """Places by kind."""

    places: dict[str, list[Place]] = field(default_factory=dict)

    def add(self, kind: str, entry: Entry, detail: str) -> None:
        """Notes one more."""
        self.note(kind, Place(entry.place, entry.id, detail))

    def note(self, kind: str, place: Place) -> None:
        """Notes one more that belongs to no entry."""
        assert kind in KINDS or kind in BETWEEN, kind
        self.places.setdefault(kind, []).append(place)

    def count(self, kind: str) -> int:
        """How many of a kind."""
        return len(self.places.get(kind, ()))

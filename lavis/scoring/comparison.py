"""Two sets of predictions on the same truth: what differs, how sure that is, and on which queries.

Both are compared on the queries that both were scored on. A difference is always *other minus this*: above zero, the
other is higher. Its interval comes from resamples of videos that both share (a paired bootstrap), which is far
narrower than two separate intervals suggest, since a hard video is hard for both.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lavis.common.io import PathLike, write_json, write_text
from lavis.scoring.base import Array, Derived, Estimate, Scored, ScoringError
from lavis.scoring.intervals import LEVEL, REPEATS, SEED, Interval, percentiles, resampled, rows_of, whole
from lavis.scoring.score_report import ScoreReport, aligned, query_parts, shown, span

_NAMED = 20
Unit = tuple[str, int]
"""An id, and which of its rows: protocols may score one id several times."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One figure of both, on the units they share.

    Args:
        this: value of the first predictions.
        other: value of the second.
        interval: 95 % interval of ``other - this``; ``None`` where the figure does not follow from queries.
    """

    this: float
    other: float
    interval: Interval | None

    @property
    def value(self) -> float:
        """Other minus this."""
        return self.other - self.this

    @property
    def certain(self) -> bool:
        """Whether the interval leaves zero out."""
        return self.interval is not None and not self.interval[0] <= 0 <= self.interval[1]

    def told(self) -> tuple[str, str, str, str]:
        """This, other, difference with its sign and interval as text, all with the same number of decimals."""
        like = max(abs(self.this), abs(self.other))
        sign = "+" if self.value > 0 else ""
        return (
            shown(self.this, like),
            shown(self.other, like),
            sign + shown(self.value, like),
            span(self.interval, like),
        )


@dataclass(frozen=True, slots=True)
class QueryTable:
    """What each unit adds to each figure, in both.

    Args:
        ids: ``[Q]``.
        videos: ``[Q]``.
        this: figure to ``[Q]``, "not a number" where a unit takes no part.
        other: the same of the other predictions.
    """

    ids: Sequence[str]
    videos: Sequence[str]
    this: Mapping[str, Array]
    other: Mapping[str, Array]

    def rows(self, limit: int | None = None) -> Iterator[dict[str, Any]]:
        """``id``, ``video``, and of each figure ``NAME``, ``NAME (other)`` and ``NAME (other - this)``.

        Rows are sorted by the sum of the differences' sizes over all figures, largest first, then by id.
        """
        gaps = {name: self.other[name] - self.this[name] for name in self.this if name in self.other}
        size = np.nansum(np.abs(np.stack(list(gaps.values()))), axis=0) if gaps else np.zeros(len(self.ids))
        order = sorted(range(len(self.ids)), key=lambda row: (-round(float(size[row]), 9), self.ids[row]))
        for row in order[:limit]:
            cells: dict[str, Any] = {"id": self.ids[row], "video": self.videos[row]}
            for name, gap in gaps.items():
                cells[name] = _number(self.this[name][row])
                cells[f"{name} (other)"] = _number(self.other[name][row])
                cells[f"{name} (other - this)"] = _number(gap[row])
            yield cells


@dataclass(slots=True)
class Comparison:
    """Other predictions beside these.

    Args:
        other: where the other predictions came from.
        differences: by figure.
        common: number of units in both.
        only_this: ids of units that only the first was scored on.
        only_other: ids of units that only the second was scored on.
        queries: values of each common unit.
    """

    other: str
    differences: dict[str, Difference]
    common: int
    only_this: list[str]
    only_other: list[str]
    queries: QueryTable

    def rows(self, limit: int | None = None) -> Iterator[dict[str, Any]]:
        """One row per common unit, largest difference first; see ``QueryTable.rows``."""
        return self.queries.rows(limit)

    def to_json(self) -> dict[str, Any]:
        """Differences, intervals and what is not common; the query table is a file of its own."""
        return {
            "other": self.other,
            "difference": "other - this, on the queries that both were scored on",
            "method": f"paired percentile bootstrap over videos, {REPEATS} resamples, level {LEVEL}",
            "common": self.common,
            "only_this": {"count": len(self.only_this), "ids": self.only_this[:_NAMED]},
            "only_other": {"count": len(self.only_other), "ids": self.only_other[:_NAMED]},
            "figures": {
                name: {
                    "this": each.this,
                    "other": each.other,
                    "difference": each.value,
                    "interval": None if each.interval is None else list(each.interval),
                }
                for name, each in self.differences.items()
            },
        }

    def text(self) -> str:
        """For the terminal."""
        rows = [["figure", "this", "other", "other - this", "95 % interval", ""]]
        for name, each in self.differences.items():
            rows.append([name, *each.told(), "differs" if each.certain else ""])
        lines = [f"compared with {self.other}, on {self.common:,} common queries", aligned(rows)]
        for name, ids in (("these", self.only_this), ("the other", self.only_other)):
            if ids:
                named = ", ".join(ids[:5]) + (" ..." if len(ids) > 5 else "")
                lines.append(f"scored on {name} predictions alone: {len(ids):,} ({named})")
        return "\n".join(lines)


def compare(this: ScoreReport, other: ScoreReport, repeats: int = REPEATS, seed: int = SEED) -> Comparison:
    """Compares two reports of one protocol.

    Raises:
        ScoringError: if they are of different protocols or options, or share no query.
    """
    if this.protocol != other.protocol or dict(this.options) != dict(other.options):
        raise ScoringError(f"only figures of one protocol with the same options compare, not {this.protocol} with "
                           f"{dict(this.options)} and {other.protocol} with {dict(other.options)}")  # fmt: skip
    places = _units(this), _units(other)
    common = sorted(places[0].keys() & places[1].keys())
    if not common:
        raise ScoringError("the two files of predictions have no scored query in common")
    sides = tuple(
        _taken(report.scored, [place[unit] for unit in common])
        for report, place in zip((this, other), places, strict=True)
    )
    _, videos = rows_of(this.scored, this.pairs.ids, this.pairs.videos)
    ids = [identity for identity, _ in common]
    clusters = [videos[places[0][unit]] for unit in common]
    return Comparison(
        other=other.files.get("predictions", "the other predictions"),
        differences=_differences(this, other, sides, ids, clusters, repeats, seed),
        common=len(common),
        only_this=[identity for identity, _ in sorted(places[0].keys() - places[1].keys())],
        only_other=[identity for identity, _ in sorted(places[1].keys() - places[0].keys())],
        queries=QueryTable(ids, clusters, *(query_parts(side) for side in sides)),
    )


def _units(report: ScoreReport) -> dict[Unit, int]:
    """Units to their position in the estimates."""
    units, _ = rows_of(report.scored, report.pairs.ids, report.pairs.videos)
    seen: Counter[str] = Counter()
    places: dict[Unit, int] = {}
    for position, identity in enumerate(units):
        places[identity, seen[identity]] = position
        seen[identity] += 1
    return places


def _taken(scored: Scored, positions: Sequence[int]) -> Scored:
    """The same with estimates of some units only, in that order."""
    chosen = np.asarray(positions, dtype=np.int64)
    kept: dict[str, Estimate | Derived] = {
        name: Estimate(np.asarray(each.values)[chosen], each.scale) if isinstance(each, Estimate) else each
        for name, each in scored.estimates.items()
    }
    return Scored(scored.figures, scored.headline, kept)


def _differences(
    this: ScoreReport,
    other: ScoreReport,
    sides: Sequence[Scored],
    ids: Sequence[str],
    clusters: Sequence[str],
    repeats: int,
    seed: int,
) -> dict[str, Difference]:
    names = [name for name in this.headline if name in other.headline]
    wanted = [name for name in names if all(name in side.estimates for side in sides)]
    values = [resampled(side.estimates, wanted, ids, clusters, repeats, seed) for side in sides]
    points = [whole(side.estimates, ids, clusters) for side in sides]
    found = {}
    for name in names:
        if name in wanted:
            interval = percentiles(values[1][name] - values[0][name])
            found[name] = Difference(points[0][name], points[1][name], interval)
        else:
            found[name] = Difference(this.headline[name], other.headline[name], None)
    return found


def write_rows(path: PathLike, rows: Iterable[Mapping[str, Any]]) -> Path:
    """Writes a query table: CSV, or JSON where the name ends in ``.json``; a query that takes no part has no value.

    Raises:
        ScoringError: if the name ends in neither.
    """
    target = Path(path)
    if target.suffix == ".json":
        return write_json(target, list(rows))
    if target.suffix != ".csv":
        raise ScoringError(f"{target}: a table of queries is written as .csv or .json")
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    for number, row in enumerate(rows):
        if number == 0:
            writer.writerow(row)
        writer.writerow(row.values())
    return write_text(target, stream.getvalue().encode("utf-8", "backslashreplace").decode("utf-8"))


def _number(value: Any) -> float | None:
    number = float(value)
    return None if number != number else number

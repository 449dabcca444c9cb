"""What a scoring found, with the conditions under which it holds: as JSON, as text for the terminal, query by query.

``figures`` is the official output as it stands. Everything else (counts of what was missing or broken, policies,
intervals, comparison) is ours and goes into files of its own, so that the official one stays comparable.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lavis.common.io import PathLike, write_json, write_text
from lavis.scoring.base import Array, Estimate, ExtraPolicy, Pairs, Policy, Scored
from lavis.scoring.intervals import LEVEL, REPEATS, Interval, rows_of

if TYPE_CHECKING:
    from lavis.scoring.comparison import Comparison

COUNTS = {
    "missing": "queries without an answer row",
    "unparseable": "rows or texts that cannot be read",
    "duplicated": "answers beyond the first of a query",
    "extra": "answers to no query of the truth",
    "out_of_range": "answers outside the video, reversed or negative",
}
MEANINGS = {
    ("missing", "zero"): "a query without a usable answer counts as missed",
    ("missing", "drop"): "a query without a usable answer is left out",
    ("missing", "error"): "every query must have a usable answer",
    ("extra", "drop"): "answers to no query are left out",
    ("extra", "error"): "every answer must belong to a query",
}


@dataclass(slots=True)
class ScoreReport:
    """Figures of one file of predictions, and under which conditions they hold.

    Args:
        protocol: registered name.
        options: the protocol's arguments, defaults included.
        scored: what the protocol found.
        pairs: queries and the answers that count.
        forms: how each file was understood.
        missing: what became of queries without a usable answer.
        extra: what became of answers to no query.
        defaults: both policies as the official script has them.
        source: paper and script.
        files: where predictions and truth came from.
        intervals: 95 % intervals by figure, where they were asked for.
        comparison: with other predictions, where that was asked for.
    """

    protocol: str
    options: Mapping[str, Any]
    scored: Scored
    pairs: Pairs[Any, Any]
    forms: Mapping[str, str]
    missing: Policy
    extra: ExtraPolicy = "error"
    defaults: Mapping[str, str] = field(default_factory=dict)
    source: str = ""
    files: Mapping[str, str] = field(default_factory=dict)
    intervals: dict[str, Interval] = field(default_factory=dict)
    comparison: Comparison | None = None

    @property
    def figures(self) -> dict[str, Any]:
        """The official output."""
        return self.scored.figures

    @property
    def headline(self) -> dict[str, float]:
        """The figures papers report, flat."""
        return self.scored.headline

    @property
    def policies(self) -> dict[str, dict[str, Any]]:
        """What became of gaps, and whether the official script does so."""
        return {
            name: {"policy": policy, "official": self.defaults.get(name, policy) == policy}
            for name, policy in (("missing", self.missing), ("extra", self.extra))
        }

    @property
    def without_interval(self) -> list[str]:
        """Headline figures that do not follow from queries one by one, and so get no interval."""
        return [name for name in self.headline if name not in self.intervals]

    def to_json(self) -> dict[str, Any]:
        """Everything but the official output."""
        tally = self.pairs.tally
        details: dict[str, Any] = {
            "protocol": self.protocol,
            "source": self.source,
            "options": dict(self.options),
            "files": dict(self.files),
            "forms": dict(self.forms),
            "policies": self.policies,
            "counts": tally.counts(),
            "examples": {kind: list(examples) for kind, examples in tally.examples.items()},
            "notes": list(self.scored.notes),
            "headline": dict(self.headline),
        }
        if self.intervals:
            details["intervals"] = {
                "level": LEVEL,
                "method": f"percentile bootstrap over videos, {REPEATS} resamples",
                "figures": {name: list(interval) for name, interval in self.intervals.items()},
                "without": self.without_interval,
            }
        if self.comparison is not None:
            details["comparison"] = self.comparison.to_json()
        return details

    def text(self) -> str:
        """For the terminal: figures, intervals, counts and conditions, in columns."""
        parts = [self._title(), aligned(self._figure_rows())]
        if self.intervals and self.without_interval:
            parts.append(f"no interval (not a mean over queries): {', '.join(self.without_interval)}")
        parts += [aligned(self._count_rows()), aligned(self._condition_rows())]
        parts += [f"note: {note}" for note in self.scored.notes]
        if self.comparison is not None:
            parts.append(self.comparison.text())
        return "\n\n".join(parts)

    def _title(self) -> str:
        options = ", ".join(f"{key}={value}" for key, value in self.options.items() if value is not None)
        return self.protocol + (f" ({options})" if options else "")

    def _figure_rows(self) -> list[list[str]]:
        head = ["figure", "value", *(["95 % interval"] if self.intervals else [])]
        rows = [head]
        for name, value in self.headline.items():
            interval = self.intervals.get(name)
            rows.append([name, shown(value), *([span(interval, value)] if self.intervals else [])])
        return rows

    def _count_rows(self) -> list[list[str]]:
        counts = self.pairs.tally.counts()
        rows = [["queries", f"{counts['queries']:,}", f"{counts['scored']:,} scored"]]
        for name, meaning in COUNTS.items():
            example = next(iter(self.pairs.tally.examples.get(name, ())), "")
            rows.append([name, f"{counts[name]:,}", meaning + (f", such as {example}" if example else "")])
        return rows

    def _condition_rows(self) -> list[list[str]]:
        rows = []
        for name, used in self.policies.items():
            official = "as the official script" if used["official"] else f"the official script: {self.defaults[name]}"
            rows.append([name, f"{used['policy']}: {MEANINGS[name, used['policy']]} ({official})"])
        rows += [[name, f"{self.files.get(name, '')} ({form})".strip()] for name, form in self.forms.items()]
        return rows

    def per_query(self) -> list[dict[str, Any]]:
        """One row per unit of scoring: ``id``, ``video``, and its part in each figure that is a mean over queries.

        A part is in the unit of the figure (100 for a hit in percent); ``None`` where the query takes no part.
        """
        units, videos = rows_of(self.scored, self.pairs.ids, self.pairs.videos)
        rows: list[dict[str, Any]] = [{"id": u, "video": v} for u, v in zip(units, videos, strict=True)]
        for name, values in query_parts(self.scored).items():
            for row, value in zip(rows, values.tolist(), strict=True):
                row[name] = None if value != value else value
        return rows

    def write(self, path: PathLike) -> tuple[Path, Path]:
        """Writes the official output to ``path`` and everything else to ``<stem>.details.json`` beside it.

        Official scripts write "not a number" as ``NaN``, as Python does; so does the first file, which is to equal
        theirs. The second has ``null``.
        """
        target = Path(path)
        official = json.dumps(self.figures, indent=4, default=_plain)
        beside = target.with_name(f"{target.name.removesuffix('.json')}.details.json")
        return write_text(target, official), write_json(beside, self.to_json())


def query_parts(scored: Scored) -> dict[str, Array]:
    """What each query adds to the headline figures that are means over queries, ``[Q]`` in the figure's unit.

    Where all headline figures are made of others, it is those others.
    """
    means = {name: e.scale * e.values for name, e in scored.estimates.items() if isinstance(e, Estimate)}
    return {name: means[name] for name in scored.headline if name in means} or means


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Columns of text: the first to the left, numbers to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    numeric = [all(_is_number(row[column]) for row in rows[1:]) for column in range(len(rows[0]))]
    lines = [
        "  ".join(
            cell.rjust(width) if column and number else cell.ljust(width)
            for column, (cell, width, number) in enumerate(zip(row, widths, numeric, strict=True))
        )
        for row in rows
    ]
    return "\n".join(line.rstrip() for line in lines)


def shown(value: float, like: float | None = None) -> str:
    """A figure with two decimals, or four below 1, where two would hide much of it.

    Args:
        value: the figure.
        like: take as many decimals as this one has, such as that of the figure an interval belongs to.
    """
    if value != value:
        return "nan"
    if isinstance(value, int):
        return f"{value:,}"
    size = abs(value if like is None else like)
    if size >= 1000 and float(value).is_integer():
        return f"{value:,.0f}"
    return f"{value:.2f}" if size >= 1 or size == 0 else f"{value:.4f}"


def span(interval: Interval | None, like: float | None = None) -> str:
    """An interval; a dash where there is none. ``like`` as in ``shown``."""
    return "-" if interval is None else f"{shown(interval[0], like)} to {shown(interval[1], like)}"


def _is_number(cell: str) -> bool:
    return cell.replace(",", "").replace(".", "").lstrip("+-").isdigit() or cell in ("nan", "-", "")


def _plain(value: Any) -> Any:
    """numpy's scalars and arrays as plain numbers and lists."""
    if callable(getattr(value, "tolist", None)):
        return value.tolist()
    raise ValueError(f"{type(value).__name__} has no JSON form")

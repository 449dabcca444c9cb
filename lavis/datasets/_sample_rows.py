"""``VideoSample`` as a JSON object and back: fields at their defaults are left out, numbers keep their types."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, fields
from typing import Any

from lavis.structures import Moment, Subtitle, Turn, VideoSample


def to_row(sample: VideoSample) -> dict[str, Any]:
    """A sample as JSON holds it, without its video: that lies beside it."""
    row: dict[str, Any] = {}
    for field in fields(VideoSample):
        value = getattr(sample, field.name)
        default = field.default if field.default_factory is MISSING else field.default_factory()
        if field.name != "video" and value != default:
            row[field.name] = _WRITE.get(field.name, _as_it_is)(value)
    return row


def from_row(row: Mapping[str, Any], video: str, dataset: str) -> VideoSample:
    """The reverse.

    Raises:
        ValueError: if the row has a field that a sample has not, lacks one, or a value is of another kind.
    """
    if not isinstance(row, Mapping):
        raise ValueError(f"a sample is a JSON object, not {row!r:.80}")
    unknown = sorted(set(row) - {field.name for field in fields(VideoSample)} | ({"video"} & set(row)))
    lacking = [name for name, kind in _NEEDED.items() if not isinstance(row.get(name), kind)]
    if unknown or lacking:
        raise ValueError(f"a sample has no field {unknown[0]!r}" if unknown else f"field {lacking[0]!r} is missing")
    try:
        read = {name: _READ.get(name, _as_it_is)(value) for name, value in row.items()}
        return VideoSample(**{**read, "video": video, "dataset": dataset})
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"sample {row['id']!r} is not of the form that was written: {error!r}") from error


def _as_it_is(value: Any) -> Any:
    return value


def _moment(moment: Moment) -> list[float]:
    return moment.to_list() if moment.score is None else [*moment.to_list(), moment.score]


def _moments(value: Sequence[Moment]) -> list[list[float]]:
    return [_moment(moment) for moment in value]


def _read_moments(value: Sequence[Sequence[float]]) -> list[Moment]:
    return [Moment(*row) for row in value]


def _each(kind: Any) -> Callable[[Any], list[dict[str, Any]]]:
    names = [field.name for field in fields(kind)]
    return lambda value: [{name: getattr(item, name) for name in names} for item in value]


_NEEDED: Mapping[str, Any] = {"id": str, "query": str, "duration": (int, float)}
_WRITE: Mapping[str, Callable[[Any], Any]] = {
    "moments": _moments, "speech": _moments, "prior": _moments, "clip": _moment,
    "subtitles": _each(Subtitle), "turns": _each(Turn), "extra": dict,
}  # fmt: skip
_READ: Mapping[str, Callable[[Any], Any]] = {
    "moments": _read_moments, "speech": _read_moments, "prior": _read_moments, "clip": lambda row: Moment(*row),
    "subtitles": lambda rows: [Subtitle(**row) for row in rows], "turns": lambda rows: [Turn(**row) for row in rows],
}  # fmt: skip

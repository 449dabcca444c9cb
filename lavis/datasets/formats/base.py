"""What annotation formats share: reading a file into ``VideoSample``s and checking every window.

A format turns the rows of one kind of file into samples. Number types are kept (a window ``[24, 62]`` stays whole
seconds), queries are kept as annotated, nothing is dropped without being counted.

Source: the annotation files of CALCE (tjhd1475/CALCE), MR.BLIP (sudo-Boris/mr-Blip) and of the data sets' own releases.
Unlike the originals, which index into dictionaries, unknown and missing fields, impossible windows and repeated ids are
errors that say where they are and what to do.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

from lavis.datasets.formats._record import LONGEST_SECONDS, AnnotationError, Record, is_finite, read_records
from lavis.structures import Moment, VideoSample

OnBadWindow = Literal["raise", "skip", "clamp"]
BeyondEnd = Literal["keep", "clamp", "bad"]
OnUnknownField = Literal["raise", "keep", "ignore"]
OnBadRow = Literal["raise", "skip"]
WindowsIn = Literal["seconds", "fraction", "percent"]

CLIP_SECONDS = 2
"""Length of the clips that QVHighlights' annotators scored."""
HIGHEST_SALIENCY = 4
BAD_ROWS_SHOWN = 5
"""Rows whose faults are told one by one where they are left out; the others are counted."""
BEFORE = "starts before 0"
PAST = "ends past the video"

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Annotations:
    """A file as samples, and what happened on the way.

    Args:
        samples: in the order of the file; ``video`` is the name in the file, not yet a path.
        counts: ``rows``, ``skipped_rows``, ``bad_rows`` among them, ``skipped_windows``, ``clamped_windows``.
    """

    samples: list[VideoSample] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)


class AnnotationFormat(ABC):
    """Reads one kind of annotation file.

    Args:
        on_bad_window: what to do with a window that is no stretch of the video (reversed, not finite, before 0, past
            the end): ``raise``; ``skip`` drops it, and its row if no window is left; ``clamp`` cuts it to the video
            and raises where that does not help.
        beyond_end: whether a window that starts inside the video and ends past it is taken as annotated (``keep``), cut
            (``clamp``) or ``bad``. Published annotations differ: CALCE rounds durations but not windows.
        on_unknown_field: ``raise``, or ``keep`` the field in ``VideoSample.extra``, or ``ignore`` it.

    Raises:
        ValueError: for another value of an option.
    """

    required: ClassVar[tuple[str, ...]] = ()
    optional: ClassVar[tuple[str, ...]] = ()
    windows_in_all: ClassVar[bool] = True
    """Whether a file has windows for all its rows or for none; ``False`` where files mix tasks."""

    def __init__(
        self,
        *,
        on_bad_window: OnBadWindow = "raise",
        beyond_end: BeyondEnd = "bad",
        on_unknown_field: OnUnknownField = "raise",
    ) -> None:
        check_choice("format.on_bad_window", on_bad_window, get_args(OnBadWindow))
        check_choice("format.beyond_end", beyond_end, get_args(BeyondEnd))
        check_choice("format.on_unknown_field", on_unknown_field, get_args(OnUnknownField))
        self.on_bad_window = on_bad_window
        self.beyond_end = beyond_end
        self.on_unknown_field = on_unknown_field

    def read(self, path: str | Path, split: str = "", on_bad_row: OnBadRow = "raise") -> Annotations:
        """All samples of a file.

        Args:
            path: annotation file.
            split: fills ``{split}`` in the paths of side files.
            on_bad_row: ``raise``, or ``skip`` rows that the format does not allow, warn and count them. A file that
                cannot be taken apart into rows is an error even so.

        Raises:
            AnnotationError: for anything the format does not allow; names file, row, id, field and cure.
        """
        result = Annotations()
        seen: dict[str, str] = {}
        first: AnnotationError | None = None
        for record in self.records(Path(path), split):
            result.counts["rows"] += 1
            try:
                sample = self._checked(record, result.counts, seen)
            except AnnotationError as error:
                if on_bad_row == "raise":
                    raise
                first = first or error
                result.counts["bad_rows"] += 1
                if result.counts["bad_rows"] <= BAD_ROWS_SHOWN:
                    log.warning("row left out: %s", error)
                sample = None
            if sample is None:
                result.counts["skipped_rows"] += 1
            else:
                result.samples.append(sample)
        if not result.counts["rows"]:
            raise AnnotationError(f"{path}: holds no annotations. Choose another file")
        if first is not None:
            if not result.samples:
                raise AnnotationError(
                    f"not one of {result.counts['rows']} rows can be used; the first: {first}"
                ) from first
            log.warning("%s: %d of %d rows left out", path, result.counts["bad_rows"], result.counts["rows"])
        if self.windows_in_all:
            self._check_truth(result.samples, Path(path))
        return result

    def _checked(self, record: Record, counts: Counter[str], seen: dict[str, str]) -> VideoSample | None:
        """The sample of a row, whose id goes to ``seen``."""
        if record.fault is not None:
            raise record.fault
        sample = self.sample(record, counts)
        if sample is not None:
            record.check_inside(sample.video)
            record.check_length(sample.duration)
        if record.id in seen:
            raise record.error(None, f"this id was used before, in {seen[record.id]}", "Ids must be unique in a file")
        seen[str(record.id)] = record.row
        return sample

    def records(self, path: Path, split: str) -> Iterator[Record]:
        """Rows of the file, each with its sample's id; by default of a JSON list or JSON lines, id in ``qid``."""
        for record in read_records(path):
            yield record.identified(lambda row: row.text("qid"))

    @abstractmethod
    def sample(self, record: Record, counts: Counter[str]) -> VideoSample | None:
        """One row as a sample; ``None`` where ``on_bad_window: skip`` left no window. Adds to ``counts``."""

    def windows(self, record: Record, name: str, value: Any, duration: float, counts: Counter[str]) -> list[Moment]:
        """Windows of a row, checked as this format's options say; see ``read_windows``."""
        return read_windows(record, name, value, duration, self.on_bad_window, self.beyond_end, counts)

    def check_row(
        self, record: Record, required: Sequence[str] | None = None, optional: Sequence[str] | None = None
    ) -> dict[str, Any]:
        """Checks the names of a row's fields and gives those to carry in ``VideoSample.extra``.

        Args:
            record: the row.
            required, optional: in place of the format's own, where one format has several kinds of rows.
        """
        required = self.required if required is None else required
        optional = self.optional if optional is None else optional
        if self.on_unknown_field == "raise":
            record.check_fields(required, optional)
            return {}
        record.check_fields(required, [*optional, *record.fields])
        if self.on_unknown_field == "ignore":
            return {}
        return {name: value for name, value in record.fields.items() if name not in {*required, *optional}}

    def _check_truth(self, samples: Sequence[VideoSample], path: Path) -> None:
        without = [s.id for s in samples if s.moments is None]
        if 0 < len(without) < len(samples):
            raise AnnotationError(
                f"{path}: {len(without)} of {len(samples)} rows have no windows, the first with id {without[0]}. "
                "Either all rows of a file have them (annotated split) or none (test split); remove those rows"
            )


def read_windows(
    record: Record,
    name: str,
    value: Any,
    duration: float,
    on_bad_window: OnBadWindow,
    beyond_end: BeyondEnd,
    counts: Counter[str],
) -> list[Moment]:
    """Checked windows of a row.

    Args:
        record: the row.
        name: the field, for messages.
        value: raw ``[[start, end], ...]`` in seconds, at least one.
        duration: of the video, seconds.
        on_bad_window, beyond_end: see ``AnnotationFormat``.
        counts: gets ``skipped_windows`` and ``clamped_windows``.

    Raises:
        AnnotationError: for a list that is none, or a bad window under ``raise``.
    """
    if not isinstance(value, list) or not value:
        raise record.error(name, f"must be a list of [start, end], got {value!r:.80}", "Correct or remove the row")
    moments = []
    for pair in value:
        problem = window_problem(pair, duration)
        past, repairable = problem == PAST, problem in (BEFORE, PAST)
        if problem is None or (past and beyond_end == "keep"):
            moments.append(Moment(*pair))
        elif (repairable and on_bad_window == "clamp") or (past and beyond_end == "clamp"):
            counts["clamped_windows"] += 1
            moments.append(Moment(*pair).clamp(duration))
        elif on_bad_window == "skip":
            counts["skipped_windows"] += 1
        else:
            raise record.error(
                name,
                f"the window {pair!r:.80} {problem} (duration {duration!r} s)",
                "Correct it, or set the format's on_bad_window to 'skip'" + (" or 'clamp'" if repairable else ""),
            )
    return moments


def window_problem(pair: Any, duration: float) -> str | None:
    """What is wrong with a raw window, ``None`` if nothing: a stretch of ``[0, duration]`` seconds."""
    if not isinstance(pair, (list, tuple)) or len(pair) != 2:
        return "is not [start, end]"
    for bound in pair:
        if not is_finite(bound):
            return "holds something that is no finite number"
    start, end = pair
    if end < start:
        return "ends before it starts"
    if max(-start, end) > LONGEST_SECONDS:
        return "reaches further than any video"
    if start >= duration < end or end <= 0 > start:
        return "lies outside the video"
    if start < 0:
        return BEFORE
    if end > duration:
        return PAST
    return None


def saliency_of(record: Record, duration: float) -> list[list[int]] | None:
    """Scores of all 2-second clips from those of the relevant ones (``relevant_clip_ids``, ``saliency_scores``).

    Returns:
        ``[num_clips][num_annotators]``, 0 at clips nobody scored; ``None`` if the row has no scores.

    Raises:
        AnnotationError: if the two fields disagree, a clip lies past the end, a score is not 0 to 4, or the duration is
            that of no video.
    """
    if "saliency_scores" not in record.fields:
        return None
    clips, scores = record.get("relevant_clip_ids"), record.get("saliency_scores")
    if not isinstance(clips, list) or not isinstance(scores, list) or len(clips) != len(scores):
        raise record.error("saliency_scores", "must have one entry for each of relevant_clip_ids", "Correct the row")
    record.check_length(duration)
    num_clips = int(duration / CLIP_SECONDS)
    annotators = len(scores[0]) if scores and isinstance(scores[0], list) else 0
    result = [[0] * annotators for _ in range(num_clips)]
    for clip, votes in zip(clips, scores, strict=True):
        if isinstance(clip, bool) or not isinstance(clip, int) or not 0 <= clip < num_clips:
            raise record.error(
                "relevant_clip_ids",
                f"{clip!r:.40} is none of the {num_clips} clips of {duration!r} s",
                "Correct the row",
            )
        if not isinstance(votes, list) or len(votes) != annotators or not all(_is_vote(v) for v in votes):
            raise record.error(
                "saliency_scores", f"{votes!r:.40} must be {annotators} whole scores from 0 to 4", "Correct the row"
            )
        result[clip] = list(votes)
    return result


def clip_of(record: Record) -> Moment | None:
    """The part of the video a row is about (fields ``start`` and ``end``, seconds), ``None`` for all of it."""
    if "start" not in record.fields and "end" not in record.fields:
        return None
    start, end = record.number("start"), record.number("end")
    if start < 0 or end <= start:
        raise record.error("start", f"the clip [{start!r}, {end!r}] is no stretch of the video", "Correct the row")
    return Moment(start, end)


def to_seconds(value: Any, windows_in: WindowsIn, duration: float) -> Any:
    """Raw windows in seconds; those in seconds, and malformed ones, come back as they are, to be judged later."""
    if windows_in == "seconds" or not isinstance(value, list):
        return value
    scale = duration if windows_in == "fraction" else duration / 100
    return [[_scaled(b, scale) for b in pair] if isinstance(pair, list) else pair for pair in value]


def check_choice(name: str, value: object, allowed: Sequence[object]) -> None:
    """Refuses a value that is none of ``allowed``.

    Raises:
        ValueError: naming the option and the choices.
    """
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, allowed))}, got {value!r}")


def _scaled(value: Any, scale: float) -> Any:
    return value * scale if is_finite(value) else value


def _is_vote(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= HIGHEST_SALIENCY

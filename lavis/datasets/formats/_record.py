"""``Record``: one row of an annotation file that knows where it stands, so that every complaint can say so."""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from lavis.common.io import FileFormatError, read_text

LONGEST_SECONDS = 10**7
"""What is taken for the length of a video at most: 115 days."""


class AnnotationError(ValueError):
    """An annotation file that cannot be used as it is; the message has file, row, id, field and cure."""


@dataclass(frozen=True, slots=True)
class Record:
    """One row.

    Args:
        fields: names to raw values.
        path: the file.
        row: where in the file: ``row 3``, ``line 3`` or ``video 'v_ab', sentence 2``.
        id: id of the sample, as far as it is known.
        fault: why it has none, where it cannot be told.
    """

    fields: Mapping[str, Any]
    path: Path
    row: str
    id: str | None = None
    fault: AnnotationError | None = None

    def identified(self, identity: Callable[[Record], str]) -> Record:
        """The same row with the id that ``identity`` finds in it, or with the ``fault`` that it has none."""
        try:
            return self.with_id(identity(self))
        except AnnotationError as error:
            return replace(self, fault=error)

    def with_id(self, identity: str) -> Record:
        """The same row, its id known."""
        return replace(self, id=identity)

    def error(self, field: str | None, problem: str, cure: str) -> AnnotationError:
        """The error to raise about ``field`` (``None``: about the row)."""
        identity = f" (id {self.id:.80})" if self.id is not None else ""
        about = f", field {field!r}" if field else ""
        return AnnotationError(f"{self.path}, {self.row}{identity}{about}: {problem}. {cure}")

    def get(self, field: str) -> Any:
        """The raw value.

        Raises:
            AnnotationError: if the row has no such field.
        """
        if field not in self.fields:
            near = difflib.get_close_matches(field, list(self.fields), n=1)
            hint = f"did you mean its field {near[0]!r}? " if near else ""
            raise self.error(field, "is missing", f"The row has {', '.join(sorted(self.fields))}; {hint}Add the field")
        return self.fields[field]

    def text(self, field: str) -> str:
        """A string that is not blank, as it stands."""
        value = self.get(field)
        if not isinstance(value, str) or not value.strip():
            raise self.error(field, f"must be a text that is not blank, got {value!r:.80}", "Correct or remove the row")
        self._whole_characters(field, value)
        return value

    def number(self, field: str) -> float:
        """A finite number of its own type (an int stays an int)."""
        value = self.get(field)
        if not is_finite(value):
            raise self.error(field, f"must be a finite number, got {value!r:.80}", "Correct or remove the row")
        number: float = value
        return number

    def positive(self, field: str) -> float:
        """A finite number above 0 of its own type."""
        value = self.number(field)
        if value <= 0:
            raise self.error(field, f"must be above 0, got {value!r}", "Correct or remove the row")
        return value

    def check_length(self, seconds: float) -> None:
        """Refuses a length that no video has: lists of its clips and frames would fill the memory."""
        if seconds > LONGEST_SECONDS:
            raise self.error(
                "duration", f"{seconds!r:.40} seconds are more than any video has", "Give the length in seconds"
            )

    def whole_number(self, field: str) -> int:
        """An int."""
        value = self.get(field)
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.error(
                field, f"must be a whole number, got {value!r:.80}", "Correct the row, or choose another format"
            )
        return value

    def texts(self, field: str) -> list[str]:
        """A list of strings, possibly empty."""
        value = self.get(field)
        if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
            raise self.error(field, f"must be a list of texts, got {value!r:.80}", "Correct the row")
        for text in value:
            self._whole_characters(field, text)
        return value

    def file_name(self, field: str) -> str:
        """A text that names a file below a folder: neither absolute nor with ``..``."""
        name = self.text(field)
        self.check_inside(name, field)
        return name

    def check_inside(self, name: str, field: str | None = None) -> None:
        """Refuses the name of a file that would be looked for outside the folder of the files."""
        if leads_outside(name):
            raise self.error(
                field, f"the file name {name!r:.80} leads outside the folder of the videos", "Correct or remove the row"
            )

    def _whole_characters(self, field: str, text: str) -> None:
        """Refuses halves of characters, which JSON allows and tokenizers do not."""
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            half = text[error.start].encode("ascii", "backslashreplace").decode()
            raise self.error(field, f"holds half a character ({half})", "Correct or remove the row") from None

    def check_fields(self, required: Collection[str], optional: Collection[str]) -> None:
        """Refuses missing and unknown fields.

        Raises:
            AnnotationError: naming the first, with the nearest known name.
        """
        for field in required:
            if field not in self.fields:
                self.get(field)
        known = [*required, *optional]
        for field in self.fields:
            if field not in known:
                near = difflib.get_close_matches(field, known, n=1, cutoff=0.5)
                hint = f"Did you mean {near[0]!r}? " if near else ""
                raise self.error(
                    field,
                    "is not a field of this format",
                    f"{hint}Known: {', '.join(known)}. To carry it along, set the format's on_unknown_field to 'keep'; "
                    "to drop it, to 'ignore'",
                )


def is_finite(value: object) -> bool:
    """Whether a raw value is a finite number; an int too large for a float, which JSON allows, is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def leads_outside(name: str) -> bool:
    """Whether a file name, joined to a folder, may name something outside it, on this system or another."""
    if not name.startswith(("/", "\\")) and not any(part in name for part in ("..", ":", "\0")):
        return False  # most names, at a tenth of the price
    paths = (PurePosixPath(name), PureWindowsPath(name))
    return "\0" in name or any(path.anchor or ".." in path.parts for path in paths)


def read_records(path: Path) -> Iterator[Record]:
    """Rows of a JSON list (``.json``), or one JSON object a line (``.jsonl``); blank lines are passed over."""
    if path.suffix == ".jsonl":
        for number, line in read_lines(path):
            yield _row(load_json(line, f"{path}, line {number}"), path, f"line {number}")
        return
    rows = load_json(read_whole(path), str(path))
    if not isinstance(rows, list):
        raise AnnotationError(
            f"{path}: must hold a list of rows, got {type(rows).__name__}. Choose the format that fits the file"
        )
    for number, row in enumerate(rows, start=1):
        yield _row(row, path, f"row {number}")


def read_videos(path: Path, below: str | None = None) -> Iterator[Record]:
    """Entries of a JSON object whose keys are videos; the video comes as the field ``video``.

    Args:
        path: the file.
        below: key of the file's object that holds the videos; ``None``: the file is that object.
    """
    videos = load_json(read_whole(path), str(path))
    if below is not None:
        if not isinstance(videos, dict) or below not in videos:
            raise AnnotationError(f"{path}: must be an object with {below!r}. Choose the format that fits the file")
        videos = videos[below]
    if not isinstance(videos, dict):
        raise AnnotationError(
            f"{path}: must map videos to their sentences, got {type(videos).__name__}. "
            "Choose the format that fits the file"
        )
    for video, entry in videos.items():
        record = _row(entry, path, f"video {video!r}")
        yield Record({"video": video, **record.fields}, path, record.row)


def each_sentence(video: Record, prefix: str) -> Iterator[Record]:
    """The sentences of a densely captioned video as rows of their own.

    Args:
        video: a row whose ``timestamps`` and ``sentences`` are lists of one length; other fields are shared.
        prefix: ids are ``<prefix>_<k>``, k from 0.

    Raises:
        AnnotationError: if the lists are none, or differ in length.
    """
    times, sentences = video.get("timestamps"), video.get("sentences")
    if not isinstance(times, list) or not isinstance(sentences, list) or len(times) != len(sentences):
        raise video.error("timestamps", "must be a list with one window for each of 'sentences'", "Correct the entry")
    for k, (window, sentence) in enumerate(zip(times, sentences, strict=True)):
        fields = {**video.fields, "timestamps": window, "sentences": sentence}
        yield Record(fields, video.path, f"{video.row}, sentence {k + 1}", f"{prefix}_{k}")


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Lines that are not blank, with their numbers from 1."""
    # Not splitlines(): a JSON text may hold other characters that it takes for line ends.
    for number, line in enumerate(read_whole(path).split("\n"), start=1):
        if line.strip():
            yield number, line


def load_json(text: str, where: str) -> Any:
    """JSON that repeats no key (``json`` alone would keep the last one silently).

    Raises:
        AnnotationError: for broken JSON or a repeated key; the message starts with ``where``.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) < len(pairs):
            keys = [key for key, _ in pairs]
            twice = next(key for key in keys if keys.count(key) > 1)
            raise AnnotationError(f"{where}: the key {twice!r} occurs twice in one object. Remove one of them")
        return result

    if not text.strip():
        raise AnnotationError(f"{where}: is empty. Download or make the file again")
    try:
        return json.loads(text, object_pairs_hook=unique)
    except AnnotationError:
        raise
    except ValueError as error:  # also of numbers with thousands of digits
        raise AnnotationError(f"{where}: no valid JSON ({error}). Repair or download the file again") from error
    except RecursionError as error:
        raise AnnotationError(f"{where}: JSON nested too deeply to read. Repair or download the file again") from error


def _row(value: Any, path: Path, row: str) -> Record:
    if not isinstance(value, dict):
        raise AnnotationError(f"{path}, {row}: must be an object with named fields, got {value!r:.80}. Correct the row")
    return Record(value, path, row)


def read_whole(path: Path) -> str:
    """The text of an annotation file.

    Raises:
        AnnotationError: if it is absent, a folder, or not UTF-8; the message names the line.
    """
    try:
        return read_text(path)
    except (FileNotFoundError, IsADirectoryError) as error:
        problem = "there is no annotation file" if isinstance(error, FileNotFoundError) else "this is a folder:"
        raise AnnotationError(
            f"{problem} {path}. Correct the path, or set LAVIS_DATA to the folder that holds the "
            "data (docs/data.md says how it is laid out)"
        ) from None
    except FileFormatError as error:
        if not isinstance(error.__cause__, UnicodeDecodeError):
            raise
        cause = error.__cause__
        line = cause.object.count(b"\n", 0, cause.start) + 1
        problem = f"not UTF-8 text (byte {cause.start}). Convert the file to UTF-8"
        raise AnnotationError(f"{path}, line {line}: {problem}") from error

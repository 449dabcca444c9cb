"""What formats with written conversations share: turns from ``{from, value}`` messages, and filters by length.

Source: LLaVA's form of a conversation, as E.T. Chat (PolyU-ChenLab/ETBench) and MeCo (pangzss/MeCo) read it. The
originals use what they find; here a conversation that does not alternate, or holds two pictures' places in one
message, is an error or is left out and counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from lavis.datasets.formats._record import AnnotationError, Record
from lavis.datasets.formats.base import (
    AnnotationFormat,
    Annotations,
    BeyondEnd,
    OnBadRow,
    OnBadWindow,
    OnUnknownField,
    check_choice,
)
from lavis.structures import Turn, VideoSample

OnBadConversation = Literal["raise", "skip"]
WordsOf = Literal["all", "first"]

PLACEHOLDERS = ("<image>", "<video>")
"""What stands in a message for the frames."""
VIDEO, IMAGE, TEXT = "video", "image", "text"
"""Values of ``VideoSample.extra["media"]``."""
STILL_SECONDS = 1
"""Length given to a sample without a video: a picture is one frame, shown for a second at one frame a second."""


@dataclass(frozen=True)
class Filters:
    """Rows to leave out of training; a limit below 0 is off, as in the originals.

    Args:
        min_num_words: of what the assistant says, split at single spaces.
        max_num_words: of the same.
        min_video_len: seconds; rows without a video are not judged.
        max_video_len: seconds.
        words_of: ``all`` answers, joined with a space (MeCo), or the ``first`` only (E.T. Chat).
    """

    min_num_words: int = -1
    max_num_words: int = -1
    min_video_len: float = -1
    max_video_len: float = -1
    words_of: WordsOf = "all"

    def __post_init__(self) -> None:
        check_choice("words_of", self.words_of, get_args(WordsOf))

    def pass_(self, sample: VideoSample) -> bool:
        """Whether a sample takes part."""
        answers = [turn.text for turn in sample.turns if turn.role == "assistant"]
        words = len(" ".join(answers[:1] if self.words_of == "first" else answers).split(" "))
        if not _within(words, self.min_num_words, self.max_num_words):
            return False
        return sample.extra.get("media") != VIDEO or _within(sample.duration, self.min_video_len, self.max_video_len)


class ConversationFormat(AnnotationFormat):
    """Rows with ``conversations``: a list of ``{"from": "human" | "gpt", "value": text}``, in turns, the human first.

    Args:
        filters: rows to leave out; counted as ``filtered_rows``.
        on_bad_conversation: ``raise``, or ``skip`` the row and count it.
        on_bad_window, beyond_end, on_unknown_field: see ``AnnotationFormat``.
    """

    windows_in_all = False

    def __init__(
        self,
        *,
        filters: Filters | None = None,
        on_bad_conversation: OnBadConversation = "raise",
        on_bad_window: OnBadWindow = "raise",
        beyond_end: BeyondEnd = "bad",
        on_unknown_field: OnUnknownField = "raise",
    ) -> None:
        super().__init__(on_bad_window=on_bad_window, beyond_end=beyond_end, on_unknown_field=on_unknown_field)
        check_choice("format.on_bad_conversation", on_bad_conversation, get_args(OnBadConversation))
        self.filters = filters
        self.on_bad_conversation = on_bad_conversation

    def read(self, path: str | Path, split: str = "", on_bad_row: OnBadRow = "raise") -> Annotations:
        result = super().read(path, split, on_bad_row)
        if self.filters is None:
            return result
        kept = [sample for sample in result.samples if self.filters.pass_(sample)]
        if not kept:
            raise AnnotationError(f"{path}: format.filters leave none of {len(result.samples)} rows. Loosen them")
        result.counts["filtered_rows"] = len(result.samples) - len(kept)
        result.samples = kept
        return result

    def conversation(self, record: Record, media: str, counts: Counter[str]) -> list[Turn] | None:
        """Turns of a row; ``None`` where they are bad and the row may be left out.

        Args:
            record: the row.
            media: ``video``, ``image`` or ``text``.
            counts: gets ``bad_conversations``.

        Raises:
            AnnotationError: for a bad conversation, under ``on_bad_conversation: raise``.
        """
        try:
            return read_turns(record, media, self.on_unknown_field == "raise")
        except AnnotationError:
            if self.on_bad_conversation == "raise":
                raise
            counts["bad_conversations"] += 1
            return None


def read_turns(record: Record, media: str, strict: bool = True) -> list[Turn]:
    """Turns of a row's ``conversations``, texts as annotated; what the assistant says is to be learned.

    Args:
        record: the row.
        media: ``text`` allows no place for frames.
        strict: whether a message may have no other fields.

    Raises:
        AnnotationError: if messages do not alternate, the last is the human's, one is blank, or holds more than one
            place for frames.
    """
    messages = record.get("conversations")
    if not isinstance(messages, list) or len(messages) < 2 or len(messages) % 2:
        problem = f"must be a list of messages in pairs of human and gpt, got {_sized(messages)}"
        raise record.error("conversations", problem, CURE)
    turns = []
    for number, message in enumerate(messages, start=1):
        part = part_of(record, message, f"message {number}")
        part.check_fields(("from", "value"), () if strict else tuple(part.fields))
        expected = "human" if number % 2 else "gpt"
        if part.get("from") != expected:
            raise part.error("from", f"must be {expected!r} here, got {part.get('from')!r:.40}", CURE)
        text = part.text("value")
        places = sum(text.count(placeholder) for placeholder in PLACEHOLDERS)
        if places > (allowed := 0 if media == TEXT else 1):
            problem = f"has places for {places} times frames, a row with {media} for {allowed}"
            raise part.error("value", problem, CURE)
        turns.append(Turn("user", text) if number % 2 else Turn("assistant", text, learned=True))
    return turns


CURE = "Correct the row, or set the format's on_bad_conversation to 'skip'"


def part_of(record: Record, value: Any, name: str) -> Record:
    """An object inside a row as a row of its own, which knows where it stands.

    Raises:
        AnnotationError: if it is no object.
    """
    if not isinstance(value, dict):
        raise record.error(None, f"{name} must be an object with named fields, got {value!r:.80}", "Correct the row")
    return Record(value, record.path, f"{record.row}, {name}", record.id)


def without_placeholder(text: str) -> str:
    """A message without the place for its frames, and without the blanks around it."""
    for placeholder in PLACEHOLDERS:
        text = text.replace(placeholder, "")
    return text.strip()


def answer_of(turns: Sequence[Turn]) -> str | None:
    """What the assistant says where it says one thing."""
    return turns[1].text if len(turns) == 2 else None


def _within(value: float, least: float, most: float) -> bool:
    return not (0 <= least > value) and not (0 <= most < value)


def _sized(value: Any) -> str:
    return f"{len(value)} messages" if isinstance(value, list) else type(value).__name__

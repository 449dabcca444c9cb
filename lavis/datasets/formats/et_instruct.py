"""E.T. Instruct 164K: conversations about times in videos, in the forms of text models, E.T. Chat and MeCo.

Source: *E.T. Bench: Towards Open-Ended Event-Level Video-Language Understanding* (PolyU-ChenLab/ETBench), files
``et_instruct_164k_{txt,vid}.json``, and *Measure Twice, Cut Once* (pangzss/MeCo), whose ``et_instruct_164k_meco.json``
is not published. The originals find out in training whether a row's times fit its text; here the reader says so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args

from lavis.common.registry import registry
from lavis.datasets.formats._conversation import (
    VIDEO,
    ConversationFormat,
    Filters,
    OnBadConversation,
    answer_of,
    without_placeholder,
)
from lavis.datasets.formats._et_windows import raw_windows, seconds_list, transition_list
from lavis.datasets.formats._record import LONGEST_SECONDS, Record, read_records
from lavis.datasets.formats.base import BeyondEnd, OnBadWindow, OnUnknownField, check_choice
from lavis.structures import Moment, Turn, VideoSample

Style = Literal["txt", "vid", "meco"]
OnReversed = Literal["bad", "swap"]

TIME, EVENT, TRANSITION = "<vid>", "<ent>", "<tst>"


@registry.formats.register("et_instruct")
class ETInstruct(ConversationFormat):
    """Rows ``task, source, video, duration, conversations[, src, tgt, windows, tst_windows]``, ids ``ETInstruct_<k>``.

    ``turns`` are the messages as they stand; ``kind`` is the task. ``moments`` are the windows of the ten tasks that
    have some, in the order of the row (see ``_et_windows``), else ``None``. ``extra`` has ``source`` and, unchanged,
    ``src``, ``tgt``, ``windows``, ``tst_windows``, and ``media: video``.

    Args:
        style: what stands for a time in the text: ``txt``: numbers; ``vid``: ``<vid>``, one for each of ``src`` (human)
            and ``tgt`` (gpt); ``meco``: ``<ent>`` after each event, one for each window, and ``<tst>`` for each of
            ``tst_windows`` if the row has them.
        on_reversed: a window whose end comes first is ``bad`` (see ``on_bad_window``), or ``swap`` its bounds and count
            it (``swapped_windows``), as MeCo does.
        on_bad_window: as everywhere, but ``skip`` leaves out the whole row: its text speaks of the window.
        beyond_end: windows that end past the video are cut by default.
        filters, on_bad_conversation, on_unknown_field: see ``ConversationFormat``.
    """

    required = ("task", "source", "video", "duration", "conversations")
    optional = ("src", "tgt", "windows", "tst_windows")

    def __init__(
        self,
        *,
        style: Style = "vid",
        on_reversed: OnReversed = "bad",
        filters: Filters | None = None,
        on_bad_conversation: OnBadConversation = "raise",
        on_bad_window: OnBadWindow = "raise",
        beyond_end: BeyondEnd = "clamp",
        on_unknown_field: OnUnknownField = "raise",
    ) -> None:
        super().__init__(
            filters=filters,
            on_bad_conversation=on_bad_conversation,
            on_bad_window=on_bad_window,
            beyond_end=beyond_end,
            on_unknown_field=on_unknown_field,
        )
        check_choice("format.style", style, get_args(Style))
        check_choice("format.on_reversed", on_reversed, get_args(OnReversed))
        self.style = style
        self.on_reversed = on_reversed

    def records(self, path: Path, split: str) -> Iterator[Record]:
        for number, record in enumerate(read_records(path)):
            yield record.with_id(f"ETInstruct_{number}")

    def sample(self, record: Record, counts: Counter[str]) -> VideoSample | None:
        extra = self.check_row(record)
        duration = record.positive("duration")
        task = record.text("task")
        turns = self.conversation(record, VIDEO, counts)
        if turns is None:
            return None
        found = raw_windows(record, task, duration)
        self._check_text(record, turns, found)
        if not self._asks_within(record, counts):
            return None
        moments = None
        if found is not None:
            moments = self._moments(record, *found, duration, counts)
            if moments is None:
                return None
        extra |= {name: record.get(name) for name in ("source", *self.optional) if name in record.fields}
        return VideoSample(
            id=str(record.id),
            video=record.file_name("video"),
            query=without_placeholder(turns[0].text),
            duration=duration,
            moments=moments,
            turns=turns,
            answer=answer_of(turns),
            kind=task,
            extra={**extra, "media": VIDEO},
        )

    def _asks_within(self, record: Record, counts: Counter[str]) -> bool:
        """Whether the times of a question are times of a video; ``False`` where they are not and may be left out."""
        seconds = seconds_list(record, "src") if "src" in record.fields else []
        wrong = next((each for each in seconds if not 0 <= each <= LONGEST_SECONDS), None)
        if wrong is not None and self.on_bad_window != "skip":
            cure = "Correct it, or set the format's on_bad_window to 'skip'"
            raise record.error("src", f"holds {wrong!r:.40}, which is no time of a video", cure)
        if wrong is not None:
            counts["skipped_windows"] += 1
        return wrong is None

    def _moments(
        self, record: Record, field: str, raw: list[Any], duration: float, counts: Counter[str]
    ) -> list[Moment] | None:
        """All windows, ``None`` if one is left out."""
        pairs = [self._in_order(pair, counts) for pair in raw]
        moments = self.windows(record, field, pairs, duration, counts) if pairs else []
        return moments if len(moments) == len(pairs) else None

    def _in_order(self, pair: Any, counts: Counter[str]) -> Any:
        try:
            start, end = pair
            turned = self.on_reversed == "swap" and end < start
        except (TypeError, ValueError):
            return pair  # to be complained about with the other windows
        if not turned:
            return pair
        counts["swapped_windows"] += 1
        return [end, start]

    def _check_text(self, record: Record, turns: list[Turn], found: tuple[str, list[Any]] | None) -> None:
        """Whether a row's text has as many marks as the row has times.

        Raises:
            AnnotationError: with both numbers.
        """
        for field in ("src", "tgt"):
            if field in record.fields:
                seconds_list(record, field)
        human, gpt = (" ".join(turn.text for turn in turns if turn.role == role) for role in ("user", "assistant"))
        if self.style == "vid":
            for field, text, who in (("src", human, "human"), ("tgt", gpt, "gpt")):
                self._same(record, field, text.count(TIME), len(record.fields.get(field, ())), f"{TIME} of the {who}")
        elif self.style == "txt" and TIME in human + gpt:
            raise record.error(
                "conversations", f"holds {TIME}, which stands for a time elsewhere", "Set the format's style to 'vid'"
            )
        elif self.style == "meco":
            if found is None:
                cure = "Correct the row, or choose another style"
                raise record.error("task", f"{record.get('task')!r} with these fields has no windows", cure)
            self._same(record, found[0], gpt.count(EVENT), len(found[1]), EVENT)
            if "tst_windows" in record.fields:
                count = len(transition_list(record))
                self._same(record, "tst_windows", gpt.count(TRANSITION), count, TRANSITION)

    def _same(self, record: Record, field: str, marks: int, times: int, name: str) -> None:
        if marks != times:
            problem = f"must have one entry for each {name}, got {times} for {marks}"
            raise record.error(field, problem, "Correct the row, or set the format's style to that of the file")

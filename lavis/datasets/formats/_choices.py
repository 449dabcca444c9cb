"""What formats of multiple-choice questions share: options, the right one, and the part of the video they are about.

Source: the releases of NExT-QA, STAR, TVQA, MVBench and Video-MME, which agree on nothing but that a question has
options and one of them is right. HawkEye (yellow-binary-tree/HawkEye) converts three of them, and letters an answer
that is no option as ``(@)``; here it is an error.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal, get_args

from lavis.datasets.formats._record import Record
from lavis.datasets.formats._timed import TimedFormat
from lavis.datasets.formats.base import BeyondEnd, OnBadWindow, OnUnknownField, check_choice
from lavis.scoring.questions.text import LETTERS, gold_index
from lavis.structures import Moment, VideoSample

WindowUse = Literal["clip", "moments", "ignore"]


class ChoiceFormat(TimedFormat):
    """Questions with options: ``VideoSample.options``, ``answer`` (text) and ``extra["answer_index"]`` from 0.

    Splits whose answers are not public have neither of the last two.

    Args:
        durations, on_bad_window, beyond_end, on_unknown_field: see ``TimedFormat``.
    """

    windows_in_all = False


class WindowedChoiceFormat(ChoiceFormat):
    """Questions about a part of their video.

    Args:
        window: what the annotated start and end are: the ``clip`` of the sample, which models see alone; the
            ``moments`` to be found; or ``ignore``: in ``extra["window"]`` only, as HawkEye treats STAR.
        durations, on_bad_window, beyond_end, on_unknown_field: see ``ChoiceFormat``.
    """

    def __init__(
        self,
        *,
        window: WindowUse = "clip",
        durations: str | None = None,
        on_bad_window: OnBadWindow = "raise",
        beyond_end: BeyondEnd = "keep",
        on_unknown_field: OnUnknownField = "raise",
    ) -> None:
        super().__init__(
            durations=durations,
            on_bad_window=on_bad_window,
            beyond_end=beyond_end,
            on_unknown_field=on_unknown_field,
        )
        check_choice("format.window", window, get_args(WindowUse))
        self.window: WindowUse = window

    def placed(
        self, sample: VideoSample, record: Record, field: str, pair: Any, counts: Counter[str]
    ) -> VideoSample | None:
        """The sample with its window; ``None`` where that is bad and may be left out.

        Args:
            sample: without a window.
            record: the row.
            field: which holds the window, for messages.
            pair: raw ``[start, end]`` in seconds; ``None``: the row has none.
            counts: gets ``skipped_windows`` and ``clamped_windows``.

        Raises:
            AnnotationError: for a bad window, as ``on_bad_window`` says.
        """
        if pair is None:
            return sample
        found = self.windows(record, field, [pair], sample.duration, counts)
        if not found:
            return None
        (moment,) = found
        if moment.length == 0 and self.on_bad_window != "skip":
            cure = "Correct it, or set the format's on_bad_window to 'skip'"
            raise record.error(field, f"the window {pair!r} has no length", cure)
        if moment.length == 0:
            counts["skipped_windows"] += 1
            return None
        return _with_window(sample, moment, self.window)


def _with_window(sample: VideoSample, moment: Moment, use: WindowUse) -> VideoSample:
    if use == "ignore":
        return replace(sample, extra={**sample.extra, "window": moment.to_list()})
    return replace(sample, clip=moment) if use == "clip" else replace(sample, moments=[moment])


def option_texts(record: Record, field: str) -> list[str]:
    """A list of at least two options, none blank.

    Raises:
        AnnotationError: for anything else.
    """
    return checked_options(record, field, record.texts(field))


def checked_options(record: Record, field: str, texts: Sequence[str]) -> list[str]:
    """The same of texts that are read already."""
    if not 2 <= len(texts) <= len(LETTERS):
        raise record.error(field, f"must hold 2 to {len(LETTERS)} options, got {len(texts)}", "Correct the row")
    if not all(text.strip() for text in texts):
        raise record.error(field, "holds a blank option", "Correct the row")
    return list(texts)


def numbered_options(record: Record, count: int) -> list[str]:
    """Options in the fields ``a0``, ``a1``, ..."""
    return [record.text(f"a{i}") for i in range(count)]


def index_of_option(record: Record, field: str, index: int, options: Sequence[str]) -> int:
    """An index, checked.

    Raises:
        AnnotationError: if it is that of no option.
    """
    if not 0 <= index < len(options):
        raise record.error(field, f"must be the index of one of {len(options)} options, got {index}", "Correct the row")
    return index


def index_of_text(record: Record, field: str, options: Sequence[str]) -> int:
    """Index of the option that a field's text is, but for dots; of the last, if several are alike (as MVBench counts).

    Raises:
        AnnotationError: if it is none of them; names the nearest.
    """
    answer = record.text(field)
    index = gold_index(answer, options)
    if index is None:
        near = difflib.get_close_matches(answer, options, n=1, cutoff=0.5)
        hint = f"Did you mean {near[0]!r}? " if near else ""
        raise record.error(field, f"{answer!r:.80} is none of the {len(options)} options", f"{hint}Correct the row")
    return index


def index_of_letter(record: Record, field: str, options: Sequence[str]) -> int:
    """Index of the option that a single capital names.

    Raises:
        AnnotationError: if it is no letter of an option.
    """
    answer = record.text(field).strip()
    index = LETTERS.find(answer) if len(answer) == 1 else -1
    if not 0 <= index < len(options):
        last = LETTERS[len(options) - 1]
        raise record.error(field, f"must be a letter from A to {last}, got {answer!r:.40}", "Correct the row")
    return index


def answered(options: Sequence[str], index: int | None) -> dict[str, Any]:
    """What a sample says about its answer: fields ``options`` and ``answer``."""
    return {"options": list(options), "answer": None if index is None else options[index]}


def noted(extra: dict[str, Any], index: int | None) -> dict[str, Any]:
    """``extra`` with the index of the answer, if it is known."""
    return extra if index is None else {**extra, "answer_index": index}

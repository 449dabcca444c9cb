"""E.T. Bench: 12 tasks about events and times in videos, with the questions as models are asked them.

Source: *E.T. Bench: Towards Open-Ended Event-Level Video-Language Understanding* (PolyU-ChenLab/ETBench), files
``annotations/etbench_{txt,vid}_v1.0.json`` and those of single tasks, and ``evaluation/subset.json``. The original
looks for what a task needs when it scores; here a row that lacks it is an error when it is read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, get_args

from lavis.common.io import read_text
from lavis.common.registry import registry
from lavis.datasets.formats._captions import CAPTIONS
from lavis.datasets.formats._et_questions import GvqOptions, described
from lavis.datasets.formats._et_windows import seconds_list
from lavis.datasets.formats._record import AnnotationError, Record, is_finite, load_json, read_records
from lavis.datasets.formats.base import (
    AnnotationFormat,
    Annotations,
    BeyondEnd,
    OnBadRow,
    OnBadWindow,
    OnUnknownField,
    check_choice,
)
from lavis.scoring.etbench.records import CAPTIONING, CHOOSING, TASKS
from lavis.structures import Moment, VideoSample

Style = Literal["txt", "vid"]
Questions = Literal["as_written", "described"]

TIME = "<vid>"
MAX_OPTIONS = 26


@registry.formats.register("et_bench")
class ETBench(AnnotationFormat):
    """Rows ``task, source, idx, video, duration, q[, version, src, tgt, p, o, g]``, ids ``<task>/<source>/<idx>``.

    ``query`` is ``q`` as ``questions`` says, ``kind`` the task. ``tgt`` (one window, several, or several of each
    annotator) becomes ``moments``; ``o`` and ``p`` become ``options`` and ``answer``, pairs of seconds written as
    ``s - e``, and ``extra["answer_index"]``; ``g`` is ``extra["captions"]``, one for each of ``moments``. The seconds
    that ``<vid>`` stand for are ``extra["src"]``. The record itself is ``extra["etbench"]``, from which the metric
    ``etbench`` scores.

    Args:
        style: how ``q`` tells times: ``txt``: in numbers; ``vid``: as ``<vid>``, one for each of ``src``.
        questions: ``as_written``, or ``described``: as MeCo asks them, for a description in place of times.
        gvq_options: how many options such a question of ``gvq`` shows: ``all``, or no more than ``four``, as MeCo.
        plus: whether such questions also say that segments are to be enclosed in tokens (MeCo's ``--plus``).
        tasks: to keep; ``None``: all.
        subset_file: ``subset.json`` of the benchmark, ``{task: {source: [idx]}}``: the rows to keep; ``None``: all.
            Rows not kept are counted as ``filtered_rows``.
        on_bad_window: as everywhere; ``skip`` leaves out the caption with its window.
        beyond_end: windows that end past the video are kept by default, as the benchmark scores them.
        on_unknown_field: see ``AnnotationFormat``; files with answers have ``a``.
    """

    windows_in_all = False
    required = ("task", "source", "idx", "video", "duration", "q")
    optional = ("version", "src", "tgt", "p", "o", "g")

    def __init__(
        self,
        *,
        style: Style = "txt",
        questions: Questions = "as_written",
        gvq_options: GvqOptions = "all",
        plus: bool = False,
        tasks: list[str] | None = None,
        subset_file: str | None = None,
        on_bad_window: OnBadWindow = "raise",
        beyond_end: BeyondEnd = "keep",
        on_unknown_field: OnUnknownField = "raise",
    ) -> None:
        super().__init__(on_bad_window=on_bad_window, beyond_end=beyond_end, on_unknown_field=on_unknown_field)
        check_choice("format.style", style, get_args(Style))
        check_choice("format.questions", questions, get_args(Questions))
        check_choice("format.gvq_options", gvq_options, get_args(GvqOptions))
        if plus and questions == "as_written":
            raise ValueError("format.plus adds to questions as MeCo asks them: set format.questions to described")
        for task in tasks or ():
            check_choice("format.tasks", task, TASKS)
        self.style = style
        self.questions, self.gvq_options, self.plus = questions, gvq_options, plus
        self.tasks = tasks
        self.subset_file = subset_file

    def read(self, path: str | Path, split: str = "", on_bad_row: OnBadRow = "raise") -> Annotations:
        result = super().read(path, split, on_bad_row)
        wanted = read_subset(Path(self.subset_file.replace("{split}", split))) if self.subset_file is not None else None
        kept = [
            sample
            for sample in result.samples
            if (self.tasks is None or sample.kind in self.tasks) and (wanted is None or sample.id in wanted)
        ]
        if not kept:
            raise AnnotationError(
                f"{path}: format.tasks and format.subset_file leave none of {len(result.samples)} rows. Correct them"
            )
        if len(kept) < len(result.samples):
            result.counts["filtered_rows"] = len(result.samples) - len(kept)
        result.samples = kept
        return result

    def records(self, path: Path, split: str) -> Iterator[Record]:
        for record in read_records(path):
            yield record.identified(lambda row: f"{row.text('task')}/{row.text('source')}/{row.whole_number('idx')}")

    def sample(self, record: Record, counts: Counter[str]) -> VideoSample | None:
        extra = self.check_row(record)
        duration = record.positive("duration")
        task = record.text("task")
        if task not in TASKS:
            raise record.error("task", f"{task!r} is none of {', '.join(TASKS)}", "Correct or remove the row")
        self._check_times(record)
        moments = None
        if task not in CHOOSING:
            moments, captions = self._windows(record, task, duration, counts)
            if not moments:
                return None
            if task in CAPTIONING:
                extra[CAPTIONS] = captions
        options, right = self._options(record) if task in (*CHOOSING, "gvq") else ([], None)
        if right is not None:
            extra["answer_index"] = right
        query = self._query(record, task, options)
        if self.style == "vid" and "src" in record.fields:
            extra["src"] = seconds_list(record, "src")[: query.count(TIME)]
        return VideoSample(
            id=str(record.id),
            video=record.text("video"),
            query=query,
            duration=duration,
            moments=moments,
            options=options,
            answer=options[right] if right is not None else None,
            kind=task,
            extra={**extra, "etbench": dict(record.fields)},
        )

    def _query(self, record: Record, task: str, options: list[str]) -> str:
        question = record.text("q")
        if self.questions == "as_written":
            return question
        source = record.text("source")
        return described(question, task, source, options, gvq_options=self.gvq_options, plus=self.plus)

    def _check_times(self, record: Record) -> None:
        marks = record.text("q").count(TIME)
        if self.style == "txt" and marks:
            raise record.error("q", f"holds {TIME}, which stands for a time", "Set the format's style to 'vid'")
        if "src" in record.fields:
            times = len(seconds_list(record, "src"))
            if self.style == "vid" and marks != times:
                problem = f"must have one time for each {TIME} of q, got {times} for {marks}"
                raise record.error("src", problem, "Correct the row, or set the format's style to 'txt'")

    def _windows(
        self, record: Record, task: str, duration: float, counts: Counter[str]
    ) -> tuple[list[Moment], list[str]]:
        """Windows and, for tasks with captions, these; both without those that are left out."""
        raw = flat_windows(record.get("tgt"))
        if task not in CAPTIONING:
            return self.windows(record, "tgt", raw, duration, counts), []
        captions = record.texts("g")
        if not isinstance(raw, list) or len(captions) != len(raw):
            count = len(raw) if isinstance(raw, list) else 0
            problem = f"must have one caption for each of tgt, got {len(captions)} for {count}"
            raise record.error("g", problem, "Correct the row")
        moments: list[Moment] = []
        kept: list[str] = []
        for window, caption in zip(raw, captions, strict=True):
            found = self.windows(record, "tgt", [window], duration, counts)
            moments += found
            kept += [caption] * len(found)
        return moments, kept

    def _options(self, record: Record) -> tuple[list[str], int]:
        raw = record.get("o")
        if not isinstance(raw, list) or not 2 <= len(raw) <= MAX_OPTIONS:
            raise record.error("o", f"must be a list of 2 to {MAX_OPTIONS} options, got {raw!r:.80}", "Correct the row")
        pairs = [f"{o[0]} - {o[1]}" if is_pair(o) else o for o in raw]
        options = Record({"o": pairs}, record.path, record.row, record.id).texts("o")
        right = record.whole_number("p")
        if not 0 <= right < len(options):
            raise record.error("p", f"must be the index of one of {len(options)} options, got {right}", "Correct it")
        return options, right


def flat_windows(value: Any) -> Any:
    """``tgt`` as a list of windows: one window, a list of them, or a list for each annotator; not yet judged."""
    if is_pair(value):
        return [value]
    if isinstance(value, list) and value and all(isinstance(v, list) and v and isinstance(v[0], list) for v in value):
        return [window for annotator in value for window in annotator]
    return value


def is_pair(value: Any) -> bool:
    """Whether a value is two finite numbers."""
    return isinstance(value, list) and len(value) == 2 and all(is_finite(bound) for bound in value)


def read_subset(path: Path) -> set[str]:
    """Ids of the rows that ``subset.json`` names.

    Raises:
        AnnotationError: if the file is absent or has another shape.
    """
    try:
        tasks = load_json(read_text(path), str(path))
    except FileNotFoundError:
        raise AnnotationError(f"there is no file {path}. Correct format.subset_file or leave it out") from None
    if not isinstance(tasks, Mapping) or not all(isinstance(sources, Mapping) for sources in tasks.values()):
        raise AnnotationError(f"{path}: must be {{task: {{source: [idx]}}}}. Take subset.json of E.T. Bench")
    ids = set()
    for task, sources in tasks.items():
        for source, numbers in sources.items():
            if not isinstance(numbers, list):
                raise AnnotationError(f"{path}, task {task!r}, source {source!r}: must be a list, got {numbers!r:.40}")
            ids |= {f"{task}/{source}/{number}" for number in numbers}
    return ids

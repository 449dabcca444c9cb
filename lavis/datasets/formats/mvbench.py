"""MVBench: 20 files of 200 multiple-choice questions each, on videos of eleven data sets.

Source: *MVBench: A Comprehensive Multi-modal Video Understanding Benchmark* (OpenGVLab/Ask-Anything), files
``json/<task>.json``; folders and which tasks have a start and an end are those its own evaluation, HawkEye and
Grounded-VideoLLM use.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lavis.common.registry import registry
from lavis.datasets.formats._choices import WindowUse
from lavis.datasets.formats._record import AnnotationError, Record, read_records
from lavis.datasets.formats.base import BeyondEnd, OnBadWindow, OnUnknownField
from lavis.datasets.formats.candidates import Candidates
from lavis.structures import VideoSample


@dataclass(frozen=True)
class Task:
    """A task of the benchmark.

    Args:
        folder: of its videos, below ``MVBench/video``.
        windowed: whether its rows have a ``start`` and an ``end`` that cut the video.
    """

    folder: str
    windowed: bool = False


CHARADES = "star/Charades_v1_480"
CLEVRER = "clevrer/video_validation"
PERCEPTION = "perception/videos"
TASKS: Mapping[str, Task] = {
    "Action Sequence": Task(CHARADES, windowed=True),
    "Action Prediction": Task(CHARADES, windowed=True),
    "Action Antonym": Task("ssv2_video"),
    "Fine-grained Action": Task("Moments_in_Time_Raw/videos"),
    "Unexpected Action": Task("FunQA_test/test"),
    "Object Existence": Task(CLEVRER),
    "Object Interaction": Task(CHARADES, windowed=True),
    "Object Shuffle": Task(PERCEPTION),
    "Moving Direction": Task(CLEVRER),
    "Action Localization": Task("sta/sta_video", windowed=True),
    "Scene Transition": Task("scene_qa/video"),
    "Action Count": Task(PERCEPTION),
    "Moving Count": Task(CLEVRER),
    "Moving Attribute": Task(CLEVRER),
    "State Change": Task(PERCEPTION),
    "Fine-grained Pose": Task("nturgbd"),
    "Character Order": Task(PERCEPTION),
    "Egocentric Navigation": Task("vlnqa"),
    "Episodic Reasoning": Task("tvqa/frames_fps3_hq", windowed=True),
    "Counterfactual Inference": Task(CLEVRER),
}
"""In the order of the benchmark. The videos of Episodic Reasoning are folders of frames, three a second."""
CARRIED = ("start", "end", "accurate_start", "accurate_end", "fps")


@registry.formats.register("mvbench")
class MVBench(Candidates):
    """Rows ``video, question, candidates, answer[, start, end]`` of one task's file, or of a folder of such files.

    ``video`` gets the folder of its task in front; ``kind`` is the task (``Action Sequence``), ids are
    ``action_sequence_<k>``, k from 0. ``extra`` has ``accurate_start``, ``accurate_end``, ``fps``, and ``start`` and
    ``end`` where the task does not use them, as far as a row has them.

    Args:
        tasks: which to read from a folder; ``None``: all 20.
        folders: task to the folder of its videos, where it is not that of the release.
        window, durations, on_bad_window, beyond_end, on_unknown_field: see ``WindowedChoiceFormat``.

    Raises:
        ValueError: for a task that is none.
    """

    required = ("video", "question", "candidates", "answer")
    optional = (*CARRIED, "duration")

    def __init__(
        self,
        *,
        tasks: Sequence[str] | None = None,
        folders: Mapping[str, str] | None = None,
        window: WindowUse = "clip",
        durations: str | None = None,
        on_bad_window: OnBadWindow = "raise",
        beyond_end: BeyondEnd = "keep",
        on_unknown_field: OnUnknownField = "raise",
    ) -> None:
        super().__init__(
            window=window,
            durations=durations,
            on_bad_window=on_bad_window,
            beyond_end=beyond_end,
            on_unknown_field=on_unknown_field,
        )
        for name in [*(tasks or ()), *(folders or {})]:
            if name not in TASKS:
                raise ValueError(f"format.tasks: MVBench has no task {name!r}. {nearest(name, TASKS)}")
        self.tasks = list(TASKS if tasks is None else tasks)
        self.folders = {name: task.folder for name, task in TASKS.items()} | dict(folders or {})
        self._task: dict[str, str] = {}

    def rows(self, path: Path, split: str) -> Iterator[Record]:
        files = {name: path / f"{snake(name)}.json" for name in self.tasks} if path.is_dir() else {task_of(path): path}
        self._task = {str(file): name for name, file in files.items()}
        for name, file in files.items():
            for number, record in enumerate(read_records(file)):
                yield record.with_id(f"{snake(name)}_{number}")

    def sample(self, record: Record, counts: Counter[str]) -> VideoSample | None:
        extra = self.check_row(record)
        name = self._task[str(record.path)]
        windowed = TASKS[name].windowed
        used = ("start", "end") if windowed else ()
        extra |= {field: record.number(field) for field in CARRIED if field in record.fields and field not in used}
        sample = self.question(record, f"{self.folders[name]}/{record.file_name('video')}", name, extra)
        if not windowed:
            return sample
        return self.placed(sample, record, "start", [record.get("start"), record.get("end")], counts)


def snake(task: str) -> str:
    """``action_sequence`` for ``Action Sequence``: the name of a task's file."""
    return task.lower().replace(" ", "_").replace("-", "_")


def task_of(path: Path) -> str:
    """The task whose file this is, by its name.

    Raises:
        AnnotationError: if it is that of none.
    """
    by_file = {snake(name): name for name in TASKS}
    if path.stem not in by_file:
        raise AnnotationError(
            f"{path}: the name of a file says which task it is of, and this is none. {nearest(path.stem, by_file)}"
        )
    return by_file[path.stem]


def nearest(name: str, known: Mapping[str, object]) -> str:
    """A hint at the nearest of some names, or all of them."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"Did you mean {near[0]!r}?" if near else f"Known: {', '.join(known)}"

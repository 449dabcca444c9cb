"""``extract_features`` in processes that each load the model once: of this machine, or of a Ray cluster.

The process that keeps the journal has no model. What stands for the model there is a digest of its configuration, its
weights' files and the code, and an entry counts as there while its file is in the folder; a process that has the model
looks more closely at whatever is asked for again, and computes only what its weights have not said yet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch

from lavis.common.feature_folder import FeatureFolder
from lavis.models.video_llm import VideoLLM
from lavis.preparation.collection.items import Item, Shard
from lavis.preparation.collection.run import Running, run_collection
from lavis.preparation.features import (
    Computing,
    Extracted,
    Extraction,
    asked_of,
    clips_of,
    entries_of,
    items_of,
)
from lavis.structures import VideoSample

if TYPE_CHECKING:
    from typing import Unpack  # since Python 3.11; only type checkers read it

START_S = 3600.0
"""Seconds a process may take to load its model: tens of gigabytes from a network disk."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A model on its device, with processor and ``cache.folder``, and the context in which a run computes."""

    model: VideoLLM
    computing: Computing = nullcontext


class Opening(Protocol):
    """Loads the model in a process; can be pickled."""

    def __call__(self, worker: int) -> Opened:
        """The model on the device of process ``worker``, which counts from 0.

        Raises:
            ValueError, OSError, ImportError: if that is not possible.
        """


class ExtractionWork:
    """The work of such a process, see ``collection/outcome.py``.

    Args:
        opening: loads the model.
        clips: a sample for each clip of each video.
        train: see ``extract_features``.
        first: name of the video by which the room is measured.
        gpus: that a process wants of a cluster.
    """

    start_s = START_S

    def __init__(
        self,
        opening: Opening,
        clips: Mapping[str, Sequence[VideoSample]],
        train: bool,
        first: Sequence[str],
        gpus: float = 0.0,
    ) -> None:
        self.opening, self.clips, self.train, self.first, self.gpus = opening, clips, train, first, gpus
        self._extraction: Extraction | None = None
        self._settings = ExitStack()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_extraction": None, "_settings": ExitStack()}

    def start(self, worker: int) -> None:
        """Loads the model, for good: the process ends with it.

        Raises:
            ValueError: if nothing can be kept, or the folder has not room for all of it.
        """
        opened = self.opening(worker)
        opened.model.train(self.train)
        self._settings.enter_context(torch.set_grad_enabled(self.train))
        self._settings.enter_context(opened.computing())  # never left
        opened.model.announce()
        self._extraction = Extraction(opened.model, self.clips, self.train)
        self._extraction.check_room(self.first)

    def __call__(self, item: Item, scratch: Path) -> dict[str, Any]:
        assert self._extraction is not None, "start comes first"
        return self._extraction(item, scratch)


def extract_in_processes(
    opening: Opening,
    samples: Sequence[VideoSample],
    store: FeatureFolder,
    *,
    made_with: Mapping[str, Any],
    train: bool = False,
    name: str = "features",
    gpus: float = 0.0,
    **running: Unpack[Running],
) -> Extracted:
    """Computes and keeps the features of all videos of samples, as ``extract_features`` does.

    Args:
        opening: loads the model, whose ``cache.folder`` is that of ``store``.
        samples: see ``extract_features``.
        store: the folder of the features.
        made_with: whatever decides the features: a video is looked at again when it changes.
        train: see ``extract_features``.
        name: of the job's journal, in the folder of the features.
        gpus: that a process wants of a cluster.
        running: how it is run, see ``run_collection``; ``workers`` are processes, each with a model of its own.

    Raises:
        StartError: if the model cannot be loaded, or nothing can be kept; says why.
        TooManyFailures: if more videos than the budget cannot be read.
    """
    clips = clips_of(samples)
    items = items_of(clips)
    mine = Shard.of(running.get("shard")).share(items)
    work = ExtractionWork(opening, clips, train, [item.name for item in mine[:1]], gpus)

    def is_done(item: Item, result: Mapping[str, Any]) -> bool:
        if result.get("clips") != asked_of(clips[item.name]):
            return False
        return all(store.holds(entry) for entry in result.get("entries", [""]))

    summary = run_collection(
        items, work, store.folder, name=f"{name}-{'train' if train else 'eval'}", options=made_with, is_done=is_done,
        **running,
    )  # fmt: skip
    return Extracted(summary, entries_of(summary, store))

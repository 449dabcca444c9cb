"""What every dataset offers: samples known up front, items decoded on demand, and a count of everything left out."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Protocol

import torch
from torch import Tensor
from torch.utils.data import Dataset

from lavis.common.quarantine import Found, Quarantine, Source
from lavis.processors.readers.base import VideoDecodeError
from lavis.processors.view import ClipError
from lavis.structures import VideoSample, Views

Item = tuple[VideoSample, Views]
OnError = Literal["raise", "skip"]

log = logging.getLogger(__name__)


class Processor(Protocol):
    """Turns a sample into the frames a model wants to see; a function will do.

    One that has a method ``set_epoch`` is told the epoch in training.
    """

    def __call__(self, sample: VideoSample, train: bool) -> Views:
        """Frames of every view.

        Raises:
            VideoDecodeError: if the video cannot be read.
        """


class MomentDataset(Dataset["Item | None"], ABC):
    """Samples of one split.

    An item that ``on_decode_error: skip`` left out is ``None``; ``collate`` drops it, and ``skipped_ids`` names it,
    also where worker processes load the items.

    Args:
        dataset_name: key of the data set in the configuration.
        split: such as ``val``.
        train: whether items are for training (augmentation, truth required).
        samples: in order; subtitles are read with the item.
        counts: what happened to the rows of the annotation file.
    """

    quarantine: Quarantine | None = None
    """Where unreadable videos are listed; set by a run with ``use_quarantine``."""

    def __init__(
        self, dataset_name: str, split: str, train: bool, samples: Sequence[VideoSample], counts: Counter[str]
    ) -> None:
        self.dataset_name = dataset_name
        self.split = split
        self.train = train
        self.samples = list(samples)
        self._counts = counts
        # In shared memory: a flag that a worker sets is seen by the process that reports.
        flags = torch.zeros(max(1, len(self.samples)), dtype=torch.uint8)
        self._skipped: Tensor = flags.share_memory_()  # type: ignore[no-untyped-call]

    def __len__(self) -> int:
        return len(self.samples)

    @abstractmethod
    def __getitem__(self, index: int) -> Item | None:
        """A sample with its frames, ``None`` if its video cannot be read and may be left out."""

    def side_files(self, index: int) -> list[Path]:
        """Files beside the video that item ``index`` is made from, such as subtitles, as far as they are there."""
        return []

    def framed(self, index: int, sample: VideoSample, processor: Processor, on_decode_error: OnError) -> Item | None:
        """A sample with its frames, ``None`` if its video cannot be read and may be left out.

        Args:
            index: of the item.
            sample: what ``processor`` gets.
            processor: decodes and transforms its video.
            on_decode_error: ``raise``, or ``skip`` the item, count it, and do not try this video again in this run.

        Raises:
            VideoDecodeError: if the video cannot be read and may not be left out.
            BudgetError: if too many samples are left out.
        """
        listed = self.quarantine.reason(sample.video) if self.quarantine and on_decode_error == "skip" else None
        try:
            if listed is not None:
                raise VideoDecodeError(sample.video, listed, "it is not tried again", sample.id)
            item = sample, processor(sample, self.train)
        except VideoDecodeError as error:
            if self.quarantine is not None:
                self._put_on_list(self.quarantine, sample, error)
            if on_decode_error == "raise":
                raise
            log.warning("datasets.%s %s: item left out: %s", self.dataset_name, self.split, error)
            self.mark_skipped(index)
            if self.quarantine is not None:
                self.quarantine.check(self._source)
            return None
        if self.quarantine is not None:
            self.quarantine.release(sample.video, sample.id)
        return item

    def use_quarantine(self, quarantine: Quarantine) -> None:
        """Lists unreadable videos from now on, and leaves alone those that are listed."""
        self.quarantine = quarantine

    @property
    def quarantined(self) -> Found | None:
        """How much is on the list of this data set and split; ``None`` where no list is kept."""
        return None if self.quarantine is None else self.quarantine.found(self._source)

    @property
    def _source(self) -> Source:
        return Source(self.dataset_name, self.split, len(self.samples))

    def _put_on_list(self, quarantine: Quarantine, sample: VideoSample, error: VideoDecodeError) -> None:
        whole = not isinstance(error, ClipError)
        needing = [other.id for other in self.samples if other.video == sample.video] if whole else [sample.id]
        quarantine.add(sample.video, error.cause or str(error), self._source, needing, whole=whole)

    def mark_skipped(self, index: int) -> None:
        """Notes that item ``index`` was left out; noting it twice counts once."""
        self._skipped[index] = 1

    @property
    def skipped_ids(self) -> list[str]:
        """Ids of items that were asked for and left out so far."""
        return [self.samples[i].id for i in torch.nonzero(self._skipped).flatten().tolist()]

    @property
    def left_out(self) -> int:
        """Rows of the annotations that are no samples since they, or their files, are faulty and may be left out."""
        return sum(self.counts.get(name, 0) for name in ("skipped_rows", "without_video", "without_subtitles"))

    @property
    def counts(self) -> dict[str, int]:
        """Numbers for the report, such as ``rows``, ``skipped_windows``, ``missing_videos``; ``skipped`` items last."""
        return {**self._counts, "samples": len(self), "skipped": len(self.skipped_ids)}

    def set_epoch(self, epoch: int) -> None:
        """Tells a dataset that draws anew in each epoch which one begins, from 0."""

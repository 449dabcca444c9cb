"""Data of an evaluation: queries of one video come together, are read ahead, and fill batches by number or by tokens.

A *unit* is some queries of one video: one loader process decodes it, and a frozen encoder looks at it once. Units are
planned for all samples, also for those that are answered already, and batches are filled in their order: an evaluation
that was interrupted makes the batches that an undisturbed one would have made, so that not even roundings differ.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch.utils.data import Dataset

from lavis.runners.costs import Counter as TokenCounter
from lavis.runners.data import Failure, Feeding, Loader, SeededDataset
from lavis.runners.randomness import random_state, same_random_state, seed_host, set_random_state
from lavis.structures import Batch, Frames, VideoSample, Views

T = TypeVar("T")
Item = tuple[VideoSample, Views] | None

LARGEST_UNIT = 16
"""Queries of one video that are read together; more of them are several units, so that memory stays bounded."""
AHEAD = 2
"""Units that a thread reads before they are asked for."""


@dataclass(frozen=True, slots=True)
class LoaderSettings:
    """How evaluation reads its data: samples and tokens of a batch, and what ``Feeding`` says of loader processes.

    A batch ends at ``batch_size`` samples or before its padded prompts exceed ``batch_tokens``, whichever comes first.
    """

    batch_size: int | None = 1
    batch_tokens: int | None = None
    num_workers: int = 0
    seed: int = 42
    start_method: str | None = None
    prefetch: int = 2
    pin: bool = False
    max_batches: int | None = None


def plan_units(samples: Sequence[VideoSample], indices: Iterable[int]) -> list[list[int]]:
    """Indices of samples by video, long clips first, so that what does not fit into memory shows early.

    Within a video, queries on the same clip are neighbours, long ones first; otherwise the order of the data is kept.
    """
    videos: dict[str, list[int]] = {}
    for index in indices:
        videos.setdefault(samples[index].video, []).append(index)
    groups = [sorted(group, key=lambda i: _place(samples[i])) for group in videos.values()]
    groups.sort(key=lambda group: -max(samples[i].window.length for i in group))
    return [group[i : i + LARGEST_UNIT] for group in groups for i in range(0, len(group), LARGEST_UNIT)]


def _place(sample: VideoSample) -> tuple[float, float, int]:
    return sample.window.start, sample.window.end, -len(sample.query)


def share_of(units: Sequence[list[int]], rank: int, world: int) -> list[list[int]]:
    """Units of one process of ``world``: each goes to whoever has fewest samples so far."""
    loads = [0] * world
    own = []
    for unit in units:
        least = loads.index(min(loads))
        loads[least] += len(unit)
        if least == rank:
            own.append(unit)
    return own


def batches_of(
    dataset: Dataset[Any], units: Sequence[list[int]], settings: LoaderSettings, count: TokenCounter | None = None
) -> Iterator[Batch]:
    """Batches of this process's units; unreadable samples are left out.

    Args:
        dataset: gives ``(sample, views)``.
        units: see ``plan_units`` and ``share_of``.
        settings: see there.
        count: tokens of a prompt; needed with ``batch_tokens``.

    Raises:
        ValueError: if batches are to be filled by tokens and nobody counts them.
    """
    if settings.batch_tokens is not None and count is None:
        raise ValueError("run.eval_batch_tokens needs a model that counts tokens (count_tokens); set eval_batch_size")
    read = read_units(dataset, units, settings)
    return fill(read, settings.batch_size, settings.batch_tokens, count)


def read_units(dataset: Dataset[Any], units: Sequence[list[int]], settings: LoaderSettings) -> Iterable[list[Item]]:
    """Items of each unit, by loader processes, or else by a thread that is some units ahead."""
    data = _Units(SeededDataset([dataset], settings.seed), units)
    if settings.num_workers and units:
        workers, seed, method = settings.num_workers, settings.seed, settings.start_method
        feeding = Feeding(workers, seed, method, settings.prefetch, persistent=False, pin=settings.pin)
        loader = Loader(data, batch_size=None, **{**feeding.arguments(), "collate_fn": _wrapped})
        return (unit.items for unit in loader)
    if not units or data.draws(units[0][0]):
        # A data set that draws from global generators shares them with the model: it reads when asked, seeded.
        return (data[i] for i in range(len(units)))
    plain = (_Unit(data.plain(i)) for i in range(len(units)))
    return read_ahead((unit.pin_memory().items if settings.pin else unit.items for unit in plain), AHEAD)


def fill(
    units: Iterable[Sequence[Item]], size: int | None, tokens: int | None, count: TokenCounter | None = None
) -> Iterator[Batch]:
    """Batches of at most ``size`` samples and ``tokens`` padded tokens (a longer sample comes alone), in order."""
    from lavis.datasets.build import collate

    pending: list[Item] = []
    longest = 0
    for item in (item for unit in units for item in unit):
        if item is None:
            continue
        length = count(*item) if tokens is not None and count is not None else 0
        if tokens is not None and pending and (len(pending) + 1) * max(longest, length) > tokens:
            yield collate(pending)
            pending, longest = [], 0
        pending.append(item)
        longest = max(longest, length)
        if len(pending) == size:
            yield collate(pending)
            pending, longest = [], 0
    if pending:
        yield collate(pending)


def read_ahead(items: Iterable[T], ahead: int) -> Iterator[T]:
    """The same items, made by a thread that is at most ``ahead`` of them early; errors come where they would have."""
    ready: queue.Queue[tuple[bool, Any]] = queue.Queue(ahead)
    stopped = threading.Event()

    def offer(made: bool, value: Any) -> bool:
        while not stopped.is_set():
            try:
                ready.put((made, value), timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def work() -> None:
        try:
            if all(offer(True, item) for item in items):
                offer(False, None)
        except BaseException as error:  # handed over, to be raised where the item was wanted
            offer(False, error)

    thread = threading.Thread(target=work, name="read-ahead", daemon=True)
    thread.start()
    try:
        while True:
            made, value = ready.get()
            if made:
                yield value
            elif value is None:
                return
            else:
                raise value
    finally:
        stopped.set()
        thread.join()


class _Units(Dataset[Any]):
    """Lists of items, one a unit; equal frames of a unit are one object."""

    def __init__(self, data: SeededDataset, units: Sequence[list[int]]) -> None:
        self.data = data
        self.units = units
        self._first: dict[int, Item] = {}

    def __len__(self) -> int:
        return len(self.units)

    def __getitem__(self, number: int) -> Any:
        items = []
        for index in self.units[number]:
            items.append(self.data[0, index])
            if isinstance(items[-1], Failure):
                return items[-1]
        return _shared(items)

    def plain(self, number: int) -> list[Item]:
        """The same without a look at the global generators, which belong to another thread."""
        return _shared([self._item(index) for index in self.units[number]])

    def draws(self, index: int) -> bool:
        """Whether reading an item draws from the global generators, in evaluation a custom part at most."""
        before = random_state(devices=False)
        seed_host(self.data.seed)
        fresh = random_state(devices=False)
        try:
            self._first = {index: self.data.dataset[index]}
            return not same_random_state(random_state(devices=False), fresh)
        finally:
            set_random_state(before)

    def _item(self, index: int) -> Item:
        item: Item = self._first.pop(index) if index in self._first else self.data.dataset[index]
        return item


def _shared(items: list[Item]) -> list[Item]:
    known: dict[tuple[str, str], Frames] = {}

    def once(view: str, frames: Frames) -> Frames:
        return frames if frames.key is None else known.setdefault((view, frames.key), frames)

    return [
        None if item is None else (item[0], {view: once(view, frames) for view, frames in item[1].items()})
        for item in items
    ]


@dataclass(frozen=True, slots=True)
class _Unit:
    """Items on their way from a loader process, which the loader of torch knows how to pin."""

    items: list[Item]

    def pin_memory(self) -> _Unit:
        distinct = {id(f): f for item in self.items if item is not None for f in item[1].values()}
        pinned = {key: frames.pin_memory() for key, frames in distinct.items()}
        return _Unit(
            [
                None if item is None else (item[0], {view: pinned[id(frames)] for view, frames in item[1].items()})
                for item in self.items
            ]
        )


def _wrapped(unit: Any) -> Any:
    return unit if isinstance(unit, Failure) else _Unit(unit)


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on a GPU or, in torch's words, on the host."""
    return isinstance(error, (torch.cuda.OutOfMemoryError, MemoryError)) or (
        isinstance(error, RuntimeError) and ("can't allocate memory" in str(error) or "not enough memory" in str(error))
    )

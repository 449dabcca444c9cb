"""Several datasets as one: joined end to end, or mixed by weights or sizes, with figures on each of them."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from lavis.common.orders import chosen_order, interleaved
from lavis.common.quarantine import Found, Quarantine
from lavis.common.registry import registry
from lavis.datasets.base import Item, MomentDataset


@dataclass(frozen=True, slots=True)
class SourceFigures:
    """What one part contributes.

    Args:
        samples: it has.
        items: it has in an epoch.
        share: of the items of an epoch, in [0, 1].
        passes: through its samples in an epoch; below 1 some of them wait for a later one.
        skipped: samples that could not be read so far.
    """

    samples: int
    items: int
    share: float
    passes: float
    skipped: int

    def __str__(self) -> str:
        shown = f"{self.items} items an epoch ({self.share:.1%}) of {self.samples} samples, {self.passes:.3g} passes"
        return shown + (f", {self.skipped} skipped" if self.skipped else "")


@registry.datasets.register("mixture")
class MixtureDataset(MomentDataset):
    """Datasets under one name.

    Without weights and sizes, and in evaluation, every sample of every part occurs once. With weights an epoch has
    ``length`` items, shared out in proportion; with sizes so many of each part. A part goes through all its samples
    before it repeats one, across epochs. A part that chooses the order of its samples (``shards`` with
    ``order: shards``) keeps it, mixed with the others.

    Args:
        dataset_name: key in the configuration.
        split: of all parts.
        train: whether weights count.
        parts: name to dataset; at least one.
        weights: name to relative weight, above 0, for exactly the parts; ``None`` joins them.
        sizes: name to items of an epoch, at least 0 and not all 0, for exactly the parts; not together with weights.
        length: items of a weighted epoch; ``None``: as many as all parts have.
        seed: of the order in which parts are gone through.

    Raises:
        ValueError: if weights do not name the parts, or a number is out of range.
    """

    wiring = ("dataset_name", "split", "train")

    def __init__(
        self,
        *,
        dataset_name: str,
        split: str,
        train: bool,
        parts: Mapping[str, MomentDataset],
        weights: Mapping[str, float] | None = None,
        sizes: Mapping[str, int] | None = None,
        length: int | None = None,
        seed: int = 0,
    ) -> None:
        where = f"datasets.{dataset_name}"
        if not parts:
            raise ValueError(f"{where}.parts names no dataset with a split {split!r}")
        if weights is not None and (set(weights) != set(parts) or not all(map(_is_weight, weights.values()))):
            raise ValueError(
                f"{where}.weights needs a number above 0 for each of {', '.join(parts)}, got {dict(weights)}"
            )
        if sizes is not None:
            _check_sizes(where, sizes, parts, weights)
        if length is not None and (length < 1 or weights is None):
            raise ValueError(f"{where}.length must be at least 1 and goes with weights, got {length}")
        self.parts = dict(parts)
        self.seed = seed
        self._names = list(parts)
        total = sum(len(part) for part in parts.values())
        weighted = weights if train else None
        self._shares = shares(weighted, length or total) if weighted is not None else None
        if sizes is not None and train:
            self._shares = dict(sizes)
        self._index: list[tuple[str, int]] = []
        super().__init__(dataset_name, split, train, [], Counter())
        self.set_epoch(0)

    def __getitem__(self, index: int) -> Item | None:
        name, position = self._index[index]
        return self.parts[name][position]

    def side_files(self, index: int) -> list[Path]:
        name, position = self._index[index]
        return self.parts[name].side_files(position)

    def located(self, index: int) -> tuple[MomentDataset, int]:
        """The part that an item of this epoch is from, and its number there."""
        name, position = self._index[index]
        return self.parts[name], position

    def use_quarantine(self, quarantine: Quarantine) -> None:
        for part in self.parts.values():
            part.use_quarantine(quarantine)

    @property
    def quarantined(self) -> Found | None:
        found = [part.quarantined for part in self.parts.values()]
        known = [row for row in found if row is not None]
        return Found(sum(row.videos for row in known), sum(row.samples for row in known)) if known else None

    def set_epoch(self, epoch: int) -> None:
        """Chooses the items of an epoch; without weights all epochs are alike."""
        for part in self.parts.values():
            part.set_epoch(epoch)
        if self._shares is None:
            self._index = [(name, i) for name, part in self.parts.items() for i in range(len(part))]
        else:
            self._index = [
                (name, i)
                for name, share in self._shares.items()
                for i in slice_of_rounds(len(self.parts[name]), epoch * share, share, partial(self._round, name))
            ]
        self.samples = [self.parts[name].samples[i] for name, i in self._index]

    def epoch_order(self, seed: int, epoch: int) -> list[int] | None:
        """The order in which an epoch visits the items, each once; ``None`` leaves it to the sampler.

        Args:
            seed: of the run.
            epoch: from 0.
        """
        if self._shares is None:
            sizes = [len(part) for part in self.parts.values()]
            orders = [chosen_order(part, len(part), seed, epoch) for part in self.parts.values()]
        else:
            # The items of a part that orders itself are in its order already.
            own = [chosen_order(part, len(part), self.seed, 0) is not None for part in self.parts.values()]
            sizes = [self._shares[name] for name in self.parts]
            orders = [list(range(size)) if ordered else None for size, ordered in zip(sizes, own, strict=True)]
        return None if all(order is None for order in orders) else interleaved(sizes, orders, seed + epoch)

    def _round(self, name: str, number: int) -> list[int]:
        """The order of one round through all samples of a part."""
        part = self.parts[name]
        own = chosen_order(part, len(part), self.seed, number)
        return shuffled(len(part), f"{self.seed} {name} {number}") if own is None else own

    @property
    def sources(self) -> dict[str, SourceFigures]:
        """Figures of each part, by name; those of parts that are mixtures themselves stand for theirs."""
        items = {name: len(part) for name, part in self.parts.items()} if self._shares is None else self._shares
        total = max(1, sum(items.values()))
        return {
            name: SourceFigures(
                samples=len(part), items=items[name], share=items[name] / total,
                passes=items[name] / max(1, len(part)), skipped=len(part.skipped_ids),
            )
            for name, part in self.parts.items()
        }  # fmt: skip

    @property
    def skipped_ids(self) -> list[str]:
        return [identity for part in self.parts.values() for identity in part.skipped_ids]

    @property
    def counts(self) -> dict[str, int]:
        total: Counter[str] = Counter()
        for part in self.parts.values():
            total.update(part.counts)
        return {**total, "samples": len(self)}


def _is_weight(value: object) -> bool:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and 0 < value < math.inf  # type: ignore[operator]  # a number by then; not NaN, which YAML can write


def _check_sizes(
    where: str, sizes: Mapping[str, int], parts: Mapping[str, MomentDataset], weights: Mapping[str, float] | None
) -> None:
    whole = all(isinstance(size, int) and not isinstance(size, bool) and size >= 0 for size in sizes.values())
    if weights is not None or set(sizes) != set(parts) or not whole or not any(sizes.values()):
        raise ValueError(
            f"{where}.sizes needs a whole number of at least 0 for each of {', '.join(parts)}, not all 0, and no "
            f"weights beside it; got {dict(sizes)}"
        )


def shares(weights: Mapping[str, float], length: int) -> dict[str, int]:
    """``length`` items shared out in proportion to ``weights``; what rounding leaves goes to the largest remainders."""
    total = sum(weights.values())
    exact = {name: length * weight / total for name, weight in weights.items()}
    result = {name: math.floor(value) for name, value in exact.items()}
    by_remainder = sorted(exact, key=lambda name: result[name] - exact[name])
    for name in by_remainder[: length - sum(result.values())]:
        result[name] += 1
    return result


def slice_of_rounds(size: int, start: int, count: int, order: Callable[[int], Sequence[int]]) -> list[int]:
    """Items ``start`` to ``start + count`` of an endless list: rounds through ``range(size)``, each in an ``order``."""
    chosen: list[int] = []
    for round_number in range(start // size, (start + count - 1) // size + 1):
        first = max(0, start - round_number * size)
        chosen += order(round_number)[first : start + count - round_number * size]
    return chosen


def shuffled(size: int, seed: str) -> list[int]:
    """``range(size)`` in an order that follows from ``seed``."""
    order = list(range(size))
    random.Random(seed).shuffle(order)
    return order

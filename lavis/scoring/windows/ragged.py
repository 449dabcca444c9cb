"""Lists of windows of many queries in one flat array, so that nothing loops over queries.

A hundred thousand lists of ten windows take 24 MB here; as Python lists they take twenty times that.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Index = NDArray[np.int64]
Mask = NDArray[np.bool_]

_MAX_CELLS = 500_000
"""Elements of a padded array; several are alive at a time."""


@dataclass(frozen=True, slots=True, eq=False)
class Ragged:
    """Windows of ``Q`` queries.

    Args:
        values: ``[N, columns]`` windows, query after query: start, end and whatever follows.
        counts: ``[Q]`` how many each query has; they add up to ``N``.
    """

    values: Array
    counts: Index

    @classmethod
    def of(cls, lists: Lists, columns: int = 2) -> Ragged:
        """From lists or arrays of windows, of which the first ``columns`` numbers are taken."""
        if isinstance(lists, Ragged):
            return lists if lists.values.shape[1] == columns else cls(lists.values[:, :columns], lists.counts)
        arrays = [_rows(windows, columns) for windows in lists]
        counts = np.fromiter((len(a) for a in arrays), dtype=np.int64, count=len(arrays))
        return cls(np.concatenate([*arrays, np.zeros((0, columns))]), counts)

    def __len__(self) -> int:
        return len(self.counts)

    @property
    def starts(self) -> Index:
        """``[Q]``, where in ``values`` each query begins."""
        starts: Index = np.cumsum(self.counts) - self.counts
        return starts

    @property
    def owners(self) -> Index:
        """``[N]``, the query of each window."""
        return np.repeat(np.arange(len(self.counts)), self.counts)

    def where(self, mask: Mask) -> Ragged:
        """The windows of ``mask``, ``[N]``; the queries stay."""
        return Ragged(self.values[mask], np.bincount(self.owners[mask], minlength=len(self.counts)))

    def select(self, queries: Index) -> Ragged:
        """The queries of these numbers, in that order."""
        counts = self.counts[queries]
        within = np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts, counts)
        return Ragged(self.values[np.repeat(self.starts[queries], counts) + within], counts)

    def head(self, limit: int) -> Ragged:
        """The first ``limit`` windows of each query."""
        return self.where(np.arange(len(self.values)) - self.starts[self.owners] < limit)

    def ranked(self, column: int = 2) -> Ragged:
        """Windows of each query by falling score; equal scores stay in their order."""
        return Ragged(self.values[np.lexsort((-self.values[:, column], self.owners))], self.counts)

    def padded(self) -> tuple[Array, Mask]:
        """``[Q, most, columns]`` filled up with zeros, and ``[Q, most]``, true where a window is one of the query's."""
        real = np.arange(int(self.counts.max(initial=0)))[None] < self.counts[:, None]
        array = np.zeros((*real.shape, self.values.shape[1]))
        array[real] = self.values
        return array, real


Lists = Ragged | Sequence[ArrayLike] | Sequence[Sequence[Any]]
"""Windows of each query: arrays ``[N, 2 or more]``, lists of lists, or packed already."""


def chunks(sizes: Index, cells: int) -> Iterator[Index]:
    """Queries of similar size together, few enough that padded arrays stay small.

    Args:
        sizes: ``[Q]``, to what length each would be padded.
        cells: elements for each unit of size.
    """
    order = np.argsort(sizes, kind="stable")
    padded = np.maximum(sizes[order], 1) * cells
    start = 0
    while start < len(order):
        most = max(_MAX_CELLS // int(padded[start]), 1)
        taken = padded[start : start + most]
        fit = int(np.searchsorted(taken * np.arange(1, len(taken) + 1), _MAX_CELLS, side="right"))
        yield order[start : start + max(fit, 1)]
        start += max(fit, 1)


def _rows(windows: Any, columns: int) -> Array:
    array = np.asarray(windows, dtype=np.float64)
    return array[:, :columns] if array.size else np.zeros((0, columns))

"""Intervals of figures by bootstrap over videos, and figures from their estimates.

Queries of one video share its content, so they are not independent: whole videos are drawn, with all their queries
(the cluster bootstrap of Field and Welsh, "Bootstrapping clustered data", 2007). A mean over the drawn queries is the
ratio of two sums over videos, so each resample costs one weighted sum, not a new scoring. Bounds are percentiles.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from lavis.scoring.base import Array, Derived, Estimate, Scored

Interval = tuple[float, float]
Estimates = Mapping[str, Estimate | Derived]
REPEATS, SEED, LEVEL = 2000, 0, 0.95
_CELLS = 1_000_000
"""Weights that are held at once: 8 MB."""


def bootstrap(
    scored: Scored,
    ids: Sequence[str],
    videos: Sequence[str],
    repeats: int = REPEATS,
    seed: int = SEED,
    level: float = LEVEL,
) -> dict[str, Interval]:
    """The interval of each headline figure that has an estimate; the same for the same seed, whatever the row order.

    Args:
        scored: what a protocol found.
        ids: of the pairs, ``[Q]``; ``scored.ids`` go first.
        videos: of the pairs, ``[Q]``; ``scored.videos`` go first.
        repeats: resamples.
        seed: of the draws.
        level: share of resamples within the interval, between 0 and 1.

    Returns:
        figure to lower and upper bound, in the figure's unit; one without estimate, or without any query, has none.
    """
    units, clusters = rows_of(scored, ids, videos)
    named = [name for name in scored.headline if name in scored.estimates]
    values = resampled(scored.estimates, named, units, clusters, repeats, seed)
    found = {name: percentiles(values[name], level) for name in named}
    return {name: interval for name, interval in found.items() if interval is not None}


def point_estimates(scored: Scored, ids: Sequence[str], videos: Sequence[str]) -> dict[str, float]:
    """Each estimate's own figure: what ``headline`` says, before rounding. Arguments as in ``bootstrap``."""
    return whole(scored.estimates, *rows_of(scored, ids, videos))


def whole(estimates: Estimates, units: Sequence[str], clusters: Sequence[str]) -> dict[str, float]:
    """Figures of all units, each counted once."""
    sums = Sums(estimates, units, clusters)
    figures = evaluated(estimates, sums.ratios(np.ones((1, len(sums.names)))))
    return {name: float(values[0]) for name, values in figures.items()}


def rows_of(scored: Scored, ids: Sequence[str], videos: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    """What the values of estimates belong to: queries and videos, ``[Q]`` each."""
    units = ids if scored.ids is None else scored.ids
    clusters = videos if scored.videos is None else scored.videos
    for name, estimate in scored.estimates.items():
        assert isinstance(estimate, Derived) or len(estimate.values) == len(units) == len(clusters), name
    return units, clusters


def resampled(
    estimates: Estimates,
    wanted: Sequence[str],
    units: Sequence[str],
    clusters: Sequence[str],
    repeats: int = REPEATS,
    seed: int = SEED,
) -> dict[str, Array]:
    """Figures of each resample, ``[repeats]``: "not a number" where a resample holds no query of a figure.

    Two sets of estimates over the same videos meet the same resamples, so that they can be compared in pairs.
    """
    sums = Sums(estimates, units, clusters)
    parts: dict[str, list[Array]] = {name: [] for name in wanted}
    for weights in draws(len(sums.names), repeats, seed):
        figures = evaluated(estimates, sums.ratios(weights))
        for name in wanted:
            parts[name].append(figures[name])
    return {name: np.concatenate(pieces) for name, pieces in parts.items()}


def draws(num_clusters: int, repeats: int, seed: int) -> Iterator[Array]:
    """How often each video is drawn, ``[B, V]`` at a time."""
    from tqdm import tqdm

    generator = np.random.default_rng(seed)
    step = max(1, min(repeats, _CELLS // max(num_clusters, 1)))
    with tqdm(total=repeats, desc="bootstrap", unit="resample", disable=None, delay=2, leave=False) as bar:
        for start in range(0, repeats, step):
            size = min(step, repeats - start)
            drawn: NDArray[np.int64] = generator.integers(0, num_clusters, size=(size, num_clusters))
            drawn += num_clusters * np.arange(size)[:, None]
            counts = np.bincount(drawn.ravel(), minlength=size * num_clusters)
            yield counts.reshape(size, num_clusters).astype(np.float64)
            bar.update(size)


class Sums:
    """Values of estimates summed over the queries of each video, and how many there are.

    Args:
        estimates: those that are derived are passed over.
        units: ids, ``[Q]``; they set the order of addition, so that sums do not depend on that of the rows.
        clusters: videos, ``[Q]``.
    """

    def __init__(self, estimates: Estimates, units: Sequence[str], clusters: Sequence[str]) -> None:
        order = sorted(range(len(units)), key=lambda row: (clusters[row], units[row]))
        self.names = sorted(set(clusters))
        number = {name: position for position, name in enumerate(self.names)}
        index = np.fromiter((number[clusters[row]] for row in order), dtype=np.int64, count=len(order))
        self._scales = {name: e.scale for name, e in estimates.items() if isinstance(e, Estimate)}
        columns = []
        for estimate in estimates.values():
            if isinstance(estimate, Estimate):
                values = np.asarray(estimate.values, dtype=np.float64)[order]
                known = ~np.isnan(values)
                weights = np.where(known, values, 0.0)
                columns.append(np.bincount(index, weights=weights, minlength=len(self.names)))
                columns.append(np.bincount(index, weights=known.astype(np.float64), minlength=len(self.names)))
        self._table = np.stack(columns, axis=1) if columns else np.zeros((len(self.names), 0))

    def ratios(self, weights: Array) -> dict[str, Array]:
        """Figures of resamples ``[B, V]``: name to ``[B]``."""
        totals = weights @ self._table
        with np.errstate(divide="ignore", invalid="ignore"):
            ratios = totals[:, 0::2] / totals[:, 1::2]
        return {name: scale * ratios[:, column] for column, (name, scale) in enumerate(self._scales.items())}


def evaluated(estimates: Estimates, known: Mapping[str, Array]) -> dict[str, Array]:
    """All figures, those that are derived from others included."""
    figures = dict(known)

    def figure(name: str, above: tuple[str, ...]) -> Array:
        if name not in figures:
            estimate = estimates.get(name)
            assert isinstance(estimate, Derived), f"{above[-1] if above else name} is derived from {name}: no estimate"
            assert name not in above, f"{name} is derived from itself"
            with np.errstate(divide="ignore", invalid="ignore"):
                figures[name] = np.asarray(estimate.of(*(figure(part, (*above, name)) for part in estimate.parts)))
        return figures[name]

    return {name: figure(name, ()) for name in estimates}


def percentiles(values: Array, level: float = LEVEL) -> Interval | None:
    """The middle ``level`` of resamples; ``None`` where none has a value."""
    known = values[~np.isnan(values)]
    if not len(known):
        return None
    low, high = np.percentile(known, [50 * (1 - level), 50 * (1 + level)])
    return float(low), float(high)

"""Places for the nodes of a small directed graph, in layers from top to bottom.

Source: Sugiyama, Tagawa and Toda (1981): layers by longest path, dummies where an edge passes a layer, nodes of a layer
in the order of the mean place of their neighbours.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

SWEEPS = 8
DUMMY_WIDTH = 14.0


@dataclass(frozen=True, slots=True)
class Layout:
    """Where nodes stand.

    Args:
        rows: keys of each layer from top to bottom, dummies included, from left to right.
        x: middle of each node.
        chains: for each edge the nodes it leads through: from, dummies, to.
        width: of the whole.
        stages: keys that were said to be stages.
    """

    rows: list[list[str]]
    x: dict[str, float]
    chains: list[list[str]]
    width: float
    stages: Collection[str]


def arranged(after: Mapping[str, Sequence[str]], stages: Collection[str], width: float, gap: float) -> Layout:
    """Places nodes.

    Args:
        after: node to those it comes from; without circles.
        stages: nodes that are stages, the others are files.
        width: of a node.
        gap: between nodes of a layer.
    """
    layer = _layers(after)
    rows: list[list[str]] = [[] for _ in range(max(layer.values(), default=0) + 1)]
    for key, number in layer.items():
        rows[number].append(key)
    chains = []
    for key, befores in after.items():
        for before in befores:
            chain = [before]
            for number in range(layer[before] + 1, layer[key]):
                dummy = f"{before} > {key} @ {number}"
                rows[number].append(dummy)
                chain.append(dummy)
            chains.append([*chain, key])
    neighbours = _neighbours(chains)
    sizes = {key: width if key in after else DUMMY_WIDTH for row in rows for key in row}
    x = _spread(rows, sizes, gap)
    for sweep in range(SWEEPS):
        order = range(len(rows)) if sweep % 2 == 0 else range(len(rows) - 1, -1, -1)
        for number in order:
            near = {key: [x[each] for each in neighbours.get(key, [])] for key in rows[number]}
            rows[number].sort(key=lambda key: sum(near[key]) / len(near[key]) if near[key] else x[key])
        x = _spread(rows, sizes, gap)
    for number in range(len(rows)):
        _pull(rows[number], x, sizes, gap, neighbours)
    left = min((x[key] - sizes[key] / 2 for key in x), default=0.0)
    right = max((x[key] + sizes[key] / 2 for key in x), default=0.0)
    return Layout(rows, {key: value - left for key, value in x.items()}, chains, right - left, set(stages))


def _layers(after: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """Node to layer: one below the lowest of those it comes from."""
    layer: dict[str, int] = {}

    def place(key: str) -> int:
        if key not in layer:
            layer[key] = max((place(before) + 1 for before in after[key]), default=0)
        return layer[key]

    for key in after:
        place(key)
    return layer


def _neighbours(chains: Sequence[Sequence[str]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for chain in chains:
        for one, two in pairwise(chain):
            found.setdefault(one, []).append(two)
            found.setdefault(two, []).append(one)
    return found


def _spread(rows: Sequence[Sequence[str]], sizes: Mapping[str, float], gap: float) -> dict[str, float]:
    """Each layer side by side, its middle at 0."""
    x = {}
    for row in rows:
        position = -(sum(sizes[key] for key in row) + gap * max(0, len(row) - 1)) / 2
        for key in row:
            x[key] = position + sizes[key] / 2
            position += sizes[key] + gap
    return x


def _pull(
    row: Sequence[str], x: dict[str, float], sizes: Mapping[str, float], gap: float, near: Mapping[str, Sequence[str]]
) -> None:
    """Moves nodes of a layer towards the mean of their neighbours as far as the order and the gaps allow."""
    for indices in (range(len(row)), range(len(row) - 1, -1, -1)):
        for i in indices:
            key = row[i]
            if not near.get(key):
                continue
            wanted = sum(x[each] for each in near[key]) / len(near[key])
            low = x[row[i - 1]] + (sizes[row[i - 1]] + sizes[key]) / 2 + gap if i else -1e9
            high = x[row[i + 1]] - (sizes[row[i + 1]] + sizes[key]) / 2 - gap if i + 1 < len(row) else 1e9
            x[key] = min(max(wanted, low), high) if low <= high else x[key]

"""Parts of a split by video, for predictions of data the predicting model was not trained on.

No source: CALCE (tjhd1475/CALCE) trains its second stage on what the first one says of its own training data, which is
far better than what it says of data it has not seen.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Fold:
    """One of several equal parts of a split: training leaves it out, evaluation sees nothing else.

    One setting serves both, so that a run folder has one configuration.

    Args:
        index: of the part, 1 to ``count``.
        count: number of parts, at least 2.
        splits: that are divided; others stay whole.
    """

    index: int
    count: int
    splits: Sequence[str] = field(default_factory=lambda: ["train"])

    def __post_init__(self) -> None:
        if self.count < 2:
            raise ValueError(f"count must be at least 2, got {self.count}")
        if not 1 <= self.index <= self.count:
            raise ValueError(f"index must be 1 to {self.count}, the count, got {self.index}")
        if not self.splits:
            raise ValueError("splits is empty; leave fold out to keep splits whole")

    def holds(self, split: str, train: bool, part: int) -> bool:
        """Whether a sample of the given part (1 to ``count``) takes part."""
        return split not in self.splits or (part == self.index) != train


def parts_of(videos: Iterable[str], count: int) -> dict[str, int]:
    """Video to part, 1 to ``count``: all queries of a video in one, and about as many queries in each.

    The division follows from the names alone, not from their order: videos with most queries first, and of those with
    as many in the order of the SHA-256 of their names, each goes to the part with the fewest queries.

    Args:
        videos: the video of each sample.
        count: number of parts.

    Raises:
        ValueError: if there are fewer videos than parts.
    """
    queries = Counter(videos)
    if len(queries) < count:
        raise ValueError(f"{count} folds need as many videos, there are {len(queries)}; use fewer folds")
    order = sorted(queries, key=lambda video: (-queries[video], hashlib.sha256(video.encode()).hexdigest()))
    sizes = dict.fromkeys(range(1, count + 1), 0)
    parts = {}
    for video in order:
        part = min(sizes, key=lambda number: (sizes[number], number))
        parts[video] = part
        sizes[part] += queries[video]
    return parts

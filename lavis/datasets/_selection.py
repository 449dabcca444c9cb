"""Which samples of a file take part: CALCE's sampling options, deterministic and without touching the annotations."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from lavis.datasets._folds import Fold, parts_of
from lavis.structures import VideoSample

REWRITE = "rewrite"
ORIGINAL_ID = "original_id"


@dataclass(frozen=True)
class Selection:
    """Options in the order in which they apply.

    Args:
        fix: ids to keep, or numbers that follow the first ``_`` of an id.
        keyword: keep queries that contain one of these (case-sensitive substrings).
        no_keyword: keep queries that contain none of these.
        random: number of samples to draw; the order of the file stays.
        subset: number of samples to keep from the start.
        use_rewrite: one sample for each paraphrase of a row (its field ``rewrite``) in place of the row.
        seed: of ``random``.
        where: dotted key of the data set, for messages.
        fold: which part of the videos is left out in training and kept in evaluation.
    """

    fix: Sequence[int | str] | None = None
    keyword: Sequence[str] | None = None
    no_keyword: Sequence[str] | None = None
    random: int | None = None
    subset: int | None = None
    use_rewrite: bool = False
    seed: int = 0
    where: str = "dataset"
    fold: Fold | None = None

    def __post_init__(self) -> None:
        for name in ("random", "subset"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(
                    f"{self.where}.{name} must be at least 1, got {value}; leave it out to keep all samples"
                )
        for name in ("fix", "keyword", "no_keyword"):
            if getattr(self, name) is not None and not getattr(self, name):
                raise ValueError(f"{self.where}.{name} is empty; leave it out to keep all samples")

    def apply(self, samples: Sequence[VideoSample], split: str = "", train: bool = False) -> list[VideoSample]:
        """The samples that take part.

        Args:
            samples: of the file.
            split: they belong to; for ``fold``.
            train: whether they are to be trained on; for ``fold``.

        Raises:
            ValueError: if an id does not exist, too few samples or videos are there to draw from, or none is left.
        """
        kept = list(samples)
        if self.fix is not None:
            kept = self._fixed(kept, self.fix)
        if self.keyword is not None:
            kept = [s for s in kept if contains(s.query, self.keyword)]
        if self.no_keyword is not None:
            kept = [s for s in kept if not contains(s.query, self.no_keyword)]
        if self.random is not None:
            if self.random > len(kept):
                raise ValueError(f"{self.where}.random is {self.random}, but there are only {len(kept)} samples")
            chosen = sorted(random.Random(self.seed).sample(range(len(kept)), self.random))
            kept = [kept[i] for i in chosen]
        if self.subset is not None:
            kept = kept[: self.subset]
        if self.fold is not None and split in self.fold.splits:
            kept = self._folded(kept, self.fold, split, train)
        if self.use_rewrite:
            kept = [rewritten for s in kept for rewritten in self._rewritten(s)]
        if not kept:
            raise ValueError(f"{self.where}: its options leave none of {len(samples)} samples; loosen them")
        return kept

    def _fixed(self, samples: Sequence[VideoSample], wanted: Sequence[int | str]) -> list[VideoSample]:
        kept = [s for s in samples if s.id in wanted or number_of(s.id) in wanted]
        found: set[int | str | None] = {s.id for s in kept} | {number_of(s.id) for s in kept}
        missing = [w for w in wanted if w not in found]
        if missing:
            raise ValueError(
                f"{self.where}.fix: {len(missing)} of {len(wanted)} ids do not exist, such as {missing[0]!r}; "
                f"ids look like {samples[0].id!r}"
            )
        return kept

    def _folded(self, samples: Sequence[VideoSample], fold: Fold, split: str, train: bool) -> list[VideoSample]:
        try:
            parts = parts_of((s.video for s in samples), fold.count)
        except ValueError as error:
            raise ValueError(f"{self.where}.fold: {error}") from error
        return [s for s in samples if fold.holds(split, train, parts[s.video])]

    def _rewritten(self, sample: VideoSample) -> list[VideoSample]:
        rewrites = sample.extra.get(REWRITE)
        if not rewrites:
            raise ValueError(
                f"{self.where}.use_rewrite is on, but sample {sample.id} has no field 'rewrite'; "
                "add paraphrases to the annotations or turn it off"
            )
        extra: Mapping[str, object] = {**without(sample.extra, REWRITE), ORIGINAL_ID: sample.id}
        return [replace(sample, id=f"{sample.id}#{k}", query=text, extra=extra) for k, text in enumerate(rewrites)]


def contains(query: str, words: Sequence[str]) -> bool:
    """Whether one of ``words`` is a substring of the query."""
    return any(word in query for word in words)


def number_of(identity: str) -> int | None:
    """The number between the first and the second ``_`` of an id, ``None`` if there is none."""
    parts = identity.split("_")
    return int(parts[1]) if len(parts) > 1 and parts[1].isdecimal() else None


def without(mapping: Mapping[str, object], key: str) -> dict[str, object]:
    """A copy that lacks ``key``."""
    return {k: v for k, v in mapping.items() if k != key}

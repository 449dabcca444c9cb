"""Key frames: which frames keep all their tokens, which keep a few, and which vanish.

A frame is a key frame where the video changes (borders of clusters of similar frames), or, for queries about talking,
where someone speaks. With a prior, only clusters that the prior touches survive; with a budget, crowded stretches are
thinned out until few enough frames are left.

Source: CALCE (tjhd1475/CALCE), stage 1 (no prior, no budget) and stage 2 (both). Unlike it, both stages are settings of
one procedure, nothing loops over frames, random numbers come from a ``DrawSource`` per sample, and what makes the
original fail has a defined outcome (prior windows without frames, fewer frames than clusters, a single frame).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from lavis.common.random import DrawSource
from lavis.layers.clustering import MaskDistance, dpc_knn, num_centres
from lavis.structures import Moment, VideoSample

TALK_KEYWORDS = ("talk", "speak", "say", "describe", "explain", "chat", "shout", "scream")


@dataclass(frozen=True, slots=True)
class KeyframeSettings:
    """How key frames are chosen. The defaults are CALCE's first stage; raises ``ValueError`` for impossible values.

    Args:
        features: what frames are compared by: the mean of the encoder's tokens, or the Q-Former's output, normalised
            per token.
        mode: ``cluster`` takes frames at borders of clusters, ``information`` frames unlike their neighbour,
            ``interval`` every second frame, ``none`` no frame.
        num_clusters: number of clusters, or their fraction of the frames if at most 1.
        dilation: frames that a key frame found by ``cluster`` or ``information`` extends to on both sides.
        prior_clusters: keep only frames in the prior, and those in the so many clusters that it covers most; 0 ignores
            the prior and keeps all frames.
        prior_dilation: frames by which the kept stretches are extended on both sides.
        prior_without_frames: what to keep if no window of the prior holds a frame: the frames ``nearest`` to the
            windows (all frames if there is no window), ``all`` frames, or ``none``; ``raise`` refuses.
        budget: largest fraction of the frames to keep, at least one frame; ``None`` sets no limit.
        talk_keywords: a query that contains one of these, in this spelling, takes frames with speech as key frames.
        dilate_speech: whether frames with speech are dilated too (CALCE does so in its second stage only).
        mask_distance: how far frames that are not kept lie in the second clustering, see ``dpc_knn``.
    """

    features: Literal["patch_mean", "qformer"] = "patch_mean"
    mode: Literal["cluster", "information", "interval", "none"] = "cluster"
    num_clusters: float = 12
    dilation: int = 1
    prior_clusters: int = 0
    prior_dilation: int = 1
    prior_without_frames: Literal["nearest", "all", "none", "raise"] = "nearest"
    budget: float | None = None
    talk_keywords: tuple[str, ...] = TALK_KEYWORDS
    dilate_speech: bool = False
    mask_distance: MaskDistance = "sample"

    def __post_init__(self) -> None:
        allowed = {
            "features": ("patch_mean", "qformer"),
            "mode": ("cluster", "information", "interval", "none"),
            "prior_without_frames": ("nearest", "all", "none", "raise"),
            "mask_distance": ("sample", "batch"),
        }
        for name, values in allowed.items():
            if getattr(self, name) not in values:
                raise ValueError(f"keyframes.{name} must be one of {', '.join(values)}, got {getattr(self, name)!r}")
        for name in ("dilation", "prior_clusters", "prior_dilation"):
            if getattr(self, name) < 0:
                raise ValueError(f"keyframes.{name} must be at least 0, got {getattr(self, name)}")
        if self.num_clusters <= 0:
            raise ValueError(f"keyframes.num_clusters must be above 0, got {self.num_clusters}")
        if self.budget is not None and not 0 < self.budget <= 1:
            raise ValueError(f"keyframes.budget must be a fraction in (0, 1], got {self.budget}")
        if isinstance(self.talk_keywords, str):
            raise ValueError(f"keyframes.talk_keywords must be a list of words, got {self.talk_keywords!r}")
        object.__setattr__(self, "talk_keywords", tuple(self.talk_keywords))


@dataclass(frozen=True, slots=True)
class FrameChoice:
    """Outcome for one sample, on the CPU: ``key`` and ``other`` ``[T]``, boolean and disjoint; the rest vanishes."""

    key: Tensor
    other: Tensor

    @property
    def kept(self) -> Tensor:
        """``[T]``, true on frames that remain."""
        return self.key | self.other


@torch.no_grad()
def choose_frames(
    settings: KeyframeSettings,
    features: Sequence[Tensor],
    samples: Sequence[VideoSample],
    times: Sequence[Sequence[float]],
    draws: Sequence[DrawSource],
) -> list[FrameChoice]:
    """Key frames of each sample of a batch.

    Per sample, numbers are drawn in this order: noise of the first clustering ``rand(T)``, noise of the second
    ``rand(T)``, then what ``fit_budget`` draws. Results do not depend on the batch (unless ``mask_distance`` does).

    Args:
        settings: what to choose by.
        features: per sample ``[T, C]``, T may differ.
        samples: query, duration, speech and prior.
        times: per sample T frame times, rising; in seconds, or else in the unit of the samples' duration and prior.
        draws: per sample.

    Raises:
        ValueError: if a prior is needed and missing, or has no frames and ``prior_without_frames`` is ``raise``.
    """
    labels: list[Tensor] | None = None
    kept = [torch.ones(len(t), dtype=torch.bool) for t in times]
    if settings.mode == "cluster" or settings.prior_clusters:
        labels = _cluster(settings, features, draws, None)
    if settings.prior_clusters:
        assert labels is not None
        kept = [
            _near_prior(settings, sample, label, t) for sample, label, t in zip(samples, labels, times, strict=True)
        ]
        if settings.mode == "cluster":
            again = _cluster(settings, features, draws, kept)
            labels = [torch.where(keep, label, -1) for keep, label in zip(kept, again, strict=True)]
    choices = []
    for i, (sample, keep) in enumerate(zip(samples, kept, strict=True)):
        key = _key_frames(settings, features[i], None if labels is None else labels[i], sample) & keep
        other = keep & ~key
        if settings.budget is not None:
            key, other = fit_budget(key, other, max(int(len(keep) * settings.budget), 1), draws[i])
        choices.append(FrameChoice(key, other))
    return choices


def is_about_talking(query: str, keywords: Sequence[str] = TALK_KEYWORDS) -> bool:
    """Whether a keyword occurs in the query: letter by letter, so ``essay`` says "say" and ``Talk`` does not "talk"."""
    return any(word in query for word in keywords)


def dilate(mask: Tensor, frames: int) -> Tensor:
    """``mask`` ``[T]`` with every true stretch extended by ``frames`` on both sides."""
    if frames == 0 or not len(mask):
        return mask
    reached: Tensor = F.max_pool1d(mask.float()[None], 2 * frames + 1, stride=1, padding=frames)
    return reached[0].bool()


def borders(labels: Tensor) -> Tensor:
    """``[T]``, true on both frames of each change of label, and on the first and last frame."""
    key = torch.zeros(len(labels), dtype=torch.bool)
    changes = labels[1:] != labels[:-1]
    key[1:] |= changes
    key[:-1] |= changes
    key[:1] = True
    key[-1:] = True
    return key


def unlike_neighbours(features: Tensor) -> Tensor:
    """``[T]``, true on both frames of the T // 3 least similar neighbours, by cosine of ``features`` ``[T, C]``."""
    similarity = F.cosine_similarity(features[:-1], features[1:], dim=-1, eps=1e-8)
    # The softmax changes no order in exact arithmetic; in float32 it decides near ties as the original does.
    order = similarity.softmax(dim=-1).argsort(stable=True).cpu()
    first = order[: len(features) // 3]
    key = torch.zeros(len(features), dtype=torch.bool)
    key[first] = True
    key[first + 1] = True
    return key


def with_speech(num_frames: int, speech: Sequence[Moment], duration: float) -> Tensor:
    """``[T]``, true on frames inside a span; ``duration`` is cut into T equal parts, one for each frame."""
    spans = torch.tensor([s.to_list() for s in speech], dtype=torch.float64).reshape(-1, 2)
    first, last = (spans * num_frames / duration).trunc().T
    frames = torch.arange(num_frames, dtype=torch.float64)[:, None]
    spoken: Tensor = ((frames >= first) & (frames <= last)).any(dim=1)
    return spoken


def fit_budget(key: Tensor, other: Tensor, budget: int, draws: DrawSource) -> tuple[Tensor, Tensor]:
    """Drops frames until at most ``budget`` are left, and at least one.

    In turns, the longest run of other frames and the longest run of key frames lose every second frame. When that
    leads no further (or there are no key frames), single frames are dropped at random, other ones more readily.

    Args:
        key: ``[T]`` boolean.
        other: ``[T]`` boolean, disjoint from ``key``.
        budget: number of frames, at least 1.
        draws: asked, while too many are left, for ``randint(number of other frames)`` and ``coin()``, then the same
            for key frames; a mask without frames draws nothing.

    Returns:
        new masks ``(key, other)``.
    """
    key, other = key.clone(), other.clone()
    others, keys = other.numpy(), key.numpy()  # they share memory with the tensors
    left = int(key.sum() + other.sum())
    dropped = left
    while dropped and left > budget:
        dropped = _thin_longest_run(others)
        left -= dropped
        if left <= budget or not keys.any():
            break
        more = _thin_longest_run(keys)
        left, dropped = left - more, dropped + more
    kinds = [(mask, np.flatnonzero(mask).tolist(), chance) for mask, chance in ((others, 0.7), (keys, 0.3))]
    while left > budget:
        for mask, remaining, chance in kinds:
            if remaining:
                chosen = draws.randint(len(remaining))
                # Both kinds may lose a frame in one round; the original could end without any.
                if draws.coin() < chance and left > 1:
                    mask[remaining.pop(chosen)] = False
                    left -= 1
    return key, other


def _thin_longest_run(mask: NDArray[np.bool_]) -> int:
    """Clears every second frame of the (first) longest run in place; how many these were."""
    edges = np.flatnonzero(np.diff(mask, prepend=False, append=False))
    starts, ends = edges[::2], edges[1::2]
    if not len(starts):
        return 0
    longest = (ends - starts).argmax()
    start, end = starts[longest], ends[longest]
    mask[start + 1 : end : 2] = False
    return int((end - start) // 2)


def _key_frames(settings: KeyframeSettings, features: Tensor, labels: Tensor | None, sample: VideoSample) -> Tensor:
    length = len(features)
    if sample.speech and is_about_talking(sample.query, settings.talk_keywords):
        key = with_speech(length, sample.speech, sample.duration)
        return dilate(key, settings.dilation if settings.dilate_speech else 0)
    if settings.mode == "cluster":
        assert labels is not None
        return dilate(borders(labels), settings.dilation)
    if settings.mode == "information":
        return dilate(unlike_neighbours(features), settings.dilation)
    key = torch.zeros(length, dtype=torch.bool)
    if settings.mode == "interval":
        key[1::2] = True
    return key


def _cluster(
    settings: KeyframeSettings, features: Sequence[Tensor], draws: Sequence[DrawSource], masks: Sequence[Tensor] | None
) -> list[Tensor]:
    """Labels of each sample on the CPU; samples with equally many frames are clustered together."""
    noise = [source.rand(len(f)) for source, f in zip(draws, features, strict=True)]
    lengths = [len(f) for f in features]
    labels: list[Tensor] = [torch.empty(0)] * len(features)
    for length in dict.fromkeys(lengths):
        members = [i for i, other in enumerate(lengths) if other == length]
        tokens = torch.stack([features[i] for i in members])
        mask = None if masks is None else torch.stack([masks[i] for i in members]).to(tokens.device)
        found = dpc_knn(
            tokens,
            settings.num_clusters,
            torch.stack([noise[i] for i in members]).to(tokens.device),
            mask,
            mask_distance=settings.mask_distance,
        )
        for i, label in zip(members, found.cpu(), strict=True):
            labels[i] = label
    return labels


def _near_prior(settings: KeyframeSettings, sample: VideoSample, labels: Tensor, times: Sequence[float]) -> Tensor:
    """``[T]``, true on frames in the prior's windows or in the clusters they cover most, dilated."""
    if sample.prior is None:
        raise ValueError(
            f"sample {sample.id} has no prior but keyframes.prior_clusters is {settings.prior_clusters}; give the "
            "dataset the predictions of the earlier stage (prior: path), or set prior_clusters to 0"
        )
    windows = [window.to_list() for window in sample.prior]
    bounds = torch.tensor(windows, dtype=torch.float64).reshape(-1, 2)
    at = torch.tensor(times, dtype=torch.float64)
    inside = _frames_inside(bounds, at)
    if not inside.any():
        if settings.prior_without_frames == "raise":
            raise ValueError(
                f"sample {sample.id}: no frame lies in the prior {windows} (frames at {times[0]} to {times[-1]}); "
                "sample more frames, or set keyframes.prior_without_frames to nearest"
            )
        if settings.prior_without_frames == "none":
            return torch.zeros(len(times), dtype=torch.bool)
        if settings.prior_without_frames == "all" or not windows:
            return torch.ones(len(times), dtype=torch.bool)
        inside = _nearest_frames(bounds, at)
    touched = torch.bincount(
        labels, weights=inside.sum(dim=0).double(), minlength=num_centres(settings.num_clusters, len(times))
    )
    most = touched.argsort(stable=True)[-settings.prior_clusters :]
    most = most[touched[most] > 0]
    return dilate(torch.isin(labels, most) | inside.any(dim=0), settings.prior_dilation)


def _frames_inside(bounds: Tensor, at: Tensor) -> Tensor:
    """``[W, T]``: frames of each window, times rounded to whole units.

    A window's last frame does not belong to it: the original takes the first frame at or after the start, up to but
    not including the last one at or before the end.
    """
    rounded = at.round()
    index = torch.arange(len(at))
    first = (rounded < bounds[:, :1]).sum(dim=1, keepdim=True)
    last = (rounded <= bounds[:, 1:]).sum(dim=1, keepdim=True) - 1
    return (index >= first) & (index < last)


def _nearest_frames(bounds: Tensor, at: Tensor) -> Tensor:
    """``[W, T]``: the one frame nearest to each window."""
    gap = torch.maximum(bounds[:, :1] - at, at - bounds[:, 1:]).clamp(min=0)
    return F.one_hot(gap.argmin(dim=1), len(at)).bool()

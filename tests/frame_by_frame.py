"""Key frames chosen one sample and one frame at a time: what the choice in arrays must equal, and what
``benchmarks/prompt.py`` measures it against. Clustering and the measure of neighbours are the project's own.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lavis.common.random import DrawSource
from lavis.layers.clustering import dpc_knn, num_centres
from lavis.models.keyframes import FrameChoice, KeyframeSettings, is_about_talking, unlike_neighbours
from lavis.structures import VideoSample


def choose_in_loops(
    settings: KeyframeSettings,
    features: list[Tensor],
    samples: list[VideoSample],
    times: list[list[float]],
    draws: list[DrawSource],
) -> list[FrameChoice]:
    """``choose_frames``; a prior without frames leaves none (``prior_without_frames: none``)."""
    chosen = []
    for own, sample, at, source in zip(features, samples, times, draws, strict=True):
        frames = len(own)
        kept, labels = [True] * frames, []
        if settings.mode == "cluster" or settings.prior_clusters:
            labels = dpc_knn(own[None], settings.num_clusters, source.rand(frames)[None])[0].tolist()
        if settings.prior_clusters:
            kept = near_prior(settings, sample, labels, at)
            if settings.mode == "cluster":
                mask = torch.tensor(kept)[None]
                again = dpc_knn(own[None], settings.num_clusters, source.rand(frames)[None], mask)[0].tolist()
                labels = [label if keep else -1 for label, keep in zip(again, kept, strict=True)]
        key = [a and b for a, b in zip(key_frames(settings, own, labels, sample), kept, strict=True)]
        other = [keep and not a for a, keep in zip(key, kept, strict=True)]
        if settings.budget is not None:
            fit(key, other, max(int(frames * settings.budget), 1), source)
        chosen.append(FrameChoice(torch.tensor(key), torch.tensor(other)))
    return chosen


def key_frames(settings: KeyframeSettings, features: Tensor, labels: list[int], sample: VideoSample) -> list[bool]:
    frames = len(features)
    if sample.speech and is_about_talking(sample.query, settings.talk_keywords):
        spans = [
            (int(s.start * frames / sample.duration), int(s.end * frames / sample.duration)) for s in sample.speech
        ]
        key = [any(a <= i <= b for a, b in spans) for i in range(frames)]
        return dilated(key, settings.dilation if settings.dilate_speech else 0)
    if settings.mode == "cluster":
        changes = [i > 0 and labels[i] != labels[i - 1] for i in range(frames)] + [False]
        key = [changes[i] or changes[i + 1] or i in (0, frames - 1) for i in range(frames)]
        return dilated(key, settings.dilation)
    if settings.mode == "information":
        return dilated(unlike_neighbours(features).tolist(), settings.dilation)
    return [settings.mode == "interval" and i % 2 == 1 for i in range(frames)]


def near_prior(settings: KeyframeSettings, sample: VideoSample, labels: list[int], times: list[float]) -> list[bool]:
    touched = [0] * num_centres(settings.num_clusters, len(times))
    inside = [False] * len(times)
    for window in sample.prior or []:
        first = next((i for i, t in enumerate(times) if round(t) >= window.start), len(times))
        last = max((i for i, t in enumerate(times) if round(t) <= window.end), default=-1)
        for i in range(first, last):
            inside[i] = True
            touched[labels[i]] += 1
    if not any(inside):
        return inside
    most = sorted(range(len(touched)), key=lambda label: touched[label])[-settings.prior_clusters :]
    most = [label for label in most if touched[label]]
    return dilated([label in most or own for label, own in zip(labels, inside, strict=True)], settings.prior_dilation)


def dilated(mask: list[bool], frames: int) -> list[bool]:
    reached = list(mask)
    for i, marked in enumerate(mask):
        if marked:
            for near in range(max(i - frames, 0), min(i + frames + 1, len(mask))):
                reached[near] = True
    return reached


def fit(key: list[bool], other: list[bool], budget: int, draws: DrawSource) -> None:
    def thin(mask: list[bool]) -> bool:
        best, start = (0, 0), 0
        for i, marked in enumerate([*mask, False]):
            if not marked:
                best = max(best, (i - start, -start))
                start = i + 1
        for i in range(1 - best[1], best[0] - best[1], 2):
            mask[i] = False
        return best[0] > 1

    thinner = True
    while thinner and sum(key) + sum(other) > budget:
        thinner = thin(other)
        if sum(key) + sum(other) <= budget or not any(key):
            break
        thinner = thin(key) or thinner
    while sum(key) + sum(other) > budget:
        for mask, chance in ((other, 0.7), (key, 0.3)):
            frames = [i for i, marked in enumerate(mask) if marked]
            if frames:
                frame = frames[draws.randint(len(frames))]
                if draws.coin() < chance and sum(key) + sum(other) > 1:
                    mask[frame] = False

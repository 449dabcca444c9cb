"""Key frames with all tokens, others with a quarter, the rest gone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from lavis.common.registry import registry
from lavis.models.compressors.base import QFormerSettings
from lavis.models.compressors.keyframe_qformer import KeyframeQFormer
from lavis.models.keyframes import KeyframeSettings
from lavis.structures import FrameFeatures, Moment, VideoSample

SIZES = QFormerSettings(vocab_size=30, width=8, layers=2, heads=2, hidden=16, max_positions=10)
STAGE_2 = KeyframeSettings(features="qformer", num_clusters=3, prior_clusters=8, budget=0.5)


def compressor(keyframes: KeyframeSettings | None = None, **options: Any) -> KeyframeQFormer:
    return KeyframeQFormer(12, 6, num_queries=8, qformer=SIZES, keyframes=keyframes, **options).eval()


def batch(*lengths: int, **fields: Any) -> tuple[list[FrameFeatures], list[VideoSample]]:
    features = [FrameFeatures(torch.randn(n, 5, 12), [float(i) for i in range(n)]) for n in lengths]
    sample = VideoSample(id="0", video="v", query="q", duration=30)
    return features, [replace(sample, id=str(i), **fields) for i in range(len(lengths))]


def expected(parts: KeyframeQFormer, frame: Tensor, key: bool) -> Tensor:
    """The tokens of one frame ``[N, C]``, without any of the compressor's bookkeeping."""
    hidden = parts.Qformer(parts.query_tokens, visual=frame[None])[0]
    if not key:
        hidden = (parts.query_proj.weight @ hidden) + parts.query_proj.bias[:, None]
    projected: Tensor = parts.t5_proj(hidden)
    return projected


def test_tokens_are_in_time_order() -> None:
    parts = compressor(KeyframeSettings(mode="interval"))
    features, samples = batch(5, 2)
    first, second = parts(features, samples)
    assert first.counts == [2, 8, 2, 8, 2]
    assert second.counts == [2, 8]
    assert first.frames == [0, 1, 2, 3, 4]
    for tokens, feature in ((first, features[0]), (second, features[1])):
        for frame, start, count in zip(tokens.frames, tokens.offsets(), tokens.counts, strict=True):
            own = tokens.tokens[start : start + count]
            torch.testing.assert_close(own, expected(parts, feature.tokens[frame], key=count == 8))


def test_vanished_frames_take_their_times_with_them() -> None:
    parts = compressor(STAGE_2)
    features, samples = batch(20, 12, prior=[Moment(3, 9)])
    for tokens, feature in zip(parts(features, samples), features, strict=True):
        assert 0 < len(tokens) <= len(feature.times) // 2
        assert tokens.times == [(feature.times[i], feature.times[i]) for i in tokens.frames]
        assert tokens.frames == sorted(tokens.frames)


def test_no_frame_left_is_no_error() -> None:
    parts = compressor(replace(STAGE_2, prior_without_frames="none"))
    features, samples = batch(6, 6, prior=[Moment(50, 60)])
    tokens = parts(features, samples)
    assert [len(t) for t in tokens] == [0, 0]
    assert tokens[0].tokens.shape == (0, 6)


def test_times_may_be_in_another_unit_than_seconds() -> None:
    parts = compressor(replace(STAGE_2, budget=None, prior_dilation=0, num_clusters=1.0))
    features, samples = batch(10, prior=[Moment(20, 50)])
    (tokens,) = parts(features, samples, times=[[10.0 * i for i in range(10)]])
    assert tokens.frames == [2, 3, 4]
    assert tokens.times[0] == (2.0, 2.0)


def test_gradients_reach_everything_that_learns() -> None:
    parts = compressor(KeyframeSettings(mode="none")).train()
    features, samples = batch(4)
    features = [FrameFeatures(f.tokens.requires_grad_(), f.times) for f in features]
    parts(features, samples)[0].tokens.square().sum().backward()
    assert features[0].tokens.grad is not None
    assert all(p.grad is not None for p in (*parts.query_proj.parameters(), *parts.t5_proj.parameters()))


def test_key_frames_alone_leave_a_zero_gradient_to_the_reduction() -> None:
    """All processes of a distributed run need a gradient for all parameters."""
    parts = compressor(KeyframeSettings(mode="cluster", num_clusters=2, dilation=50))
    features, samples = batch(4)
    parts(features, samples)[0].tokens.sum().backward()
    assert parts.query_proj.weight.grad is not None
    assert not parts.query_proj.weight.grad.any()


def test_draws_come_from_the_sample() -> None:
    parts = compressor(STAGE_2)
    features, samples = batch(40, prior=[Moment(0, 30)])
    first, second = parts(features, samples)[0], parts(features, samples)[0]
    assert first.frames == second.frames
    assert first.counts == second.counts


def test_published_names() -> None:
    names = {name.split(".")[0] for name in compressor().state_dict()}
    assert names == {"Qformer", "query_tokens", "query_proj", "t5_proj"}


def test_full_size_parameters() -> None:
    with torch.device("meta"):
        parts = KeyframeQFormer(1408, 2048)
    assert parts.query_proj.weight.shape == (8, 32)
    assert sum(p.numel() for p in parts.t5_proj.parameters()) == 1_574_912
    assert sum(p.numel() for p in parts.query_proj.parameters()) == 264


@pytest.mark.parametrize("reduction", [1, 9])
def test_impossible_reductions_are_refused(reduction: int) -> None:
    with pytest.raises(ValueError, match="reduction"):
        compressor(reduction=reduction)


def test_is_registered_under_its_file_name() -> None:
    assert registry.compressors.get("keyframe_qformer") is KeyframeQFormer

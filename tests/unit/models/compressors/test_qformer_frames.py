"""All frames through the Q-Former, and what both compressors with one share."""

from __future__ import annotations

import pytest
import torch

from lavis.common.registry import registry
from lavis.models.compressors.base import QFormerSettings
from lavis.models.compressors.qformer_frames import QFormerFrames
from lavis.structures import FrameFeatures, VideoSample

SIZES = QFormerSettings(vocab_size=30, width=8, layers=2, heads=2, hidden=16, max_positions=10)


def compressor(**options: object) -> QFormerFrames:
    return QFormerFrames(12, 6, num_queries=4, qformer=SIZES, **options).eval()  # type: ignore[arg-type]


def batch() -> tuple[list[FrameFeatures], list[VideoSample]]:
    features = [FrameFeatures(torch.randn(n, 5, 12), [2.5 * i for i in range(n)]) for n in (3, 2)]
    return features, [VideoSample(id=str(i), video="v", query="q", duration=9) for i in range(2)]


def test_every_frame_keeps_all_tokens() -> None:
    parts = compressor()
    features, samples = batch()
    tokens = parts(features, samples)
    assert [t.counts for t in tokens] == [[4, 4, 4], [4, 4]]
    assert tokens[0].tokens.shape == (12, 6)
    assert tokens[0].times == [(0.0, 0.0), (2.5, 2.5), (5.0, 5.0)]
    assert tokens[1].frames == [0, 1]
    alone = parts.t5_proj(parts.Qformer(parts.query_tokens, visual=features[1].tokens[1:]))[0]
    torch.testing.assert_close(tokens[1].tokens[4:], alone)


def test_mean_makes_one_token_of_a_frame() -> None:
    parts, mean = compressor(), compressor(aggregate="mean")
    mean.load_state_dict(parts.state_dict())
    features, samples = batch()
    whole, one = parts(features, samples), mean(features, samples)
    assert one[0].counts == [1, 1, 1]
    torch.testing.assert_close(one[0].tokens, whole[0].tokens.view(3, 4, 6).mean(dim=1))


def test_published_names() -> None:
    names = {name.split(".")[0] for name in compressor().state_dict()}
    assert names == {"Qformer", "query_tokens", "t5_proj"}


def test_text_half_is_built_on_demand() -> None:
    ids = torch.tensor([[2, 5, 3, 0], [2, 5, 6, 3]])
    embedded = compressor(text=True).encode_text(ids, (ids > 0).long())
    assert embedded.shape == (2, 8)
    with pytest.raises(ValueError, match="text=False"):
        compressor().encode_text(ids, ids)


@pytest.mark.parametrize("kept", [False, True])
def test_dropout_of_a_frozen_qformer(kept: bool) -> None:
    parts = compressor(frozen_dropout=kept)
    assert parts.train().Qformer.training, "a Q-Former that learns always has dropout"
    parts.Qformer.requires_grad_(False)
    assert parts.train().Qformer.training is kept
    assert not parts.eval().Qformer.training


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="num_queries"):
        QFormerFrames(12, 6, num_queries=0, qformer=SIZES)
    with pytest.raises(ValueError, match="aggregate"):
        compressor(aggregate="max")


def test_is_registered_and_names_its_wiring() -> None:
    assert registry.compressors.get("qformer_frames").wiring == ("encoder_width", "language_width")

"""What frame encoders share: chunks, the frozen backbone, its memory."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from lavis.models.encoders.base import FrameEncoder, reduce_precision
from lavis.structures import Frames


class Recorder(nn.Module):
    """A linear layer that remembers how many frames it was called with."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 4)
        self.calls: list[int] = []

    def forward(self, pixels: Tensor) -> Tensor:
        self.calls.append(len(pixels))
        return self.linear(pixels.mean(dim=(2, 3)))[:, None]


class Encoder(FrameEncoder):
    def __init__(self, chunk_size: int = 4, cache_mb: int = 1, frozen: bool = True) -> None:
        super().__init__(chunk_size, cache_mb)
        self.net = Recorder().requires_grad_(not frozen)
        self.norm = nn.LayerNorm(4)
        self.width, self.num_tokens = 4, 1

    @property
    def backbone(self) -> nn.Module:
        return self.net

    def finish(self, tokens: Tensor) -> Tensor:
        normed: Tensor = self.norm(tokens)
        return normed


def video(length: int = 6, key: str | None = None) -> Frames:
    return Frames(torch.randn(length, 3, 2, 2), [float(t) for t in range(length)], key)


def test_samples_are_encoded_one_by_one_in_chunks() -> None:
    encoder = Encoder()
    features = encoder([video(6), video(3)])
    assert encoder.net.calls == [4, 2, 3]
    assert [f.tokens.shape for f in features] == [(6, 1, 4), (3, 1, 4)]
    assert features[1].times == [0.0, 1.0, 2.0]


def test_chunks_change_nothing() -> None:
    whole, chunked = Encoder(chunk_size=100), Encoder(chunk_size=2)
    chunked.load_state_dict(whole.state_dict())
    frames = video()
    torch.testing.assert_close(whole([frames])[0].tokens, chunked([frames])[0].tokens)


def test_known_frames_are_not_encoded_again() -> None:
    encoder, frames = Encoder(), video(key="a")
    first = encoder([frames])[0].tokens
    second = encoder([frames, video(2)])[0].tokens
    assert encoder.net.calls == [4, 2, 2]
    assert torch.equal(first, second)


def test_the_part_after_the_backbone_still_learns() -> None:
    encoder, frames = Encoder(), video(key="a")
    for _ in range(2):
        encoder.zero_grad()
        encoder([frames])[0].tokens.square().sum().backward()
        assert encoder.norm.weight.grad is not None
    assert encoder.net.calls == [4, 2]


def test_frames_without_key_are_encoded_each_time() -> None:
    encoder, frames = Encoder(), video()
    encoder([frames])
    encoder([frames])
    assert encoder.net.calls == [4, 2, 4, 2]


def test_a_learning_backbone_gets_gradients_and_no_memory() -> None:
    encoder, frames = Encoder(frozen=False), video(key="a")
    encoder([frames])
    encoder([frames])[0].tokens.square().sum().backward()
    assert encoder.net.calls == [4, 2, 4, 2]
    assert encoder.net.linear.weight.grad is not None


def test_new_weights_make_it_forget() -> None:
    encoder, frames = Encoder(), video(key="a")
    before = encoder([frames])[0].tokens
    encoder.load_state_dict(Encoder().state_dict())
    assert not torch.equal(before, encoder([frames])[0].tokens)
    assert encoder.net.calls == [4, 2, 4, 2]


def test_memory_is_bounded() -> None:
    encoder = Encoder(cache_mb=1)
    bytes_per_video = 20_000 * 4 * 4
    for i in range(5):
        encoder([Frames(torch.zeros(20_000, 3, 1, 1), [0.0] * 20_000, str(i))])
    assert encoder._cache.size == 3 * bytes_per_video <= 2**20
    assert encoder._cache.get("1", encoder._cache._weights) is None
    assert encoder._cache.get("4", encoder._cache._weights) is not None


def test_what_exceeds_the_memory_is_not_kept() -> None:
    encoder, frames = Encoder(cache_mb=0), video(key="a")
    encoder([frames])
    encoder([frames])
    assert encoder.net.calls == [4, 2, 4, 2]


def test_a_frozen_backbone_stays_in_evaluation_mode() -> None:
    frozen, learning = Encoder().train(), Encoder(frozen=False).train()
    assert not frozen.net.training
    assert frozen.norm.training
    assert learning.net.training


def test_views_are_found_by_name() -> None:
    encoder, frames = Encoder(), video()
    assert torch.equal(encoder.encode({"frames": [frames]})[0].tokens, encoder([frames])[0].tokens)
    with pytest.raises(ValueError, match=r"view 'frames'.*\['clips'\]"):
        encoder.encode({"clips": [frames]})


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="chunk_size"):
        Encoder(chunk_size=0)
    with pytest.raises(ValueError, match="cache_mb"):
        Encoder(cache_mb=-1)
    with pytest.raises(ValueError, match="precision"):
        reduce_precision(nn.Linear(1, 1), "int8")  # type: ignore[arg-type]

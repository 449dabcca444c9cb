"""What frame encoders share: chunks, the frozen backbone, its memory."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from lavis.common.feature_store import CacheConfig
from lavis.models.encoders.base import FrameEncoder, reduce_precision
from lavis.models.feature_cache import FeatureCache
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
    def __init__(self, chunk_size: int = 4, memory_mb: int = 1, frozen: bool = True) -> None:
        super().__init__(chunk_size)
        self.cache = FeatureCache(CacheConfig(memory_mb=memory_mb))
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


def tokens(encoder: Encoder, *frames: Frames) -> list[Tensor]:
    """Tokens of every sample; nothing is encoded before they are asked for."""
    return [features.tokens for features in encoder(list(frames))]


def test_samples_are_encoded_one_by_one_in_chunks() -> None:
    encoder = Encoder()
    features = encoder([video(6), video(3)])
    assert encoder.net.calls == []
    [f.tokens for f in features]
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
    (first,) = tokens(encoder, frames)
    second, _ = tokens(encoder, frames, video(2))
    assert encoder.net.calls == [4, 2, 2]
    assert torch.equal(first, second)


def test_frames_of_a_batch_with_equal_keys_are_encoded_once() -> None:
    encoder, frames = Encoder(memory_mb=0), video(key="a")
    first, other, again = tokens(encoder, frames, video(2), Frames(frames.pixels.clone(), frames.times, "a"))
    assert encoder.net.calls == [4, 2, 2]
    assert torch.equal(first, again)
    assert len(other) == 2


def test_the_part_after_the_backbone_still_learns() -> None:
    encoder, frames = Encoder(), video(key="a")
    for _ in range(2):
        encoder.zero_grad()
        encoder([frames])[0].tokens.square().sum().backward()
        assert encoder.norm.weight.grad is not None
    assert encoder.net.calls == [4, 2]


def test_frames_without_key_are_encoded_each_time() -> None:
    encoder, frames = Encoder(), video()
    tokens(encoder, frames)
    tokens(encoder, frames)
    assert encoder.net.calls == [4, 2, 4, 2]


def test_a_learning_backbone_gets_gradients_and_no_memory() -> None:
    encoder, frames = Encoder(frozen=False), video(key="a")
    tokens(encoder, frames)
    tokens(encoder, frames)[0].square().sum().backward()
    assert encoder.net.calls == [4, 2, 4, 2]
    assert encoder.net.linear.weight.grad is not None


def test_new_weights_make_it_forget() -> None:
    encoder, frames = Encoder(), video(key="a")
    before = encoder([frames])[0].tokens
    encoder.load_state_dict(Encoder().state_dict())
    assert not torch.equal(before, encoder([frames])[0].tokens)
    assert encoder.net.calls == [4, 2, 4, 2]


def test_without_gradients_a_learning_backbone_is_remembered_for_its_weights() -> None:
    encoder, frames = Encoder(frozen=False).eval(), video(key="a")
    with torch.no_grad():
        (first,) = tokens(encoder, frames)
        (second,) = tokens(encoder, frames)
        assert encoder.net.calls == [4, 2]
        assert torch.equal(first, second)
        encoder.net.linear.weight.add_(1)
        (third,) = tokens(encoder, frames)
    assert encoder.net.calls == [4, 2, 4, 2]
    assert not torch.equal(first, third)


def test_memory_is_bounded() -> None:
    encoder = Encoder(memory_mb=1, chunk_size=20_000)
    bytes_per_video = 20_000 * (4 * 4 + 8)
    videos = [Frames(torch.zeros(20_000, 3, 1, 1), [0.0] * 20_000, str(i)) for i in range(5)]
    for frames in videos:
        tokens(encoder, frames)
    assert encoder.cache.store.size == 2 * bytes_per_video <= 2**20
    tokens(encoder, videos[4])
    assert len(encoder.net.calls) == 5
    tokens(encoder, videos[1])
    assert len(encoder.net.calls) == 6


def test_what_exceeds_the_memory_is_not_kept() -> None:
    encoder, frames = Encoder(memory_mb=0), video(key="a")
    tokens(encoder, frames)
    tokens(encoder, frames)
    assert encoder.net.calls == [4, 2, 4, 2]


def test_chance_in_the_network_is_not_kept(caplog: pytest.LogCaptureFixture) -> None:
    encoder, frames = Encoder(), video(key="a")
    encoder.net.linear = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5)).requires_grad_(False)  # type: ignore[assignment]
    nn.Module.train(encoder.net)
    with caplog.at_level("INFO"):
        first, second = tokens(encoder, frames, frames)
        tokens(encoder, frames)
    assert encoder.net.calls == [4, 2] * 3
    assert not torch.equal(first, second)
    assert caplog.text.count("draws by chance in this mode; set its rate to 0") == 1
    encoder.eval()
    first, second = tokens(encoder, frames, frames)
    assert encoder.net.calls == [4, 2] * 4
    assert torch.equal(first, second)


def test_another_size_of_chunks_is_another_entry() -> None:
    encoder, frames = Encoder(), video(key="a")
    tokens(encoder, frames)
    encoder.chunk_size = 6
    tokens(encoder, frames)
    assert encoder.net.calls == [4, 2, 6]


def test_autocast_is_another_entry() -> None:
    encoder, frames = Encoder(), video(key="a")
    (exact,) = tokens(encoder, frames)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        (reduced,) = tokens(encoder, frames)
        (again,) = tokens(encoder, frames)
    assert encoder.net.calls == [4, 2, 4, 2]
    assert torch.equal(reduced, again)
    assert not torch.equal(exact, reduced)


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
    with pytest.raises(ValueError, match="memory_mb"):
        Encoder(memory_mb=-1)
    with pytest.raises(ValueError, match="precision"):
        reduce_precision(nn.Linear(1, 1), "int8")  # type: ignore[arg-type]

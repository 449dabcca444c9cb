"""What a chat model learns from text alone, from pictures, and from conversations that are cut off."""

from __future__ import annotations

import logging

import pytest
import torch

from lavis.common.config import load_config
from lavis.models.build import build_model
from lavis.models.video_llm import VideoLLM
from lavis.runners.activations import checkpoint_activations
from lavis.structures import Batch, Frames, Moment, Turn, VideoSample


@pytest.fixture(scope="module", params=["tiny/meco", "tiny/meco_qwen2", "tiny/etchat"])
def model(request: pytest.FixtureRequest) -> VideoLLM:
    torch.manual_seed(0)
    node = load_config(request.param)["model"]
    return build_model({**node, "processor": None}).train()


def batch(*frames: int, words: int = 3) -> Batch:
    """Conversations of one turn each, about so many frames; none is text alone."""
    turns = [Turn("user", "Find the man."), Turn("assistant", "a man " * words, learned=True)]
    samples = [
        VideoSample(f"row{i}", "clip.mp4" if count else "", "Find the man.", float(count or 1), turns=turns)
        for i, count in enumerate(frames)
    ]
    seconds = [[float(second) for second in range(count)] for count in frames]
    pixels = torch.Generator().manual_seed(0)
    return Batch(
        samples, {"frames": [Frames(torch.rand(len(own), 3, 28, 28, generator=pixels), own) for own in seconds]}
    )


def learned(model: VideoLLM, given: Batch) -> dict[str, float | None]:
    """Size of the gradient of everything that learns."""
    model.zero_grad()
    torch.stack(list(model(given).values())).sum().backward()
    return {
        name: None if p.grad is None else float(p.grad.abs().sum())
        for name, p in model.named_parameters()
        if p.requires_grad
    }


def test_text_alone_teaches_the_language_model_and_leaves_no_weight_without_a_gradient(model: VideoLLM) -> None:
    """Processes that wait for each other's gradients would wait for ever."""
    shown, text = learned(model, batch(4)), learned(model, batch(0, 0))
    assert text["language_model.model.lm_head.weight"]
    reached = {name for name, size in shown.items() if size is not None}
    assert reached == {name for name, size in text.items() if size is not None}
    assert not any(size for name, size in text.items() if name.startswith("compressor."))
    assert any(size for name, size in shown.items() if name.startswith("compressor."))


def test_rows_of_all_sorts_share_a_batch(model: VideoLLM) -> None:
    sizes = learned(model, batch(0, 1, 5))
    assert sizes["compressor.v_proj.1.weight"] and sizes["language_model.model.lm_head.weight"]


def test_the_loss_of_answers_cut_off_is_zero_and_said(model: VideoLLM, caplog: pytest.LogCaptureFixture) -> None:
    keep, model.prompt.max_tokens = model.prompt.max_tokens, 4  # type: ignore[attr-defined]
    try:
        with caplog.at_level(logging.WARNING):
            losses = model(batch(2, 3))
            (lm, *_), sizes = losses.values(), learned(model, batch(2, 3))
    finally:
        model.prompt.max_tokens = keep  # type: ignore[attr-defined]
    assert not any(loss.detach() for loss in losses.values()) and lm.requires_grad
    assert not any(sizes.values())
    assert "2 of 2 conversations of a batch teach nothing: prompt.max_tokens cuts them off" in caplog.text


def test_one_answer_cut_off_does_not_touch_the_others(model: VideoLLM, caplog: pytest.LogCaptureFixture) -> None:
    torch.manual_seed(1)
    given, alone = batch(2, 2), batch(2)
    long = [Turn("user", "Find the man. " * 40), Turn("assistant", "a man", learned=True)]
    given.samples[1] = VideoSample("row1", "clip.mp4", "Find", 2.0, turns=long)
    keep, model.prompt.max_tokens = model.prompt.max_tokens, 90  # type: ignore[attr-defined]
    model.eval()
    try:
        with caplog.at_level(logging.WARNING), torch.no_grad():
            together, single = model(given)["lm"], model(alone)["lm"]
    finally:
        model.prompt.max_tokens = keep  # type: ignore[attr-defined]
        model.train()
    assert "1 of 2 conversations of a batch teach nothing" in caplog.text
    torch.testing.assert_close(together, single, rtol=1e-5, atol=1e-5)


def test_a_sample_without_an_event_teaches_the_head_nothing(model: VideoLLM) -> None:
    (own,) = (value.detach() for name, value in model(batch(3)).items() if name != "lm")
    assert own == 0
    given = batch(3)
    given.samples[0] = VideoSample("row0", "clip.mp4", "a man", 3.0, moments=[Moment(0, 2)])
    (own,) = (value.detach() for name, value in model(given).items() if name != "lm")
    assert own > 0


@pytest.mark.parametrize("name", ["tiny/meco", "tiny/meco_qwen2", "tiny/etchat"])
def test_recomputed_activations_give_the_same_gradients(name: str) -> None:
    """Also of the states that heads look at, which are noted on the way."""
    node = load_config(name)["model"]
    node["language_model"]["lora"]["dropout"] = 0.0
    node["compressor"]["qformer"]["dropout"] = 0.0
    given = batch(4)
    given.samples[0] = VideoSample("row0", "clip.mp4", "a man", 4.0, moments=[Moment(1, 3)])
    found = []
    for way in ("none", "torch"):
        torch.manual_seed(0)
        model = build_model({**node, "processor": None}).train()
        assert bool(checkpoint_activations(model, way)) == (way == "torch")  # type: ignore[arg-type]
        torch.stack(list(model(given).values())).sum().backward()
        found.append({n: p.grad for n, p in model.named_parameters() if p.grad is not None})
    assert found[0].keys() == found[1].keys()
    for key, expected in found[0].items():
        torch.testing.assert_close(found[1][key], expected, rtol=1e-5, atol=1e-7)

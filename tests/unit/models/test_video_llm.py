"""The one model class: losses, answers, what learns, and independence of the batch."""

from __future__ import annotations

import pytest
import torch

from lavis.models.one_video import content_words
from lavis.structures import Moment
from tests.toy_models import batch, sample, toy_model


def test_loss_is_a_finite_scalar_and_reaches_what_learns() -> None:
    model = toy_model()
    losses = model(batch(sample("a"), sample("b")))
    assert set(losses) == {"lm"}
    losses["lm"].backward()
    learned = {name for name, p in model.named_parameters() if p.grad is not None and bool(p.grad.abs().sum() > 0)}
    assert any("lora_A" in name for name in learned)
    assert "compressor.t5_proj.weight" in learned
    assert "encoder.ln_vision.weight" in learned
    assert all(p.grad is None for p in model.encoder.visual_encoder.parameters())


def test_training_lowers_the_loss() -> None:
    model = toy_model()
    model.train()
    data = batch(sample("a"), sample("b", moments=[Moment(20, 28)]))
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    losses = []
    for _ in range(12):
        loss = model(data)["lm"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]


def test_samples_without_truth_cannot_be_learned() -> None:
    with pytest.raises(ValueError, match="without moments.*b"):
        toy_model()(batch(sample("a"), sample("b", moments=None)))


def test_an_answer_depends_on_neither_batch_nor_order_when_parts_are_joined() -> None:
    model = toy_model(prompt={"name": "interleaved", "layout": "joined"})
    a, b = sample("a"), sample("b", query="red dog runs to open door", subtitles=[])
    alone = {p.id: p for s in (a, b) for p in model.generate(batch(s))}
    for together in (model.generate(batch(a, b)), model.generate(batch(b, a))):
        for prediction in together:
            assert prediction.text == alone[prediction.id].text
            assert prediction.scores["sequence"] == pytest.approx(alone[prediction.id].scores["sequence"], abs=1e-4)


def test_samples_may_differ_in_their_number_of_frames() -> None:
    predictions = toy_model().generate(batch(sample("a"), sample("b"), num_frames=(5, 9)))
    assert [p.id for p in predictions] == ["a", "b"]


def test_answers_repeat() -> None:
    model = toy_model()
    assert model.generate(batch(sample())) == model.generate(batch(sample()))


def test_frozen_modules_stay_in_evaluation_mode() -> None:
    model = toy_model()
    model.train()
    assert not model.encoder.visual_encoder.training
    assert not model.compressor.Qformer.training
    assert model.language_model.training


def test_the_frozen_qformer_keeps_its_dropout_if_asked() -> None:
    changes = {"compressor": {"+": {"frozen_dropout": True}}}
    model = toy_model(**changes)
    model.train()
    assert model.compressor.Qformer.training
    assert not model.encoder.visual_encoder.training


def test_a_pattern_without_match_is_an_error() -> None:
    with pytest.raises(ValueError, match="qeury_proj.*compressor"):
        toy_model().set_trainable(["compressor.qeury_proj.*"])


def test_a_prompt_that_shows_a_prior_needs_one() -> None:
    model = toy_model(prompt={"name": "interleaved", "show_prior": True})
    with pytest.raises(ValueError, match="q1.*prior"):
        model.generate(batch(sample()))


def test_an_empty_query_is_refused() -> None:
    with pytest.raises(ValueError, match="query is empty"):
        toy_model().localize("none.mp4", "  ")


def test_content_words_leave_out_function_words() -> None:
    assert content_words("A man is talking to the camera.") == ["man", "talking", "camera"]

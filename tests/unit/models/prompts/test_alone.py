"""Asked, a prompt is what it would be alone: padded at its end only."""

from __future__ import annotations

import pytest
import torch

from lavis.models.prompts.question_answer import QuestionAnswer
from lavis.structures import Block, Sequence, Text
from tests.toy_models import batch, sample, toy_model


def test_padding_stands_behind_and_is_not_attended_to() -> None:
    sequence = Sequence([Block([Text("a")], "left", attend_padding=True), Block([Text("b")])]).padded_behind()
    assert sequence.blocks == [Block([Text("a")], "end"), Block([Text("b")], "end")]


def test_a_row_is_what_it_would_be_alone() -> None:
    model = toy_model(prompt={"name": "interleaved", "attend_padding": True, "end_mark_in_video": False})
    a, b = sample("a"), sample("b", query="red dog runs to open door", subtitles=[])
    packed = model.pack(batch(a, b, num_frames=(8, 5)))
    for i, own in enumerate((model.pack(batch(a)), model.pack(batch(b, num_frames=5)))):
        length = own.embeds.shape[1]
        assert torch.allclose(packed.embeds[i, :length], own.embeds[0], atol=1e-5)
        assert torch.equal(packed.frame_positions[i], own.frame_positions[0])
        assert packed.mask[i].tolist() == [1] * length + [0] * (packed.mask.shape[1] - length)


def test_training_and_the_faithful_layout_pad_each_part() -> None:
    a, b = sample("a"), sample("b", query="red dog runs to open door", subtitles=[])
    faithful = toy_model(prompt={"name": "interleaved", "eval_layout": "batch"})
    data = batch(a, b, num_frames=(8, 5))
    assert len(faithful.pack(data).block_lengths) == 3
    assert len(toy_model().pack(data, answer=True).block_lengths) == 3
    assert len(toy_model().pack(data).block_lengths) == 1


def test_an_unknown_layout_is_refused() -> None:
    with pytest.raises(ValueError, match="prompt.eval_layout must be one of alone, batch, got 'row'"):
        QuestionAnswer(eval_layout="row")  # type: ignore[arg-type]

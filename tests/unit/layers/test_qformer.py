"""Q-Former: sizes, names, its three uses, masks."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from lavis.layers.qformer import QFormer

TINY: dict[str, Any] = {
    "encoder_width": 12, "vocab_size": 30, "width": 8, "layers": 3, "heads": 2, "hidden": 16, "max_positions": 10
}  # fmt: skip


@pytest.fixture
def qformer() -> QFormer:
    return QFormer(**TINY).eval()


@pytest.fixture
def ids() -> Tensor:
    return torch.tensor([[2, 5, 6, 3], [2, 7, 3, 0]])


@pytest.mark.parametrize(("text", "parameters"), [(False, 105_137_664), (True, 186_282_042)])
def test_full_size_parameter_count(text: bool, parameters: int) -> None:
    with torch.device("meta"):
        qformer = QFormer(1408, text=text)
    assert sum(p.numel() for p in qformer.parameters()) == parameters


def test_published_names() -> None:
    names = set(QFormer(**TINY).state_dict())
    layer = {n.split(".", 4)[4] for n in names if n.startswith("bert.encoder.layer.0.")}
    both = ("weight", "bias")
    attention = {f"{w}.{k}" for w in ("self.query", "self.key", "self.value") for k in both}
    attention |= {f"output.{w}.{k}" for w in ("dense", "LayerNorm") for k in both}
    feed_forward = {f"intermediate{q}.dense.{k}" for q in ("", "_query") for k in both}
    feed_forward |= {f"output{q}.{w}.{k}" for q in ("", "_query") for w in ("dense", "LayerNorm") for k in both}
    assert layer == {f"{a}.{n}" for a in ("attention", "crossattention") for n in attention} | feed_forward
    assert not any(n.startswith("bert.encoder.layer.1.crossattention") for n in names)
    assert any(n.startswith("bert.encoder.layer.2.crossattention") for n in names)
    assert {n for n in names if not n.startswith("bert.encoder.")} == {
        "bert.embeddings.position_ids",
        "bert.embeddings.word_embeddings.weight",
        "bert.embeddings.position_embeddings.weight",
        *(f"bert.embeddings.LayerNorm.{k}" for k in both),
        "cls.predictions.bias",
        *(f"cls.predictions.{w}.{k}" for w in ("transform.dense", "transform.LayerNorm", "decoder") for k in both),
    }


def test_without_text_half_nothing_of_it_is_left() -> None:
    qformer = QFormer(**TINY, text=False)
    names = set(qformer.state_dict())
    assert "bert.embeddings.position_ids" in names
    assert not any("word_embeddings" in n or n.startswith("cls") or ".intermediate.dense" in n for n in names)
    with pytest.raises(ValueError, match="text=False"):
        qformer(input_ids=torch.tensor([[1]]))
    with pytest.raises(ValueError, match="text=False"):
        qformer.token_logits(torch.zeros(1, 1, 8))


def test_decoder_shares_its_matrix_with_the_words(qformer: QFormer) -> None:
    assert qformer.cls is not None
    predictions = qformer.cls.predictions
    assert predictions.decoder.weight is qformer.bert.embeddings.word_embeddings.weight  # type: ignore[union-attr]
    assert predictions.decoder.bias is predictions.bias
    assert qformer.token_logits(torch.zeros(1, 4, 8)).shape == (1, 4, 30)


def test_queries_look_at_the_frame(qformer: QFormer) -> None:
    queries, visual = torch.randn(1, 4, 8).expand(2, -1, -1), torch.randn(2, 5, 12)
    output = qformer(queries, visual=visual)
    assert output.shape == (2, 4, 8)
    assert not torch.allclose(output[0], output[1])


def test_masked_visual_tokens_are_not_seen(qformer: QFormer) -> None:
    queries, visual = torch.randn(2, 4, 8), torch.randn(2, 5, 12)
    mask = torch.tensor([[1, 1, 1, 0, 0]] * 2)
    changed = visual.clone()
    changed[:, 3:] = 9.0
    torch.testing.assert_close(
        qformer(queries, visual=visual, visual_mask=mask), qformer(queries, visual=changed, visual_mask=mask)
    )


def test_padding_of_text_changes_nothing(qformer: QFormer, ids: Tensor) -> None:
    padded = qformer(input_ids=ids, attention_mask=(ids > 0).long())
    alone = qformer(input_ids=ids[1:, :3])
    torch.testing.assert_close(padded[1:, :3], alone)


def test_mask_of_ones_is_no_mask(qformer: QFormer, ids: Tensor) -> None:
    assert torch.equal(qformer(input_ids=ids, attention_mask=torch.ones_like(ids)), qformer(input_ids=ids))


def test_text_ignores_cross_attention(qformer: QFormer, ids: Tensor) -> None:
    before = qformer(input_ids=ids)
    for name, parameter in qformer.named_parameters():
        if "crossattention" in name or "_query" in name:
            torch.nn.init.normal_(parameter)
    assert torch.equal(before, qformer(input_ids=ids))


def test_joint_use_mixes_queries_and_text(qformer: QFormer, ids: Tensor) -> None:
    queries, visual = torch.randn(2, 4, 8), torch.randn(2, 5, 12)
    mask = (ids > 0).long()
    output = qformer(queries, ids, mask, visual)
    assert output.shape == (2, 8, 8)
    other_text = qformer(queries, ids.flip(0), mask.flip(0), visual)
    assert not torch.allclose(output[:, :4], other_text[:, :4])


def test_wrong_calls_are_refused(qformer: QFormer) -> None:
    with pytest.raises(ValueError, match="visual"):
        qformer(torch.zeros(1, 4, 8))
    with pytest.raises(ValueError, match="queries, text or both"):
        qformer()
    with pytest.raises(ValueError, match="max_positions 10"):
        qformer(input_ids=torch.zeros(1, 11, dtype=torch.long))
    with pytest.raises(ValueError, match="no multiple"):
        QFormer(**{**TINY, "heads": 3})


def test_dropout_is_active_in_training_only(qformer: QFormer, ids: Tensor) -> None:
    assert torch.equal(qformer(input_ids=ids), qformer(input_ids=ids))
    qformer.train()
    assert not torch.equal(qformer(input_ids=ids), qformer(input_ids=ids))

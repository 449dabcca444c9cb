"""Adapters that become part of the weights, for good and in a copy."""

from __future__ import annotations

import torch
from torch import nn

from lavis.layers.lora import adapters, fold_lora, folded_state, inject_lora


def adapted() -> nn.Module:
    torch.manual_seed(0)
    model = inject_lora(nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 3)), rank=2, alpha=4, dropout=0.0)
    for layer in adapters(model):
        nn.init.normal_(layer.lora_B["default"].weight)  # type: ignore[index, union-attr, arg-type]
    return model


def test_folding_changes_no_output_and_begins_anew() -> None:
    model, given = adapted(), torch.randn(5, 4)
    before = model(given)
    assert fold_lora(model) == 2
    torch.testing.assert_close(model(given), before)
    assert not any(layer.get_delta_weight("default").any() for layer in adapters(model))  # type: ignore[operator]
    assert all(layer.lora_A["default"].weight.any() for layer in adapters(model))  # type: ignore[index, union-attr]


def test_a_folded_state_fits_a_model_without_adapters() -> None:
    model, given = adapted(), torch.randn(5, 4)
    expected, names = model(given), set(model.state_dict())
    plain = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 3))
    plain.load_state_dict(folded_state(model), strict=True)
    torch.testing.assert_close(plain(given), expected)
    assert set(model.state_dict()) == names and torch.equal(model(given), expected)

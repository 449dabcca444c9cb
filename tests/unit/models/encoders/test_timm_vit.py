"""The timm adapter, with a stand-in for timm, which is an optional package."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lavis.models.encoders.timm_vit import TimmVit
from lavis.structures import Frames


class Transformer(nn.Module):
    """Makes tokens ``[B, N, C]``."""

    num_features = 6
    default_cfg = {"input_size": (3, 8, 8)}  # noqa: RUF012

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 6, 4, stride=4)

    def forward_features(self, pixels: Tensor) -> Tensor:
        maps: Tensor = self.patch(pixels)
        return maps.flatten(2).transpose(1, 2)


class Convolutional(Transformer):
    """Makes maps ``[B, C, H, W]``."""

    def forward_features(self, pixels: Tensor) -> Tensor:
        maps: Tensor = self.patch(pixels)
        return maps


@pytest.fixture
def timm(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    module, asked = ModuleType("timm"), dict[str, Any]()

    def create_model(name: str, **options: Any) -> nn.Module:
        asked.update(name=name, **options)
        return {"vit_tiny": Transformer, "convnet": Convolutional}[name]()

    module.__dict__.update(
        __version__="0",
        create_model=create_model,
        is_model=lambda name: name in ("vit_tiny", "convnet"),
        list_models=lambda pattern: ["vit_tiny"] if pattern == "*vit*" else [],
    )
    monkeypatch.setitem(sys.modules, "timm", module)
    return asked


def test_without_timm_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ImportError, match="extra 'vision'"):
        TimmVit("vit_tiny")


@pytest.mark.parametrize("model", ["vit_tiny", "convnet"])
def test_tokens_of_any_kind_of_model(timm: dict[str, Any], model: str) -> None:
    encoder = TimmVit(model).eval()
    assert (encoder.width, encoder.num_tokens) == (6, 4)
    assert timm == {"name": model, "pretrained": False, "num_classes": 0}
    pixels = torch.randn(3, 3, 8, 8)
    (features,) = encoder([Frames(pixels, [0.0, 1.0, 2.0])])
    torch.testing.assert_close(features.tokens, encoder.model.patch(pixels).flatten(2).transpose(1, 2))  # type: ignore[operator, union-attr]


def test_another_image_size_is_passed_on(timm: dict[str, Any]) -> None:
    assert TimmVit("vit_tiny", image_size=16).num_tokens == 16
    assert timm["img_size"] == 16


def test_unknown_models_are_refused_with_similar_ones(timm: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="'vit_huge' is unknown to timm 0; similar: vit_tiny"):
        TimmVit("vit_huge")

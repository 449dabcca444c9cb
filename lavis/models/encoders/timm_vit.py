"""Any image encoder of timm by its name (optional package)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lavis.common.registry import registry
from lavis.models.encoders.base import FrameEncoder


@registry.encoders.register("timm_vit")
class TimmVit(FrameEncoder):
    """A timm model without its classifier, frame by frame; feature maps of convolutional ones become tokens.

    Args:
        model: timm's name of the model, such as ``vit_base_patch16_224``.
        image_size: side of a frame in pixels; ``None`` is the model's own.
        pretrained: whether to load timm's weights (from its cache or the network).
        chunk_size: frames encoded at once.

    Raises:
        ImportError: without timm.
        ValueError: if timm has no such model.
    """

    def __init__(
        self,
        model: str,
        image_size: int | None = None,
        pretrained: bool = False,
        chunk_size: int = 64,
    ) -> None:
        super().__init__(chunk_size)
        try:
            import timm
        except ImportError as error:
            raise ImportError(
                f"the encoder timm_vit needs timm and torchvision, which cannot be imported ({error}); install the "
                "extra 'vision', or use eva_vit"
            ) from error
        if not timm.is_model(model):
            near = ", ".join(timm.list_models(f"*{model.split('_')[0]}*")[:5]) or "none"
            raise ValueError(f"encoder.model {model!r} is unknown to timm {timm.__version__}; similar: {near}")
        sizes = {} if image_size is None else {"img_size": image_size}
        self.model: nn.Module = timm.create_model(model, pretrained=pretrained, num_classes=0, **sizes)
        self.width: int = self.model.num_features
        side = image_size if image_size is not None else self.model.default_cfg["input_size"][-1]
        self.num_tokens = self._count_tokens(side)

    @property
    def backbone(self) -> nn.Module:
        return self.model

    def run_backbone(self, pixels: Tensor) -> Tensor:
        features: Tensor = self.model.forward_features(pixels)  # type: ignore[operator]
        if features.ndim == 4:
            features = self._channels_last(features).flatten(1, 2)
        return features

    def _channels_last(self, maps: Tensor) -> Tensor:
        return maps if maps.shape[-1] == self.width else maps.permute(0, 2, 3, 1)

    def _count_tokens(self, side: int) -> int:
        parameter = next(self.model.parameters())
        was_training = self.model.training
        self.model.eval()
        with torch.no_grad():
            tokens = self.run_backbone(torch.zeros(1, 3, side, side, dtype=parameter.dtype, device=parameter.device))
        self.model.train(was_training)
        return tokens.shape[1]

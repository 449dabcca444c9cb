"""EVA-CLIP g: the image encoder of BLIP-2, MR.BLIP, CALCE and MeCo, with the norm that follows it.

Source: EVA (Fang et al., 2023) as used by LAVIS (salesforce/LAVIS). Its children carry the published names
``visual_encoder`` and ``ln_vision``. There as here the norm learns even where the encoder is frozen.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lavis.common.registry import registry
from lavis.layers.vit import VisionTransformer
from lavis.models.encoders.base import FrameEncoder, Precision, precision_context, reduce_precision


@registry.encoders.register("eva_vit")
class EvaVit(FrameEncoder):
    """Vision transformer and layer norm, frame by frame. The sizes default to EVA-CLIP g of BLIP-2.

    Args:
        image_size: side of a frame in pixels.
        patch_size: side of a patch in pixels.
        width: width of a token.
        depth: number of blocks.
        heads: attention heads.
        mlp_ratio: inner width of the MLPs in units of ``width``.
        drop_path_rate: stochastic depth of the last block, in training of an encoder that is not frozen.
        use_checkpoint: recompute activations in the backward pass, if the encoder is not frozen.
        norm: whether a norm follows the transformer (BLIP-2's ``ln_vision``); MeCo's compressor has its own.
        vit_precision: of the transformer's matrices and products; its residual stream and the norm stay in fp32.
        chunk_size: frames encoded at once.
    """

    def __init__(
        self,
        image_size: int = 224,
        patch_size: int = 14,
        width: int = 1408,
        depth: int = 39,
        heads: int = 16,
        mlp_ratio: float = 4.3637,
        drop_path_rate: float = 0.0,
        use_checkpoint: bool = False,
        norm: bool = True,
        vit_precision: Precision = "fp32",
        chunk_size: int = 64,
    ) -> None:
        super().__init__(chunk_size)
        self.visual_encoder = VisionTransformer(
            image_size, patch_size, width, depth, heads, mlp_ratio, drop_path_rate, use_checkpoint
        )
        self.ln_vision = Fp32LayerNorm(width, eps=1e-5) if norm else None
        self.width = width
        self.num_tokens = self.visual_encoder.num_tokens
        self.vit_precision: Precision = vit_precision
        reduce_precision(self.visual_encoder, vit_precision)

    @property
    def backbone(self) -> nn.Module:
        return self.visual_encoder

    def _settings(self) -> tuple[object, ...]:
        return *super()._settings(), self.vit_precision

    def run_backbone(self, pixels: Tensor) -> Tensor:
        if self.vit_precision != "fp32" and not self.frozen:
            raise ValueError(
                f"encoder.vit_precision {self.vit_precision} is for frozen encoders; use fp32 to train the encoder "
                "(run.precision makes its products fast), or take encoder.visual_encoder out of model.trainable"
            )
        with precision_context(self.vit_precision, pixels.device):
            return super().run_backbone(pixels)

    def finish(self, tokens: Tensor) -> Tensor:
        if self.ln_vision is None:
            return tokens
        normed: Tensor = self.ln_vision(tokens)
        return normed


class Fp32LayerNorm(nn.LayerNorm):
    """Layer norm computed in fp32 whatever surrounds it; the result has the type of its input."""

    def forward(self, x: Tensor) -> Tensor:
        """``x`` ``[..., C]`` to ``[..., C]``."""
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(x.float()).to(x.dtype)

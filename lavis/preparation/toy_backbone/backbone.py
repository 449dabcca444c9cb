"""The toy backbone: its sizes, its model, and weights to start from."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lavis.layers.qformer import QFormer
from lavis.preparation.toy_backbone.tokenizers import MAX_INTEGER

IMAGE_SIZE = 64
NUM_QUERIES = 4
ENCODER: dict[str, Any] = {
    "image_size": IMAGE_SIZE, "patch_size": 8, "width": 96, "depth": 3, "heads": 4, "mlp_ratio": 3.0,
}  # fmt: skip
QFORMER: dict[str, Any] = {
    "vocab_size": 288, "width": 96, "layers": 4, "heads": 4, "hidden": 256, "max_positions": 256, "dropout": 0.0,
}  # fmt: skip
T5: dict[str, Any] = {
    "vocab_size": 800, "d_model": 128, "d_kv": 32, "d_ff": 256, "num_layers": 4, "num_decoder_layers": 2,
    "num_heads": 4, "dropout_rate": 0.0,
}  # fmt: skip


class ToyBackbone(nn.Module):
    """Encoder, compressor and language model under the names they have inside a ``VideoLLM``."""

    def __init__(self, tokenizer_folder: Path) -> None:
        super().__init__()
        from lavis.models.compressors.base import QFormerSettings
        from lavis.models.compressors.keyframe_qformer import KeyframeQFormer
        from lavis.models.encoders.eva_vit import EvaVit
        from lavis.models.language_models.t5 import T5 as T5Adapter

        self.encoder = EvaVit(**ENCODER)
        self.language_model = T5Adapter(
            architecture="flan_t5_small", tokenizer=str(tokenizer_folder), overrides=T5
        )
        self.compressor = KeyframeQFormer(
            self.encoder.width,
            self.language_model.width,
            num_queries=NUM_QUERIES,
            qformer=QFormerSettings(**QFORMER),
        )

    @property
    def t5(self) -> Any:
        """The ``T5ForConditionalGeneration`` inside the adapter."""
        return self.language_model.model

    @property
    def qformer(self) -> QFormer:
        return self.compressor.Qformer

    def queries(self, pixels: Tensor, frozen_vit: bool = False) -> Tensor:
        """The Q-Former's ``[B, Q, C]`` for normalised frames ``[B, 3, H, W]``."""
        with torch.no_grad() if frozen_vit else torch.enable_grad():
            tokens = self.encoder.visual_encoder(pixels)
        start = self.compressor.query_tokens.expand(len(pixels), -1, -1)
        result: Tensor = self.qformer(start, visual=self.encoder.finish(tokens))
        return result

    def project(self, queries: Tensor, key: bool) -> Tensor:
        """Visual tokens ``[B, n, D]`` of key frames or of others."""
        if not key:
            queries = self.compressor.query_proj(queries.transpose(1, 2)).transpose(1, 2)
        tokens: Tensor = self.compressor.t5_proj(queries)
        return tokens


@torch.no_grad()
def start_language_model(t5: Any, tokenizer: Any, seed: int) -> None:
    """Initial weights from which reading is learned in minutes instead of hours.

    Numbers start on smooth curves, so that near numbers look alike; the two forms of a number start as one.
    """
    width, head_width = T5["d_model"], T5["d_kv"]
    draw = torch.Generator().manual_seed(seed)
    t5.lm_head.weight.copy_(torch.randn(t5.lm_head.weight.shape, generator=draw) * width**-0.5)
    numbers = torch.arange(MAX_INTEGER + 1.0)[:, None]
    periods = torch.tensor([3.0, 6.0, 12.0, 24.0, 48.0, 96.0, 192.0, 400.0])
    waves = torch.cat([torch.sin(2 * math.pi * numbers / periods), torch.cos(2 * math.pi * numbers / periods)], dim=1)
    curves = waves @ torch.randn(16, width, generator=draw) / 8**0.5
    rows = 0.8 * curves + 0.6 * torch.randn(len(curves), width, generator=draw)
    for table, scale in ((t5.shared.weight, 1.0), (t5.lm_head.weight, width**-0.5)):
        for number in range(MAX_INTEGER + 1):
            for piece in (f"▁{number}", str(number)):
                token = tokenizer.convert_tokens_to_ids(piece)
                if token != tokenizer.unk_token_id:
                    table[token] = scale * (rows[number] + 0.1 * torch.randn(width, generator=draw))
    two_heads = 2 * head_width
    for block in t5.encoder.block:
        attention = block.layer[0].SelfAttention
        attention.q.weight[:two_heads] = attention.k.weight[:two_heads] * head_width**-0.5
    bias = t5.encoder.block[0].layer[0].SelfAttention.relative_attention_bias.weight
    for distance in (1, 2, 3):
        # Buckets below 16 are to the left, those from 16 on to the right.
        bias[distance, 2] += 5 - distance
        bias[16 + distance, 3] += 5 - distance
    for block in t5.decoder.block:
        attention = block.layer[1].EncDecAttention
        attention.o.weight[:, :two_heads] = attention.v.weight[:two_heads].T

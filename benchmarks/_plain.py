"""The same training step in plain transformers and peft code, as one writes it without a framework: what lavis must not
need more memory than.

BLIP-2's ViT and Q-Former run over the frames of the whole batch at once, frozen and without gradients; their tokens are
projected, put before the words of the prompt and given to T5 with LoRA adapters.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from benchmarks._models import Size


class PlainModel(nn.Module):
    """ViT, Q-Former, projection and T5 of transformers.

    Args:
        size: of the parts.
        words: tokens of the prompt besides those of frames, so that both models read prompts of one length.
    """

    def __init__(self, size: Size, words: int) -> None:
        from peft import LoraConfig, get_peft_model
        from transformers import Blip2QFormerConfig, Blip2QFormerModel, T5Config, T5ForConditionalGeneration

        from benchmarks.encoder import transformers_vit

        super().__init__()
        self.vit = transformers_vit(size).requires_grad_(False).eval()
        sizes = {"layers": 12, "width": 768, "heads": 12, "hidden": 3072, **size.qformer}
        qformer = Blip2QFormerConfig(
            hidden_size=sizes["width"],
            num_hidden_layers=sizes["layers"],
            num_attention_heads=sizes["heads"],
            intermediate_size=sizes["hidden"],
            encoder_hidden_size=size.width,
            cross_attention_frequency=2,
        )
        self.qformer = Blip2QFormerModel(qformer).requires_grad_(False).eval()
        self.queries = nn.Parameter(torch.randn(1, size.queries, sizes["width"]) * 0.02, requires_grad=False)
        language = T5Config(**t5_sizes(size), feed_forward_proj="gated-gelu", decoder_start_token_id=0)
        self.projection = nn.Linear(sizes["width"], language.d_model)
        linear = ["q", "k", "v", "o", "wi_0", "wi_1", "wo"]
        lora = LoraConfig(r=size.lora["rank"], lora_alpha=size.lora["alpha"], target_modules=linear)
        t5 = T5ForConditionalGeneration(language)
        # Flan-T5 has a head of its own; transformers ties it where a model is built from a config.
        t5.lm_head.weight = nn.Parameter(t5.lm_head.weight.detach().clone())
        self.t5 = get_peft_model(t5, lora)
        self.words = words

    def forward(self, pixels: Tensor, labels: Tensor) -> Tensor:
        """The loss of ``[B, T, 3, H, W]`` frames and ``[B, S]`` labels."""
        batch, count = pixels.shape[:2]
        with torch.no_grad():
            patches = self.vit(pixel_values=pixels.flatten(0, 1)).last_hidden_state
            tokens = self.qformer(
                query_embeds=self.queries.expand(batch * count, -1, -1), encoder_hidden_states=patches
            ).last_hidden_state
        visual = self.projection(tokens).reshape(batch, -1, self.t5.config.d_model)
        ids = torch.arange(2, 2 + self.words, device=pixels.device).remainder(500).expand(batch, -1)
        prompt = torch.cat([visual, self.t5.get_input_embeddings()(ids)], dim=1)
        mask = torch.ones(prompt.shape[:2], dtype=torch.long, device=pixels.device)
        loss: Tensor = self.t5(inputs_embeds=prompt, attention_mask=mask, labels=labels).loss
        return loss


def t5_sizes(size: Size) -> dict[str, int]:
    """Fields of ``T5Config`` for a size."""
    from lavis.models.language_models.t5 import ARCHITECTURES

    known = ARCHITECTURES.get(size.language.get("architecture", ""), {})
    return {"vocab_size": 32128, **known, **size.language["overrides"]}


def plain_stepper(model: PlainModel, pixels: Tensor, labels: Tensor) -> Callable[[], float]:
    """A function that trains the model by one step and gives the loss before it."""
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4)

    def step() -> float:
        loss = model(pixels, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    return step

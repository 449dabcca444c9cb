"""Any stock causal decoder (OPT, LLaMA, Phi-3, Qwen2, Vicuna), with a decode loop of our own.

The loop is ours because later systems look inside it: scores over frames, structural tokens and streaming need the
hidden state of every step and a cache they may keep. With one beam it walks a ``DynamicCache`` token by token; several
beams go through transformers' search.

Source: transformers; MR.BLIP's OPT variant (sudo-Boris/mr-Blip), whose answer was never teacher-forced and whose
generation stopped after eight positions: repaired here, see docs/quirks.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lavis.common.registry import registry
from lavis.common.schema import GenerationConfig, LoraConfig
from lavis.layers.lora import inject_lora
from lavis.models.language_models._attention import set_attention
from lavis.models.language_models.base import (
    IGNORE,
    Autocast,
    LanguageModel,
    LanguageOutput,
    check_vocabulary,
    checked_autocast,
)
from lavis.models.language_models.t5 import load_tokenizer
from lavis.structures import Block, ModelOutput, Packed, Segment, Sequence, Text, TimedTokens


@dataclass(slots=True)
class DecodeState:
    """Where a decode loop stands: ``cache``, attention ``mask [B, L]`` so far and next ``positions [B, 1]``."""

    cache: Any
    mask: Tensor
    positions: Tensor


@registry.language_models.register("causal")
class Causal(LanguageModel):
    """A causal decoder.

    Args:
        pretrained: folder or hub name of weights and configuration; ``None`` needs ``config``.
        tokenizer: folder or hub name; by default ``pretrained``.
        config: fields of a transformers configuration incl. ``model_type`` (``opt``, ``llama``, ``phi3``, ``qwen2``),
            for models built without weights.
        prepend_bos: start every sequence with the tokenizer's first token.
        lora: adapters; ``None`` leaves the model as it is.
        autocast: on CUDA, ``bf16``, ``fp16`` or ``None``.
        use_checkpoint: recompute activations in the backward pass.
        attention: back-end, such as ``eager``, ``sdpa`` or ``flash_attention_2``; ``None`` leaves it to transformers.

    Raises:
        ValueError: if neither or both of ``pretrained`` and ``config`` are given, or one cannot be read.
    """

    encoder_decoder = False

    def __init__(
        self,
        pretrained: str | None = None,
        tokenizer: str | None = None,
        config: Mapping[str, Any] | None = None,
        prepend_bos: bool = True,
        lora: LoraConfig | None = None,
        autocast: Autocast | None = "bf16",
        use_checkpoint: bool = False,
        attention: str | None = None,
    ) -> None:
        super().__init__()
        source = tokenizer or pretrained
        if (pretrained is None) == (config is None) or source is None:
            raise ValueError(
                "a causal language model needs either language_model.pretrained (a folder or hub name), or "
                "language_model.config (with model_type) and language_model.tokenizer"
            )
        self.tokenizer = load_tokenizer(source)
        self.model = _build(pretrained, dict(config or {}))
        set_attention(self.model, attention)
        check_vocabulary(self.tokenizer, self.model, "language_model.config.vocab_size")
        self.prepend_bos = prepend_bos
        if use_checkpoint:
            self.model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        if lora is not None:
            inject_lora(self.model, lora.rank, lora.alpha, lora.dropout, lora.targets)
        self.autocast = checked_autocast(autocast)

    @property
    def width(self) -> int:
        return int(self.model.get_input_embeddings().embedding_dim)

    def embed(self, ids: Tensor) -> Tensor:
        embeds: Tensor = self.model.get_input_embeddings()(ids)
        return embeds

    def pack(self, sequences: list[Sequence], visuals: list[TimedTokens], answer: bool = False) -> Packed:
        """One block for everything: padded right to learn, left to generate, so that the last position is real."""
        start: list[Segment] = []
        if self.prepend_bos and self.tokenizer.bos_token is not None:
            start = [Text(self.tokenizer.bos_token, isolated=True)]
        joined = []
        for sequence in sequences:
            prompt = [*start, *(_open_ended(s) for block in sequence.blocks for s in block.segments)]
            whole = [*prompt, *sequence.answer] if answer else prompt
            joined.append(Sequence([Block(whole, pad="right" if answer else "left")]))
        return super().pack(joined, visuals, answer)

    def forward(self, packed: Packed) -> LanguageOutput:
        with self.precision():
            output = self.model(
                inputs_embeds=packed.embeds, attention_mask=packed.mask, position_ids=_positions(packed.mask)
            )
        logits: Tensor = output.logits.float()
        loss = None
        if packed.labels is not None:
            loss = nn.functional.cross_entropy(
                logits[:, :-1].flatten(0, 1), packed.labels[:, 1:].flatten(), ignore_index=IGNORE
            )
        return LanguageOutput(loss, logits)

    @torch.no_grad()
    def generate(self, packed: Packed, generation: GenerationConfig) -> list[ModelOutput]:
        if generation.num_beams > 1:
            return self._beam(packed, generation)
        eos = int(self.tokenizer.eos_token_id)
        state, logits = self.prefill(packed)
        running = torch.ones(len(packed.embeds), dtype=torch.bool, device=packed.embeds.device)
        total = torch.zeros(len(packed.embeds), device=packed.embeds.device)
        steps: list[Tensor] = []
        for _ in range(generation.max_new_tokens):
            best, token = torch.log_softmax(logits.float(), dim=-1).max(dim=-1)
            token = torch.where(running, token, eos)
            total += torch.where(running, best, 0.0)
            steps.append(token)
            running = running & (token != eos)
            if not bool(running.any()):
                break
            logits = self.step(state, self.embed(token.unsqueeze(1)))
        return self._outputs(torch.stack(steps, dim=1), total, eos)

    def prefill(self, packed: Packed) -> tuple[DecodeState, Tensor]:
        """Reads the prompts; the state to go on from and the logits ``[B, V]`` of the first new token."""
        from transformers import DynamicCache

        positions = _positions(packed.mask)
        state = DecodeState(DynamicCache(config=self.model.config), packed.mask, positions[:, -1:] + 1)
        with self.precision():
            output = self.model(
                inputs_embeds=packed.embeds,
                attention_mask=packed.mask,
                position_ids=positions,
                past_key_values=state.cache,
                use_cache=True,
            )
        return state, output.logits[:, -1]

    def step(self, state: DecodeState, embeds: Tensor) -> Tensor:
        """Feeds ``embeds [B, n, D]`` and moves ``state`` on; logits ``[B, V]`` after the last of them."""
        count = embeds.shape[1]
        state.mask = torch.cat([state.mask, state.mask.new_ones(len(embeds), count)], dim=1)
        positions = state.positions + torch.arange(count, device=embeds.device)
        with self.precision():
            output = self.model(
                inputs_embeds=embeds,
                attention_mask=state.mask,
                position_ids=positions,
                past_key_values=state.cache,
                use_cache=True,
            )
        state.positions = state.positions + count
        logits: Tensor = output.logits[:, -1]
        return logits

    def _beam(self, packed: Packed, generation: GenerationConfig) -> list[ModelOutput]:
        with self.precision():
            output = self.model.generate(
                inputs_embeds=packed.embeds,
                attention_mask=packed.mask,
                past_key_values=self._read_once(packed, generation.num_beams),
                num_beams=generation.num_beams,
                max_new_tokens=generation.max_new_tokens,
                repetition_penalty=generation.repetition_penalty,
                length_penalty=generation.length_penalty,
                do_sample=False,
                return_dict_in_generate=True,
                output_scores=True,
                pad_token_id=self.pad_id,
            )
        return self._outputs(output.sequences, output.sequences_scores, int(self.tokenizer.eos_token_id))

    def _read_once(self, packed: Packed, beams: int) -> Any:
        """A cache of all but the last position of the prompts, a row a beam, for which each prompt is read once."""
        from transformers import DynamicCache

        cache = DynamicCache(config=self.model.config)
        if packed.embeds.shape[1] > 1:
            # The base model, since nobody asks what follows the positions of a prompt.
            self.model.base_model(
                inputs_embeds=packed.embeds[:, :-1],
                attention_mask=packed.mask[:, :-1],
                position_ids=_positions(packed.mask)[:, :-1],
                past_key_values=cache,
                use_cache=True,
            )
            cache.batch_repeat_interleave(beams)
        return cache

    def _outputs(self, ids: Tensor, scores: Tensor, eos: int) -> list[ModelOutput]:
        rows = [row[: row.index(eos)] if eos in row else row for row in ids.tolist()]
        texts = self.tokenizer.batch_decode(rows, skip_special_tokens=True)
        return [
            ModelOutput(text=text, token_ids=row, sequence_score=float(score))
            for text, row, score in zip(texts, rows, scores, strict=True)
        ]


def _open_ended(segment: Segment) -> Segment:
    """A prompt that goes on must not carry the end token an encoder's prompt ends with."""
    if isinstance(segment, Text) and segment.eos:
        return Text(segment.text, segment.learned, segment.isolated, False, segment.max_tokens)
    return segment


def _positions(mask: Tensor) -> Tensor:
    """Position of every token counted over real tokens only, 0 on left padding."""
    return (mask.cumsum(dim=-1) - 1).clamp(min=0)


def _build(pretrained: str | None, config: dict[str, Any]) -> Any:
    from transformers import AutoConfig, AutoModelForCausalLM

    if pretrained is not None:
        try:
            return AutoModelForCausalLM.from_pretrained(pretrained, dtype=torch.float32)
        except OSError as error:
            raise ValueError(
                f"language_model.pretrained {pretrained!r} cannot be read: {error}. Download it, or give its folder"
            ) from error
    family = config.pop("model_type", None)
    if family is None:
        raise ValueError("language_model.config needs model_type, such as opt, llama, phi3 or qwen2")
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **config))

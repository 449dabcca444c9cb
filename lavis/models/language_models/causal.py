"""Any stock causal decoder (OPT, LLaMA, Phi-3, Qwen2, Vicuna), with a decode loop of our own.

The loop is ours because later systems look inside it: scores over frames, structural tokens and streaming need the
hidden state of every step and a cache they may keep. With one beam it walks a ``DynamicCache`` token by token; several
beams go through transformers' search.

Source: transformers; MR.BLIP's OPT variant (sudo-Boris/mr-Blip), whose answer was never teacher-forced and whose
generation stopped after eight positions: repaired here, see docs/quirks.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from collections.abc import Sequence as Sequence_
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from lavis.common.registry import registry
from lavis.common.schema import GenerationConfig, LoraConfig
from lavis.layers.lora import inject_lora
from lavis.models.language_models._added_tokens import AddedRows, add_tokens
from lavis.models.language_models._attention import set_attention
from lavis.models.language_models._rounds import recounted, shortened
from lavis.models.language_models.base import (
    IGNORE,
    Autocast,
    LanguageModel,
    LanguageOutput,
    Watcher,
    check_vocabulary,
    checked_autocast,
)
from lavis.models.language_models.t5 import load_tokenizer
from lavis.structures import Block, ModelOutput, Packed, Segment, Sequence, Text, TimedTokens

MASKED = ("eager", "sdpa")
"""Back-ends that take a mask for every pair of positions."""


@dataclass(slots=True)
class DecodeState:
    """Where a decode loop stands: ``cache``, attention ``mask [B, L]`` so far and next ``positions [B, 1]``.

    ``states`` are those that were asked for, of the positions fed last.
    """

    cache: Any
    mask: Tensor
    positions: Tensor
    taps: tuple[str, ...] = ()
    states: dict[str, Tensor] = field(default_factory=dict)


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
        added_tokens: special tokens to add to the tokenizer, in this order; what it knows already stays as it is.
        added_rows: what their embeddings start as, where the model has none for them: the ``mean`` of all others, or
            the means of equal ``slices`` of them, the first for the last token. Rows that the model keeps in store
            (Phi-3 has 53) stay as they are.
        two_way_frames: whether the frames of a video, where they stand side by side, see each other both ways; all else
            sees what comes before it. Needs ``eager`` or ``sdpa``.

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
        added_tokens: Sequence_[str] = (),
        added_rows: AddedRows = "mean",
        two_way_frames: bool = False,
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
        add_tokens(self.tokenizer, self.model, added_tokens, added_rows)
        check_vocabulary(self.tokenizer, self.model, "language_model.config.vocab_size")
        if two_way_frames and self.model.config._attn_implementation not in MASKED:
            raise ValueError(
                "language_model.two_way_frames needs a mask of its own for every pair of positions, which "
                f"{self.model.config._attn_implementation} does not take; set language_model.attention to sdpa or eager"
            )
        self.two_way_frames = two_way_frames
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
            if answer and sequence.max_tokens is not None:
                whole = shortened(whole, sequence.max_tokens, self._texts)
            joined.append(Sequence([Block(whole, pad="right" if answer else "left")]))
        packed = super().pack(joined, visuals, answer)
        if answer and any(sequence.rounds for sequence in sequences):
            packed.labels = recounted(packed, [s.rounds for s in sequences], self.tokenizer, bool(start))
        return packed

    def forward(self, packed: Packed, taps: Sequence_[str] = ()) -> LanguageOutput:
        with self.precision(), self._tapped(taps) as states:
            output = self.model(
                inputs_embeds=packed.embeds,
                attention_mask=self._attention_mask(packed),
                position_ids=_positions(packed.mask),
            )
        logits: Tensor = output.logits.float()
        loss = None
        if packed.labels is not None:
            loss = nn.functional.cross_entropy(
                logits[:, :-1].flatten(0, 1), packed.labels[:, 1:].flatten(), ignore_index=IGNORE
            )
        return LanguageOutput(loss, logits, states)

    @torch.no_grad()
    def generate(
        self, packed: Packed, generation: GenerationConfig, watcher: Watcher | None = None
    ) -> list[ModelOutput]:
        if generation.num_beams > 1:
            if watcher is not None:
                raise ValueError("a head watches one beam; set generation.num_beams to 1")
            return self._beam(packed, generation)
        eos = int(self.tokenizer.eos_token_id)
        state, logits = self.prefill(packed, watcher.taps if watcher is not None else ())
        if watcher is not None:
            watcher.begin(packed, state.states)
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
            embeds = self.embed(token.unsqueeze(1))
            logits = self.step(state, embeds if watcher is None else watcher.fed(token, embeds))
            if watcher is not None:
                watcher.step(state.states)
        outputs = self._outputs(torch.stack(steps, dim=1), total, eos)
        if watcher is None:
            return outputs
        seen = watcher.results([len(output.token_ids) for output in outputs])
        return [replace(output, hidden=own) for output, own in zip(outputs, seen, strict=True)]

    def prefill(self, packed: Packed, taps: Sequence_[str] = ()) -> tuple[DecodeState, Tensor]:
        """Reads the prompts.

        Args:
            packed: the prompts, padded at the start.
            taps: states to give with every step (see ``Watcher``).

        Returns:
            the state to go on from and the logits ``[B, V]`` of the first new token.
        """
        from transformers import DynamicCache

        positions = _positions(packed.mask)
        cache = DynamicCache(config=self.model.config)
        state = DecodeState(cache, packed.mask, positions[:, -1:] + 1, tuple(taps))
        with self.precision(), self._tapped(taps) as state.states:
            output = self.model(
                inputs_embeds=packed.embeds,
                attention_mask=self._attention_mask(packed),
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
        with self.precision(), self._tapped(state.taps) as state.states:
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

    @contextmanager
    def _tapped(self, taps: Sequence_[str]) -> Iterator[dict[str, Tensor]]:
        """Hooks that note the states named, for one pass: transformers hands out neither by itself."""
        decoder = self.model.base_model
        decoder = getattr(decoder, "decoder", decoder)  # OPT has one more level
        states: dict[str, Tensor] = {}
        hooks = []
        try:
            for tap in taps:
                module = {"last": getattr(decoder, "norm", None), "below_last": decoder.layers[-1]}.get(tap)
                if module is None:
                    raise ValueError(f"{type(self.model).__name__} has no state {tap!r} to give")
                hooks.append(module.register_forward_pre_hook(_noting(states, tap), with_kwargs=True))
            yield states
        finally:
            for hook in hooks:
                hook.remove()

    def _attention_mask(self, packed: Packed) -> Tensor:
        """``[B, L]`` real tokens, or with ``two_way_frames`` what is added to the scores, ``[B, 1, L, L]``."""
        if not self.two_way_frames:
            return packed.mask
        length = packed.mask.shape[1]
        allowed = torch.ones(length, length, dtype=torch.bool, device=packed.mask.device).tril()
        allowed = allowed & packed.mask[:, None, :].bool()
        for row, spans in enumerate(packed.spans()):
            for start, end in spans:
                allowed[row, start:end, start:end] = True
        # Padding sees itself, since a row that sees nothing would be no number.
        allowed |= torch.eye(length, dtype=torch.bool, device=allowed.device) & ~packed.mask[:, None, :].bool()
        dtype = packed.embeds.dtype
        zeros = torch.zeros(allowed.shape, dtype=dtype, device=allowed.device)
        return zeros.masked_fill(~allowed, torch.finfo(dtype).min)[:, None]

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

        cache, mask = DynamicCache(config=self.model.config), self._attention_mask(packed)
        if packed.embeds.shape[1] > 1:
            # The base model, since nobody asks what follows the positions of a prompt.
            self.model.base_model(
                inputs_embeds=packed.embeds[:, :-1],
                attention_mask=mask[..., :-1, :-1] if self.two_way_frames else mask[:, :-1],
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


def _noting(states: dict[str, Tensor], name: str) -> Callable[[Any, tuple[Any, ...], dict[str, Any]], None]:
    def note(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        states.setdefault(name, args[0] if args else kwargs["hidden_states"])

    return note


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

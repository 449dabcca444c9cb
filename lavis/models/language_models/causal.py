"""Any stock causal decoder (OPT, LLaMA, Phi-3, Qwen2, Vicuna), with a decode loop of our own.

With one beam it walks a ``DynamicCache`` token by token (``_decoding``); several beams go through transformers' search.
Prompts of a batch that begin alike have their beginning read once (``_prefixes``).

Source: transformers; MR.BLIP's OPT variant (sudo-Boris/mr-Blip), whose answer was never teacher-forced and whose
generation stopped after eight positions: repaired here, see docs/quirks.md.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from collections.abc import Sequence as Sequence_
from dataclasses import replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from lavis.common.registry import registry
from lavis.common.schema import GenerationConfig, LoraConfig
from lavis.layers.lora import inject_lora
from lavis.models.language_models._added_tokens import AddedRows, add_tokens
from lavis.models.language_models._answers import Answers, rooms
from lavis.models.language_models._architectures import configuration
from lavis.models.language_models._attention import MASKED, positions_of, set_attention, two_way_mask
from lavis.models.language_models._beams import search
from lavis.models.language_models._decoding import DecodeState, write
from lavis.models.language_models._prefixes import Shared, find_shared
from lavis.models.language_models._rounds import recounted, shortened
from lavis.models.language_models._sampling import Chooser
from lavis.models.language_models._taps import tapped
from lavis.models.language_models.base import (
    IGNORE,
    Asked,
    Autocast,
    LanguageModel,
    LanguageOutput,
    Watcher,
    check_vocabulary,
    checked_autocast,
)
from lavis.models.language_models.t5 import load_tokenizer
from lavis.structures import Block, ModelOutput, Packed, Segment, Sequence, Text, TimedTokens


@registry.language_models.register("causal")
class Causal(LanguageModel):
    """A causal decoder.

    Args:
        pretrained: folder or hub name of weights and configuration; ``None`` needs ``architecture`` or ``config``.
        tokenizer: folder or hub name; by default ``pretrained``.
        config: fields of a transformers configuration incl. ``model_type`` (``opt``, ``llama``, ``phi3``, ``qwen2``),
            for models built without weights; or those that differ from ``architecture``.
        prepend_bos: start every sequence with the tokenizer's first token.
        lora: adapters; ``None`` leaves the model as it is.
        autocast: on CUDA, ``bf16``, ``fp16`` or ``None``.
        use_checkpoint: recompute activations in the backward pass.
        attention: back-end, such as ``eager``, ``sdpa`` or ``flash_attention_2``; ``None`` leaves it to transformers.
        added_tokens: special tokens to add to the tokenizer, in this order; what it knows already stays as it is.
        added_rows: what their embeddings start as, where the model has none for them: the ``mean`` of all others, or
            the means of equal ``slices`` of them, the first for the last token. Rows that the model keeps in store
            (Phi-3 has 53) stay as they are.
        architecture: sizes of a published model, see ``_architectures``; with ``pretrained`` they stand instead of
            those in its folder.
        two_way_frames: whether the frames of a video, where they stand side by side, see each other both ways; all else
            sees what comes before it. Needs ``eager`` or ``sdpa``.

    Raises:
        ValueError: if neither or both of ``pretrained`` and ``config`` are given without an ``architecture``, or one
            cannot be read.
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
        architecture: str | None = None,
    ) -> None:
        super().__init__()
        source = tokenizer or pretrained
        if (architecture is None and (pretrained is None) == (config is None)) or source is None:
            raise ValueError(
                "a causal language model needs either language_model.pretrained (a folder or hub name), or "
                "language_model.config (with model_type) or architecture, and language_model.tokenizer"
            )
        self.tokenizer = load_tokenizer(source)
        self.model = _build(pretrained, configuration(architecture, config))
        set_attention(self.model, attention)
        add_tokens(self.tokenizer, self.model, added_tokens, added_rows)
        self.added_rows: AddedRows = added_rows
        check_vocabulary(self.tokenizer, self.model, "language_model.config.vocab_size")
        if two_way_frames and self.model.config._attn_implementation not in MASKED:
            raise ValueError(
                "language_model.two_way_frames needs a mask of its own for every pair of positions, which "
                f"{self.model.config._attn_implementation} does not take; set language_model.attention to sdpa or eager"
            )
        self.two_way_frames = two_way_frames
        self.added_tokens = tuple(added_tokens)
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
        with self.precision(), tapped(self.model, taps) as states:
            output = self.model(
                inputs_embeds=packed.embeds,
                attention_mask=self._attention_mask(packed),
                position_ids=positions_of(packed.mask),
            )
        logits: Tensor = output.logits.float()
        loss = None
        if packed.labels is not None:
            targets = packed.labels[:, 1:].flatten()
            # By hand, since torch's mean of nothing, where all answers are cut off, is no number; so it is zero.
            total = nn.functional.cross_entropy(
                logits[:, :-1].flatten(0, 1), targets, ignore_index=IGNORE, reduction="sum"
            )
            loss = total / (targets != IGNORE).sum().clamp(min=1)
        return LanguageOutput(loss, logits, states)

    @torch.no_grad()
    def generate(
        self,
        packed: Packed,
        generation: GenerationConfig,
        watcher: Watcher | None = None,
        asked: Asked | None = None,
    ) -> list[ModelOutput]:
        names = asked.names if asked is not None else [f"row {row}" for row in range(len(packed.embeds))]
        room = rooms(names, packed.mask.sum(dim=1).tolist(), generation.max_new_tokens, self.context)
        ends = self.answers.ends(generation.stops)
        if generation.num_beams > 1:
            if watcher is not None:
                raise ValueError("a head watches one beam; set generation.num_beams to 1")
            with self.precision():
                ids, scores = search(self, self.model, packed, generation, min(room), ends, self.pad_id)
        else:
            penalties = asked.penalties if asked is not None else [generation.repetition_penalty] * len(names)
            draws = asked.draws if asked is not None else None
            chooser = Chooser(packed.ids, generation, penalties, draws, self.answers.added, ends.single)
            ids, scores = write(self, packed, chooser, ends, room, watcher)
        outputs = self.answers.outputs(ids, scores, names, generation.stops, generation.special_tokens)
        if watcher is None:
            return outputs
        seen = watcher.results([len(output.token_ids) for output in outputs])
        return [replace(output, hidden=own) for output, own in zip(outputs, seen, strict=True)]

    def prefill(self, packed: Packed, taps: Sequence_[str] = (), more: int = 0) -> tuple[DecodeState, Tensor]:
        """Reads the prompts; beginnings that rows have in common are read once.

        Args:
            packed: the prompts, padded at the start.
            taps: states to give with every step (see ``Watcher``).
            more: positions that will follow at most.

        Returns:
            the state to go on from and the logits ``[B, V]`` of the first new token.
        """
        from transformers import DynamicCache

        shared = find_shared(packed, self.two_way_frames) if self._can_share(packed) else None
        if shared is not None and shared.columns + more > (self._window or math.inf):
            shared = None  # gaps within a row would count in a sliding window
        positions = positions_of(packed.mask)
        cache = DynamicCache(config=self.model.config)
        if shared is not None:
            return self._read_apart(packed, shared, cache, tuple(taps))
        state = DecodeState(cache, packed.mask, positions[:, -1:] + 1, tuple(taps))
        with self.precision(), tapped(self.model, taps) as state.states:
            output = self.model(
                inputs_embeds=packed.embeds,
                attention_mask=self._attention_mask(packed),
                position_ids=positions,
                past_key_values=state.cache,
                use_cache=True,
                logits_to_keep=1,
            )
        return state, output.logits[:, -1]

    def _can_share(self, packed: Packed) -> bool:
        """Whether beginnings can be read apart, which leaves gaps within rows that only a mask can hide."""
        return len(packed.mask) > 1 and self.model.config.get_text_config()._attn_implementation in MASKED

    @property
    def _window(self) -> int | None:
        """Positions back to which a layer looks; ``None`` if all look back to the beginning."""
        config = self.model.config.get_text_config()
        sliding = getattr(config, "layer_types", None) is None or "sliding_attention" in config.layer_types
        return getattr(config, "sliding_window", None) if sliding else None

    def _read_apart(
        self, packed: Packed, shared: Shared, cache: Any, taps: tuple[str, ...]
    ) -> tuple[DecodeState, Tensor]:
        """The beginnings, then for every row what follows its own."""
        begin, rest = shared.begin_mask, shared.rest_mask
        spans: list[list[tuple[int, int]]] = [[] for _ in packed.mask]
        if self.two_way_frames:
            places = zip(shared.source.tolist(), packed.spans(), strict=True)
            spans = [[(source[start], source[end - 1] + 1) for start, end in own] for source, own in places]
        at_start = [[span for span in spans[row] if span[1] <= begin.shape[1]] for row in shared.leaders.tolist()]
        with self.precision(), tapped(self.model, taps) as first:
            self.model.base_model(
                inputs_embeds=packed.embeds[shared.leaders[:, None], shared.begin],
                attention_mask=two_way_mask(begin, at_start, packed.embeds.dtype) if self.two_way_frames else begin,
                position_ids=positions_of(begin),
                past_key_values=cache,
                use_cache=True,
            )
        cache.batch_select_indices(shared.group)
        mask = torch.cat([begin[shared.group], rest], dim=1)
        positions, count = positions_of(packed.mask), rest.shape[1]
        state = DecodeState(cache, mask, positions[:, -1:] + 1, taps)
        with self.precision(), tapped(self.model, taps) as second:
            output = self.model(
                inputs_embeds=packed.embeds[:, -count:],
                attention_mask=two_way_mask(mask, spans, packed.embeds.dtype, count) if self.two_way_frames else mask,
                position_ids=positions[:, -count:],
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            )
        rows = torch.arange(len(mask), device=mask.device)[:, None]
        state.states = {
            tap: torch.cat([first[tap][shared.group], second[tap]], dim=1)[rows, shared.source] for tap in taps
        }
        return state, output.logits[:, -1]

    def step(self, state: DecodeState, embeds: Tensor) -> Tensor:
        """Feeds ``embeds [B, n, D]`` and moves ``state`` on; logits ``[B, V]`` after the last of them."""
        count = embeds.shape[1]
        state.mask = torch.cat([state.mask, state.mask.new_ones(len(embeds), count)], dim=1)
        positions = state.positions + torch.arange(count, device=embeds.device)
        with self.precision(), tapped(self.model, state.taps) as state.states:
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

    def _attention_mask(self, packed: Packed) -> Tensor:
        """``[B, L]`` real tokens, or with ``two_way_frames`` what is added to the scores, ``[B, 1, L, L]``."""
        if not self.two_way_frames:
            return packed.mask
        return two_way_mask(packed.mask, packed.spans(), packed.embeds.dtype)

    @property
    def context(self) -> int | None:
        """Positions that the model can read and write together; ``None`` if there is no such limit."""
        limit = getattr(self.model.config.get_text_config(), "max_position_embeddings", None)
        return int(limit) if limit else None

    @cached_property
    def answers(self) -> Answers:
        """Reads what this model writes."""
        return Answers(self.tokenizer, list(self.token_ids(self.added_tokens).values()))


def _open_ended(segment: Segment) -> Segment:
    """A prompt that goes on must not carry the end token an encoder's prompt ends with."""
    if isinstance(segment, Text) and segment.eos:
        return Text(segment.text, segment.learned, segment.isolated, False, segment.max_tokens)
    return segment


def _build(pretrained: str | None, config: dict[str, Any]) -> Any:
    from transformers import AutoConfig, AutoModelForCausalLM

    family = config.pop("model_type", None)
    given = None if family is None else AutoConfig.for_model(family, **config)
    if pretrained is not None:
        try:
            return AutoModelForCausalLM.from_pretrained(pretrained, config=given, dtype=torch.float32)
        except OSError as error:
            raise ValueError(
                f"language_model.pretrained {pretrained!r} cannot be read: {error}. Download it, or give its folder"
            ) from error
    if given is None:
        raise ValueError("language_model.config needs model_type, such as opt, llama, phi3 or qwen2")
    return AutoModelForCausalLM.from_config(given)

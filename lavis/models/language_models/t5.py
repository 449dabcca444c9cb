"""Stock T5 behind the language model contract, as BLIP-2 uses Flan-T5.

Source: Flan-T5 (Chung et al., 2022) through transformers; LAVIS BLIP-2. Two facts that published weights depend on: the
activation is exact GELU (LAVIS overrides T5 v1.1's tanh form), and the output head is not tied to the input embeddings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lavis.common.registry import registry
from lavis.common.schema import GenerationConfig, LoraConfig
from lavis.layers.lora import inject_lora
from lavis.models.language_models._attention import set_attention
from lavis.models.language_models.base import (
    IGNORE,
    Asked,
    Autocast,
    LanguageModel,
    LanguageOutput,
    Watcher,
    check_vocabulary,
    checked_autocast,
    with_words,
)
from lavis.structures import ModelOutput, Packed

ARCHITECTURES: dict[str, dict[str, int]] = {
    "flan_t5_small": {"d_model": 512, "d_kv": 64, "d_ff": 1024, "num_layers": 8, "num_heads": 6},
    "flan_t5_base": {"d_model": 768, "d_kv": 64, "d_ff": 2048, "num_layers": 12, "num_heads": 12},
    "flan_t5_large": {"d_model": 1024, "d_kv": 64, "d_ff": 2816, "num_layers": 24, "num_heads": 16},
    "flan_t5_xl": {"d_model": 2048, "d_kv": 64, "d_ff": 5120, "num_layers": 24, "num_heads": 32},
    "flan_t5_xxl": {"d_model": 4096, "d_kv": 64, "d_ff": 10240, "num_layers": 24, "num_heads": 64},
}
_SHARED = {
    "vocab_size": 32128,
    "relative_attention_num_buckets": 32,
    "relative_attention_max_distance": 128,
    "dropout_rate": 0.1,
    "layer_norm_epsilon": 1e-6,
    "feed_forward_proj": "gated-gelu",
    "decoder_start_token_id": 0,
    "pad_token_id": 0,
    "eos_token_id": 1,
    # In transformers 5 this only turns off the scaling of the decoder's output; the head is untied after building.
    "tie_word_embeddings": False,
}


@torch.no_grad()
def untie_output_head(model: Any) -> None:
    """Gives ``lm_head`` a weight of its own.

    transformers 5 ties the head of every T5 that is built from a config, so that loading an untied checkpoint would
    silently write the head over the input embeddings.
    """
    model.config.tie_word_embeddings = False
    if model.lm_head.weight is model.shared.weight:
        model.lm_head.weight = nn.Parameter(model.lm_head.weight.detach().clone())


@registry.language_models.register("t5")
class T5(LanguageModel):
    """T5 encoder-decoder.

    Args:
        architecture: one of ``flan_t5_{small,base,large,xl,xxl}``.
        pretrained: folder or hub name to read weights and, if ``tokenizer`` is ``None``, the tokenizer from; ``None``
            builds random weights (checkpoints given under ``model.weights`` are read afterwards).
        tokenizer: folder or hub name of the tokenizer.
        overrides: fields of ``T5Config`` that differ from the architecture (toy sizes).
        activation: of the feed-forward gate; ``gelu`` is exact and what published BLIP-2 T5 weights were trained with,
            ``gelu_new`` is the tanh form of stock Flan-T5.
        lora: adapters; ``None`` leaves the model as it is.
        autocast: on CUDA, run in ``bf16`` (the originals), ``fp16`` or not at all (``None``); CPU is always exact.
        use_checkpoint: recompute activations in the backward pass.
        attention: back-end, such as ``eager``, ``sdpa`` or ``flash_attention_2``; ``None`` leaves it to transformers.

    Raises:
        ValueError: for an unknown architecture or a missing tokenizer.
    """

    encoder_decoder = True

    def __init__(
        self,
        architecture: str = "flan_t5_xl",
        pretrained: str | None = None,
        tokenizer: str | None = None,
        overrides: Mapping[str, Any] | None = None,
        activation: str = "gelu",
        lora: LoraConfig | None = None,
        autocast: Autocast | None = "bf16",
        use_checkpoint: bool = False,
        attention: str | None = None,
    ) -> None:
        super().__init__()
        if architecture not in ARCHITECTURES:
            raise ValueError(
                f"language_model.architecture {architecture!r} is unknown; known: {', '.join(ARCHITECTURES)}"
            )
        source = tokenizer or pretrained
        if source is None:
            raise ValueError(
                "language_model.tokenizer is not set: name a folder with tokenizer.json, or a hub name such as "
                "google/flan-t5-xl"
            )
        self.tokenizer = load_tokenizer(source)
        self.model = _build(architecture, pretrained, dict(overrides or {}), activation)
        set_attention(self.model, attention)
        check_vocabulary(self.tokenizer, self.model, "language_model.overrides.vocab_size")
        if use_checkpoint:
            self.model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        if lora is not None:
            inject_lora(self.model, lora.rank, lora.alpha, lora.dropout, lora.targets)
        self.autocast = checked_autocast(autocast)

    @property
    def width(self) -> int:
        return int(self.model.config.d_model)

    def embed(self, ids: Tensor) -> Tensor:
        embeds: Tensor = self.model.encoder.embed_tokens(ids)
        return embeds

    def forward(self, packed: Packed, taps: Sequence[str] = ()) -> LanguageOutput:
        if taps:
            raise ValueError("heads read states of a causal language model; choose causal, or head: null")
        with self.precision():
            output = self.model(
                inputs_embeds=packed.embeds,
                attention_mask=packed.mask,
                decoder_attention_mask=packed.label_mask,
                labels=packed.labels,
            )
        # The loss in fp32 whatever the precision: a sum over 32,128 classes in bf16 is off in the second digit.
        logits: Tensor = output.logits.float()
        loss = None
        if packed.labels is not None:
            loss = nn.functional.cross_entropy(logits.flatten(0, 1), packed.labels.flatten(), ignore_index=IGNORE)
        return LanguageOutput(loss, logits)

    @torch.no_grad()
    def generate(
        self,
        packed: Packed,
        generation: GenerationConfig,
        watcher: Watcher | None = None,
        asked: Asked | None = None,
    ) -> list[ModelOutput]:
        if watcher is not None:
            raise ValueError("heads watch the decoding of a causal language model, not of t5; choose causal")
        if generation.temperature is not None or generation.repetition_penalty_of_kind:
            raise ValueError(
                "t5 neither draws answers nor has penalties of kinds; leave out generation.temperature and "
                "generation.repetition_penalty_of_kind, or choose causal"
            )
        from lavis.models.language_models import _t5_decoding

        with self.precision():
            output = _t5_decoding.generate(
                self.model,
                packed.embeds,
                packed.mask,
                num_beams=generation.num_beams,
                max_new_tokens=generation.max_new_tokens,
                min_length=generation.min_length,
                repetition_penalty=generation.repetition_penalty,
                length_penalty=generation.length_penalty,
                do_sample=False,
                return_dict_in_generate=True,
                output_scores=generation.num_beams > 1,
            )
        texts = self.tokenizer.batch_decode(output.sequences, skip_special_tokens=True)
        scores = getattr(output, "sequences_scores", None)
        return [
            ModelOutput(text=text, token_ids=_strip(ids), sequence_score=None if scores is None else float(scores[i]))
            for i, (text, ids) in enumerate(zip(texts, output.sequences.tolist(), strict=True))
        ]


def load_tokenizer(source: str) -> Any:
    """The tokenizer of a folder or hub name.

    Raises:
        ValueError: if it cannot be read.
    """
    from transformers import AutoTokenizer, PreTrainedTokenizerFast, T5Tokenizer

    from lavis.common.assets import resolve_asset

    place = resolve_asset(source)
    try:
        # Said outright, or transformers asks at the terminal whether to run code that a folder names.
        return AutoTokenizer.from_pretrained(place, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        try:
            if (Path(place) / "tokenizer.json").is_file():
                # All there is to know, whatever class of its own a folder names (MiniCPM-V).
                return PreTrainedTokenizerFast.from_pretrained(place)
            # A folder with only spiece.model is read by the class, not by the automatic one.
            return with_words(T5Tokenizer.from_pretrained(place))
        except (OSError, ValueError, KeyError, TypeError):
            raise ValueError(
                f"no tokenizer in {source!r} ({error}); give a folder with tokenizer.json or spiece.model, or a hub "
                "name that is in the local cache or reachable"
            ) from error


def _build(architecture: str, pretrained: str | None, overrides: dict[str, Any], activation: str) -> Any:
    from transformers import T5Config, T5ForConditionalGeneration

    from lavis.models.language_models._t5_decoding import share_cross_attention

    if pretrained is not None:
        try:
            config = T5Config.from_pretrained(pretrained)
            config.dense_act_fn = activation
            model = T5ForConditionalGeneration.from_pretrained(pretrained, config=config, dtype=torch.float32)
        except OSError as error:
            raise ValueError(
                f"language_model.pretrained {pretrained!r} cannot be read: {error}. Download it once (for instance "
                "with `hf download`), or give its folder"
            ) from error
    else:
        numbers = {**_SHARED, **ARCHITECTURES[architecture], **overrides}
        config = T5Config(**numbers)
        config.dense_act_fn = activation
        model = T5ForConditionalGeneration(config)
    untie_output_head(model)
    share_cross_attention(model)
    return model


def _strip(ids: list[int]) -> list[int]:
    """Generated ids without the start token, the end token and what pads behind it."""
    body = ids[1:]
    return body[: body.index(1)] if 1 in body else body

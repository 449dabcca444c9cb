"""Assembles a ``VideoLLM`` from the ``model`` node of a configuration, and fills it with weights."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lavis.common.assets import resolve_asset
from lavis.common.checkpoint import Checkpoint, CheckpointError, load_weights, read_checkpoint
from lavis.common.construct import build_part, construct
from lavis.common.feature_store import CacheConfig
from lavis.common.keymap import load_keymap, recognise
from lavis.common.registry import registry
from lavis.common.schema import GenerationConfig
from lavis.common.yaml_tree import ConfigError
from lavis.models.compressors.base import Compressor
from lavis.models.prompts.subtitle_choice import SubtitleChoice
from lavis.models.video_llm import VideoLLM

_log = logging.getLogger(__name__)


def build_model(node: Mapping[str, Any], *, weights: bool = True, device: str | torch.device = "cpu") -> VideoLLM:
    """The model a node describes.

    Args:
        node: the ``model`` section: parts by kind, ``generation``, ``trainable``, ``weights``, ``cache``,
            ``seed``.
        weights: whether to read the files under ``weights``.
        device: where to build; ``meta`` gives shapes without memory.

    Raises:
        ConfigError, UnknownEntryError: if the node does not fit the parts' signatures.
        CheckpointError: if a weights file does not fit the model.
    """
    with torch.device(device):
        model = _assemble(node)
    if node.get("trainable") is not None:
        model.set_trainable(node["trainable"])
    files = node.get("weights")
    if weights and files:
        load_model_weights(model, [files] if isinstance(files, (str, Path)) else list(files))
    return model


def _assemble(node: Mapping[str, Any]) -> VideoLLM:
    language_model = build_part(registry.language_models, node["language_model"], "model.language_model")
    encoder = build_part(registry.encoders, node["encoder"], "model.encoder")
    compressor = build_part(
        registry.compressors,
        node["compressor"],
        "model.compressor",
        encoder_width=encoder.width,
        language_width=language_model.width,
    )
    codec = build_part(registry.codecs, node["codec"], "model.codec")
    codec.bind(language_model.tokenizer)
    head = None
    if node.get("head") is not None:
        head = build_part(registry.heads, node["head"], "model.head", language_width=language_model.width)
        head.bind(language_model.model, codec.tokens)
    processor = None
    if node.get("processor") is not None:
        from lavis.processors.video_processor import build_processor

        processor = build_processor(node["processor"])
    entry: type[VideoLLM] = registry.models.get(node.get("name", "video_llm"), "model.name")
    return entry(
        encoder=encoder,
        compressor=compressor,
        prompt=build_part(registry.prompts, node["prompt"], "model.prompt"),
        language_model=language_model,
        codec=codec,
        subtitle_choice=_subtitle_choice(node.get("subtitle_choice"), compressor),
        localizer=build_part(registry.localizers, node.get("localizer") or "single_pass", "model.localizer"),
        head=head,
        processor=processor,
        generation=construct(GenerationConfig, node.get("generation") or {}, "model.generation"),
        cache=construct(CacheConfig, node.get("cache") or {}, "model.cache"),
        seed=int(node.get("seed", 0)),
    )


def _subtitle_choice(node: Mapping[str, Any] | None, compressor: Compressor) -> SubtitleChoice | None:
    if node is None:
        return None
    choice = construct(SubtitleChoice, node, "model.subtitle_choice")
    pieces, known = len(choice.tokenizer), compressor.text_vocabulary
    if known is not None and pieces > known:
        raise ConfigError(
            f"model.subtitle_choice.tokenizer has {pieces} tokens but the compressor's Q-Former {known} embeddings; "
            f"choose the tokenizer that belongs to it, or set model.compressor.qformer.vocab_size to at least {pieces}"
        )
    longest = compressor.text_positions
    if longest is not None and choice.max_tokens > longest:
        raise ConfigError(
            f"model.subtitle_choice.max_tokens is {choice.max_tokens} but the compressor's Q-Former reads {longest} "
            "tokens of a text; lower the first, or raise model.compressor.qformer.max_positions"
        )
    return choice


def load_model_weights(model: VideoLLM, files: Sequence[str | Path]) -> None:
    """Copies weights files into a model, in order; each is recognised as ours or as a published family.

    Every name in a file must be known, and every weight that learns must be found in one of the files, unless it starts
    from its initial value by nature (adapters, projections that the earlier files never had): then it is logged.

    Raises:
        CheckpointError: if a file cannot be read or does not fit.
    """
    found: set[str] = set()
    for file in files:
        checkpoint = read_published(resolve_asset(str(file)))
        state = adapt(checkpoint.state, model)
        report = load_weights(model, Checkpoint(state, checkpoint.metadata, checkpoint.path), require="none")
        found |= set(report.loaded)
        _log.info("weights: %d tensors from %s", len(report.loaded), checkpoint.path)
    if model.subtitle_choice is not None:
        model.subtitle_choice.reset()
    fresh = [name for name, p in model.named_parameters() if p.requires_grad and name not in found]
    if fresh:
        _log.info("weights: %d trainable tensors start from their initial value, such as %s", len(fresh), fresh[0])


def read_published(path: str | Path, family: str | None = None) -> Checkpoint:
    """A weights file under our names, whoever wrote it.

    Args:
        path: ours (.safetensors), or a published .pth, .bin or .safetensors.
        family: name of a key map; by default it is recognised by the names in the file.

    Raises:
        CheckpointError: if it cannot be read, or holds names the key map does not know.
    """
    checkpoint = read_checkpoint(path)
    keymap = load_keymap(family) if family is not None else recognise(checkpoint.state)
    if keymap is None:
        return checkpoint
    state, dropped = keymap.apply(checkpoint.state, str(checkpoint.path))
    _log.info("%s is read as %s; %d names are left out", checkpoint.path, keymap.summary or keymap.name, len(dropped))
    return Checkpoint(state, checkpoint.metadata, checkpoint.path)


def adapt(state: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Fits a state to a model's adapters and grid: plain weights below LoRA layers, position tables of another size."""
    own = model.state_dict()
    fitted: dict[str, Tensor] = {}
    for name, tensor in state.items():
        stem, _, leaf = name.rpartition(".")
        candidates = (name, f"{stem}.base_layer.{leaf}", f"{stem.removesuffix('.base_layer')}.{leaf}")
        target = next((candidate for candidate in candidates if candidate in own), name)
        if target.endswith("pos_embed") and target in own and own[target].shape != tensor.shape:
            from lavis.layers.vit import resize_position_embedding

            tensor = resize_position_embedding(tensor, own[target].shape[1])
        if target in own and own[target].dtype != tensor.dtype:
            tensor = tensor.to(own[target].dtype)
        fitted[target] = tensor
    lost = [name for name in fitted if name not in own and "lora_" in name]
    if lost:
        raise CheckpointError(
            f"the weights hold {len(lost)} LoRA tensors but the model has no adapters there ({lost[0]}); set "
            "model.language_model.lora"
        )
    return fitted

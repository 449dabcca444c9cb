"""Assembles a ``VideoLLM`` from the ``model`` node of a configuration, and fills it with weights."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lavis.common.assets import resolve_asset
from lavis.common.checkpoint import ADAPTER_CONFIG, Checkpoint, CheckpointError, load_weights, read_checkpoint
from lavis.common.construct import build_part, construct
from lavis.common.feature_store import CacheConfig
from lavis.common.keymap import load_keymap, recognise
from lavis.common.registry import registry
from lavis.common.schema import GenerationConfig
from lavis.common.yaml_tree import ConfigError
from lavis.layers.lora import fold_lora
from lavis.models.compressors.base import Compressor
from lavis.models.language_models._added_tokens import with_added_rows
from lavis.models.prompts.subtitle_choice import SubtitleChoice
from lavis.models.video_llm import VideoLLM

_log = logging.getLogger(__name__)


def build_model(node: Mapping[str, Any], *, weights: bool = True, device: str | torch.device = "cpu") -> VideoLLM:
    """The model a node describes.

    Args:
        node: the ``model`` section: parts by kind, ``generation``, ``trainable``, ``weights``, ``fold_adapters``,
            ``cache``, ``seed``.
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
        found = load_model_weights(model, [files] if isinstance(files, (str, Path)) else list(files))
        if node.get("fold_adapters"):
            _log.info("weights: the updates of %d adapters are folded in; they begin anew", fold_lora(model))
        if model.head is not None and not any(name.startswith("head.") for name in found):
            model.head.begin(model.language_model.model)
            model.fresh_head = True
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


def load_model_weights(model: VideoLLM, files: Sequence[str | Path]) -> set[str]:
    """Copies weights files into a model, in order; each is recognised as ours or as a published family.

    Every name in a file must be known, and every weight that learns must be found in one of the files, unless it starts
    from its initial value by nature (adapters, projections that the earlier files never had): then it is logged.

    Returns:
        names of what was found.

    Raises:
        CheckpointError: if a file cannot be read or does not fit.
    """
    found: set[str] = set()
    for file in files:
        checkpoint = read_published(resolve_asset(str(file)), model=model.state_dict())
        try:
            check_adapters(checkpoint, model)
            state = adapt(checkpoint.state, model)
            report = load_weights(model, Checkpoint(state, checkpoint.metadata, checkpoint.path), require="none")
        except CheckpointError as error:
            raise CheckpointError(f"{error}{_origin(checkpoint)}") from error
        found |= set(report.loaded)
        _log.info("weights: %d tensors from %s", len(report.loaded), checkpoint.path)
    if model.subtitle_choice is not None:
        model.subtitle_choice.reset()
    fresh = [name for name, p in model.named_parameters() if p.requires_grad and name not in found]
    if fresh:
        kinds = Counter("adapters" if ".lora_" in name else ".".join(name.split(".")[:2]) for name in fresh)
        counts = ", ".join(f"{count} of {kind}" for kind, count in kinds.items())
        _log.info("weights: %d trainable tensors start from their initial value: %s", len(fresh), counts)
    return found


def read_published(path: str | Path, family: str | None = None, model: Iterable[str] = ()) -> Checkpoint:
    """A weights file under our names, whoever wrote it.

    Args:
        path: ours (.safetensors), or a published .pth, .bin or .safetensors.
        family: name of a key map; by default it is recognised by the names in the file.
        model: names of the weights of the model that is to be filled, if there is one.

    Raises:
        CheckpointError: if it cannot be read, or holds names the key map does not know.
    """
    checkpoint = read_checkpoint(path)
    keymap = load_keymap(family) if family is not None else recognise(checkpoint.state, model)
    if keymap is None:
        return checkpoint
    state, dropped = keymap.apply(checkpoint.state, str(checkpoint.path))
    family = keymap.summary or keymap.name
    _log.info("%s is read as %s; %d names are left out", checkpoint.path, family, len(dropped))
    return Checkpoint(state, {**checkpoint.metadata, "family": family}, checkpoint.path)


def check_adapters(checkpoint: Checkpoint, model: VideoLLM) -> None:
    """That adapters are scaled here as they were where they were trained; the weights alone do not tell.

    Raises:
        CheckpointError: if not.
    """
    from lavis.layers.lora import adapters

    layers = adapters(model.language_model.model)
    if ADAPTER_CONFIG not in checkpoint.metadata or not layers:
        return
    theirs = json.loads(checkpoint.metadata[ADAPTER_CONFIG])
    rank, alpha = theirs.get("r"), theirs.get("lora_alpha")
    ours = float(layers[0].scaling["default"])  # type: ignore[index]
    if rank and alpha and abs(alpha / rank - ours) > 1e-6 * ours:
        raise CheckpointError(
            f"{checkpoint.path} holds adapters of rank {rank} with alpha {alpha}, but those of the model are scaled by "
            f"{ours:g}; set model.language_model.lora to rank {rank} and alpha {alpha}"
        )


def _origin(checkpoint: Checkpoint) -> str:
    """Whose weights these are, for a message."""
    if "family" in checkpoint.metadata:
        return f"\n  The file was read as: {checkpoint.metadata['family']}"
    config = checkpoint.config or {}
    return f"\n  The file comes from the run {config['name']}" if config.get("name") else ""


def _vocabulary(model: nn.Module) -> dict[str, Callable[[Tensor], Tensor]]:
    """Embeddings of a language model with added tokens, and what gives one read from a file the rows it lacks."""
    decoder: Any = getattr(model, "language_model", None)
    if not getattr(decoder, "added_tokens", ()):
        return {}
    layers = [decoder.model.get_input_embeddings(), decoder.model.get_output_embeddings()]
    weights = {id(layer.weight): layer.weight for layer in layers if layer is not None}
    count, start = len(decoder.added_tokens), decoder.added_rows
    return {
        name: partial(with_added_rows, rows=len(weight), added=count, start=start)
        for name, weight in model.named_parameters()
        if id(weight) in weights
    }


def adapt(state: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Fits a state to a model: plain weights below LoRA layers, position tables of another size, added tokens' rows."""
    own = model.state_dict()
    growing = _vocabulary(model)
    fitted: dict[str, Tensor] = {}
    for name, tensor in state.items():
        stem, _, leaf = name.rpartition(".")
        candidates = (name, f"{stem}.base_layer.{leaf}", f"{stem.removesuffix('.base_layer')}.{leaf}")
        target = next((candidate for candidate in candidates if candidate in own), name)
        if target.endswith("pos_embed") and target in own and own[target].shape != tensor.shape:
            from lavis.layers.vit import resize_position_embedding

            tensor = resize_position_embedding(tensor, own[target].shape[1])
        if target in growing:
            tensor = growing[target](tensor)
        if target in own and own[target].numel() == tensor.numel() == 1:
            tensor = tensor.reshape(own[target].shape)
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

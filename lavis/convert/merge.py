"""``lavis convert --merge``: what a training left becomes one file with all weights, adapters added to them.

A checkpoint of ours holds what learned, and says where all else came from: base weights, the stages before. The merged
file needs none of these any more, nor a LoRA: it answers as the training's model does, begins a further stage, or goes
to others. Source: the merging tool of E.T. Chat (PolyU-ChenLab/ETBench) and MeCo (pangzss/MeCo), which writes a folder
of transformers; here it is a file that ``load_model`` reads by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lavis.common.checkpoint import CheckpointError, load_weights, read_checkpoint, save_checkpoint


@dataclass(frozen=True, slots=True)
class MergeReport:
    """What became of a checkpoint.

    Args:
        learned: tensors that the training left.
        kept: tensors written.
        adapters: layers whose update was added to their weight.
        out: the file written.
    """

    learned: int
    kept: int
    adapters: int
    out: Path

    def __str__(self) -> str:
        return (
            f"{self.learned} trained tensors, {self.adapters} adapters added to their weights; "
            f"{self.kept} weights written to {self.out}"
        )


def merge(source: str | Path, out: str | Path) -> MergeReport:
    """Writes the whole model that a checkpoint of ours is part of.

    Args:
        source: ``best.safetensors`` of a run, or the run's folder.
        out: .safetensors file to write, or a folder for ``model.safetensors``.

    Raises:
        CheckpointError: if the file has no configuration, or does not fit the model that this describes.
    """
    from lavis.layers.lora import adapters, folded_state
    from lavis.models.build import build_model

    file = Path(source)
    if file.is_dir():
        file = file / "checkpoints" / "best.safetensors"
    checkpoint = read_checkpoint(file)
    config = checkpoint.config
    if config is None or "model" not in config:
        raise CheckpointError(
            f"{file} does not say which model it belongs to; --merge is for what a training of lavis left "
            "(checkpoints/best.safetensors). Published files are converted without it"
        )
    model = build_model(config["model"])
    load_weights(model, checkpoint, require="trainable" if config["model"].get("trainable") else "none")
    state = folded_state(model)
    target = Path(out) if Path(out).suffix == ".safetensors" else Path(out) / "model.safetensors"
    if target.resolve() == file.resolve():
        raise CheckpointError(f"{file} would be replaced by what is made of it; give another name")
    facts = {name: value for name, value in checkpoint.metadata.items() if name not in ("config", "frozen_weights")}
    save_checkpoint(
        target, state, config={**config, "model": by_itself(config["model"])}, metadata={**facts, "merged": file.name}
    )
    return MergeReport(len(checkpoint.state), len(state), len(adapters(model)), target)


def by_itself(node: Mapping[str, Any]) -> dict[str, Any]:
    """The ``model`` section of a merged file: no adapters, and nothing to read besides it but tokenizers."""
    left_out = ("weights", "fold_adapters", "trainable")
    own = {key: value for key, value in node.items() if key not in left_out}
    language = {key: value for key, value in own["language_model"].items() if key != "lora"}
    if language.get("architecture") or language.get("config"):
        language["tokenizer"] = language.get("tokenizer") or language.get("pretrained")
        language["pretrained"] = None
    own["language_model"] = language
    return own

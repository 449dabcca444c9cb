"""MeCo at its published size, which needs no memory on the meta device: names, shapes and totals, and merged names."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from lavis.common.config import load_config
from lavis.common.keymap import load_keymap
from lavis.models.build import build_model
from lavis.models.video_llm import VideoLLM
from tests.parity_cases._meco_models import model_node

SYSTEM = "meco"
CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "models"

# Groups of the recorded totals by the beginnings of our names; the first that fits counts.
GROUPS = {
    "encoder.": "vision_tower",
    "compressor.Qformer.": "qformer_bert",
    "compressor.": "qformer_",
    "head.text_head.": "vid_head",
    "head.frame_head.": "frm_head",
    "head.logit_scale": "logit_scale",
    "language_model.model.model.embed_tokens.": "embed_tokens",
    "language_model.model.lm_head.": "lm_head",
    "language_model.model.model.layers.": "layers",
    "language_model.": "other",
}

Case = tuple[str, Callable[[], float]]


def cases(golden: Path) -> Iterator[Case]:
    """Each recorded size, and each list of merged names whose model is recorded."""
    for path in sorted(golden.glob("modules/full_size_shapes_*.json")):
        name = path.stem.removeprefix("full_size_shapes_")
        yield f"{name}: every name and shape at full size", partial(shapes, path, name)
        yield f"{name}: parameters of each group, with adapters", partial(totals, path, name)
    for path in sorted(golden.glob("training/merged_state_dict_keys_*.json")):
        folder = golden / "models" / f"meco_{path.stem.removeprefix('merged_state_dict_keys_')}"
        if folder.is_dir():
            yield f"{folder.name}: names after merging", partial(merged, golden, path, folder)


def full_size(name: str, **language_model: Any) -> VideoLLM:
    """A published model on the meta device, with toy tokenizers: rows of embeddings are those of its configuration."""
    node = load_config(CONFIGS / f"{name}.yaml")["model"]
    node["language_model"] |= {"pretrained": None, "tokenizer": "asset:toy/chat_tokenizer", **language_model}
    node["compressor"]["tokenizer"] = "asset:toy/bert_tokenizer"
    del node["trainable"]  # would ask for adapters
    return build_model(node, weights=False, device="meta")


def groups(model: VideoLLM) -> Counter[str]:
    """Parameters by group of the recorded totals."""
    counts: Counter[str] = Counter()
    for name, parameter in model.named_parameters():
        group = next(group for prefix, group in GROUPS.items() if name.startswith(prefix))
        counts["lora" if ".lora_" in name else group] += parameter.numel()
    return counts


def shapes(path: Path, name: str) -> float:
    recorded = json.loads(path.read_text())["state_dict_shapes"]
    table, model = load_keymap("meco"), full_size(f"meco/{name}", lora=None)
    # A number is a vector of one here.
    renamed = {table.rename(old): tuple(shape) or (1,) for old, shape in recorded.items()}
    ours = {key: tuple(value.shape) for key, value in model.state_dict().items() if not key.endswith("position_ids")}
    _same(ours, {key: shape for key, shape in renamed.items() if key is not None})
    return 0.0


def totals(path: Path, name: str) -> float:
    recorded = json.loads(path.read_text())
    counts = groups(full_size(f"meco/{name}"))
    _same(dict(counts), recorded["by_group"])
    assert counts.total() == recorded["total_with_lora_r128"], f"ours: {counts.total()}"
    assert counts.total() - counts["lora"] == recorded["total_parameters"], f"ours: {counts.total() - counts['lora']}"
    return 0.0


def merged(golden: Path, path: Path, folder: Path) -> float:
    table = load_keymap("meco")
    parts = {"prompt": {"name": "chat"}, "codec": {"name": "structural_tokens"}}
    model = build_model({**model_node(golden, folder), **parts}, weights=False, device="meta")
    ours = {key: () for key in model.state_dict() if not key.endswith("position_ids")}
    renamed = (table.rename(old) for old in json.loads(path.read_text()))
    _same(ours, {key: () for key in renamed if key is not None})
    return 0.0


def _same(ours: dict[str, Any], recorded: dict[str, Any]) -> None:
    assert recorded, "nothing is recorded"
    for name in sorted(ours.keys() | recorded.keys()):
        assert ours.get(name) == recorded.get(name), f"{name}: ours {ours.get(name)}, recorded {recorded.get(name)}"

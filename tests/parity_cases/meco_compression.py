"""MeCo's frame compression against recorded outputs: encoder, question-conditioned Q-Former, aggregation, projection.

Videos, questions and settings are read from the folder; none is listed here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tests.parity_cases._meco_models import gap, load_parts

SYSTEM = "meco"
TOLERANCE = 1e-5

Case = tuple[str, Callable[[], float]]


def cases(golden: Path) -> Iterator[Case]:
    """Comparisons for whatever ``golden`` holds; none of its files is required."""
    for described in sorted(golden.glob("*/frame_compression.json")):
        for row in json.loads(described.read_text()):
            yield f"{described.parent.name}/frame_compression {row['name']}", _comparison(golden, described, row)
    for model in sorted(golden.glob("models/*/config.json")):
        if "vision_feats" in _arrays(model.parent / "train_forward.npz"):
            yield f"models/{model.parent.name} vision", _vision_comparison(golden, model.parent)


def _comparison(golden: Path, described: Path, row: dict[str, Any]) -> Callable[[], float]:
    def compare() -> float:
        arrays = _arrays(described.with_suffix(".npz"))
        encoder, compressor = load_parts(golden, golden / "models" / "meco_phi3")
        name, worst, at = row["name"], 0.0, 0
        images = torch.from_numpy(arrays[f"{name}_image"])
        with torch.no_grad():
            features = encoder.finish(encoder.run_backbone(images))
            worst = max(worst, _difference(features, arrays[f"{name}_feats"]))
            for i, count in enumerate(row["img_cnt"]):
                tag = row["tag"][i]
                compressor.time_tag = bool(row["use_time_tag"]) and tag is not None
                questions = row["query"][i]
                ids = compressor.tokenizer(questions, padding="longest", truncation=True, max_length=256)["input_ids"]
                if ids != row["qformer_ids"][i]:
                    raise AssertionError(f"word pieces of {questions!r:.80} differ: {ids} for {row['qformer_ids'][i]}")
                tokens = compressor.read(features[at : at + count], questions, tag or [])
                worst = max(worst, _difference(tokens, arrays[f"{name}_out_{i}"]))
                at += count
        compressor.time_tag = False
        return worst

    return compare


def _vision_comparison(golden: Path, folder: Path) -> Callable[[], float]:
    def compare() -> float:
        arrays = _arrays(folder / "train_forward.npz")
        meta = json.loads((folder / "meta.json").read_text())
        encoder, compressor = load_parts(golden, folder)
        images = [torch.from_numpy(arrays[f"image_{i}"]) for i in range(len(meta["query"]))]
        with torch.no_grad():
            features = encoder.finish(encoder.run_backbone(torch.cat(images)))
            worst = _difference(features, arrays["vision_feats"])
            for i, own in enumerate(torch.split(features, [len(image) for image in images])):
                tokens = compressor.read(own, meta["query"][i], [])
                if f"frame_embeds_{i}" in arrays:
                    worst = max(worst, _difference(tokens, arrays[f"frame_embeds_{i}"]))
        return worst

    return compare


@cache
def _arrays(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    with np.load(path) as stored:
        return {name: stored[name] for name in stored.files}


def _difference(ours: Tensor, recorded: Any) -> float:
    return gap(ours, torch.from_numpy(np.asarray(recorded)))

"""Models of three sizes with random weights, and batches of noise for them.

``tiny`` runs anywhere in milliseconds, ``middle`` (ViT-B, six layers of Q-Former, T5-small) shows on a CPU what the
real sizes show on a GPU, ``published`` has the sizes of CALCE and MR.BLIP (EVA-CLIP g, BLIP-2's Q-Former, Flan-T5 XL).
All are CALCE's first stage without subtitles; with ``every_token`` no token is dropped, as in MR.BLIP.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from lavis.models.build import build_model
from lavis.models.video_llm import VideoLLM
from lavis.structures import Batch, Frames, Moment, VideoSample

STEPS = 14  # tokens of an answer such as [[24, 62]]


@dataclass(frozen=True)
class Size:
    """Sizes of one model and its input."""

    frames: int
    image: int
    patch: int
    width: int
    depth: int
    heads: int
    mlp_ratio: float
    queries: int
    qformer: dict[str, Any]
    language: dict[str, Any]
    clusters: int = 12
    lora: dict[str, Any] = field(default_factory=lambda: {"rank": 8, "alpha": 8, "dropout": 0.0})

    def __str__(self) -> str:
        text = f"{self.frames} frames of {self.image} px, ViT {self.depth} x {self.width} patch {self.patch}"
        qformer, language = {"layers": 12, "width": 768, **self.qformer}, self.language
        text += f", Q-Former {qformer['layers']} x {qformer['width']} with {self.queries} queries"
        t5 = language.get("overrides", {})
        if "d_model" in t5:
            return text + f", T5 {t5['num_layers']} + {t5['num_decoder_layers']} x {t5['d_model']}"
        return text + f", {language['architecture']}"


def _t5(width: int, inner: int, layers: int, heads: int, head_width: int, vocabulary: int) -> dict[str, Any]:
    sizes = {"d_model": width, "d_ff": inner, "num_heads": heads, "d_kv": head_width, "vocab_size": vocabulary}
    return {"overrides": {**sizes, "num_layers": layers, "num_decoder_layers": layers, "dropout_rate": 0.0}}


_TEXTLESS = {"vocab_size": 288, "max_positions": 256, "dropout": 0.0}
TINY = Size(
    8, 28, 14, 32, 2, 2, 4.0, 8, {**_TEXTLESS, "width": 24, "layers": 2, "heads": 2, "hidden": 40},
    _t5(32, 48, 2, 4, 8, 800), clusters=3,
)  # fmt: skip
MIDDLE = Size(
    60, 224, 14, 768, 12, 12, 4.0, 32, {**_TEXTLESS, "width": 768, "layers": 6, "heads": 12, "hidden": 3072},
    _t5(512, 1024, 6, 8, 64, 32128),
)  # fmt: skip
PUBLISHED = Size(
    60, 224, 14, 1408, 39, 16, 4.3637, 32, {"dropout": 0.0},
    {"architecture": "flan_t5_xl", "overrides": {"dropout_rate": 0.0}},
)  # fmt: skip


def size_of(name: str, quick: bool = False) -> Size:
    """The size called ``name``; ``quick`` takes fewer frames of all but the tiny one."""
    size = {"tiny": TINY, "middle": MIDDLE, "published": PUBLISHED}[name]
    return replace(size, frames=8, clusters=3) if quick and name != "tiny" else size


def model_node(
    size: Size, *, every_token: bool = False, precision: str = "fp32", cached: bool = True
) -> dict[str, Any]:
    """The ``model`` section of a configuration.

    Args:
        size: of the parts.
        every_token: all tokens of every frame go to the language model.
        precision: of the frozen encoder's weights.
        cached: whether output of frozen parts is kept.
    """
    compressor: dict[str, Any] = {"name": "qformer_frames"}
    if not every_token:
        keyframes = {"features": "patch_mean", "mode": "cluster", "num_clusters": size.clusters, "dilation": 1}
        compressor = {"name": "keyframe_qformer", "reduction": 4, "keyframes": keyframes}
    compressor |= {"num_queries": size.queries, "qformer": size.qformer, "text": False}
    view = {
        "reader": {"name": "pyav"},
        "sampler": {"name": "head", "num_frames": size.frames},
        "transform": {phase: {"name": "clip_eval", "image_size": size.image} for phase in ("train", "eval")},
    }
    node = {
        "processor": {"views": {"frames": view}},
        "encoder": {
            "name": "eva_vit", "image_size": size.image, "patch_size": size.patch, "width": size.width,
            "depth": size.depth, "heads": size.heads, "mlp_ratio": size.mlp_ratio, "vit_precision": precision,
        },
        "compressor": compressor,
        "prompt": {"name": "interleaved", "show_subtitles": False, "show_items": not every_token},
        "language_model": {"name": "t5", "tokenizer": "asset:toy/t5_tokenizer", "lora": size.lora, **size.language},
        "codec": {"name": "seconds_text", "style": "seconds_integers", "parser": "calce"},
        "generation": {"num_beams": 1, "max_new_tokens": STEPS, "min_length": STEPS + 1},
        "trainable": ["language_model.*.lora_*", "compressor.t5_proj.*"]
        + ([] if every_token else ["compressor.query_proj.*"]),
    }  # fmt: skip
    return with_cache(node, memory_mb=8192 if cached else 0)


def with_cache(node: dict[str, Any], memory_mb: int, folder: Path | None = None) -> dict[str, Any]:
    """The node with so much memory, and a folder, for output of frozen parts; 0 and none compute everything anew."""
    return {**node, "cache": {"memory_mb": memory_mb, **({} if folder is None else {"folder": str(folder)})}}


def build(node: dict[str, Any], device: str = "cpu", seed: int = 0) -> VideoLLM:
    """The model, with random weights that depend on the seed alone."""
    torch.manual_seed(seed)
    return build_model(node, device=device)


def noise(size: Size, samples: int, *, videos: int | None = None, device: str = "cpu") -> Batch:
    """Questions on ``videos`` videos of noise (as many as samples, unless told) of 150 s."""
    frames = []
    for i in range(videos or samples):
        generator = torch.Generator().manual_seed(i)
        pixels = torch.randn(size.frames, 3, size.image, size.image, generator=generator)
        frames.append(Frames(pixels, [150 * n / size.frames for n in range(size.frames)], key=f"noise-{i}"))
    asked = [
        VideoSample(f"q{i}", "noise", f"a red circle moves left {i}", 150, [Moment(24, 62)], items=["circle"])
        for i in range(samples)
    ]
    return Batch(asked, {"frames": [frames[i % len(frames)] for i in range(samples)]}).to(device)


def prompt_lengths(model: VideoLLM) -> list[int]:
    """A list to which every batch that the model packs adds the length of its longest prompt, in tokens."""
    lengths: list[int] = []
    pack = model.language_model.pack

    def noted(*args: Any, **kwargs: Any) -> Any:
        packed = pack(*args, **kwargs)
        lengths.append(packed.embeds.shape[1])
        return packed

    model.language_model.pack = noted  # type: ignore[method-assign]
    return lengths

"""Whisper of a faster-whisper folder as transformers has it, and where real speech lies: packages that tests may use.

The weights are numbers of the same model in another file, so both transcribers can be tried on real speech with what
one package ships. CTranslate2's file: a header, then name, shape, kind and bytes of each variable.
"""

from __future__ import annotations

import json
import os
import struct
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

KINDS = (np.float32, np.int8, np.int16, np.int32, np.float16)
_SUFFIXES = {"gamma": "weight", "beta": "bias"}


def package_file(package: str, *parts: str) -> Path:
    """A file or folder in an installed package; skips the test where the package is absent."""
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        pytest.skip(f"the package {package.replace('_', '-')} is not installed; it holds {'/'.join(parts)}")
    return Path(spec.submodule_search_locations[0], *parts)


def librivox() -> Path:
    """Sentences of *Sense and Sensibility* with transcripts: Debian's ``pocketsphinx-testdata``."""
    folder = Path(os.environ.get("LAVIS_LIBRIVOX", "/usr/share/pocketsphinx/test/data/librivox"))
    if not (folder / "transcription").is_file():
        pytest.skip(f"no speech in {folder}: install Debian's pocketsphinx-testdata, or set LAVIS_LIBRIVOX")
    return folder


def save_for_transformers(folder: Path, target: Path) -> Path:
    """Writes the Whisper model in ``folder`` (CTranslate2, float16) to ``target`` as transformers reads it."""
    import torch
    from transformers import GenerationConfig, WhisperConfig, WhisperFeatureExtractor, WhisperForConditionalGeneration

    variables = read_variables(folder / "model.bin")
    facts = json.loads((folder / "config.json").read_text())
    tokens = json.loads((folder / "tokenizer.json").read_text())["added_tokens"]
    ids = {row["content"]: row["id"] for row in tokens}
    width, mels = variables["encoder/conv1/weight"].shape[:2]
    layers = len({name.split("/")[1] for name in variables if name.startswith("decoder/layer_")} - {"layer_norm"})
    heads = int(variables["encoder/num_heads"])
    start, end = ids["<|startoftranscript|>"], ids["<|endoftext|>"]
    config = WhisperConfig(
        vocab_size=variables["decoder/embeddings/weight"].shape[0], num_mel_bins=mels, d_model=width,
        encoder_layers=layers, decoder_layers=layers, encoder_attention_heads=heads, decoder_attention_heads=heads,
        encoder_ffn_dim=4 * width, decoder_ffn_dim=4 * width, decoder_start_token_id=start, eos_token_id=end,
        bos_token_id=end, pad_token_id=end,
    )  # fmt: skip
    model = WhisperForConditionalGeneration(config)
    state = {name: torch.from_numpy(value.astype(np.float32)) for name, value in renamed(variables).items()}
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected and set(missing) <= {"proj_out.weight"}, (missing, unexpected)
    model.tie_weights()
    model.generation_config = GenerationConfig(
        decoder_start_token_id=start, eos_token_id=end, bos_token_id=end, pad_token_id=end, is_multilingual=False,
        no_timestamps_token_id=ids["<|notimestamps|>"], suppress_tokens=facts["suppress_ids"],
        begin_suppress_tokens=facts["suppress_ids_begin"], max_initial_timestamp_index=50, max_length=448,
        return_timestamps=False,
    )  # fmt: skip
    model.save_pretrained(target)
    WhisperFeatureExtractor(feature_size=mels).save_pretrained(target)
    target.joinpath("tokenizer.json").write_bytes((folder / "tokenizer.json").read_bytes())
    rows = {"tokenizer_class": "WhisperTokenizer", "eos_token": "<|endoftext|>", "bos_token": "<|endoftext|>"}
    rows |= {"unk_token": "<|endoftext|>", "pad_token": "<|endoftext|>"}
    target.joinpath("tokenizer_config.json").write_text(json.dumps(rows))
    return target


def read_variables(path: Path) -> dict[str, Any]:
    """Names to arrays of a CTranslate2 file in half precision; single numbers are arrays without dimensions."""
    data = path.read_bytes()
    at = 4  # the version

    def take(form: str) -> Any:
        nonlocal at
        values = struct.unpack_from(f"<{form}", data, at)
        at += struct.calcsize(f"<{form}")
        return values[0] if len(values) == 1 else values

    name_size = take("H")
    at += name_size + 4  # the kind of model and its revision
    found = {}
    for _ in range(take("I")):
        size = take("H")
        name = data[at : at + size - 1].decode()
        at += size
        shape = [take("I") for _ in range(take("B"))]
        kind, size = take("B"), take("I")
        dtype = np.dtype(KINDS[kind])
        found[name] = np.frombuffer(data[at : at + size], dtype).reshape(shape)
        at += size
    return found


def renamed(variables: dict[str, Any]) -> dict[str, Any]:
    """The variables under the names of transformers; fused projections taken apart."""
    state: dict[str, Any] = {}
    for name, value in variables.items():
        side, *parts = name.split("/")
        prefix = f"model.{side}"
        suffix = _SUFFIXES.get(parts[-1], parts[-1])
        if parts[0].startswith("conv"):
            state[f"{prefix}.{parts[0]}.{suffix}"] = value
        elif parts[0] == "embeddings":
            state[f"{prefix}.embed_tokens.weight"] = value
        elif parts[0] == "position_encodings":
            state[f"{prefix}.embed_positions.weight"] = value
        elif parts[0] == "layer_norm":
            state[f"{prefix}.layer_norm.{suffix}"] = value
        elif parts[0].startswith("layer_"):
            layer = f"{prefix}.layers.{parts[0].removeprefix('layer_')}"
            state |= {f"{layer}.{key}": part for key, part in _of_layer(parts[1:], suffix, value)}
    return state


def _of_layer(parts: list[str], suffix: str, value: Any) -> list[tuple[str, Any]]:
    block, part = parts[0], parts[1]
    if block == "ffn":
        target = {"layer_norm": "final_layer_norm", "linear_0": "fc1", "linear_1": "fc2"}[part]
        return [(f"{target}.{suffix}", value)]
    attention = {"self_attention": "self_attn", "attention": "encoder_attn"}[block]
    if part == "layer_norm":
        return [(f"{attention}_layer_norm.{suffix}", value)]
    fused = {
        ("self_attn", "linear_0"): ("q_proj", "k_proj", "v_proj"), ("self_attn", "linear_1"): ("out_proj",),
        ("encoder_attn", "linear_0"): ("q_proj",), ("encoder_attn", "linear_1"): ("k_proj", "v_proj"),
        ("encoder_attn", "linear_2"): ("out_proj",),
    }[attention, part]  # fmt: skip
    pieces = np.split(value, len(fused))
    pairs = [(f"{attention}.{name}.{suffix}", piece) for name, piece in zip(fused, pieces, strict=True)]
    return [(name, piece) for name, piece in pairs if not name.endswith("k_proj.bias")]  # keys have none

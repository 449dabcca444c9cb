"""MeCo's ways to keep weights: adapters, what was trained beside them and a start amount to the merged weights."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from lavis.common.keymap import load_keymap
from lavis.layers.lora import merge_lora
from lavis.models.build import build_model, load_model_weights
from tests.parity_cases._meco_models import model_node

SYSTEM = "meco"
RANK, ALPHA = 4, 8
PREFIX = "base_model.model."

Case = tuple[str, Callable[[], float]]


def cases(golden: Path) -> Iterator[Case]:
    """Every recorded state with adapters whose model is recorded too."""
    for path in sorted(golden.glob("training/steps_*/init_state_dict.safetensors")):
        name = path.parent.name.removeprefix("steps_")
        if (golden / "models" / f"meco_{name}").is_dir():
            yield f"{name}: start, adapters and what was trained beside them", partial(parts, golden, path, name)


def parts(golden: Path, path: Path, name: str) -> float:
    """Worst difference from the merged weights, computed from the recorded state in double precision."""
    state = load_file(path)
    learned = json.loads((golden / "training" / "trainable_params.json").read_text())[f"{name}_stage3"]["params"]
    kinds: dict[str, dict[str, Tensor]] = {"adapter": {}, "beside": {}, "start": {}}
    for key, value in state.items():
        kind = "adapter" if ".lora_" in key else "beside" if learned.get(key, {}).get("requires_grad") else "start"
        kinds[kind][key] = value
    node = model_node(golden, golden / "models" / f"meco_{name}")
    node |= {"prompt": {"name": "chat"}, "codec": {"name": "structural_tokens"}}
    targets = sorted({key.split(".lora_")[0].rpartition(".")[2] for key in kinds["adapter"]})
    node["language_model"]["lora"] = {"rank": RANK, "alpha": ALPHA, "dropout": 0.0, "targets": targets}
    model = build_model(node)
    with TemporaryDirectory() as folder:
        # What is no parameter is in the file of the start, which is that of a model without adapters.
        start = {key.removeprefix(PREFIX).replace(".base_layer.", "."): v for key, v in kinds["start"].items()}
        start |= {key.removeprefix(PREFIX): torch.zeros_like(v) for key, v in kinds["beside"].items()}
        save_file(start, Path(folder) / "start.safetensors")
        trained = Path(folder) / "trained"
        trained.mkdir()
        save_file(
            {k.replace(".default.", "."): v for k, v in kinds["adapter"].items()}, trained / "adapter_model.safetensors"
        )
        (trained / "adapter_config.json").write_text(json.dumps({"r": RANK, "lora_alpha": ALPHA}))
        save_file(kinds["beside"], trained / "pytorch_model.safetensors")
        load_model_weights(model, [Path(folder) / "start.safetensors", trained])
    merge_lora(model)
    held, table, worst = model.state_dict(), load_keymap("meco"), 0.0
    for key, value in state.items():
        ours = table.rename(key)
        if ours is None or ".lora_" in key:
            continue
        expected = value.double()
        if key.endswith(".base_layer.weight"):
            stem = key.removesuffix("base_layer.weight")
            down, up = state[f"{stem}lora_A.default.weight"], state[f"{stem}lora_B.default.weight"]
            expected = expected + up.double() @ down.double() * (ALPHA / RANK)
        worst = max(worst, float((held[ours].double() - expected).abs().max()))
    assert worst <= 1e-6, f"weights differ by up to {worst:.1e}"
    return worst

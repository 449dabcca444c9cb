"""What learns in each stage of MeCo, at what rate, and five recorded steps of its third stage.

The stages are those of ``configs/experiments/meco``: their patterns, adapters and rates on the recorded toy model. A
step runs through the whole model, from frames and annotation to the weights that AdamW leaves.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from lavis.common.config import load_config
from lavis.common.keymap import load_keymap
from lavis.datasets.formats.et_instruct import ETInstruct
from lavis.layers.lora import merge_lora
from lavis.models.build import build_model
from lavis.models.video_llm import VideoLLM
from lavis.processors.readers.base import VideoInfo
from lavis.processors.samplers import FixedRate
from lavis.processors.transforms import ShortSideEval
from lavis.processors.view import average_rate_times
from lavis.runners.modalities import by_modality
from lavis.runners.optim import build_optimizer, parameter_groups
from lavis.structures import Batch, Frames
from tests.parity_cases._meco_models import model_node

SYSTEM = "meco"
TOLERANCE = 1e-4
CONFIGS = Path(__file__).resolve().parents[2] / "configs"
LANGUAGE_MODELS = {"phi3": "phi3", "qwen2": "minicpmv_qwen2"}
VIDEOS = {"a.mp4": (12, 1), "b.mp4": (21, 2), "c.mp4": (9, 3)}
"""Seconds and seed of the recorded videos, of three frames a second."""
KEY_BIASES = (".key.bias", "qformer_k_proj.0.bias", "qformer_k_proj.1.bias")

Case = tuple[str, Callable[[], float]]


def cases(golden: Path) -> Iterator[Case]:
    """Comparisons for whatever ``golden`` holds; none of its files is required."""
    file = golden / "training" / "trainable_params.json"
    for name, recorded in (json.loads(file.read_text()) if file.is_file() else {}).items():
        yield f"training/{name} what learns", lambda name=name, r=recorded: _what_learns(golden, name, r)
    for recorded_steps in sorted(golden.glob("training/*/steps.json")):
        folder = recorded_steps.parent
        yield f"training/{folder.name}", lambda folder=folder: _steps(golden, folder)
    file = golden / "data" / "dataset_items.json"
    for item in json.loads(file.read_text()) if file.is_file() else []:
        yield f"data/dataset_items {item['kind']} {item['index']} frames", lambda item=item: _shown(golden, item)
    file = golden / "data" / "modality_sampler.json"
    for row in json.loads(file.read_text()) if file.is_file() else []:
        yield f"data/modality_sampler seed {row['seed']}", lambda row=row: _order(row)


def _what_learns(golden: Path, name: str, recorded: Mapping[str, Any]) -> float:
    """Names, shapes, groups and rates; 0 if all are equal."""
    family, stage, *layer = name.split("_")
    experiment = load_config(CONFIGS / "experiments" / "meco" / f"{stage}_{LANGUAGE_MODELS[family]}.yaml")
    own, run = experiment["model"], experiment["run"]
    node = _toy(golden, f"meco_{family}")
    node["trainable"] = own["trainable"]
    node["language_model"] |= {
        "lora": own["language_model"].get("lora"),
        "added_tokens": own["language_model"].get("added_tokens") or [],
    }
    if own.get("head") is None:
        node["head"] = None
    if layer:
        node["head"] = {**node["head"], "frame_head": "layer"}
    rows, width = recorded["vocab"]["embed"]
    node["language_model"]["config"]["vocab_size"] = rows
    model = build_model(node, weights=False)
    assert model.language_model.width == width
    vocabulary = model.language_model.tokenizer.get_vocab()
    assert len(vocabulary) == recorded["vocab"]["tokenizer"], f"{len(vocabulary)} tokens"
    numbers = [vocabulary.get(token) for token in ("<vid>", "<ent>", "<tst>")]
    assert numbers == recorded["token_ids"], f"added tokens are {numbers}"
    expected = {_ours(key): value for key, value in recorded["params"].items()}
    ours = dict(model.named_parameters())
    _same_names("parameters", set(ours), set(expected))
    for key, value in expected.items():
        shape = value["shape"] or [1]  # a number is a vector of one here
        assert list(ours[key].shape) == shape, f"{key}: {list(ours[key].shape)}, recorded {shape}"
        assert ours[key].requires_grad == value["requires_grad"], f"{key} learns: {ours[key].requires_grad}"
    decay = 0.5  # that of the recipe is 0, which hides what would decay
    groups = parameter_groups(
        model.named_parameters(),
        learning_rate=run["learning_rate"],
        weight_decay=decay,
        lr_groups=run.get("lr_groups"),
        no_decay=run["no_decay"],
        decay_vectors=run["decay_vectors"],
    )
    found = {(group["lr"], bool(group["weight_decay"])): set(group["names"]) for group in groups}
    wanted = {}
    for number, group in enumerate(recorded["optimizer_groups"]):
        assert run["weight_decay"] == group["weight_decay"], f"weight decay {run['weight_decay']}"
        if group["names"]:
            rate = _published_rate(family, stage, group["lr"])
            wanted[rate, number % 2 == 0] = {_ours(key) for key in group["names"]}
    for key in found.keys() | wanted.keys():
        _same_names(f"group of rate {key[0]:g}", found.get(key, set()), wanted.get(key, set()))
    targets = recorded["lora_targets"]
    lora = own["language_model"].get("lora")
    assert sorted(lora["targets"]) == sorted(targets) if targets else lora is None, f"adapters on {lora}"
    return 0.0


def _published_rate(family: str, stage: str, recorded: float) -> float:
    """Phi-3's first stage is E.T. Chat's, whose rate is 1e-3; the lists were recorded with that of MeCo's script."""
    if (family, stage) != ("phi3", "stage1"):
        return recorded
    assert recorded == 2e-5, f"a rate of {recorded}"
    return 1e-3


def _steps(golden: Path, folder: Path) -> float:
    """Losses, their parts, gradients and weights: the largest relative difference."""
    recorded = json.loads((folder / "steps.json").read_text())
    model = _model(golden, folder, recorded)
    batch = _batch(golden, recorded["anno_indices"])
    optimizer = build_optimizer(
        model.named_parameters(),
        learning_rate=recorded["lr"],
        weight_decay=recorded["weight_decay"],
        betas=recorded["betas"],
        eps=recorded["eps"],
        lr_groups={"*.lora_*": recorded["lora_lr"]},
    )
    model.train()
    worst = 0.0
    for row in recorded["history"]:
        losses = model(batch)
        total = torch.stack(list(losses.values())).sum()
        total.backward()
        norm = torch.nn.utils.clip_grad_norm_([p for p in model.parameters() if p.requires_grad], recorded["clip"])
        optimizer.step()
        optimizer.zero_grad()
        other = next(value for name, value in losses.items() if name != "lm")
        pairs = {"loss": total, "grad_norm": norm, "train/ar_loss": losses["lm"], "train/str_loss": other}
        for name, value in pairs.items():
            worst = max(worst, abs(float(value.detach()) - row[name]) / max(1.0, abs(row[name])))
    worst = max(worst, _checksums(model, recorded["merged_checksums"], recorded["lr"] * len(recorded["history"])))
    assert worst <= TOLERANCE, f"relative difference {worst:.2e}, allowed is {TOLERANCE:.0e}"
    return worst


def _checksums(model: VideoLLM, recorded: Mapping[str, list[float]], reach: float) -> float:
    """Sum and sum of sizes of every weight with the adapters in it, relative to the latter.

    Biases of keys have no gradient but rounding, since a softmax does not see them; AdamW makes whole steps of it. They
    only have to be where as many steps can lead, ``reach``.
    """
    merge_lora(model)
    state = {name.replace(".base_layer.", "."): w for name, w in model.state_dict().items() if ".lora_" not in name}
    worst = 0.0
    for name, (total, size) in recorded.items():
        weight = state[_ours(name)].double()
        difference = max(abs(float(weight.sum()) - total), abs(float(weight.abs().sum()) - size))
        if name.endswith(KEY_BIASES):
            assert difference <= 2 * reach * weight.numel(), f"{name} went farther than {reach:g}"
        else:
            worst = max(worst, difference / max(1.0, size))
    return worst


def _model(golden: Path, folder: Path, recorded: Mapping[str, Any]) -> VideoLLM:
    """The recorded model as it began, with what learns in the third stage."""
    family = folder.name.split("_")[1]
    node = _toy(golden, f"meco_{family}")
    lora = recorded["lora"]
    node["language_model"]["lora"] = {
        "rank": lora["r"], "alpha": lora["alpha"], "dropout": lora["dropout"], "targets": lora["target"],
    }  # fmt: skip
    file = CONFIGS / "experiments" / "meco" / f"stage3_{LANGUAGE_MODELS[family]}.yaml"
    node["trainable"] = load_config(file)["model"]["trainable"]
    model = build_model(node, weights=False)
    state = {_ours(name): value for name, value in load_file(folder / "init_state_dict.safetensors").items()}
    missing, unexpected = model.load_state_dict({n: v for n, v in state.items() if n}, strict=False)
    lost = [name for name in missing if not name.endswith("position_ids")]
    assert not lost and not unexpected, f"without weights {lost[:3]}, without a place {unexpected[:3]}"
    return model


def _toy(golden: Path, name: str) -> dict[str, Any]:
    """A recorded model with prompt and codec, as it is trained."""
    node = model_node(golden, golden / "models" / name)
    family = name.split("_")[1]
    node["language_model"]["prepend_bos"] = family == "phi3"
    node["prompt"] = {"name": "chat", "template": family}
    node["codec"] = {"name": "structural_tokens"}
    return node


def _batch(golden: Path, rows: list[int]) -> Batch:
    annotated = ETInstruct(style="meco", on_reversed="swap").read(golden / "data" / "train_annos.json").samples
    samples = [annotated[row] for row in rows]
    return Batch(samples, {"frames": [_frames(sample.video) for sample in samples]})


def _frames(video: str) -> Frames:
    seconds, seed = VIDEOS[video]
    draws = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (3 * seconds, 30, 36, 3), dtype=torch.uint8, generator=draws)[::3]
    shown = ShortSideEval(28, filter="bilinear")(pixels.permute(0, 3, 1, 2), torch.Generator())
    return Frames(shown, [float(second) for second in range(seconds)])


def _shown(golden: Path, item: Mapping[str, Any]) -> float:
    """Frames of a training sample: their number, times and pixels, of which the sum is recorded."""
    annotation = json.loads((golden / "data" / "train_annos.json").read_text())[item["index"]]
    for field in ("task", "src", "tgt"):
        assert item.get(field) == annotation.get(field), f"{field}: {item.get(field)} of {annotation.get(field)}"
    seconds, _ = VIDEOS[annotation["video"]]
    info = VideoInfo.regular(3 * seconds, 3.0)
    chosen = FixedRate(1.0, times="average_rate").indices(info)
    times = [int(time) for time in average_rate_times(chosen, info.fps, 1)]
    assert times == item["tag"], f"frames at {times}, recorded at {item['tag']}"
    shown = _frames(annotation["video"]).pixels.double()
    assert len(shown) == item["num_frames"], f"{len(shown)} frames, recorded {item['num_frames']}"
    worst = abs(float(shown.sum()) - item["image_sum"]) / float(shown.abs().sum())
    assert worst <= 1e-5, f"pixels whose sum differs by {worst:.1e} of their size"
    return worst


def _ours(name: str) -> str:
    """Our name of a weight, adapters included; empty for one we leave out."""
    plain = name.removeprefix("base_model.model.")
    return load_keymap("meco").rename(plain) or ""


def _same_names(what: str, ours: set[str], theirs: set[str]) -> None:
    only = sorted(ours - theirs), sorted(theirs - ours)
    assert not any(only), f"{what}: ours alone {only[0][:5]}, recorded alone {only[1][:5]}"


def _order(row: Mapping[str, Any]) -> float:
    draws = torch.Generator().manual_seed(row["seed"])
    steps = by_modality(row["lengths"], row["batch_size"], row["world_size"], "drop", draws)
    found = [index for step in steps for batch in step for index in batch]
    assert found == row["indices"], f"{found} instead of {row['indices']}"
    return 0.0

"""Every YAML file under ``configs/`` loads, and every one that stands for itself has no problem."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lavis.actions import more_actions
from lavis.common.check import EXPERIMENT, check
from lavis.common.config import load_config
from lavis.runners.pipeline import ACTIONS

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
FILES = sorted(path.relative_to(CONFIGS).with_suffix("").as_posix() for path in CONFIGS.rglob("*.yaml"))
PIPELINES = [name for name in FILES if "stages" in load_config(CONFIGS / f"{name}.yaml")]
# Sections that the files of a folder must have to be of use.
NEEDED = {"experiments": EXPERIMENT, "models": ("model",), "tiny": ("model",), "datasets": ("datasets",)}


def load(name: str) -> Any:
    return load_config(CONFIGS / f"{name}.yaml")


def test_there_are_configurations() -> None:
    assert {name.split("/")[0] for name in FILES} >= {*NEEDED, "runtime", "pipelines"}


@pytest.mark.parametrize("name", [name for name in FILES if name not in PIPELINES])
def test_has_no_problem(name: str) -> None:
    fragment = name.split("/")[-1].startswith("_")
    if fragment:
        load(name)
        return
    problems = check(load(name), NEEDED.get(name.split("/")[0], ()))
    assert not problems, "\n".join(map(str, problems))


@pytest.mark.parametrize("name", [name for name in FILES if name.startswith("experiments/")])
def test_results_lie_where_the_file_lies(name: str) -> None:
    assert load(name).name == name.removeprefix("experiments/")


@pytest.mark.parametrize("name", PIPELINES)
def test_pipeline_stages_exist(name: str) -> None:
    assert len((CONFIGS / f"{name}.yaml").read_text().splitlines()) <= 40
    stages = load(name)["stages"]
    names = [stage["name"] for stage in stages]
    assert len(set(names)) == len(names)
    for stage in stages:
        assert stage["action"] in {**ACTIONS, **more_actions()}
        if "config" in stage:
            config = load_config(stage["config"])
            known = {split for node in config["datasets"].values() for split in node.get("annotations", {})}
            assert set(stage.get("splits", [])) <= known


@pytest.mark.parametrize("name", [name for name in FILES if name.startswith("experiments/")])
def test_priors_and_weights_come_from_configured_runs(name: str) -> None:
    config = load(name)
    priors = [node.get("prior") for node in config["datasets"].values()]
    paths = [*priors, *(config["model"].get("weights") or [])]
    for path in paths:
        if path is not None and path.startswith("results/"):
            assert any(path.startswith(f"results/{other.removeprefix('experiments/')}/") for other in FILES), path


@pytest.mark.parametrize("name", FILES)
def test_says_what_it_is(name: str) -> None:
    assert (CONFIGS / f"{name}.yaml").read_text().startswith("# ")


@pytest.mark.parametrize("name", [name for name in FILES if name.startswith("models/") and "/_" not in name])
def test_full_size_model_is_assembled_and_its_patterns_match(name: str) -> None:
    """On the meta device, where a model has shapes and no numbers; tokenizers and pretrained weights are left out."""
    from lavis.models.build import build_model

    options = ["model.language_model.tokenizer=asset:toy/t5_tokenizer", "model.language_model.pretrained=null"]
    node = load(name)["model"]
    if "pretrained" not in node["language_model"]:
        return  # a toy, which is built and run elsewhere
    if "subtitle_choice" in node:
        options.append("model.subtitle_choice.tokenizer=asset:toy/bert_tokenizer")
    if "tokenizer" in node["compressor"]:
        options.append("model.compressor.tokenizer=asset:toy/bert_tokenizer")
    if node["language_model"]["name"] == "causal" and "architecture" not in node["language_model"]:
        small = "hidden_size: 64, word_embed_proj_dim: 64, ffn_dim: 64, num_hidden_layers: 1, num_attention_heads: 2"
        options.append(f"model.language_model.config={{model_type: opt, {small}}}")
    model = build_model(load_config(CONFIGS / f"{name}.yaml", options)["model"], weights=False, device="meta")
    learning = sum(p.numel() for p in model.parameters() if p.requires_grad)
    if node["language_model"]["name"] == "t5":
        query_proj = 264 if node["compressor"]["name"] == "keyframe_qformer" else 0
        assert learning == 17_968_128 + 1_574_912 + 2_816 + query_proj  # LoRA, t5_proj, ln_vision of the originals

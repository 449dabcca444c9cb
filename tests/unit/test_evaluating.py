"""An experiment with the model of a checkpoint: which settings are whose."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from lavis.common.config import Config, ConfigError, load_config
from lavis.evaluating import of_checkpoint, with_tasks

EXPERIMENT = "experiments/meco/etbench"


def checkpoint(path: Path, **changes: Any) -> Path:
    config = load_config("tiny/meco_qwen2")
    model = {**config["model"], "weights": ["base.safetensors"], **changes}
    metadata = {"config": json.dumps({"name": "x", "model": model})}
    save_file({"a": torch.zeros(1)}, path, metadata)
    return path


def test_questions_are_the_experiments_and_weights_the_checkpoints(tmp_path: Path) -> None:
    asked, trained = load_config(EXPERIMENT), load_config("tiny/meco_qwen2")["model"]
    place = checkpoint(tmp_path / "best.safetensors")
    found = of_checkpoint(asked, place)
    model = found["model"]
    for name in ("encoder", "compressor", "language_model", "head", "trainable"):
        assert model[name] == trained[name]
    assert model["weights"] == ["base.safetensors"]
    assert "fold_adapters" not in model, "the experiment's own is of other weights"
    assert model["prompt"] == {**asked["model"]["prompt"], "template": "qwen2"}
    for name in ("codec", "generation"):
        assert model[name] == asked["model"][name]
    assert found["run"]["resume"] == str(place)
    assert (found.name, found["datasets"]) == (asked.name, asked["datasets"])
    assert asked["run"]["resume"] != str(place), "the experiment itself stays"


def test_the_experiment_says_which_frames_and_the_checkpoint_how_they_look(tmp_path: Path) -> None:
    asked = load_config("experiments/meco/video_mme")
    view = of_checkpoint(asked, checkpoint(tmp_path / "best.safetensors"))["model"]["processor"]["views"]["frames"]
    assert view["sampler"] == {"name": "fps", "fps": 1.0, "max_frames": 128}
    assert view["transform"]["eval"]["image_size"] == 28


def test_another_kind_of_prompt_is_kept(tmp_path: Path) -> None:
    prompt = {"name": "question_answer"}
    found = of_checkpoint(load_config(EXPERIMENT), checkpoint(tmp_path / "best.safetensors", prompt=prompt))
    assert found["model"]["prompt"] == prompt


def test_a_checkpoint_of_another_system_or_stage(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    asked = load_config(EXPERIMENT)
    with pytest.raises(ConfigError, match="head frame_match, but the experiment reads those of structure_contrast"):
        of_checkpoint(asked, checkpoint(tmp_path / "etchat.safetensors", head={"name": "frame_match"}))
    found = of_checkpoint(asked, checkpoint(tmp_path / "stage2.safetensors", head=None))
    assert found["model"]["head"] is None
    assert "has no head, so its answers have words alone" in caplog.text


def test_the_folder_of_a_run(tmp_path: Path) -> None:
    config = load_config("tiny/meco")
    config.save(tmp_path / "config.yaml")
    asked = load_config(EXPERIMENT)
    with pytest.raises(ConfigError, match="was not trained"):
        of_checkpoint(asked, tmp_path)
    (tmp_path / "checkpoints").mkdir()
    best = tmp_path / "checkpoints/best.safetensors"
    best.touch()
    found = of_checkpoint(asked, tmp_path)
    assert found["run"]["resume"] == str(best)
    assert found["model"]["language_model"] == config["model"]["language_model"]
    assert "weights" not in found["model"]


@pytest.mark.parametrize("adapters", [True, False])
def test_published_weights(adapters: bool, tmp_path: Path) -> None:
    asked = load_config(EXPERIMENT)
    (tmp_path / ("adapter_config.json" if adapters else "model.safetensors")).touch()
    (tmp_path / "tokenizer.json").touch()
    found = of_checkpoint(asked, tmp_path)
    model, base = found["model"], asked["model"]
    assert found["run"]["resume"] == "never"
    assert model["weights"] == [*(base["weights"] if adapters else []), str(tmp_path)]
    language = model["language_model"]
    assert language["pretrained"] == (base["language_model"]["pretrained"] if adapters else None)
    assert language.get("tokenizer") == (None if adapters else str(tmp_path))
    assert bool(model["fold_adapters"]) is adapters


def test_published_weights_without_a_tokenizer_keep_the_experiments(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "merged.safetensors")
    found = of_checkpoint(load_config(EXPERIMENT), tmp_path / "merged.safetensors")
    assert found["model"]["language_model"]["tokenizer"] == "microsoft/Phi-3-mini-4k-instruct"


def test_no_checkpoint() -> None:
    with pytest.raises(ConfigError, match=r"there is no checkpoint nowhere\.safetensors"):
        of_checkpoint(load_config(EXPERIMENT), "nowhere.safetensors")


def test_tasks() -> None:
    found = with_tasks(load_config(EXPERIMENT), ["tvg"])
    form = found["datasets"]["et_bench"]["format"]
    assert form == {"name": "et_bench", "style": "vid", "questions": "described", "tasks": ["tvg"]}
    with pytest.raises(ConfigError, match="--tasks is for benchmarks of several tasks"):
        with_tasks(Config({"datasets": {"a": {"format": "qvhighlights"}, "b": {}}}), ["tvg"])

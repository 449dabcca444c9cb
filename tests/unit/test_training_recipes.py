"""The stages of E.T. Chat and MeCo: settings, what learns at full size, scripts, and what is laid upon them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from lavis.common.binding import bind_dataclass
from lavis.common.check import EXPERIMENT, check
from lavis.common.config import load_config
from lavis.common.schema import RunConfig
from lavis.models.build import build_model
from lavis.runners.batching import accumulation_for
from lavis.runners.schedules import schedule_for

ROOT = Path(__file__).resolve().parents[2]
STAGES = [f"meco/stage{stage}_{model}" for stage in (1, 2, 3) for model in ("phi3", "minicpmv_qwen2")]
STAGES += [f"etchat/stage{stage}_phi3" for stage in (1, 2, 3)]
RUNTIMES = ("zero2", "zero2_offload", "zero3", "zero3_offload", "fsdp2")
# Of one process, of a step, rate, rate of adapters, GPUs of the original.
TABLE = {
    "meco/stage1_phi3": (4, 256, 1e-3, None, 8),
    "meco/stage2_phi3": (1, 128, 2e-5, 2e-4, 8),
    "meco/stage3_phi3": (2, 32, 2e-5, 5e-5, 4),
    "meco/stage1_minicpmv_qwen2": (8, 256, 2e-5, None, 4),
    "meco/stage2_minicpmv_qwen2": (2, 128, 2e-5, 2e-4, 4),
    "meco/stage3_minicpmv_qwen2": (2, 32, 2e-5, 5e-5, 4),
    "etchat/stage1_phi3": (4, 256, 1e-3, None, 8),
    "etchat/stage2_phi3": (1, 128, 2e-5, 2e-4, 8),
    "etchat/stage3_phi3": (1, 32, 2e-5, 5e-5, 8),
}
ACCUMULATED = {"meco/stage1_phi3": 8, "meco/stage2_phi3": 16, "meco/stage1_minicpmv_qwen2": 8}


def settings(name: str, *options: str) -> Any:
    return load_config(f"experiments/{name}", options)


@pytest.mark.parametrize("name", STAGES)
def test_settings_are_those_of_the_original(name: str) -> None:
    config = settings(name)
    run = bind_dataclass(RunConfig, config["run"], "run")
    size, samples, rate, adapters, gpus = TABLE[name]
    assert (run.batch_size, run.global_batch_size, run.learning_rate) == (size, samples, rate)
    assert dict(run.lr_groups) == ({"*.lora_*": adapters} if adapters else {})
    assert accumulation_for(samples, size, gpus) == ACCUMULATED.get(name, samples // size // gpus)
    assert (run.epochs, run.weight_decay, run.clip_grad_norm, run.seed) == (1, 0.0, 1.0, 42)
    stage = int(name.split("stage")[1][0])
    assert run.group_by_modality == (stage == 2)
    frames = config["model"]["processor"]["views"]["frames"]
    assert frames.get("image_pad_to_square", False) == (stage == 2)
    assert frames["train_sampler"]["max_frames"] == 350
    language = config["model"]["language_model"]
    assert language["two_way_frames"] == (stage == 3)
    assert (language["lora"] is None) == (stage == 1)
    assert (config["model"]["head"] is None) == (stage < 3)
    (data,) = config["datasets"].values()
    limits = data["format"].get("filters", {})
    words = 500 if name.startswith("meco") else 200
    counted = {"max_num_words": words, "words_of": "all" if name.startswith("meco") else "first"}
    expected = [{}, {"max_video_len": 350}, {"min_video_len": 5, "max_video_len": 350, **counted}]
    assert limits == expected[stage - 1]


def test_rates_rise_over_three_percent_of_the_steps_and_fall_as_a_cosine() -> None:
    """MeCo's log: 5118 steps, of which 154 are warm-up."""
    from dataclasses import replace

    run = bind_dataclass(RunConfig, settings("meco/stage3_phi3")["run"], "run")
    schedule = schedule_for(replace(run, global_batch_size=None, accumulate=4), 4 * 5118)
    rates = [schedule.rate(0, 4 * step) for step in range(5118)]
    assert rates[0] == 0 and max(range(5118), key=rates.__getitem__) == 154 and rates[154] == 2e-5
    assert 0 < rates[-1] < 1e-10


@pytest.mark.parametrize("name", STAGES)
def test_what_learns_is_there_at_full_size(name: str) -> None:
    node = settings(name)["model"]
    node["language_model"] |= {"pretrained": None, "tokenizer": "asset:toy/chat_tokenizer"}
    node["compressor"]["tokenizer"] = "asset:toy/bert_tokenizer"
    model = build_model({**node, "processor": None}, weights=False, device="meta")
    learning = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert learning > 5_000_000


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("name", ["meco/stage3_phi3", "etchat/stage2_phi3"])
def test_a_way_to_share_is_laid_upon_a_stage(name: str, runtime: str) -> None:
    config = settings(name, f"_base_=runtime/{runtime}", "run.seed=1")
    assert not check(config, EXPERIMENT)
    run = bind_dataclass(RunConfig, config["run"], "run")
    assert run.strategy == ("fsdp2" if runtime == "fsdp2" else "deepspeed")
    assert run.cpu_offload == runtime.endswith("_offload")
    assert run.precision == "bf16" and run.seed == 1
    if runtime != "fsdp2":
        assert run.zero_stage == int(runtime[4])
    assert config.origin("run.strategy").startswith("configs/runtime/" if Path.cwd() == ROOT else "")


@pytest.mark.parametrize("runtime", RUNTIMES[:-1])
def test_deepspeed_takes_its_settings(runtime: str) -> None:
    pytest.importorskip("deepspeed", reason="the package deepspeed is not installed")
    from lavis.runners.wiring import build_engine

    config = settings("meco/stage3_phi3", f"_base_=runtime/{runtime}", "run.device=cpu", "run.hang_timeout=null")
    engine = build_engine(bind_dataclass(RunConfig, config["run"], "run"))
    assert (engine.strategy, engine.zero_stage) == ("deepspeed", int(runtime[4]))
    engine.close()


def test_scripts_name_their_stages() -> None:
    scripts = sorted((ROOT / "run_scripts" / "MeCo").glob("train_*.sh"))
    stages = [f"train_stage_{stage}_{model}" for stage in (1, 2, 3) for model in ("minicpmv_qwen2", "phi3")]
    assert [script.stem for script in scripts] == stages
    for script in scripts:
        stage, model = script.stem.removeprefix("train_stage_").split("_", 1)
        config = f"experiments/meco/stage{stage}_{model}"
        assert script.read_text() == f'#!/bin/sh\nexec "$(dirname "$0")/_train.sh" {config} "$@"\n'
        assert os.access(script, os.X_OK)
        assert (ROOT / "configs" / f"{config}.yaml").is_file()


@pytest.mark.parametrize(
    ("given", "environment", "expected"),
    [
        ([], {"NUM_GPUS": "2"}, ["--standalone", "--nproc_per_node=2", "@", "experiments/meco/stage2_phi3"]),
        (["before.safetensors", "--options", "run.seed=1"], {"NUM_GPUS": "1"},
         ["--standalone", "--nproc_per_node=1", "@", "experiments/meco/stage2_phi3", "--options", "run.seed=1"]),
        ([], {"NUM_GPUS": "8", "NNODES": "4", "NODE_RANK": "3", "MASTER_ADDR": "host", "RUNTIME": "zero3"},
         ["--nnodes=4", "--node-rank=3", "--master-addr=host", "--master-port=29500", "--nproc_per_node=8", "@",
          "experiments/meco/stage2_phi3", "--options", "_base_=runtime/zero3"]),
    ],
)  # fmt: skip
def test_scripts_start_processes_on_one_node_or_several(
    tmp_path: Path, given: list[str], environment: dict[str, str], expected: list[str]
) -> None:
    import subprocess

    fake = tmp_path / "torchrun"
    fake.write_text('#!/bin/sh\nprintf "%s\\n" "$LAVIS_PREVIOUS" "$@"\n')
    fake.chmod(0o755)
    script = ROOT / "run_scripts" / "MeCo" / "train_stage_2_phi3.sh"
    path = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    told = subprocess.run([script, *given], env={**path, **environment}, capture_output=True, text=True, check=True)
    previous, *arguments = told.stdout.splitlines()
    assert previous == (given[0] if given else "")
    where = next(i for i, argument in enumerate(arguments) if argument.endswith("train.py"))
    assert [*arguments[:where], "@", *arguments[where + 2 :]] == expected
    assert arguments[where + 1] == "--cfg-path"
    weights = settings("meco/stage2_phi3")["model"]["weights"]
    assert weights[-1] == "results/meco/stage1_phi3/checkpoints/best.safetensors"

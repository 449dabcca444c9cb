"""MeCo's three stages by their run scripts: the published settings over decoders of a few thousand weights, on
pictures, text and videos in the published folders; and what becomes of the weights in between.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from lavis.api import load_model
from lavis.cli import main
from lavis.common.checkpoint import read_checkpoint
from lavis.common.config import load_config
from lavis.layers.lora import adapters
from lavis.models.build import build_model
from lavis.models.video_llm import VideoLLM
from lavis.runners.run import train
from lavis.structures import Batch, Frames, Moment, VideoSample
from tests.end_to_end.tiny import ROOT, command
from tests.forked import programs
from tests.video_factory import write_video

SCRIPTS = ROOT / "run_scripts" / "MeCo"
STAGES = (1, 2, 3)
SECONDS = 8
FAMILIES = {
    "phi3": ("phi3", ["qkv_proj", "o_proj"]),
    "minicpmv_qwen2": ("qwen2", ["q_proj", "k_proj", "v_proj", "o_proj"]),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory with data in the published layout."""
    folder = tmp_path_factory.mktemp("stages")
    data = folder / "data"
    for name in ("webvid/videos", "video_chatgpt/activitynet", "et_instruct_164k/videos"):
        (data / name).mkdir(parents=True)
        write_video(data / name / "clip.mp4", num_frames=SECONDS, fps=1)
    for name in ("llava_pretrain/images", "llava_instruct/coco"):
        (data / name).mkdir(parents=True)
        for number, size in enumerate([(40, 60), (60, 40)]):
            pixels = np.random.default_rng(number).integers(0, 255, (*size, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(data / name / f"{number}.jpg")
    for name, clip in (("webvid", "clip.mp4"), ("video_chatgpt", "activitynet/clip.mp4")):
        (data / name / "videos_metadata.json").write_text(json.dumps({clip: float(SECONDS)}))
    (data / "llamavid").mkdir()
    _write(data / "llamavid/llava_558k_with_webvid.json", [
        {"image": "0.jpg", **said("<image>", "a red shape")}, {"image": "1.jpg", **said("<image>", "a blue shape")},
        {"video": "clip.mp4", **said("<image>\nWhat is shown?", "a man opens a door")},
    ])  # fmt: skip
    _write(data / "llamavid/llava_v1_5_mix665k_with_video_chatgpt.json", [
        {"image": "coco/0.jpg", **said("<image>\nWhat is it?", "a shape", "And now?", "the same shape")},
        {"image": "coco/1.jpg", **said("Is it red?\n<image>", "no")},
        {"video": "activitynet/clip.mp4", **said("<image>\nWhat happens?", "a man opens a door")},
        said("Say a word.", "door"), said("Say two words.", "a door", "One more?", "a man"),
    ])  # fmt: skip
    events = {"task": "tvg", "source": "made", "video": "clip.mp4", "duration": float(SECONDS), "tgt": [2.0, 5.0]}
    _write(data / "et_instruct_164k/et_instruct_164k_meco.json", [
        {**events, **said("<image>\nFind the man.", "a man opens a door.<ent>")},
        {**events, "task": "tal", "tgt": [0.0, 2.0, 5.0, 8.0],
         **said("<image>\nFind all clips.", "a man sits<ent>a man opens a door<ent>")},
    ])  # fmt: skip
    return folder


def said(*texts: str) -> dict[str, Any]:
    return {"conversations": [{"from": "gpt" if i % 2 else "human", "value": t} for i, t in enumerate(texts)]}


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text(json.dumps(rows))


def sizes(folder: Path, family: str, stage: int, previous: Path | None, **run: Any) -> Path:
    """A file laid upon a stage: its parts at toy size, and no weights to download."""
    kind, targets = FAMILIES[family]
    tiny = load_config("tiny/meco")["model"]
    decoder = {**tiny["language_model"]["config"], "model_type": kind}
    if kind == "qwen2":
        decoder |= {"vocab_size": len_tokenizer(), "num_key_value_heads": 2}
    language: dict[str, Any] = {
        "architecture": None, "pretrained": None, "tokenizer": "asset:toy/chat_tokenizer", "config": decoder,
    }  # fmt: skip
    if stage > 1:
        language["lora"] = {"rank": 4, "alpha": 8, "dropout": 0.05, "targets": targets}
    tree = {
        "model": {
            "encoder": {**tiny["encoder"], "vit_precision": "fp32"},
            "compressor": tiny["compressor"],
            "language_model": language,
            "processor": {"views": {"frames": {"transform": tiny["processor"]["views"]["frames"]["transform"]}}},
            "weights": [str(previous)] if previous else [],
        },
        "run": {"device": "cpu", "precision": "fp32", "num_workers": 0, "hooks": [], "batch_size": 1, "threads": 1,
                "global_batch_size": 2, "learning_rate": 1e-3, **run},
    }  # fmt: skip
    path = folder / f"sizes_{family}_{stage}.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path


def len_tokenizer() -> int:
    """Rows of a decoder whose tokenizer has been given no tokens yet."""
    from transformers import AutoTokenizer

    from lavis.common.assets import resolve_asset

    return len(AutoTokenizer.from_pretrained(resolve_asset("asset:toy/chat_tokenizer")))


def run_stage(
    folder: Path, family: str, stage: int, previous: Path | None, processes: int = 1, *options: str, **environment: str
) -> Path:
    """The folder of a run that a script started."""
    overlay = sizes(folder, family, stage, previous)
    if family != "phi3":  # the scripts differ in the name of the stage alone
        with working_in(folder):
            return train(load_config(f"experiments/meco/stage{stage}_{family}", [f"_base_={overlay}"])).resolve()
    given = [str(previous)] if previous else []
    script = SCRIPTS / f"train_stage_{stage}_{family}.sh"
    given += ["--options", f"_base_={overlay}", *options]
    environment |= programs(folder / "programs") | {"NUM_GPUS": str(processes)}
    done = command("sh", script, *given, cwd=folder, **environment)
    # Rarely, torch aborts a process that is done with everything while it leaves gloo.
    left = processes > 1 and done.stdout.strip() and "terminate called without an active exception" in done.stderr
    assert done.returncode == 0 or left, f"{script.name}: {done.stderr[-3000:]}"
    where = Path(done.stdout.strip().splitlines()[-1])
    return where if where.is_absolute() else folder / where


@contextmanager
def working_in(folder: Path) -> Iterator[None]:
    """Within the block ``folder`` is the working directory."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


@pytest.fixture(scope="module", params=list(FAMILIES))
def stages(request: pytest.FixtureRequest, folder: Path) -> tuple[str, list[Path]]:
    """The runs of all three stages, each from the weights of the one before."""
    family, runs, previous = request.param, [], None
    for stage in STAGES:
        runs.append(run_stage(folder, family, stage, previous))
        previous = runs[-1] / "checkpoints" / "best.safetensors"
    return family, runs


def test_every_stage_learns_what_it_shall(stages: tuple[str, list[Path]]) -> None:
    learned = [read_checkpoint(run / "checkpoints" / "best.safetensors").state for run in stages[1]]
    assert {name.split(".")[1] for name in learned[0]} == {"query_proj", "q_proj", "k_proj", "v_proj"}
    assert any(".lora_" in name for name in learned[1]) and "compressor.query_tokens" in learned[1]
    assert "head.logit_scale" in learned[2] and not any("intermediate" in name for name in learned[2])
    losses = [[json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()] for run in stages[1]]
    for rows, names in zip(losses, ({"lm"}, {"lm"}, {"lm", "structure"}), strict=True):
        steps = [row for row in rows if "loss" in row]
        assert steps and all(names <= set(row) and np.isfinite(row["loss"]) for row in steps)


def test_a_stage_goes_on_from_the_one_before(stages: tuple[str, list[Path]]) -> None:
    """The second stage's adapters are part of the weights in the third, which begins with new ones."""
    torch.manual_seed(0)  # the base is drawn here, where a real one is read
    begun = build_model(load_config(stages[1][2] / "config.yaml")["model"])
    torch.manual_seed(0)
    before = build_model(load_config(stages[1][1] / "config.yaml")["model"])
    second = read_checkpoint(stages[1][1] / "checkpoints" / "best.safetensors").state
    before.load_state_dict(second, strict=False)
    for ours, theirs in zip(adapters(begun.language_model), adapters(before.language_model), strict=True):
        assert not ours.get_delta_weight("default").any()  # type: ignore[operator]
        whole = theirs.get_base_layer().weight + theirs.get_delta_weight("default")  # type: ignore[operator]
        assert torch.equal(ours.get_base_layer().weight, whole)  # type: ignore[operator]
    state = begun.state_dict()
    names = [name for name in second if ".lora_" not in name]
    assert names and all(torch.equal(state[name], second[name]) for name in names)


def test_the_samples_of_a_step_do_not_depend_on_what_a_process_takes(folder: Path) -> None:
    overlay = sizes(folder, "phi3", 1, None, batch_size=3, global_batch_size=4)
    with pytest.raises(ValueError, match="no multiple of run.batch_size 3 times 1 processes; set run.batch_size to 1"):
        train(load_config("experiments/meco/stage1_phi3", [f"_base_={overlay}", f"run.output_dir={folder}/refused"]))


def test_a_merged_file_answers_as_the_training_does(stages: tuple[str, list[Path]], tmp_path: Path) -> None:
    """And nothing else has to be there; a further stage may begin with it."""
    best = stages[1][2] / "checkpoints" / "best.safetensors"
    torch.manual_seed(0)  # the base is drawn here, where a real one is read
    model = build_model(load_config(stages[1][2] / "config.yaml")["model"])
    model.load_state_dict(read_checkpoint(best).state, strict=False)
    torch.manual_seed(0)
    assert main(["convert", "--merge", str(stages[1][2]), str(tmp_path / "merged.safetensors")]) == 0
    merged = load_model(str(tmp_path / "merged.safetensors"), is_eval=True)
    assert not adapters(merged) and adapters(model)
    for found, expected in zip(logits(merged), logits(model.eval()), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    node = load_config(stages[1][2] / "config.yaml")["model"]
    again = build_model({**node, "weights": [str(tmp_path / "merged.safetensors")]}).eval()
    for found, expected in zip(logits(again), logits(merged), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def logits(model: VideoLLM) -> list[torch.Tensor]:
    """Of the words of an answer, and of the head's comparison."""
    sample = VideoSample("asked", "clip.mp4", "a man opens a door", float(SECONDS), moments=[Moment(2, 5)])
    pixels = torch.rand(SECONDS, 3, 28, 28, generator=torch.Generator().manual_seed(1))
    batch = Batch([sample], {"frames": [Frames(pixels, [float(second) for second in range(SECONDS)])]})
    with torch.no_grad():
        packed = model.pack(batch, answer=True)
        assert model.head is not None
        output = model.language_model(packed, model.head.taps)
        return [output.logits, model.head.losses(output, packed)["structure"]]


def test_two_processes_take_the_steps_of_one(stages: tuple[str, list[Path]], folder: Path) -> None:
    """Pictures and text by turns, with the gradients of both; the samples of a step stay as many."""
    family, runs = stages
    if family != "phi3":
        return  # one of them is enough
    for stage, runtime, steps in ((2, "", 3), (3, "fsdp2", 1)):  # of stage 2, two of frames and one of text
        before = runs[stage - 2] / "checkpoints" / "best.safetensors"
        where = f"run.output_dir={folder}/two_{stage}"
        run = run_stage(folder, family, stage, before, 2, where, **({"RUNTIME": runtime} if runtime else {}))
        state = read_checkpoint(run / "checkpoints" / "best.safetensors").state
        rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        assert all(tensor.isfinite().all() for tensor in state.values())
        assert len([row for row in rows if "loss" in row]) == steps
        assert load_config(run / "config.yaml")["run"].get("strategy", "") == runtime


def test_the_stages_of_etchat_learn(folder: Path) -> None:
    """With times in questions and answers."""
    row = {"source": "made", "video": "clip.mp4", "duration": float(SECONDS)}
    _write(folder / "data/et_instruct_164k/et_instruct_164k_vid.json", [
        {**row, "task": "tvg", "tgt": [2.0, 5.0], **said("<image>\nFind the man.", "It happens in <vid> - <vid>.")},
        {**row, "task": "rar", "src": [3.0], **said("<image>\nWhat is at <vid>?", "a man")},
    ])  # fmt: skip
    previous = None
    for stage in STAGES:
        overlay = sizes(folder, "phi3", stage, previous)
        with working_in(folder):
            run = train(load_config(f"experiments/etchat/stage{stage}_phi3", [f"_base_={overlay}"])).resolve()
        previous = run / "checkpoints" / "best.safetensors"
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert sorted(row["match"] > 0 for row in rows if "loss" in row) == [False, True]
    assert any(name.startswith("head.frame_head.") for name in read_checkpoint(previous).state)

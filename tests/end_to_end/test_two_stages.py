"""CALCE's two stages from video files to figures, through Python, the command line, a pipeline and a run script."""

from __future__ import annotations

import json
import runpy
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from lavis.cli import main
from lavis.common.checkpoint import read_checkpoint
from lavis.common.config import load_config
from lavis.common.yaml_tree import dump_yaml
from lavis.datasets.build import build_dataset
from lavis.models.build import build_model
from lavis.models.video_llm import VideoLLM
from lavis.runners.run import evaluate, train
from lavis.structures import Batch, Prediction
from tests.end_to_end.tiny import (
    ROOT,
    Corpus,
    command,
    experiment,
    metrics,
    predictions,
    write_corpus,
)
from tests.forked import programs

SPLITS = ["train", "val", "test"]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return write_corpus(tmp_path_factory.mktemp("two_stages"))


@pytest.fixture(scope="module")
def stage1(corpus: Corpus) -> Path:
    """Folder of a trained stage 1 with predictions for all splits."""
    config = load_config(experiment(corpus, run={"hooks": ["tensorboard"]}))
    train(config)
    return evaluate(config, SPLITS)


def second_stage(corpus: Corpus, stage1: Path, name: str = "tiny/stage2", **dataset: Any) -> Path:
    """YAML file of stage 2; ``dataset`` replaces the prior as its source of stage 1's windows."""
    source = dataset or {"prior": str(stage1 / "predictions" / "clips_{split}.jsonl")}
    weights = {"weights": str(stage1 / "checkpoints" / "best.safetensors")}
    return experiment(corpus, name, "tiny/calce_stage2", dataset=source, model=weights)


@pytest.fixture(scope="module")
def stage2(corpus: Corpus, stage1: Path) -> Path:
    """Folder of a stage 2 trained from stage 1."""
    return train(load_config(second_stage(corpus, stage1)))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Ids of the samples that a model was asked about."""
    ids: list[str] = []
    generate = VideoLLM.generate

    def noting(model: VideoLLM, batch: Batch) -> list[Prediction]:
        ids.extend(sample.id for sample in batch.samples)
        return generate(model, batch)

    monkeypatch.setattr(VideoLLM, "generate", noting)
    return ids


def steps(folder: Path) -> list[int]:
    """Iterations that ``metrics.jsonl`` has a line for."""
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [row["step"] for row in rows if "loss" in row]


def test_a_run_leaves_its_folder_in_order(corpus: Corpus, stage1: Path) -> None:
    assert stage1 == corpus.results / "tiny" / "stage1"
    for name in ("config.yaml", "environment.json", "run.log", "metrics.jsonl", "metrics.json"):
        assert (stage1 / name).stat().st_size > 0
    assert list((stage1 / "tensorboard").iterdir())
    assert list((stage1 / "checkpoints").glob("step_*/manifest.json"))
    assert steps(stage1) == [1, 2]
    assert {"python", "packages", "device", "command", "code"} <= set(
        json.loads((stage1 / "environment.json").read_text())
    )
    saved = load_config(stage1 / "config.yaml")
    assert saved.tree == load_config(corpus.folder / "tiny_stage1.yaml").tree


def test_every_split_is_answered_once_and_scored(corpus: Corpus, stage1: Path) -> None:
    figures = metrics(stage1)
    assert set(figures) == {f"clips_{split}" for split in SPLITS}
    for split in SPLITS:
        rows = predictions(stage1, f"clips_{split}")
        assert [row["id"] for row in rows] == corpus.ids(split)
        assert figures[f"clips_{split}"]["skipped"] == 0
        assert figures[f"clips_{split}"]["total"] == len(rows)
        assert "agg_metrics" in figures[f"clips_{split}"]
        familiar = json.loads((stage1 / "predictions" / f"clips_{split}.json").read_text())
        assert [row["qid"] for row in familiar] == corpus.ids(split)


def test_weights_hold_what_learns_and_where_they_came_from(stage1: Path) -> None:
    best = read_checkpoint(stage1 / "checkpoints" / "best.safetensors")
    assert best.config is not None
    model = build_model(best.config["model"])
    assert set(best.state) == {name for name, p in model.named_parameters() if p.requires_grad}
    assert best.config["name"] == "tiny/stage1"
    assert "chosen_by" in best.metadata


def test_stage_two_starts_from_stage_one(corpus: Corpus, stage1: Path, stage2: Path) -> None:
    first = read_checkpoint(stage1 / "checkpoints" / "best.safetensors").state
    begun = build_model(load_config(second_stage(corpus, stage1))["model"]).state_dict()
    assert all(torch.equal(begun[name], tensor) for name, tensor in first.items())
    learned = read_checkpoint(stage2 / "checkpoints" / "best.safetensors").state
    assert learned.keys() == first.keys()
    assert any(not torch.equal(learned[name], first[name]) for name in first)


def test_stage_two_is_told_what_stage_one_found(corpus: Corpus, stage1: Path, stage2: Path) -> None:
    data = load_config(stage2 / "config.yaml")["datasets"]["clips"]
    samples = build_dataset("clips", data, "test", lambda sample, train: {}, train=False).samples
    found = [Prediction.from_json(row).moments for row in predictions(stage1, "clips_test")]
    assert [sample.prior for sample in samples] == found
    assert [row["id"] for row in predictions(stage2, "clips_test")] == corpus.ids("test")
    assert metrics(stage2)["clips_test"]["skipped"] == 0


def test_merged_annotations_are_worth_the_prior(corpus: Corpus, stage1: Path, stage2: Path) -> None:
    merged = corpus.folder / "merged"
    script = runpy.run_path(str(ROOT / "process_data" / "merge_stage1_result.py"))
    arguments = ["--annotations", corpus.folder / "annotations", "--results", stage1 / "predictions", "--out", merged]
    assert script["main"](["--dataset", "qvh", *map(str, arguments)]) == 0
    files = {split: str(merged / f"{split}_stage2.json") for split in SPLITS}
    config = load_config(second_stage(corpus, stage1, "tiny/stage2_merged", annotations=files))
    assert config["datasets"]["clips"].get("prior") is None
    folder = evaluate(config, ["test"])
    same = load_config(second_stage(corpus, stage1, "tiny/stage2_prior"))
    assert predictions(folder, "clips_test") == predictions(evaluate(same, ["test"]), "clips_test")


def test_a_finished_run_is_not_done_again(corpus: Corpus, stage1: Path, asked: list[str]) -> None:
    config = load_config(stage1 / "config.yaml")
    weights = (stage1 / "checkpoints" / "best.safetensors").read_bytes()
    assert train(config) == stage1
    assert asked == []
    assert steps(stage1) == [1, 2]
    assert (stage1 / "checkpoints" / "best.safetensors").read_bytes() == weights
    evaluate(config, SPLITS)
    assert asked == []


def test_an_interrupted_evaluation_answers_the_rest(corpus: Corpus, stage1: Path, asked: list[str]) -> None:
    file = stage1 / "predictions" / "clips_train.jsonl"
    whole = file.read_text()
    lines = whole.splitlines(keepends=True)
    file.write_text("".join(lines[:2]) + lines[2][:15])
    evaluate(load_config(stage1 / "config.yaml"), ["train"])
    assert asked == corpus.ids("train")[2:]
    assert file.read_text() == whole


def test_an_interrupted_training_goes_on_as_if_nothing_had_happened(corpus: Corpus, stage1: Path) -> None:
    file = experiment(corpus, "tiny/resumed", run={"test_splits": [], "valid_splits": []})
    train(load_config(file, ["run.max_steps=1"]))
    folder = train(load_config(file))
    straight = train(load_config(experiment(corpus, "tiny/straight", run={"test_splits": [], "valid_splits": []})))
    assert steps(folder) == steps(straight) == [1, 2]
    resumed, through = (
        read_checkpoint(each / "checkpoints" / "best.safetensors").state for each in (folder, straight)
    )
    assert all(torch.equal(resumed[name], through[name]) for name in through)


def test_other_settings_do_not_go_on_with_a_training(corpus: Corpus, stage1: Path) -> None:
    config = load_config(stage1 / "config.yaml", ["run.learning_rate=0.5"])
    with pytest.raises(ValueError, match=r"run\.learning_rate.*another name.*run\.resume=never"):
        train(config)


def test_through_the_command_line(corpus: Corpus, stage1: Path) -> None:
    done = command(
        sys.executable,
        ROOT / "train.py",
        *("--cfg-path", corpus.folder / "tiny_stage1.yaml"),
        *("--options", "name=tiny/by_command", "run.test_splits=[]", "run.hooks=[]"),
        cwd=corpus.folder,
    )
    assert done.returncode == 0, done.stderr
    folder = Path(done.stdout.strip())
    assert folder == corpus.results / "tiny" / "by_command"
    # The same settings give the same weights in another process.
    ours, theirs = (read_checkpoint(each / "checkpoints" / "best.safetensors").state for each in (stage1, folder))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_evaluate_and_infer_commands(
    corpus: Corpus, stage1: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(corpus.folder)
    shutil.copytree(stage1, corpus.results / "tiny" / "copy")
    shutil.rmtree(corpus.results / "tiny" / "copy" / "predictions")
    options = ["--options", "name=tiny/copy", "run.hooks=[]"]
    assert main(["evaluate", "tiny_stage1.yaml", *options, "run.test_splits=[val]"]) == 0
    assert capsys.readouterr().out.strip() == str(corpus.results / "tiny" / "copy")
    assert main(["infer", "tiny_stage1.yaml", "--splits", "train", "test", *options]) == 0
    copy = corpus.results / "tiny" / "copy"
    for split in SPLITS:
        assert predictions(copy, f"clips_{split}") == predictions(stage1, f"clips_{split}")


def test_as_a_pipeline(
    corpus: Corpus, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, asked: list[str]
) -> None:
    monkeypatch.chdir(corpus.folder)
    first = experiment(corpus, "piped/stage1")
    second = second_stage(corpus, corpus.results / "piped" / "stage1", "piped/stage2")
    stages = [
        {"name": "coarse", "config": str(first), "action": "train"},
        {"name": "coarse_predictions", "config": str(first), "action": "infer", "splits": SPLITS},
        {"name": "fine", "config": str(second), "action": "train"},
        {"name": "fine_evaluation", "config": str(second), "action": "evaluate", "splits": ["test"]},
    ]
    pipeline = corpus.folder / "pipeline.yaml"
    pipeline.write_text(yaml.safe_dump({"name": "piped", "output_dir": str(corpus.results), "stages": stages}))
    assert main(["pipeline", str(pipeline)]) == 0
    fine = corpus.results / "piped" / "stage2"
    assert [row["id"] for row in predictions(fine, "clips_test")] == corpus.ids("test")

    asked.clear()
    assert main(["pipeline", str(pipeline)]) == 0
    assert asked == []
    assert steps(fine) == [1, 2]

    # What stage 1 found for the training split changes: stage 2 is out of date, stage 1's training is not.
    weights = (corpus.results / "piped" / "stage1" / "checkpoints" / "best.safetensors").stat().st_mtime_ns
    (corpus.results / "piped" / "stage1" / "predictions" / "clips_train.jsonl").unlink()
    assert main(["pipeline", str(pipeline)]) == 0
    assert (corpus.results / "piped" / "stage1" / "checkpoints" / "best.safetensors").stat().st_mtime_ns == weights
    assert set(corpus.ids("train")) <= set(asked)


def tiny_options(corpus: Corpus, dataset: str, tiny: str) -> list[str]:
    """Options that shrink a published experiment: the parts of a tiny flavour, our data, one process on a CPU."""
    model = load_config(tiny)["model"]
    nodes = {f"model.{key}": node for key, node in model.items()}
    nodes |= {"model.weights": None, "model.language_model.pretrained": None}
    for key, value in corpus.dataset().items():
        nodes[f"datasets.{dataset}.{key}"] = value
    run = {"output_dir": str(corpus.results), "device": "cpu", "precision": "fp32", "num_workers": 0, "epochs": 1}
    nodes |= {f"run.{key}": value for key, value in {**run, "warmup_steps": 0, "max_steps": 1, "log_every": 1}.items()}
    return [f"{key}={dump_yaml(node, flow=True).strip()}" for key, node in nodes.items()]


def test_run_scripts(corpus: Corpus) -> None:
    scripts = ROOT / "run_scripts" / "CALCE"
    options = ["--options", *tiny_options(corpus, "qvhighlights", "tiny/calce_stage1")]
    environment = programs(corpus.folder / "programs") | {"NUM_GPUS": "1"}
    folder = corpus.results / "calce" / "qvh_stage1"
    for script in ("train/qvh_stage1.sh", "infer/qvh.sh"):
        done = command("bash", scripts / script, *options, cwd=corpus.folder, **environment)
        assert done.returncode == 0, f"{script}: {done.stderr}"
        assert done.stdout.strip().splitlines()[-1] == str(folder)
    assert steps(folder) == [1]
    for split in SPLITS:
        assert [row["id"] for row in predictions(folder, f"qvhighlights_{split}")] == corpus.ids(split)

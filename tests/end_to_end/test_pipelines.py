"""Pipelines of real trainings: any model after any other, out-of-fold hints, an edited file, kills."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from lavis.actions import draw_graph, more_actions
from lavis.common.checkpoint import read_checkpoint
from lavis.common.config import load_config
from lavis.datasets.build import build_dataset
from lavis.runners import pipeline_inputs
from lavis.runners.pipeline import plan_pipeline, run_pipeline
from lavis.runners.pipeline_inputs import code_facts
from lavis.structures import Prediction
from tests.end_to_end.tiny import ROOT, Corpus, command, experiment, lavis, predictions, write_corpus

SPLITS = ["train", "val", "test"]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return write_corpus(tmp_path_factory.mktemp("pipelines"), train=6, val=2, test=2)


@pytest.fixture(scope="module")
def pipeline(corpus: Corpus) -> Path:
    """CALCE's first stage with out-of-fold predictions, then MR.BLIP, which is told of them."""
    first = experiment(corpus, "mixed/coarse", run={"test_splits": []})
    prior = str(corpus.results / "mixed" / "coarse" / "out_of_fold" / "clips_{split}.jsonl")
    told = {"prompt": {"show_prior": True}}
    second = experiment(corpus, "mixed/fine", "tiny/mr_blip", dataset={"prior": prior}, model=told)
    reported = {"runs": [str(corpus.results / "mixed" / "fine")], "out": str(corpus.results / "report.html")}
    stages = [
        {"name": "coarse", "action": "train", "config": str(first)},
        {"name": "hints", "action": "infer", "config": str(first), "splits": SPLITS, "folds": 3},
        {"name": "fine", "action": "train", "config": str(second)},
        {"name": "answers", "action": "evaluate", "config": str(second), "splits": ["val", "test"]},
        {"name": "report", "action": "report", "settings": reported},
    ]
    path = corpus.folder / "pipeline.yaml"
    path.write_text(yaml.safe_dump({"name": "mixed", "output_dir": str(corpus.results), "stages": stages}))
    run(path)
    return path


def run(path: Path, **more: Any) -> list[str]:
    """Stages that were not passed over."""
    results = run_pipeline(path, actions=more_actions(), draw=draw_graph, **more)
    return [result.name for result in results if not result.skipped]


def test_one_model_after_another_kind_of_model(corpus: Corpus, pipeline: Path) -> None:
    fine = corpus.results / "mixed" / "fine"
    assert [row["id"] for row in predictions(fine, "clips_test")] == corpus.ids("test")
    node = load_config(fine / "config.yaml")["datasets"]["clips"]
    for split in SPLITS:
        samples = build_dataset("clips", node, split, lambda sample, train: {}, train=False).samples
        hints = corpus.results / "mixed" / "coarse" / "out_of_fold" / f"clips_{split}.jsonl"
        told = {p.id: p.moments for p in (Prediction.from_json(json.loads(line)) for line in hints.open())}
        assert {sample.id: sample.prior for sample in samples} == told


def test_a_training_sample_is_predicted_by_a_model_that_did_not_see_its_video(corpus: Corpus, pipeline: Path) -> None:
    answered = []
    for index in (1, 2, 3):
        folder = corpus.results / "mixed" / "coarse" / f"fold_{index}"
        node = load_config(folder / "config.yaml")["datasets"]["clips"]
        seen = build_dataset("clips", node, "train", lambda sample, train: {}, train=True).samples
        own = [row["id"] for row in predictions(folder, "clips_train")]
        videos = {row["qid"]: row["video"] for row in corpus.rows["train"]}
        assert own and not {videos[each] for each in own} & {videos[sample.id] for sample in seen}
        answered += own
    assert sorted(answered) == sorted(corpus.ids("train"))


def test_nothing_is_done_twice_and_an_edited_file_is_made_again(corpus: Corpus, pipeline: Path) -> None:
    assert run(pipeline) == []
    file = corpus.results / "mixed" / "coarse" / "fold_2" / "predictions" / "clips_train.jsonl"
    whole = file.read_text()
    edited = json.loads(whole.splitlines()[0])
    edited["moments"] = [[3, 7.5]]
    file.write_text("\n".join([json.dumps(edited), *whole.splitlines()[1:]]) + "\n")
    plan = {row.name: row for row in plan_pipeline(pipeline, actions=more_actions())}
    assert plan["hints/fold_2"].plan == "run" and "by hand" in plan["hints/fold_2"].why
    assert run(pipeline) == ["hints/fold_2"], "the answers are the same again, so nothing else is done"
    assert file.read_text() == whole
    assert "[3, 7.5]" in file.with_name("clips_train.jsonl.kept1").read_text()


def test_the_graph_is_drawn_in_a_page_and_in_the_report(corpus: Corpus, pipeline: Path) -> None:
    for page in (corpus.results / "pipelines" / "mixed.html", corpus.results / "report.html"):
        text = page.read_text("utf-8")
        assert "hints/fold_2_training" in text
        assert 'aria-label="Stages of the pipeline' in text


def test_the_command_prints_the_plan(corpus: Corpus, pipeline: Path) -> None:
    done = lavis("pipeline", pipeline, "--dry-run", "--options", "stages.fine.run.seed=7", cwd=corpus.folder)
    assert done.returncode == 0, done.stderr
    rows = {line.split("  ")[0]: line for line in done.stdout.splitlines()}
    assert "up to date" in rows["coarse"]
    assert "run.seed" in rows["fine"] and "7" in rows["fine"]
    assert "stage 'fine' will write" in rows["answers"]


def test_changed_code_makes_stages_stale_that_say_so(corpus: Corpus, tmp_path: Path, monkeypatch: Any) -> None:
    trained = experiment(corpus, "coded/coarse", run={"test_splits": []})
    stages = [
        {"name": "coarse", "action": "train", "config": str(trained)},
        {"name": "hints", "action": "infer", "config": str(trained), "splits": ["val"]},
    ]
    path = tmp_path / "pipeline.yaml"
    tree = {"name": "coded", "output_dir": str(tmp_path / "record"), "code": "stale", "stages": stages}
    path.write_text(yaml.safe_dump(tree))
    best = corpus.results / "coded" / "coarse" / "checkpoints" / "best.safetensors"
    answers = corpus.results / "coded" / "coarse" / "predictions" / "clips_val.jsonl"
    assert run(path) == ["coarse", "hints"]
    before, told, when = read_checkpoint(best).state, answers.read_text(), best.stat().st_mtime_ns
    log = corpus.results / "coded" / "coarse" / "run.log"
    again = "predictions are there already"
    assert run(path) == []

    known = log.read_text().count(again)
    facts = {**code_facts(), "lavis": "changed"}
    monkeypatch.setattr(pipeline_inputs, "code_facts", lambda: facts)
    plan = {row.name: row for row in plan_pipeline(path)}
    assert [row.plan for row in plan.values()] == ["run", "run"]
    assert all("the code changed since (lavis itself" in row.why for row in plan.values())
    assert run(path) == ["coarse", "hints"]
    assert best.stat().st_mtime_ns != when, "trained again"
    after = read_checkpoint(best).state
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert answers.read_text() == told
    assert log.read_text().count(again) == known, "and asked again"
    assert run(path) == []
    path.write_text(yaml.safe_dump({**tree, "code": "note"}))
    facts["torch"] = "9"
    assert run(path) == [], "noted, and no reason"


def test_a_fault_of_a_later_stage_is_found_before_the_first(corpus: Corpus, tmp_path: Path) -> None:
    first = experiment(corpus, "faulty/coarse")
    second = experiment(corpus, "faulty/fine", run={"lerning_rate": 1})
    stages = [{"name": f.stem, "action": "train", "config": str(f)} for f in (first, second)]
    path = tmp_path / "pipeline.yaml"
    path.write_text(yaml.safe_dump({"name": "faulty", "output_dir": str(tmp_path), "stages": stages}))
    with pytest.raises(ValueError, match="lerning_rate"):
        run(path)
    assert not (corpus.results / "faulty").exists()


def test_killed_anywhere_it_ends_in_the_same_bytes(tmp_path: Path) -> None:
    done = command(
        *(sys.executable, "-m", "benchmarks.kill_anywhere", "--kills", 8, "--folder", tmp_path / "kills"),
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    assert "8 kills" in done.stdout

"""The configurations behind ``make quickstart SYSTEM=meco``: each stage begins with the one before, and a report."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lavis import cli
from lavis.common.checkpoint import read_checkpoint
from lavis.common.config import load_config
from lavis.preparation.generators.synthetic_moments import SyntheticMoments
from lavis.report.run_report import write_report
from lavis.runners.run import train
from tests.end_to_end.tiny import predictions

BEST = "checkpoints/best.safetensors"
FEW = ["run.max_steps=2", "run.epochs=1", "run.hooks=[]"]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the runs of all stages, two steps each, on five clips."""
    folder = tmp_path_factory.mktemp("quickstart")
    generator = SyntheticMoments(seed=1, min_duration=16, max_duration=20, compact=True)
    generator.generate(folder / "data", {"train": 3, "val": 1, "test": 1})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAVIS_SAMPLE", str(folder / "data"))
        patch.setenv("LAVIS_RESULTS", str(folder))
        for number, size in ((1, 8), (2, 8), (3, 2)):
            options = [*FEW, f"run.batch_size={size}", *(["model.generation.max_new_tokens=8"] if number == 3 else [])]
            train(load_config(f"experiments/quickstart/meco_stage{number}", options))
    return folder / "quickstart"


def test_stages_learn_what_those_of_meco_do(results: Path) -> None:
    learned = [set(read_checkpoint(results / f"meco_stage{n}" / BEST).state) for n in (1, 2, 3)]
    inside = [{name for name in names if ".Qformer." in name} for names in learned]
    assert not inside[0]
    assert inside[2] < inside[1]
    assert all("attention" in name for name in inside[2])
    for name in ("compressor.query_proj.weight", "compressor.v_proj.1.weight"):
        assert all(name in names for names in learned)
    assert [any(name.startswith("head.") for name in names) for names in learned] == [False, False, True]


def test_each_stage_begins_with_the_one_before(results: Path) -> None:
    for number in (2, 3):
        weights = load_config(results / f"meco_stage{number}" / "config.yaml")["model"]["weights"]
        assert weights[0] == "asset:toy/backbone.safetensors"
        assert weights[1] == str(results / f"meco_stage{number - 1}" / BEST)


def test_learns_from_what_is_seen_and_is_asked_about_everything(results: Path) -> None:
    folder = results / "meco_stage3"
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert all({"lm", "structure"} <= set(row) for row in rows if "loss" in row)
    answers = predictions(folder, "sample_corpus_test")
    asked = json.loads((results.parent / "data" / "annotations" / "test.json").read_text())
    assert {row["id"] for row in answers} == {row["qid"] for row in asked}
    assert {row["kind"] for row in asked} == {"seen", "said"}


def test_report_has_baselines_of_all_training_queries(results: Path, tmp_path: Path) -> None:
    page = write_report({"MeCo": results / "meco_stage3"}, tmp_path / "report.html")
    assert "Mean training window" in page.read_text()


def test_pipeline_is_planned(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LAVIS_SAMPLE", str(tmp_path / "data"))
    monkeypatch.setenv("LAVIS_RESULTS", str(tmp_path))
    assert cli.main(["pipeline", "quickstart/meco", "--dry-run"]) == 0
    plan = capsys.readouterr().out
    for stage in ("sample data", "stage 1 training", "stage 2 training", "stage 3 training", "answers", "report"):
        assert stage in plan
    assert not (tmp_path / "quickstart").exists()

"""One place for a score: what a run reports of its answers is what ``lavis score`` says of the files it wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lavis.common.config import load_config
from lavis.runners.run import evaluate
from lavis.scoring import score
from tests.end_to_end.tiny import Corpus, experiment, lavis, metrics, put_predictions, write_corpus

METRICS = ("temporal", "qvhighlights")
GUESSES = {"Clip_0": [[0, 7, 0.9], [2, 10, 0.4]], "Clip_1": [[20, 29, 0.5]], "Clip_2": [[4, 12, 0.1], [5, 12, 0.7]]}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return write_corpus(tmp_path_factory.mktemp("scores"), train=0, val=0, test=3)


@pytest.fixture(scope="module")
def run(corpus: Corpus) -> Path:
    """An evaluated run, its answers replaced by some that hit and some that miss, and scored again."""
    settings: dict[str, Any] = {"test_splits": ["test"], "valid_splits": [], "train_splits": []}
    config = load_config(experiment(corpus, "tiny/scored", run=settings, metrics=METRICS))
    folder = evaluate(config)
    put_predictions(folder, "clips_test", [{"id": name, "moments": found} for name, found in GUESSES.items()])
    return evaluate(config)


@pytest.mark.parametrize("file", ["clips_test.jsonl", "clips_test.json"])
@pytest.mark.parametrize(("protocol", "figures"), [("calce", "mIoU mAP R1@0.5 R1@0.7"), ("moment_retrieval", "R1@0.5")])
def test_files_of_a_run_score_as_the_run_says(
    corpus: Corpus, run: Path, protocol: str, figures: str, file: str
) -> None:
    """Prediction lines, which keep the scores of windows, and CALCE's result rows beside them."""
    reported = metrics(run)["clips_test"]
    report = score(protocol, run / "predictions" / file, corpus.annotations("test"))
    assert report.pairs.tally.counts()["scored"] == 3
    for name in figures.split():
        assert report.headline[name] == pytest.approx(reported[name]), name


def test_the_command_says_it_too(corpus: Corpus, run: Path, tmp_path: Path) -> None:
    done = lavis(
        *("score", "qvhighlights", "--predictions", run / "predictions" / "clips_test.jsonl"),
        *("--annotations", corpus.annotations("test"), "--output", "metrics.json", "--intervals", "--html", "a.html"),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    brief = json.loads((tmp_path / "metrics.json").read_text())["brief"]
    reported = metrics(run)["clips_test"]
    assert {name: reported[name] for name in brief} == brief
    details = json.loads((tmp_path / "metrics.details.json").read_text())
    assert details["counts"]["scored"] == 3
    assert details["policies"]["missing"] == {"policy": "error", "official": True}
    assert "<html" in (tmp_path / "a.html").read_text()

"""Evaluations that share work: any batches give the same answers, and a video is decoded once for all its queries."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lavis.common.config import load_config
from lavis.processors.readers.pyav import PyAVReader
from lavis.runners.answers import AnswerFiles
from lavis.runners.run import evaluate
from tests.end_to_end.tiny import Corpus, experiment, metrics, predictions, write_corpus
from tests.video_factory import write_video


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    made = write_corpus(tmp_path_factory.mktemp("evaluation"), train=0, val=0, test=6, rows_of_video=3)
    write_video(made.videos / "test_1.mp4", num_frames=20, fps=1)
    return made


def evaluated(corpus: Corpus, name: str, model: dict[str, Any] | None = None, **run: Any) -> Path:
    settings = {"batch_size": 1, "test_splits": ["test"], "valid_splits": [], "train_splits": [], **run}
    return evaluate(load_config(experiment(corpus, f"tiny/{name}", run=settings, model=model)))


def test_any_batches_give_the_same_answers(corpus: Corpus) -> None:
    alone = evaluated(corpus, "alone")
    expected = [(row["id"], row["text"], row["moments"]) for row in predictions(alone, "clips_test")]
    assert [identity for identity, *_ in expected] == corpus.ids("test")
    more: list[dict[str, Any]] = [{"eval_batch_size": 4, "num_workers": 1}, {"eval_batch_tokens": 700}]
    for number, run in enumerate(more):
        folder = evaluated(corpus, f"batch_{number}", **run)
        assert [(row["id"], row["text"], row["moments"]) for row in predictions(folder, "clips_test")] == expected
        assert metrics(folder) == metrics(alone)


def test_a_video_is_decoded_once_for_all_its_queries(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    plain = PyAVReader.read

    def noted(self: PyAVReader, path: Any, *args: Any, **kwargs: Any) -> Any:
        read.append(Path(path).name)
        return plain(self, path, *args, **kwargs)

    monkeypatch.setattr(PyAVReader, "read", noted)
    evaluated(corpus, "decoded", {"cache": {"memory_mb": 0}}, eval_batch_size=2)
    assert sorted(read) == ["test_0.mp4", "test_1.mp4"]


@pytest.mark.parametrize("run", [{"eval_batch_size": 2}, {"eval_batch_size": 4, "eval_batch_tokens": 450}])
def test_an_interrupted_evaluation_writes_the_same_bytes(
    corpus: Corpus, monkeypatch: pytest.MonkeyPatch, run: dict[str, Any]
) -> None:
    name = "-".join(map(str, run.values()))
    whole = evaluated(corpus, f"whole_{name}", **run) / "predictions" / "clips_test.jsonl"
    workers = evaluated(corpus, f"workers_{name}", **run, num_workers=2) / "predictions" / "clips_test.jsonl"
    assert workers.read_bytes() == whole.read_bytes()
    add, done = AnswerFiles.add, []

    def killed(self: AnswerFiles, predictions: Any) -> None:
        add(self, predictions)
        done.append(len(predictions))
        if len(done) == 2:
            self.path.write_bytes(self.path.read_bytes()[:-20])  # as a crash within the last row leaves it
            raise KeyboardInterrupt

    monkeypatch.setattr(AnswerFiles, "add", killed)
    with pytest.raises(KeyboardInterrupt):
        evaluated(corpus, f"parts_{name}", **run)
    monkeypatch.setattr(AnswerFiles, "add", add)
    again = evaluated(corpus, f"parts_{name}", **run) / "predictions" / "clips_test.jsonl"
    assert len(done) == 2
    assert again.read_bytes() == whole.read_bytes()

"""Videos that cannot be read, in whole runs: listed, not tried again, counted, limited; and none stops a loader."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from lavis.common.config import load_config
from lavis.common.io import write_json
from lavis.common.quarantine import BudgetError
from lavis.common.registry import registry
from lavis.processors.readers._decode_process import DecodeProcess, end_all
from lavis.processors.readers.base import VideoDecodeError
from lavis.processors.readers.pyav import PyAVReader
from lavis.runners.run import evaluate, train
from tests.bad_readers import BadReader
from tests.end_to_end.tiny import ROOT, Corpus, command, experiment, metrics, predictions, write_corpus
from tests.video_factory import write_video

TEST = 6


@pytest.fixture(scope="module")
def _whole(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return write_corpus(tmp_path_factory.mktemp("whole"), train=4, val=1, test=TEST, rows_of_video=2)


@pytest.fixture
def corpus(_whole: Corpus, tmp_path: Path) -> Corpus:
    """A corpus of its own for every test, to be spoilt; two queries a video."""
    return _whole.copied(tmp_path / "corpus")


def file_of(corpus: Corpus, run: dict[str, Any] | None = None, **changes: Any) -> Path:
    settings = {"batch_size": 1, "test_splits": ["test"], "valid_splits": [], **(run or {})}
    return experiment(corpus, "tiny/bad", dataset={"on_decode_error": "skip"}, run=settings, **changes)


def evaluated(corpus: Corpus, run: dict[str, Any] | None = None, **changes: Any) -> Path:
    return evaluate(load_config(file_of(corpus, {"decode": {"max_errors": 2}, **(run or {})}, **changes)))


def listed(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "quarantine.jsonl").read_text().splitlines()]


def spoil(corpus: Corpus, name: str) -> Path:
    path = corpus.videos / f"{name}.mp4"
    path.write_text("<html>404 not found</html>")
    return path


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the videos whose index was read."""
    names: list[str] = []
    probe = PyAVReader.probe

    def noting(self: PyAVReader, path: str | Path) -> Any:
        names.append(Path(path).name)
        return probe(self, path)

    monkeypatch.setattr(PyAVReader, "probe", noting)
    return names


def test_a_video_is_listed_once_and_counted(corpus: Corpus, opened: list[str]) -> None:
    path = spoil(corpus, "test_1")
    folder = evaluated(corpus)
    (row,) = listed(folder)
    assert (row["path"], row["dataset"], row["split"]) == (str(path), "clips", "test")
    assert row["samples"] == corpus.ids("test")[2:4]
    assert row["reason"].startswith("not a readable video")
    assert opened.count("test_1.mp4") == 1  # though two queries need it
    figures = metrics(folder)["clips_test"]
    assert (figures["skipped"], figures["unreadable_videos"], figures["unreadable_samples"]) == (2, 1, 2)
    assert figures["total"] == TEST - 2


def test_without_faults_there_is_no_list(corpus: Corpus) -> None:
    folder = evaluated(corpus)
    assert not (folder / "quarantine.jsonl").exists()
    figures = metrics(folder)["clips_test"]
    assert (figures["unreadable_videos"], figures["unreadable_samples"]) == (0, 0)


def test_a_resumed_run_tries_what_changed(corpus: Corpus, opened: list[str]) -> None:
    path = spoil(corpus, "test_1")
    evaluated(corpus)
    opened.clear()
    folder = evaluated(corpus)
    assert "test_1.mp4" not in opened
    assert metrics(folder)["clips_test"]["unreadable_samples"] == 2
    write_video(path, num_frames=30, fps=1)
    figures = metrics(evaluated(corpus))["clips_test"]
    assert "test_1.mp4" in opened
    assert (figures["skipped"], figures["unreadable_videos"], figures["unreadable_samples"]) == (0, 0, 0)
    assert [row["id"] for row in predictions(folder, "clips_test")] == corpus.ids("test")


def test_too_many_stop_the_run_and_keep_its_answers(corpus: Corpus) -> None:
    spoil(corpus, "test_1")
    spoil(corpus, "test_2")
    with pytest.raises(BudgetError, match=r"4 of 6 samples cannot be read \(2 videos\).*max_errors=2 allows 2.*jsonl"):
        evaluated(corpus)
    folder = corpus.results / "tiny" / "bad"
    assert len(listed(folder)) == 2
    kept = (folder / "predictions" / "clips_test.jsonl").read_text()
    with pytest.raises(BudgetError, match="4 of 6 samples"):
        evaluated(corpus)  # at once: they are listed
    evaluated(corpus, {"decode": {"max_errors": 0.6}})
    assert (folder / "predictions" / "clips_test.jsonl").read_text() == kept
    assert metrics(folder)["clips_test"]["unreadable_samples"] == 4


def test_a_small_share_is_allowed_by_default(corpus: Corpus) -> None:
    spoil(corpus, "test_1")
    with pytest.raises(BudgetError, match=r"2 of 6 samples.*max_errors=0\.01 allows 1\."):
        evaluated(corpus, {"decode": {}})


def test_a_fault_that_stops_the_run_is_listed_and_tried_again(corpus: Corpus, opened: list[str]) -> None:
    path = spoil(corpus, "test_1")
    file = file_of(corpus)
    strict = ["datasets.clips.on_decode_error=raise"]
    with pytest.raises(VideoDecodeError, match=r"test_1\.mp4: not a readable video"):
        evaluate(load_config(file, strict))
    folder = corpus.results / "tiny" / "bad"
    assert [row["path"] for row in listed(folder)] == [str(path)]
    # As after a network disk came back: the file as such has not changed.
    row = listed(folder)[0]
    write_video(path, num_frames=30, fps=1)
    facts = path.stat()
    write_json(folder / "quarantine.jsonl", {**row, "size": facts.st_size, "mtime_ns": facts.st_mtime_ns}, indent=None)
    evaluate(load_config(file, strict))
    assert metrics(folder)["clips_test"]["unreadable_samples"] == 0


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_loader_processes_share_the_list(corpus: Corpus, method: str) -> None:
    spoil(corpus, "test_1")
    folder = evaluated(
        corpus, {"num_workers": 2, "worker_start": method, "decode": {"max_errors": 2, "isolate": False}}
    )
    assert len(listed(folder)) == 1
    assert metrics(folder)["clips_test"]["unreadable_samples"] == 2


def test_processes_of_one_run_share_the_list(corpus: Corpus) -> None:
    for name in ("test_1", "test_2"):
        spoil(corpus, name)
    file = file_of(corpus, {"decode": {"max_errors": 4}})
    launcher = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", 2)
    done = command(*launcher, "-m", "lavis.cli", "evaluate", file, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-4000:]
    folder = corpus.results / "tiny" / "bad"
    assert sorted(Path(row["path"]).stem for row in listed(folder)) == ["test_1", "test_2"]
    figures = metrics(folder)["clips_test"]
    assert (figures["unreadable_videos"], figures["unreadable_samples"], figures["total"]) == (2, 4, 2)


def test_a_training_counts_them(corpus: Corpus) -> None:
    spoil(corpus, "train_1")
    options = {"test_splits": [], "epochs": 2, "decode": {"max_errors": 2}}
    folder = train(load_config(file_of(corpus, options)))
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert (rows[-1]["unreadable_videos"], rows[-1]["unreadable_samples"]) == (1, 2)
    assert len(listed(folder)) == 1
    assert "so far 1 videos cannot be read, and 2 samples" in (folder / "run.log").read_text()
    assert "it is not tried again" in (folder / "run.log").read_text()


def test_a_mixture_counts_its_parts(corpus: Corpus) -> None:
    spoil(corpus, "test_1")
    part = corpus.dataset(on_decode_error="skip")
    file = file_of(corpus, {"decode": {"max_errors": 2}})
    config = load_config(file, [f"datasets={json.dumps({'both': {'name': 'mixture', 'parts': {'one': part}}})}"])
    figures = metrics(evaluate(config))["both_test"]
    assert (figures["skipped"], figures["unreadable_videos"], figures["unreadable_samples"]) == (2, 1, 2)


@pytest.fixture
def bad_reader(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The node of a model with a reader that does what lies beside a video."""
    monkeypatch.setitem(registry.readers._entries, "bad", BadReader)
    return {"processor": {"views": {"frames": {"reader": {"name": "bad"}}}}}


def order(corpus: Corpus, kind: str) -> Path:
    """Has reader ``bad`` do something with a test video, made unlike the others, whose features would do for it."""
    video = corpus.videos / "test_1.mp4"
    video.write_bytes(video.read_bytes() + b"\0\0\0\x08free")
    video.with_suffix(".does").write_text(kind)
    return video.with_suffix(".does")


@pytest.mark.parametrize(
    ("kind", "seconds", "reason"), [("hang", 1, "longer than 1 s"), ("abort", 600, "SIGABRT")]
)
def test_no_file_stops_a_loader(
    corpus: Corpus, bad_reader: dict[str, Any], kind: str, seconds: int, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = DecodeProcess.ask

    def ask(self: DecodeProcess, request: Any, body: bytes, limit: float) -> Any:
        """Has no other file take too long, however busy the machine is."""
        return plain(self, request, body, limit if Path(request["path"]).stem == "test_1" else 600)

    monkeypatch.setattr(DecodeProcess, "ask", ask)
    order(corpus, kind)
    decode = {"max_errors": 2, "seconds": seconds}
    folder = evaluated(corpus, {"num_workers": 1, "decode": decode}, model=bad_reader)
    (row,) = listed(folder)
    assert reason in row["reason"] and f"within {seconds} s and 4096 MiB" in row["reader"]
    figures = metrics(folder)["clips_test"]
    assert (figures["skipped"], figures["unreadable_samples"], figures["total"]) == (2, 2, TEST - 2)


def test_without_loader_processes_isolation_is_asked_for(corpus: Corpus, bad_reader: dict[str, Any]) -> None:
    does = order(corpus, "abort")
    folder = evaluated(corpus, {"decode": {"max_errors": 2, "isolate": True}}, model=bad_reader)
    end_all()
    assert "SIGABRT" in listed(folder)[0]["reason"]
    answers = (folder / "predictions" / "clips_test.jsonl").read_text()
    # Isolation is no part of what was asked: the answers stay, and the list of another way of reading does not count.
    does.unlink()
    evaluated(corpus, {"decode": {"max_errors": 2, "isolate": False}}, model=bad_reader)
    new = (folder / "predictions" / "clips_test.jsonl").read_text().splitlines()
    assert set(answers.splitlines()) < set(new) and len(new) == TEST

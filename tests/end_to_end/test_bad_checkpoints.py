"""Faulty checkpoints in whole runs: each is refused with a message, never half loaded, and never run."""

from __future__ import annotations

import pickle
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from lavis.cli import main
from lavis.common.checkpoint import CheckpointError, save_checkpoint
from lavis.common.config import load_config
from lavis.runners.checkpoints import checkpoints
from lavis.runners.run import evaluate, train
from tests.end_to_end.tiny import Corpus, experiment, predictions, write_corpus


@pytest.fixture(scope="module")
def _trained(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """A corpus with a trained run in ``results/tiny/stage1``, which has checkpoints of two epochs."""
    corpus = write_corpus(tmp_path_factory.mktemp("trained"), train=2, val=1, test=2)
    train(load_config(experiment(corpus, run={"epochs": 2})))
    return corpus


@pytest.fixture
def corpus(_trained: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Corpus:
    """A copy of it to be spoilt, which is also the working directory."""
    own = _trained.copied(tmp_path / "corpus")
    monkeypatch.chdir(own.folder)
    return own


@pytest.fixture
def run(corpus: Corpus) -> Path:
    """Folder of the trained run."""
    return corpus.results / "tiny" / "stage1"


class Harmful:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self.mark,)


def torn(run: Path, target: Path) -> None:
    data = (run / "checkpoints" / "best.safetensors").read_bytes()
    target.write_bytes(data[: len(data) // 2])


def torn_archive(run: Path, target: Path) -> None:
    torch.save({"model": {"a": torch.zeros(1000)}}, target)
    target.write_bytes(target.read_bytes()[:2000])


def nothing(run: Path, target: Path) -> None:
    target.write_bytes(b"")


def a_page(run: Path, target: Path) -> None:
    target.write_text("<html>not found</html>")


def of_another_size(run: Path, target: Path) -> None:
    save_checkpoint(target, {"compressor.t5_proj.weight": torch.zeros(7, 7)})


def of_another_model(run: Path, target: Path) -> None:
    save_checkpoint(target, {"compressor.t5_projection.weight": torch.zeros(32, 24)})


def without_weights(run: Path, target: Path) -> None:
    torch.save({"epoch": 3, "optimizer": {}}, target)


FAULTY_WEIGHTS: dict[str, tuple[Callable[[Path, Path], None], str]] = {
    "torn.safetensors": (torn, r"cut off, damaged.*Copy it again"),
    "torn.pth": (torn_archive, r"cut off, damaged.*Copy it again"),
    "nothing.safetensors": (nothing, r"\(0 bytes\).*cut off, damaged.*Copy it again"),
    "nothing.pth": (nothing, r"\(0 bytes\).*cut off, damaged.*Copy it again"),
    "page.pth": (a_page, r"no weights file.*Copy it again"),
    "page.txt": (a_page, r"no weights file; known endings: \.safetensors"),
    "size.safetensors": (of_another_size, r"of another shape: .*t5_proj.weight: file \[7, 7\], model \[32, 24\]"),
    "model.safetensors": (of_another_model, r"(?s)unknown to the model: .*nearest.*compressor\.t5_proj\.weight"),
    "state.pth": (without_weights, r"holds no weights: at its top are epoch, optimizer"),
}


@pytest.mark.parametrize("name", FAULTY_WEIGHTS)
def test_faulty_weights_are_refused(corpus: Corpus, run: Path, name: str) -> None:
    make, message = FAULTY_WEIGHTS[name]
    path = corpus.folder / name
    make(run, path)
    with pytest.raises(CheckpointError, match=message) as caught:
        evaluate(load_config(experiment(corpus, "tiny/other", model={"weights": str(path)})))
    assert str(path) in str(caught.value)


def test_missing_weights_are_named_with_their_neighbours(corpus: Corpus, run: Path) -> None:
    path = run / "checkpoints" / "last.safetensors"
    with pytest.raises(CheckpointError, match=rf"no weights at {path}; the folder has best\.safetensors"):
        evaluate(load_config(experiment(corpus, "tiny/other", model={"weights": str(path)})))


@pytest.mark.parametrize("as_archive", [True, False])
@pytest.mark.parametrize("door", ["weights", "resume", "best", "localize", "convert"])
def test_code_in_a_checkpoint_does_not_run(
    corpus: Corpus, run: Path, as_archive: bool, door: str, capsys: pytest.CaptureFixture[str]
) -> None:
    mark, path = corpus.folder / "harm", corpus.folder / "harmful.pth"
    content = {"model": {"a": torch.zeros(1), "b": Harmful(mark)}}
    if as_archive:
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(content, protocol=2))
    config = str(corpus.folder / "tiny_stage1.yaml")
    if door == "best":
        shutil.copyfile(path, run / "checkpoints" / "best.safetensors")
    arguments = {
        "weights": ["evaluate", config, "--options", "name=tiny/other", f"model.weights={path}"],
        "resume": ["evaluate", config, "--options", f"run.resume={path}"],
        "best": ["evaluate", config],
        "localize": [
            *("localize", str(corpus.videos / "test_0.mp4"), "a man"),
            *("--model", "tiny/calce_stage1", "--checkpoint", str(path)),
        ],
        "convert": ["convert", str(path), str(corpus.folder / "out.safetensors")],
    }
    assert main(arguments[door]) == 2
    assert not mark.exists()
    message = capsys.readouterr().err
    assert ("run code" in message) or ("cannot be read" in message)
    assert "Traceback" not in message
    assert not (corpus.folder / "out.safetensors").exists()


def test_a_torn_best_checkpoint_loses_no_prediction(corpus: Corpus, run: Path) -> None:
    before = predictions(run, "clips_test")
    torn(run, run / "checkpoints" / "best.safetensors")
    with pytest.raises(CheckpointError, match=r"best\.safetensors .*cut off"):
        evaluate(load_config(corpus.folder / "tiny_stage1.yaml"))
    assert predictions(run, "clips_test") == before


def half_of(name: str) -> Callable[[Path], None]:
    def spoil(latest: Path) -> None:
        data = (latest / name).read_bytes()
        (latest / name).write_bytes(data[: len(data) // 2])

    return spoil


def changed_byte(latest: Path) -> None:
    data = bytearray((latest / "weights.safetensors").read_bytes())
    data[-1] ^= 1
    (latest / "weights.safetensors").write_bytes(bytes(data))


def no_manifest(latest: Path) -> None:
    (latest / "manifest.json").unlink()


TORN = {
    "weights": (half_of("weights.safetensors"), r"weights\.safetensors is torn or was changed: \d+ bytes, \d+ were"),
    "state": (half_of("state.pt"), r"state\.pt is torn"),
    "random state": (half_of("process0.pt"), r"process0\.pt is torn"),
    "manifest": (half_of("manifest.json"), r"manifest\.json cannot be read"),
    "one byte": (changed_byte, r"weights\.safetensors is torn or was changed"),
    "no manifest": (no_manifest, r"has no manifest\.json: it is torn"),
}


@pytest.mark.parametrize("fault", TORN)
def test_the_checkpoint_before_a_torn_one_is_loaded(corpus: Corpus, run: Path, fault: str) -> None:
    spoil, message = TORN[fault]
    first, second = checkpoints(run / "checkpoints")
    whole = (second / "weights.safetensors").read_bytes()
    spoil(second)
    kept = (run / "checkpoints" / "best.safetensors").read_bytes(), predictions(run, "clips_test")
    assert train(load_config(corpus.folder / "tiny_stage1.yaml")) == run
    log = (run / "run.log").read_text()
    assert re.search(message, log)
    assert f"The training goes on from {first}: the iterations 2 to 2 are done again" in log
    assert checkpoints(run / "checkpoints") == [first, second]
    assert (second / "weights.safetensors").read_bytes() == whole
    assert kept == ((run / "checkpoints" / "best.safetensors").read_bytes(), predictions(run, "clips_test"))


def test_without_a_whole_checkpoint_nothing_is_trained(corpus: Corpus, run: Path) -> None:
    for checkpoint in checkpoints(run / "checkpoints"):
        half_of("state.pt")(checkpoint)
    config = load_config(corpus.folder / "tiny_stage1.yaml")
    kept = (run / "checkpoints" / "best.safetensors").read_bytes(), predictions(run, "clips_test")
    with pytest.raises(CheckpointError, match=r"no checkpoint in .* is whole: .*state\.pt.*run\.resume=never"):
        train(config)
    assert kept == ((run / "checkpoints" / "best.safetensors").read_bytes(), predictions(run, "clips_test"))
    assert train(load_config(corpus.folder / "tiny_stage1.yaml", ["run.resume=never"])) == run

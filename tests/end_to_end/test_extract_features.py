"""Features that were extracted are those a run would have made, and a run after it makes none."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image
from safetensors.torch import load_file

from lavis.common.config import load_config
from lavis.common.feature_folder import FeatureFolder
from lavis.models.encoders.base import FrameEncoder
from lavis.preparation.features_export import export_features, import_features
from lavis.preparation.shards import make_shards
from lavis.processors.readers.pyav import PyAVReader
from lavis.runners.run import evaluate, train
from lavis.structures import Moment, VideoSample
from process_data.extract_features import main
from tests.end_to_end.tiny import ROOT, SECONDS, Corpus, experiment, predictions, write_corpus
from tests.video_factory import write_video

EVAL = {"name": "clip_eval", "image_size": 28}
FROZEN = ["language_model.*.lora_*", "compressor.t5_proj.*", "compressor.query_proj.*"]
NORM_LEARNS = [*FROZEN, "encoder.ln_vision.*"]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """Five videos of different lengths: copies of one would share their features."""
    made = write_corpus(tmp_path_factory.mktemp("extract"))
    for number, video in enumerate(sorted(made.videos.iterdir())):
        write_video(video, num_frames=SECONDS + number, fps=1)
    return made


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> Callable[[], tuple[int, int]]:
    """How many videos went through the image network, and how many were decoded, since it was last asked."""
    ran: list[int] = []
    decoded: list[int] = []
    chunked, read = FrameEncoder._chunked, PyAVReader.read
    monkeypatch.setattr(FrameEncoder, "_chunked", lambda self, frames: ran.append(1) or chunked(self, frames))
    monkeypatch.setattr(PyAVReader, "read", lambda self, p, *a, **k: decoded.append(1) or read(self, p, *a, **k))

    def count() -> tuple[int, int]:
        found = len(ran), len(decoded)
        ran.clear()
        decoded.clear()
        return found

    return count


def config(
    corpus: Corpus, name: str, folder: Path | None, trainable: list[str] = FROZEN, transform: Any = EVAL, **run: Any
) -> Path:
    frames = {
        "sampler": {"name": "head", "num_frames": 6},
        "transform": {"train": dict(transform), "eval": dict(EVAL)},
        "round_times": None,
    }
    model = {
        "cache": {"memory_mb": 0, "folder": None if folder is None else str(folder)},
        "trainable": trainable,
        "processor": {"views": {"frames": frames}},
    }
    return experiment(corpus, f"tiny/{name}", model=model, run={"epochs": 2, "max_steps": None, **run})


def losses(folder: Path) -> list[float]:
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [row["loss"] for row in rows if "loss" in row]


def test_an_evaluation_after_it_computes_nothing_and_answers_the_same(
    corpus: Corpus, tmp_path: Path, encoded: Callable[[], tuple[int, int]], capsys: pytest.CaptureFixture[str]
) -> None:
    plain = evaluate(load_config(config(corpus, "plain", None)), ["val", "test"])
    assert encoded() == (3, 3)
    with_features = config(corpus, "features", tmp_path)
    assert main([str(with_features), "--splits", "val", "test"]) == 0
    assert encoded() == (3, 3)
    text = capsys.readouterr().out
    assert "3 of 3 done" in text and "10,000 h would take" in text and "3 entries" in text
    folder = evaluate(load_config(with_features), ["val", "test"])
    assert encoded() == (0, 0)
    for split in ("val", "test"):
        assert predictions(folder, f"clips_{split}") == predictions(plain, f"clips_{split}")
    assert main([str(with_features), "--splits", "val", "test"]) == 0
    assert encoded() == (0, 0), "a second run finds all of them"


@pytest.mark.parametrize("trainable", [FROZEN, NORM_LEARNS], ids=["frozen", "norm learns"])
@pytest.mark.parametrize(
    "transform", [EVAL, {"name": "clip_train", "image_size": 28, "crops": 2}], ids=["whole", "crops"]
)
def test_a_training_after_it_computes_nothing(
    corpus: Corpus, tmp_path: Path, encoded: Callable[[], tuple[int, int]], trainable: list[str], transform: Any,
    request: pytest.FixtureRequest,
) -> None:  # fmt: skip
    label = request.node.callspec.id.replace(" ", "_")
    plain = train(load_config(config(corpus, f"plain_{label}", None, trainable, transform)))
    encoded()
    with_features = config(corpus, f"kept_{label}", tmp_path, trainable, transform)
    assert main([str(with_features)]) == 0
    crops = transform.get("crops", 1)
    assert encoded() == (2 * crops + 3, 2 * crops + 3)
    folder = train(load_config(with_features))
    assert encoded() == (0, 0)
    assert losses(folder) == losses(plain)
    assert predictions(folder, "clips_test") == predictions(plain, "clips_test")


def test_parts_do_the_whole_and_copies_go_back(
    corpus: Corpus, tmp_path: Path, encoded: Callable[[], tuple[int, int]], capsys: pytest.CaptureFixture[str]
) -> None:
    store = tmp_path / "store"
    file = config(corpus, "parts", store)
    for part in ("1/2", "2/2"):
        assert main([str(file), "--phase", "eval", "--shard", part]) == 0
    assert encoded() == (5, 5)
    for form in ("safetensors", "webdataset"):
        out = tmp_path / form
        assert main([str(file), "--phase", "eval", "--format", form, "--out", str(out), "--per-file", "2"]) == 0
        assert encoded() == (0, 0)
        assert len([p for p in out.iterdir() if p.suffix in (".tar", ".safetensors")]) == 3
        index = json.loads((out / "features-eval.json").read_text())
        assert {Path(row["video"]).stem for row in index["entries"].values()} == {
            "train_0", "train_1", "val_0", "test_0", "test_1",
        }  # fmt: skip
        back = tmp_path / f"back_{form}"
        assert main([str(file), "--folder", str(back), "--import", str(out / "features-eval.json")]) == 0
        originals = {p.relative_to(store): p.read_bytes() for p in store.glob("*/*/*.safetensors")}
        assert {p.relative_to(back) for p in back.glob("*/*/*.safetensors")} == set(originals)
        evaluate(load_config(file, [f"model.cache.folder={back}", "run.resume=never", f"name=tiny/{form}"]), ["val"])
        assert encoded() == (0, 0)
    damaged = tmp_path / "webdataset" / "features-eval-000001.tar"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    assert (
        main([str(file), "--folder", str(tmp_path / "x"), "--import", str(tmp_path / "webdataset/features-eval.json")])
        == 1
    )
    assert "features-eval-000001.tar: is missing or damaged" in capsys.readouterr().err


def test_what_is_gone_or_changed_is_made_again(
    corpus: Corpus, tmp_path: Path, encoded: Callable[[], tuple[int, int]]
) -> None:
    file = config(corpus, "again", tmp_path / "store")
    videos = tmp_path / "videos"
    shutil.copytree(corpus.videos, videos)
    asked = [str(file), "--videos", str(videos)]
    assert main(asked) == 0
    assert encoded() == (5, 5)
    next((tmp_path / "store").glob("*/*/*.safetensors")).unlink()
    assert main(asked) == 0
    assert encoded() == (1, 1)
    write_video(videos / "val_0.mp4", num_frames=9, fps=1)
    assert main(asked) == 0
    assert encoded() == (1, 1)
    assert main([*asked, "--options", "model.processor.views.frames.sampler.num_frames=5"]) == 0
    assert encoded() == (5, 5)


def test_a_video_that_cannot_be_read_is_listed(
    corpus: Corpus, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = config(corpus, "unreadable", tmp_path / "store")
    videos = tmp_path / "videos"
    shutil.copytree(corpus.videos, videos)
    (videos / "bad.mp4").write_bytes(b"no video")
    (videos / "a_bad.mp4").write_bytes(b"no video")
    assert main([str(file), "--videos", str(videos), "--budget", "1"]) == 1
    assert "bad.mp4" in capsys.readouterr().err
    assert main([str(file), "--videos", str(videos), "--budget", "2"]) == 0
    assert "2 in quarantine" in capsys.readouterr().out


def test_a_full_disk_is_no_fault_of_the_videos(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = config(corpus, "full", tmp_path / "store")
    plain, written = Path.write_bytes, list[Path]()

    def on_a_small_disk(self: Path, data: bytes) -> int:
        if self.suffix == ".tmp":
            written.append(self)
            if len(written) > 2:
                raise OSError(28, "No space left on device")
        return plain(self, data)

    monkeypatch.setattr(Path, "write_bytes", on_a_small_disk)
    asked = [str(file), "--videos", str(corpus.videos), "--budget", "99%"]
    assert main(asked) == 1
    assert "make room, or mend it; then the same command goes on" in capsys.readouterr().err
    monkeypatch.undo()
    assert main(asked) == 0
    assert "(2 before, " in (said := capsys.readouterr().out) and "0 in quarantine" in said


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["model.processor.views.frames.transform.train.name=clip_train"], "crops at random"),
        (["model.cache.disk_gb=0.000008"], "features of 2 videos will take about"),
        (["model.cache.disk_gb=0.000001"], "model.cache.disk_gb is too small"),
        (["model.trainable=[encoder.*]"], "the encoder learns"),
    ],
)
def test_what_cannot_be_kept_is_said_at_once(
    corpus: Corpus, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    file = config(corpus, "refused", tmp_path / "store")
    assert main([str(file), "--splits", "train", "--options", *options]) == 1
    assert message in capsys.readouterr().err


def test_usage(corpus: Corpus, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(config(corpus, "usage", None))]) == 1
    assert "--folder" in capsys.readouterr().err
    assert main([str(config(corpus, "usage", tmp_path)), "--format", "webdataset"]) == 1
    assert "--out" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "Examples:" in capsys.readouterr().out
    store = FeatureFolder(tmp_path / "none", 10**9)
    with pytest.raises(ValueError, match="no longer holds"):
        export_features(store, {"0" * 32: {}}, tmp_path / "out", "safetensors")
    with pytest.raises(ValueError, match="form is one of"):
        export_features(store, {}, tmp_path / "out", "zip")  # type: ignore[arg-type]
    (tmp_path / "index.json").write_text("{}")
    with pytest.raises(ValueError, match="no index of exported"):
        import_features(tmp_path / "index.json", store)


def entries(store: Path) -> dict[Path, dict[str, Any]]:
    """Content of all files by name; the order of the notes in a file is any."""
    files = {p.relative_to(store): load_file(p) for p in store.glob("*/*/*.safetensors")}
    return {path: {name: tensor.tolist() for name, tensor in file.items()} for path, file in files.items()}


def test_processes_make_what_one_makes(
    corpus: Corpus, tmp_path: Path, encoded: Callable[[], tuple[int, int]], capsys: pytest.CaptureFixture[str]
) -> None:
    file = config(corpus, "processes", tmp_path / "one")
    asked = [str(file), "--phase", "eval"]
    assert main([*asked, "--workers", "3"]) == 0
    assert encoded() == (5, 5)
    pool = [*asked, "--folder", str(tmp_path / "two"), "--executor", "pool", "--workers", "2"]
    assert main(pool) == 0
    assert encoded() == (0, 0), "this process has no model"
    assert "by 2 at a time" in capsys.readouterr().out
    assert entries(tmp_path / "two") == entries(tmp_path / "one")
    assert len(entries(tmp_path / "two")) == 5
    assert main(pool) == 0
    assert "(5 before, 0 worked on" in capsys.readouterr().out
    next((tmp_path / "two").glob("*/*/*.safetensors")).unlink()
    assert main([*pool[:-1], "1"]) == 0
    assert "(4 before, 1 worked on" in capsys.readouterr().out
    assert entries(tmp_path / "two") == entries(tmp_path / "one")
    assert main([*asked, "--folder", str(tmp_path / "two")]) == 0
    assert encoded()[0] == 0, "one process finds what the others made"


def test_what_a_process_cannot_start_with_is_said(
    corpus: Corpus, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = config(corpus, "cannot_start", tmp_path / "store", trainable=["encoder.*"])
    assert main([str(file), "--phase", "train", "--executor", "pool", "--workers", "1"]) == 1
    assert "the encoder learns" in capsys.readouterr().err


KILLED = """
import os, signal, sys
from lavis.preparation.collection.state import State
from process_data.extract_features import main
plain, added = State.add, []
def add(self, *row):
    plain(self, *row)
    added.append(row)
    if len(added) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
State.add = add
if __name__ == "__main__":
    main(sys.argv[1:])
"""


def test_goes_on_after_a_kill(corpus: Corpus, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    videos = tmp_path / "videos"
    videos.mkdir()
    for number in range(24):
        write_video(videos / f"{number:02d}.mp4", num_frames=SECONDS + number, fps=1)
    file = config(corpus, "killed", tmp_path / "store")
    asked = [str(file), "--videos", str(videos), "--executor", "pool", "--workers", "1"]
    command = [sys.executable, "-c", KILLED, *asked]
    killed = subprocess.run(command, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False)
    assert killed.returncode == -signal.SIGKILL
    done = (tmp_path / "store" / ".collection" / "features-eval" / "journal-all.jsonl").read_text().count("\n")
    assert done == 3
    assert main(asked) == 0
    text = capsys.readouterr().out
    assert "24 of 24 done" in text
    assert int(text.split(" before")[0].rpartition("(")[2]) >= done - 1
    assert len(entries(tmp_path / "store")) == 24
    assert not list((tmp_path / "store").glob("*/*/.*.tmp"))


def test_members_of_shards_and_pictures_are_encoded(
    corpus: Corpus, tmp_path: Path, encoded: Callable[[], tuple[int, int]]
) -> None:
    samples = [VideoSample("text", "", "hello", 1, answer="yes", extra={"media": "text"})]
    for number, video in enumerate(sorted(corpus.videos.iterdir())[:2]):
        samples.append(VideoSample(f"v{number}", str(video), "a dog", SECONDS, [Moment(1, 2)]))
    for number, colour in enumerate(("red", "blue")):
        Image.new("RGB", (40, 20), colour).save(tmp_path / f"{colour}.png")
        extra = {"media": "image"}
        samples.append(VideoSample(f"i{number}", str(tmp_path / f"{colour}.png"), "what?", 1, answer="a", extra=extra))
    make_shards(samples, tmp_path / "tars", media_per_shard=2)
    file = config(corpus, "shards", tmp_path / "store")
    tree = yaml.safe_load(file.read_text())
    tree["datasets"] = {"tars": {"name": "shards", "annotations": {"val": str(tmp_path / "tars")}}}
    tree["run"] |= {"train_splits": [], "valid_splits": ["val"], "test_splits": []}
    file.write_text(yaml.safe_dump(tree))
    asked = [str(file), "--splits", "val"]
    assert main(asked) == 0
    assert len(entries(tmp_path / "store")) == 4
    assert encoded() == (4, 2), "pictures are not read by PyAV"
    before = entries(tmp_path / "store")
    rows = [json.loads(line) for line in (tmp_path / "store/.collection/features-eval/journal-all.jsonl").open()]
    assert sorted(row["result"]["frames"] for row in rows) == [1, 1, 6, 6]
    for tar in (tmp_path / "tars").glob("*.tar"):
        tar.touch()
    assert main(asked) == 0, "looked at again, and found"
    assert encoded() == (0, 0)
    assert entries(tmp_path / "store") == before

"""The few lines of Python and the commands that the README shows, on real and generated clips."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pytest
import torch

import lavis
from lavis import Moment, Prediction, load_dataset, load_model, load_model_and_preprocess, registry
from lavis.cli import main
from lavis.common.catalogue import describe_entries
from lavis.common.config import load_config
from lavis.runners.run import evaluate, train
from lavis.structures import Batch, VideoSample
from tests.end_to_end import tiny
from tests.end_to_end.tiny import ROOT, SECONDS, Corpus, experiment, write_corpus

FLAVOURS = [name for system, name in lavis.list_models() if system == "tiny"]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return write_corpus(tmp_path_factory.mktemp("api"), train=2, val=1, test=2)


@pytest.fixture
def clip(corpus: Corpus) -> Path:
    return corpus.videos / "test_0.mp4"


@pytest.fixture(scope="module")
def runs(corpus: Corpus) -> tuple[Path, Path]:
    """Folders of a trained first and second stage."""
    first = load_config(experiment(corpus))
    train(first)
    stage1 = evaluate(first, ["train", "val", "test"])
    prior = {"prior": str(stage1 / "predictions" / "clips_{split}.jsonl")}
    return stage1, train(load_config(experiment(corpus, "tiny/stage2", "tiny/calce_stage2", dataset=prior)))


def is_sound(prediction: Prediction) -> bool:
    bounds = [bound for moment in prediction.moments for bound in moment.to_list()]
    return bool(bounds) and all(math.isfinite(bound) for bound in bounds)


def test_the_lines_of_the_readme(clip: Path) -> None:
    text = (ROOT / "README.md").read_text()
    lines = next(block for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "localize" in block)
    shrunk = lines.replace('"calce", "qvh_stage1"', '"tiny", "calce_stage1"').replace('"cuda"', '"cpu"')
    shrunk = shrunk.replace("kitchen.mp4", str(clip))
    assert shrunk.count(str(clip)) == 1
    assert '"tiny"' in shrunk
    # The README is ours; running its lines is the only way to know that they run.
    names: dict[str, object] = {}
    exec(compile(shrunk, "README.md", "exec"), names)
    assert isinstance(names["prediction"], Prediction)


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_every_tiny_flavour_on_a_real_clip(flavour: str, data_dir: Path) -> None:
    video = data_dir / "video" / "charades_sample.mp4"
    model, visual, text = load_model_and_preprocess("tiny", flavour, is_eval=True)
    prior = [Moment(3, 12)] if flavour.endswith("stage2") else None
    prediction = model.localize(str(video), "a person opens the door", prior=prior)
    # Without its token, an answer of E.T. Chat tells no time, and nothing is put in its place.
    assert is_sound(prediction) or (flavour == "etchat" and prediction.malformed and not prediction.moments)
    assert prediction == model.localize(str(video), text["eval"]("a person opens the door"), prior=prior)
    frames = visual["eval"](video)["frames"]
    assert frames.pixels.shape[1:] == (3, 28, 28)
    assert frames.times == sorted(frames.times)
    assert 0 <= frames.times[0] < frames.times[-1] <= 30.71


def test_processors_and_a_batch_of_ones_own(clip: Path) -> None:
    model, visual, _ = load_model_and_preprocess("tiny", "mr_blip", is_eval=True)
    asked = VideoSample("mine", str(clip), "a man opens the door", SECONDS, [Moment(2, 10)])
    batch = Batch([asked], {name: [frames] for name, frames in visual["eval"](asked).items()})
    (prediction,) = model.generate(batch)
    assert prediction.id == "mine"
    loss = sum(model(batch).values())
    assert isinstance(loss, torch.Tensor)
    loss.backward()
    learning = [name for name, p in model.named_parameters() if p.requires_grad]
    assert learning
    assert all(p.grad is None for p in model.parameters() if not p.requires_grad)


def test_datasets(corpus: Corpus) -> None:
    file = str(experiment(corpus, "tiny/data"))
    splits = load_dataset(file)
    assert {split: len(data) for split, data in splits.items()} == {"train": 2, "val": 1, "test": 2}
    model = load_model("tiny/calce_stage1")
    data = load_dataset(file, "test", processor=model.processor)
    sample, views = data[0]
    assert sample.subtitles[0].text == "man talks"
    assert len(views["frames"]) == 20
    assert {"qvhighlights", "charades_sta"} <= set(lavis.list_datasets())


def test_names(capsys: pytest.CaptureFixture[str]) -> None:
    assert ("calce", "qvh_stage1") in lavis.list_models()
    assert {"calce_stage1", "calce_stage2", "mr_blip"} <= set(FLAVOURS)
    assert main(["list"]) == 0
    shown = capsys.readouterr().out
    for kind, table in registry.kinds().items():
        assert re.search(rf"^{kind}:", shown, re.MULTILINE)
        for name, summary in describe_entries(table).items():
            assert re.search(rf"^  {name} +{re.escape(summary)}$", shown, re.MULTILINE)
    assert "models/calce/qvh_stage1" in shown
    assert "experiments/calce/qvh_stage1" in shown


def test_a_trained_run_by_its_folder(runs: tuple[Path, Path], clip: Path) -> None:
    stage1, stage2 = runs
    model = load_model(str(stage2), is_eval=True, coarse=str(stage1))
    assert is_sound(model.localize(str(clip), "a man opens the door"))
    alone = load_model(str(stage1), is_eval=True)
    trained = load_model("tiny/calce_stage1", is_eval=True, checkpoint=stage1 / "checkpoints" / "best.safetensors")
    names = [name for name, p in alone.named_parameters() if p.requires_grad]
    ours, theirs = alone.state_dict(), trained.state_dict()
    assert names
    assert all(torch.equal(ours[name], theirs[name]) for name in names)


def test_localize_in_another_process(runs: tuple[Path, Path], corpus: Corpus, clip: Path) -> None:
    stage1, _ = runs
    subtitles = corpus.subtitles / "test_0.srt"
    done = tiny.lavis(
        *("localize", clip, "a man opens the door", "--model", stage1, "--subtitles", subtitles, "--device", "cpu"),
        "--json",
        cwd=corpus.folder,
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 1
    assert is_sound(Prediction.from_json(json.loads(done.stdout)))


def test_show_and_report(runs: tuple[Path, Path], corpus: Corpus, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(corpus.folder / "tiny_stage1.yaml"), "--origin", "--check"]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"num_clusters: 4  # \S*tiny/calce_stage1\.yaml:\d+", shown)
    assert main(["report", str(runs[0]), str(runs[1]), "--out", str(corpus.folder / "report")]) == 0
    pages = list((corpus.folder / "report").glob("*.html"))
    assert len(pages) == 1
    page = pages[0].read_text()
    assert "a man opens door 0" in page
    assert not re.search(r"(src|href)=[\"']https?://", page)

"""Loading by name: models of the zoo, runs, checkpoints, datasets and processors."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import lavis
from lavis import api
from lavis.common.checkpoint import CheckpointError, save_checkpoint, trainable_state
from lavis.common.config import ConfigError, load_config
from lavis.processors.readers.base import VideoDecodeError
from lavis.structures import Moment, VideoSample
from tests.video_factory import write_video


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_video(tmp_path_factory.mktemp("video") / "v.mp4"))


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def make_run(folder: Path, name: str = "tiny/mr_blip", value: float = 0.5) -> Path:
    """A run folder whose trained weights are all ``value``."""
    config = load_config(name)
    config.save(folder / "config.yaml")
    state = trainable_state(api.load_model(name))
    save_checkpoint(
        folder / api.BEST, {key: torch.full_like(tensor, value) for key, tensor in state.items()}, config=config.tree
    )
    return folder


def test_names_of_models_and_datasets() -> None:
    models = lavis.list_models()
    assert {("calce", "qvh_stage1"), ("calce", "charades_stage2"), ("mr_blip", "anet"), ("tiny", "mr_blip")} <= set(
        models
    )
    assert len(models) == len(set(models))
    assert {"qvhighlights", "charades_sta", "activitynet_captions", "tacos", "calce/qvhighlights"} <= set(
        lavis.list_datasets()
    )


@pytest.mark.parametrize("name", [name for system, name in api.list_models() if system == api.TINY])
def test_tiny_models_learn_and_localize(name: str, video: str) -> None:
    torch.manual_seed(0)
    model, visual, text = lavis.load_model_and_preprocess("tiny", name, is_eval=True)
    assert not model.training
    prior = [Moment(0, 1)] if name.endswith("stage2") else None
    prediction = model.localize(video, "a man talks", prior=prior)
    assert prediction.id.endswith("a man talks")
    frames = visual["eval"](video)["frames"]
    assert frames.pixels.shape[1:] == (3, 28, 28)
    assert torch.equal(frames.pixels, visual["eval"](VideoSample("x", video, "q", 1.0))["frames"].pixels)
    assert text["train"]("As it is.") == text["eval"]("As it is.") == "As it is."
    with pytest.raises(VideoDecodeError):
        visual["train"]("nowhere.mp4")


def test_a_second_stage_asks_the_first(video: str) -> None:
    torch.manual_seed(0)
    model = lavis.load_model("tiny/calce_stage2", is_eval=True, coarse="tiny/calce_stage1")
    assert model.localize(video, "a man talks").moments
    alone = lavis.load_model("tiny/calce_stage2", is_eval=True)
    with pytest.raises(ValueError, match="prior"):
        alone.localize(video, "a man talks")


def test_a_run_comes_with_its_weights(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = make_run(tmp_path / "results" / "mine")
    for name in (str(folder), str(folder / api.BEST)):
        model = lavis.load_model(name, is_eval=True, options=["model.generation.num_beams=3"])
        assert model.generation.num_beams == 3
        assert all((tensor == 0.5).all() for tensor in trainable_state(model).values())
    assert "no trained weights" not in caplog.text
    (folder / api.BEST).unlink()
    lavis.load_model(str(folder), is_eval=True)
    assert "no trained weights" in caplog.text


def test_a_zoo_name_finds_what_was_trained_under_it(tmp_path: Path) -> None:
    make_run(tmp_path / "results" / "tiny" / "mr_blip", value=0.25)
    model = lavis.load_model("tiny", "mr_blip")
    assert all((tensor == 0.25).all() for tensor in trainable_state(model).values())
    other = make_run(tmp_path / "elsewhere", value=0.75) / api.BEST
    model = lavis.load_model("tiny", "mr_blip", checkpoint=other)
    assert all((tensor == 0.75).all() for tensor in trainable_state(model).values())


@pytest.mark.parametrize("lost", [("head.",), ("head.logit_scale",), ()], ids=["stage 2", "E.T. Chat", "its own"])
def test_a_checkpoint_without_the_head_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, lost: tuple[str, ...]
) -> None:
    state = trainable_state(api.load_model("tiny/meco"))
    kept = {name: tensor for name, tensor in state.items() if not name.startswith(lost)}
    save_checkpoint(tmp_path / "stage.safetensors", kept)
    api.load_model("tiny/meco", is_eval=True, checkpoint=tmp_path / "stage.safetensors")
    assert ("weights of model.head" in caplog.text) == bool(lost)


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("calce", None, "comes in several types; choose one: charades_stage1"),
        ("calce", "qvh_stage3", r"no model 'calce/qvh_stage3'.*Did you mean 'calce/qvh_stage"),
        ("clace", "qvh_stage1", r"Did you mean 'calce/qvh_stage1'\? Known: calce/charades_stage1"),
        ("mecoo", None, r"Did you mean 'meco'\?"),
        ("nowhere/at/all", None, "no model"),
        ("nowhere.yaml", None, "no file 'nowhere.yaml'"),
        (".", None, "is no run: it has no config.yaml"),
    ],
)
def test_unknown_models(name: str, kind: str | None, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        lavis.load_model(name, kind)


@pytest.mark.parametrize(
    ("device", "message"),
    [("gpu", "device must be auto, cpu, cuda, cuda:N or mps, got 'gpu'"), ("cuda", "device=cuda but .* sees no GPU")],
)
def test_unknown_devices(device: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match=message):
        lavis.load_model("tiny/meco", device=device)


def test_foreign_checkpoint_does_not_say_its_model(tmp_path: Path) -> None:
    file = save_checkpoint(tmp_path / "x.safetensors", {"a": torch.zeros(1)})
    with pytest.raises(ConfigError, match="does not say what model it is for"):
        lavis.load_model(str(file))


def test_problems_are_found_before_anything_is_built() -> None:
    with pytest.raises(ConfigError, match=r"2 problems"):
        lavis.load_model("tiny/mr_blip", options=["model.sede=1", "model.prompt.shw_items=true"])


def annotations(folder: Path, videos: dict[str, str]) -> dict[str, Any]:
    rows = [
        {
            "video": stem,
            "qid": f"Q_{i}",
            "query": "a dog",
            "duration": 2,
            "items": ["dog"],
            "relevant_windows": [[0, 1]],
        }
        for i, stem in enumerate(videos)
    ]
    for split in ("train", "val"):
        (folder / f"{split}.json").write_text(json.dumps(rows))
    return {split: str(folder / f"{split}.json") for split in ("train", "val")}


def test_datasets(tmp_path: Path, video: str) -> None:
    stem = Path(video).stem
    files = annotations(tmp_path, {stem: video})
    (tmp_path / "mine.yaml").write_text(
        json.dumps(
            {
                "datasets": {
                    "mine": {"name": "grounding", "format": {"name": "calce"}, "annotations": files, "videos": "x"}
                }
            }
        )
    )
    both = lavis.load_dataset("mine.yaml", vis_path=str(Path(video).parent))
    assert sorted(both) == ["train", "val"]
    sample, views = both["val"][0]
    assert (sample.id, views) == ("Q_0", {})
    model = lavis.load_model("tiny/mr_blip")
    one = lavis.load_dataset("mine.yaml", "val", vis_path=str(Path(video).parent), processor=model.processor)
    assert one[0][1]["frames"].pixels.shape[0] == 10
    with pytest.raises(ConfigError, match=r"no file 'qvhighlight'.*Did you mean"):
        lavis.load_dataset("qvhighlight")
    with pytest.raises(ConfigError, match=r"datasets\.mine\.subsets: unknown key"):
        lavis.load_dataset("mine.yaml", options=["datasets.mine.subsets=1"])


def test_processors() -> None:
    assert lavis.load_processor("blip_question", {"max_words": 2})("Where IS it?") == "where is"
    with pytest.raises(ValueError, match="blip_question"):
        lavis.load_processor("blip_questions")


def test_the_quickstart_s_model_is_the_newest_that_is_asked_anything(tmp_path: Path) -> None:
    """A stage that later ones only begin from knows no times, however new it is."""
    last = make_run(tmp_path / "results" / "quickstart" / "last")
    early = make_run(tmp_path / "results" / "quickstart" / "early")
    config = load_config(early / "config.yaml")
    nothing = {**config.tree, "run": {**config.tree.get("run", {}), "valid_splits": [], "test_splits": []}}
    type(config)(nothing, config.origins, config.path).save(early / "config.yaml")
    assert api.find_default_model(tmp_path / "results") == (str(last), None)


def test_the_prior_of_the_quickstart_s_model_is_of_its_own_system(tmp_path: Path) -> None:
    for number, name in enumerate(("calce_stage1", "meco_stage3", "calce_stage2")):
        run = tmp_path / "results" / "quickstart" / name
        (run / "checkpoints").mkdir(parents=True)
        (run / "config.yaml").write_text(f"model: {{prompt: {{show_prior: {str(name == 'calce_stage2').lower()}}}}}\n")
        (run / api.BEST).write_bytes(b"")
        os.utime(run / api.BEST, (number, number))
    model, coarse = api.find_default_model(tmp_path / "results")
    assert (Path(model).name, Path(str(coarse)).name) == ("calce_stage2", "calce_stage1")


def test_a_whole_checkpoint_needs_nothing_beside_it(tmp_path: Path) -> None:
    node = ["model.weights=weights/none.pth"]
    whole = tmp_path / "whole.safetensors"
    save_checkpoint(whole, api.load_model("tiny/meco").state_dict())
    loaded = api.load_model("tiny/meco", checkpoint=whole, options=node).state_dict()
    assert all(loaded[name].equal(value) for name, value in load_file(whole).items())
    part = tmp_path / "part.safetensors"
    save_checkpoint(part, {k: v for k, v in load_file(whole).items() if not k.startswith("encoder.")})
    with pytest.raises(ConfigError, match="begins with weights that are not here: weights/none.pth"):
        api.load_model("tiny/meco", checkpoint=part, options=node)


def test_a_checkpoint_may_be_a_run_and_must_be_there(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    assert len(trainable_state(api.load_model("tiny/mr_blip", checkpoint=run))) > 0
    with pytest.raises(CheckpointError, match="there is no checkpoint nowhere"):
        api.load_model("meco", checkpoint="nowhere")

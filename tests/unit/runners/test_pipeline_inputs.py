"""What a stage reads, found from its configuration; digests that are remembered."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from lavis.common.config import Config
from lavis.runners import pipeline_digests
from lavis.runners.pipeline_digests import Digests, Source
from lavis.runners.pipeline_inputs import code_facts, facts_of, sources_of
from lavis.runners.pipeline_stages import Stage


def row(number: int) -> dict[str, Any]:
    return {
        "video": f"v{number}", "qid": f"Q_{number}", "query": "q", "duration": 9, "items": [],
        "relevant_windows": [[0, 2]],
    }  # fmt: skip


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    monkeypatch.chdir(tmp_path)
    for split, number in (("train", 1), ("val", 2)):
        Path(f"{split}.json").write_text(json.dumps([row(number)]))
    for folder, suffix in (("videos", ".mp4"), ("srts", ".srt")):
        Path(folder).mkdir()
        for name in ("v1", "v2", "other"):
            Path(folder, name + suffix).write_text(name)
    Path("weights.safetensors").write_text("w")
    Path("tokenizer").mkdir()
    Path("tokenizer/vocab.txt").write_text("a")
    node = {
        "name": "grounding", "format": {"name": "calce"}, "videos": "videos", "subtitles": "srts",
        "annotations": {"train": "train.json", "val": "val.json"}, "prior": "p/{split}.jsonl",
    }  # fmt: skip
    model = {
        "weights": ["weights.safetensors"],
        "cache": {"mb": 1},
        "language_model": {"tokenizer": "./tokenizer", "pretrained": "a/hub"},
    }
    run = {"output_dir": "results", "num_workers": 7, "seed": 1}
    return Stage("s", "train", Config({"name": "one", "model": model, "datasets": {"toy": node}, "run": run}))


@pytest.fixture
def digests(tmp_path: Path) -> Digests:
    return Digests(tmp_path / "digests.json")


def changed(stage: Stage, digests: Digests, before: dict[str, Any]) -> list[str]:
    """Inputs whose content is another now."""
    after = facts_of(stage, digests)
    assert {key: after[key] for key in ("config", "action")} == {key: before[key] for key in ("config", "action")}
    return [key for key, each in after["inputs"].items() if each["digest"] != before["inputs"][key]["digest"]]


def test_everything_that_is_read_is_found(stage: Stage, digests: Digests) -> None:
    assert set(sources_of(stage, digests)) == {
        "model.weights.0", "model.language_model.tokenizer",
        *(f"datasets.toy.annotations.{split}" for split in ("train", "val")),
        *(f"datasets.toy.{key} ({split})" for key in ("prior", "videos", "subtitles") for split in ("train", "val")),
    }  # fmt: skip


def test_an_evaluation_reads_its_splits_and_the_trained_weights(stage: Stage, digests: Digests) -> None:
    evaluated = Stage("e", "evaluate", stage.config, splits=["val"])
    found = sources_of(evaluated, digests)
    assert not [key for key in found if "train)" in key or key.endswith(".train")]
    assert found["trained weights"].path == Path("results/one/checkpoints/best.safetensors")


def test_paths_and_incidental_settings_are_not_part_of_the_configuration(stage: Stage, digests: Digests) -> None:
    config = facts_of(stage, digests)["config"]
    assert config["run"] == {"seed": 1}
    assert config["datasets"]["toy"] == {"name": "grounding", "format": {"name": "calce"}}
    assert config["model"] == {"language_model": {"tokenizer": "(a file)", "pretrained": "a/hub"}}
    assert stage.config is not None and stage.config.find("model.language_model.tokenizer") == "./tokenizer"


@pytest.mark.parametrize(
    ("file", "keys"),
    [
        ("videos/v1.mp4", ["datasets.toy.videos (train)"]),
        ("srts/v2.srt", ["datasets.toy.subtitles (val)"]),
        ("videos/other.mp4", []),
        ("weights.safetensors", ["model.weights.0"]),
        ("tokenizer/vocab.txt", ["model.language_model.tokenizer"]),
    ],
)
@pytest.mark.parametrize("way", ["changed", "gone", "touched"])
def test_content_counts(stage: Stage, digests: Digests, file: str, keys: list[str], way: str) -> None:
    before = facts_of(stage, digests)
    if way == "gone":
        Path(file).unlink()
    else:
        content = Path(file).read_text()
        Path(file).write_text(content if way == "touched" else f"{content} and more")
    assert changed(stage, digests, before) == ([] if way == "touched" else keys)


def test_a_changed_folder_names_its_files(stage: Stage, digests: Digests) -> None:
    source = Source(Path("videos"), "videos", ("v1.mp4", "v2.mp4", "v3.mp4"))
    before = digests.of(source)
    Path("videos/v1.mp4").write_text("else")
    Path("videos/v2.mp4").unlink()
    Path("videos/v3.mp4").write_text("new")
    after = digests.of(source)
    assert before is not None and after is not None
    assert digests.changed_names(before, after) == ["v1.mp4 was changed", "v2.mp4 is gone", "v3.mp4 is new"]


def test_frames_in_folders(stage: Stage, digests: Digests) -> None:
    Path("videos/v9").mkdir()
    Path("videos/v9/0.jpg").write_text("0")
    source = Source(Path("videos"), "videos", ("v9",))
    before = digests.of(source)
    Path("videos/v9/1.jpg").write_text("1")
    assert digests.of(source) != before


def test_what_is_remembered_is_not_read_again(
    stage: Stage, digests: Digests, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in tmp_path.rglob("*"):
        os.utime(path, (1_000_000, 1_000_000))
    before = facts_of(stage, digests)
    used = [each["digest"] for each in before["inputs"].values() if each["digest"]]
    digests.save(used)

    def refuse(path: Path) -> str:
        raise AssertionError(f"{path} is read again")

    monkeypatch.setattr(pipeline_digests, "file_digest", refuse)
    again = Digests(tmp_path / "digests.json")
    assert facts_of(stage, again) == before
    assert again.changed_names(used[0], used[0]) == []


def test_of_large_videos_pieces_are_read(tmp_path: Path, digests: Digests) -> None:
    path = tmp_path / "v.mp4"
    size = 8 * pipeline_digests.PIECE
    path.write_bytes(bytes(size))
    before = digests.file(path, sampled=True)
    assert before != digests.file(path)
    with path.open("r+b") as file:
        file.seek(size // 2)
        file.write(b"x")
    assert digests.file(path, sampled=True) != before


def test_the_code_has_a_version() -> None:
    facts = code_facts()
    assert len(facts["lavis"]) == 64
    assert facts["torch"] != "absent"

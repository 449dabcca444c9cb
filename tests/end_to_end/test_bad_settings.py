"""Faulty configurations and commands: each stops with a message that says what, where and what to do.

Configurations are refused before anything is built or written; commands end with 2 and show no traceback.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lavis.cli import main
from lavis.common.config import ConfigError, load_config
from lavis.processors.readers.base import VideoDecodeError
from lavis.runners.run import evaluate, train
from tests.end_to_end.tiny import Corpus, experiment, lavis, write_corpus


@pytest.fixture(scope="module")
def _whole(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """A corpus with ``tiny_stage1.yaml``."""
    corpus = write_corpus(tmp_path_factory.mktemp("whole"), train=2, val=1, test=2)
    experiment(corpus)
    return corpus


@pytest.fixture
def corpus(_whole: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Corpus:
    """A copy of it to be spoilt, which is also the working directory."""
    own = _whole.copied(tmp_path / "corpus")
    monkeypatch.chdir(own.folder)
    return own


# Configurations

VALID = """\
_base_: tiny/calce_stage1
datasets:
  clips: {name: grounding, format: {name: calce}, annotations: {train: a.json, test: b.json}, videos: v}
task: {name: moment_retrieval}
run: {device: cpu, valid_splits: []}
"""
FAULTY_YAML: dict[str, tuple[str, str]] = {
    "section": ("modle: {}\n", r"modle: unknown key.*Did you mean 'model'.*\[bad\.yaml:6\]"),
    "key": ("run.batch_sise: 2\n", r"run\.batch_sise"),
    "key of a run": ("X: {batch_sise: 2}\n", r"run\.batch_sise: unknown key of RunConfig\. Did you mean 'batch_size'"),
    "key of a part": ("model: {codec: {stile: a}}\n", r"codec\.stile: unknown key.*Did you mean 'style'.*bad\.yaml:6"),
    "LAVIS' key": ("X: {init_lr: 1e-4}\n", r"LAVIS' init_lr is called 'learning_rate' here"),
    "part": ("model: {codec: {name: second_text}}\n", r"unknown codec 'second_text'.*Did you mean 'seconds_text'"),
    "no part": ("model: {codec: null}\n", r"model\.codec"),
    "choice": ("model: {codec: {style: seconds}}\n", r"codec\.style: must be one of seconds_integers, .*got 'seconds'"),
    "type": ("X: {batch_size: two}\n", r"run\.batch_size: must be a whole number, got 'two'"),
    "quotes": ("X: {batch_size: '2'}\n", r"run\.batch_size: must be a whole number, got '2'"),
    "fraction": ("X: {epochs: 1.5}\n", r"run\.epochs: must be a whole number, got 1\.5"),
    "list": ("X: {test_splits: test}\n", r"run\.test_splits: must be a list"),
    "range": ("X: {batch_size: 0}\n", r"batch_size must be at least 1, got 0"),
    "split": ("X: {test_splits: [testing]}\n", r"no dataset has a split 'testing'; there are test, train"),
    "builder": ("model: {compressor: {language_width: 3}}\n", r"'language_width' from the builder; remove it"),
    "syntax": ("model: {codec: [\n", r"bad\.yaml:\d+, column \d+: not YAML"),
    "tab": ("model:\n\tcodec: 1\n", r"bad\.yaml:7, column 1: not YAML"),
    "twice": ("task: {name: videoqa}\n", r"bad\.yaml:6: key 'task' is given twice \(first on line 4\)"),
    "tag": ('name: !!python/object/apply:pathlib.Path.touch ["harm"]\n', r"bad\.yaml:6: tag .* is not allowed"),
    "alias": ("a: &a [1]\nname: *a\n", r"bad\.yaml:\d+: anchors and aliases are not read"),
    "interpolation": ("name: ${model.nothing}\n", r"bad\.yaml:6: name: .*model\.nothing"),
    "imports": ("imports: [no.such.module]\n", r"module 'no\.such\.module' cannot be imported.*PYTHONPATH"),
    "nested": ("name: " + "[" * 5000 + "\n", r"bad\.yaml.*(nested too deeply|not YAML)"),
}


def faulty(text: str) -> str:
    """The valid file with ``text`` behind it; ``X:`` stands for a changed ``run`` section."""
    if text.startswith("X: {"):
        return VALID.replace("run: {", "run: {" + text[4:].rstrip("}\n") + ", ")
    return VALID + text


def test_the_configuration_without_faults_is_valid(tmp_path: Path) -> None:
    from lavis.common.check import EXPERIMENT, check

    (tmp_path / "good.yaml").write_text(VALID)
    assert check(load_config(tmp_path / "good.yaml"), EXPERIMENT) == []


@pytest.mark.parametrize("fault", FAULTY_YAML)
def test_a_faulty_configuration_is_refused_before_anything_is_made(
    tmp_path: Path, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, message = FAULTY_YAML[fault]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.yaml").write_text(faulty(text))
    with pytest.raises(ConfigError, match=message):
        train(load_config("bad.yaml"))
    assert [path.name for path in tmp_path.iterdir()] == ["bad.yaml"]


def test_all_problems_are_shown_together(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text(faulty("X: {batch_sise: 2}\n") + "modle: {}\nmodel: {codec: {name: nothing}}\n")
    with pytest.raises(ConfigError, match=r"(?s)3 problems.*batch_sise.*modle.*nothing"):
        train(load_config(tmp_path / "bad.yaml"))


FAULTY_FILES: dict[str, tuple[dict[str, str], str]] = {
    "circle": (
        {"bad.yaml": "_base_: ./other.yaml\n", "other.yaml": "_base_: ./bad.yaml\n"},
        r"_base_ goes in a circle: .*bad\.yaml -> .*other\.yaml -> .*bad\.yaml",
    ),
    "no base": ({"bad.yaml": "_base_: tiny/calce_stage3\n"}, r"no file 'tiny/calce_stage3'.*Did you mean 'tiny/"),
    "empty": ({"bad.yaml": ""}, r"model: this section is missing"),
    "a list": ({"bad.yaml": "- 1\n"}, r"a configuration is a mapping of keys, got list"),
    "absent": ({}, r"no file 'bad\.yaml'.*Looked for"),
}


@pytest.mark.parametrize("fault", FAULTY_FILES)
def test_faulty_files(tmp_path: Path, fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    files, message = FAULTY_FILES[fault]
    monkeypatch.chdir(tmp_path)
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError, match=message):
        train(load_config("bad.yaml"))


WRONG_SETTINGS: dict[str, tuple[dict[str, Any], str]] = {
    "pattern": ({"trainable": ["compressor.t6_proj.*"]}, r"'compressor\.t6_proj\.\*' matches no parameter"),
    "folder": ({"language_model": {"tokenizer": "/no/such"}}, r"no tokenizer in '/no/such'.*give a folder"),
    "tokenizer": ({"language_model": {"tokenizer": "no/hub"}}, r"(?s)no tokenizer in 'no/hub'.*hub name that is"),
    "tokenizer of subtitles": (
        {"subtitle_choice": {"tokenizer": "bert-base-nothing"}},
        r"(?s)subtitle_choice\.tokenizer 'bert-base-nothing' cannot be read.*give a folder",
    ),
    "vocabulary": (
        {"language_model": {"overrides": {"vocab_size": 100}}},
        r"tokenizer has \d+ tokens but the language model only 100 embeddings; .*overrides\.vocab_size",
    ),
    "vocabulary of the Q-Former": (
        {"compressor": {"qformer": {"vocab_size": 100}}},
        r"subtitle_choice\.tokenizer has \d+ tokens.*100.*compressor\.qformer\.vocab_size",
    ),
    "width": ({"encoder": {"width": 31}}, r"encoder.*31.*(heads|multiple)"),
    "frames": ({"processor": {"views": {"frames": {"sampler": {"num_frames": 0}}}}}, r"num_frames must be at least 1"),
}


@pytest.mark.parametrize("fault", WRONG_SETTINGS)
def test_settings_that_parts_refuse(corpus: Corpus, fault: str) -> None:
    model, message = WRONG_SETTINGS[fault]
    with pytest.raises(ValueError, match=message):
        train(load_config(experiment(corpus, "tiny/other", model=model)))


def test_an_unknown_monitor_is_noticed_before_the_first_step(corpus: Corpus) -> None:
    file = experiment(corpus, "tiny/other")
    with pytest.raises(ValueError, match=r"monitor wants 'map'.*will give .*agg_metrics.*set run\.monitor\.metric"):
        train(load_config(file, ["run.monitor.metric=map"]))
    assert not list(corpus.results.glob("tiny/other/checkpoints/step_*"))
    folder = train(load_config(file))
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if "loss" in row] == [1]
    assert (folder / "checkpoints" / "best.safetensors").is_file()


def test_a_missing_prior_says_which_stage_to_run(corpus: Corpus) -> None:
    prior = {"prior": str(corpus.results / "nowhere" / "clips_{split}.jsonl")}
    with pytest.raises(ValueError, match=r"no predictions .*clips_test\.jsonl\. Run the earlier stage"):
        evaluate(load_config(experiment(corpus, "tiny/stage2", "tiny/calce_stage2", dataset=prior)))


# The command line


def spoil_video(corpus: Corpus) -> None:
    (corpus.videos / "test_0.mp4").write_bytes(b"no video")


COMMANDS: dict[str, tuple[list[str], str]] = {
    "no file": (["train", "tiny_stage3.yaml"], "no file 'tiny_stage3.yaml'"),
    "bad option": (["train", "tiny_stage1.yaml", "--options", "run.batch_sise=1"], "Did you mean 'batch_size'"),
    "bad video": (["evaluate", "tiny_stage1.yaml", "--options", "name=tiny/other"], "test_0.mp4: not a readable video"),
    "bad video in a loader process": (
        ["evaluate", "tiny_stage1.yaml", "--options", "name=tiny/other", "run.num_workers=1"],
        "test_0.mp4: not a readable video",
    ),
    "no weights": (["train", "tiny_stage1.yaml", "--options", "name=o", "model.weights=w.pth"], "no weights at w.pth"),
    "results in a file": (["train", "tiny_stage1.yaml", "--options", "run.output_dir=videos/test_0.mp4"], "test_0.mp4"),
    "no video": (["localize", "none.mp4", "a man", "--model", "tiny/calce_stage1"], "none.mp4"),
    "a bad video": (["localize", "videos/test_0.mp4", "a man", "--model", "tiny/calce_stage1"], "not a readable video"),
    "no query": (["localize", "videos/val_0.mp4", " ", "--model", "tiny/calce_stage1"], "query is empty"),
    "no text": (["localize", "videos/val_0.mp4", "\udcff", "--model", "tiny/calce_stage1"], "bytes that are no UTF-8"),
    "no model": (["localize", "videos/val_0.mp4", "a man", "--model", "tiny/calce"], "no model 'tiny/calce'"),
    "bad subtitles": (
        ["localize", "videos/val_0.mp4", "a man", "--model", "tiny/calce_stage1", "--subtitles", "tiny_stage1.yaml"],
        "tiny_stage1.yaml:1: text without times",
    ),
    "no pipeline": (["pipeline", "tiny_stage1.yaml"], "unknown key model, datasets, task, run; known: name"),
    "no run": (["report", "nowhere"], "nowhere"),
    "no annotations": (["merge", "--dataset", "qvh", "--results", "results", "--annotations", "x"], "--annotations"),
}


@pytest.mark.parametrize("fault", COMMANDS)
def test_commands_end_with_two_and_a_message(
    corpus: Corpus, fault: str, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil_video(corpus)
    arguments, message = COMMANDS[fault]
    assert main(arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert message in said.err
    assert f"lavis {arguments[0]}: " in said.err
    assert "Traceback" not in said.err


def test_in_another_process(corpus: Corpus) -> None:
    spoil_video(corpus)
    options = ["--options", "name=tiny/other", "run.num_workers=1"]
    done = lavis("evaluate", "tiny_stage1.yaml", *options, cwd=corpus.folder)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "test_0.mp4: not a readable video" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_traceback_is_to_be_had(corpus: Corpus) -> None:
    spoil_video(corpus)
    options = ["--options", "name=tiny/other", "run.num_workers=1"]
    with pytest.raises(VideoDecodeError) as caught:
        main(["evaluate", "tiny_stage1.yaml", "--traceback", *options])
    assert "probe_packets" in str(caught.value.__cause__)

"""MR.BLIP's other tasks from video files to figures: naming all actions, questions, questions with the place found."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

import lavis
from lavis.common.config import load_config
from lavis.datasets.build import collate
from lavis.runners.run import evaluate, train
from tests.end_to_end.tiny import SECONDS, Corpus, experiment, metrics, predictions, put_predictions
from tests.video_factory import write_video

CLASSES = ["Long jump", "Walking"]
OPTIONS = ["a dog.", "a man.", "a door.", "red.", "blue."]
TAL_TASK = load_config("experiments/mr_blip/anet_tal")["model"]["prompt"]["task"]
ANSWERING = {"prompt": {"name": "question_answer"}, "codec": {"name": "option_letter"}}


def corpus_of(folder: Path, rows: dict[str, list[dict[str, Any]]]) -> Corpus:
    """The rows with a clip of 30 s for each video."""
    corpus = Corpus(folder, rows)
    corpus.videos.mkdir(parents=True)
    for video in {row["video"] for split in rows.values() for row in split}:
        write_video(corpus.videos / f"{video}.mp4", num_frames=SECONDS, fps=1)
    corpus.write_annotations()
    return corpus


def of_task(path: Path, task: dict[str, Any]) -> Path:
    """A copy of an experiment's file with another task."""
    tree = yaml.safe_load(path.read_text())
    tree["task"] = task
    path.write_text(yaml.safe_dump(tree, sort_keys=False))
    return path


def losses(folder: Path) -> list[float]:
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [row["loss"] for row in rows if "loss" in row]


def data(**changes: Any) -> dict[str, Any]:
    return {"format": {"name": "mr_blip"}, "subtitles": None, **changes}


@pytest.fixture(scope="module")
def actions(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    def row(number: int) -> dict[str, Any]:
        windows = [[2, 8], [12, 20]]
        return {
            "video": f"v_{number}", "qid": f"Actions_{number}", "query": "", "duration": SECONDS,
            "relevant_windows": windows, "labels": [CLASSES[number % 2], CLASSES[1]],
        }  # fmt: skip

    rows = [row(i) for i in range(4)]
    return corpus_of(tmp_path_factory.mktemp("actions"), {"train": rows[:2], "val": rows[2:3], "test": rows[3:]})


@pytest.fixture(scope="module")
def questions(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    def row(number: int) -> dict[str, Any]:
        options = {f"a{i}": text for i, text in enumerate(OPTIONS)}
        return {
            "video": f"v_{number // 2}", "qid": f"{('CW', 'TN')[number % 2]}_{number // 2}_{number}", "num_option": 5,
            "duration": SECONDS, "question": "what opens?", "answer": number % 5, **options,
            "relevant_windows": [[6, 14], [20, 24]],
        }  # fmt: skip

    rows = [row(i) for i in range(8)]
    return corpus_of(tmp_path_factory.mktemp("questions"), {"train": rows[:4], "val": rows[4:6], "test": rows[6:]})


def test_actions_are_found_and_named(actions: Corpus) -> None:
    (actions.folder / "classes.txt").write_text("\n".join(CLASSES) + "\n")
    model = {"prompt": {"task": TAL_TASK}, "codec": {"parser": "mr_blip_labelled"}}
    file = experiment(actions, "tiny/tal", "tiny/mr_blip", dataset=data(), model=model)
    metric = {"name": "action_detection", "class_file": str(actions.folder / "classes.txt")}
    config = load_config(of_task(file, {"name": "temporal_action_localization", "metrics": [metric]}))
    folder = train(config)
    assert all(0 < loss < 100 for loss in losses(folder))
    figures = metrics(folder)["clips_test"]
    assert (figures["total"], figures["skipped"]) == (1, 0)
    assert {"agg_metrics", "mAP@0.5", "mAP@0.95", "r1@0.5", "class_label_mismatch"} <= set(figures)
    (row,) = json.loads((folder / "predictions" / "clips_test.json").read_text())
    assert row["target"] == [[2, 8, "Walking"], [12, 20, "Walking"]]

    # An answer as it was learned is worth everything.
    said = {"id": "Actions_3", "moments": [[2, 8], [12, 20]], "text": '[[2, 8, "Walking"], [12, 20, "Walking"]]'}
    put_predictions(folder, "clips_test", [said])
    assert metrics(evaluate(config, ["test"]))["clips_test"]["agg_metrics"] == 1.0


def test_questions_are_answered(questions: Corpus) -> None:
    file = experiment(questions, "tiny/qa", "tiny/mr_blip", dataset=data(), model=ANSWERING)
    config = load_config(of_task(file, {"name": "videoqa"}))
    folder = train(config)
    assert len(losses(folder)) == 2
    figures = metrics(folder)["clips_test"]
    assert {"agg_metrics", "CW", "TN", "unanswered", "total"} <= set(figures)
    rows = json.loads((folder / "predictions" / "clips_test.json").read_text())
    assert [(row["qid"], row["target"]) for row in rows] == [("CW_3_6", 1), ("TN_3_7", 2)]

    said = [{"id": row["qid"], "moments": [], "text": f"Option {'ABCDE'[row['target']]}"} for row in rows]
    put_predictions(folder, "clips_test", said)
    assert metrics(evaluate(config, ["test"]))["clips_test"]["agg_metrics"] == 1.0


@pytest.fixture(scope="module")
def found(questions: Corpus) -> Path:
    """Folder of a run of the localizer, with the moments of all questions."""
    options = {"prompt": {"options_style": "list"}}
    config = load_config(experiment(questions, "tiny/localizer", "tiny/mr_blip", dataset=data(), model=options))
    return evaluate(config, ["train", "val", "test"])


@pytest.mark.parametrize("resample", [False, True], ids=["chosen", "resampled"])
def test_questions_are_answered_from_the_moment_found(questions: Corpus, found: Path, resample: bool) -> None:
    prior = found / "predictions" / "clips_{split}.jsonl"
    localizer = {"name": "locate_then_answer", "num_frames": 4, "resample": resample}
    name = f"tiny/gqa_{resample}".lower()
    # What the localizer found, made a moment: its random weights say nothing that can be read.
    rows = [json.loads(line) for line in Path(str(prior).format(split="test")).read_text().splitlines()]
    assert [row["id"] for row in rows] == questions.ids("test")
    rows[0]["moments"], rows[1]["moments"] = [[6, 14]], [[0, 3]]
    Path(str(prior).format(split="test")).write_text("".join(json.dumps(row) + "\n" for row in rows))
    model = {**ANSWERING, "localizer": localizer}
    file = experiment(questions, name, "tiny/mr_blip", dataset=data(prior=str(prior)), model=model)
    folder = train(load_config(of_task(file, {"name": "videogqa"})))
    assert len(losses(folder)) == 2
    figures = metrics(folder)["clips_test"]
    assert {"agg_metrics", "Acc@GQA", "mIoP", "TIoP@0.3", "mIoU", "TIoU@0.5"} <= set(figures)
    assert (figures["mIoP"], figures["mIoU"]) == (50.0, 50.0)
    assert [row["moments"] for row in predictions(folder, "clips_test")] == [[[6, 14]], [[0, 3]]]


def test_a_localizer_may_be_attached(questions: Corpus, found: Path) -> None:
    localizer = {"name": "locate_then_answer", "num_frames": 4, "resample": True}
    file = experiment(
        questions, "tiny/gqa_attached", "tiny/mr_blip", dataset=data(), model={**ANSWERING, "localizer": localizer}
    )
    model = lavis.load_model(str(file), is_eval=True, coarse=str(questions.folder / "tiny_localizer.yaml"))
    assert type(model.localizer).__name__ == "LocateThenAnswer"
    samples = lavis.load_dataset(str(file), "test", processor=model.processor)
    (first, second) = model.generate(collate([samples[0], samples[1]]))
    assert [first.id, second.id] == questions.ids("test")
    assert all(len(p.moments) == 1 for p in (first, second))

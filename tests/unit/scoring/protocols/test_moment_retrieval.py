"""The protocol ``moment_retrieval``: forms of five data sets, splits, variants, texts, bad input."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lavis.common.yaml_tree import ConfigError
from lavis.scoring.base import ScoringError
from lavis.scoring.scorer import ScoreReport, score

Row = dict[str, Any]
CAPTIONS = {
    "v_a": {"duration": 60.0, "timestamps": [[0, 20], [30, 60]], "sentences": ["A man runs.", "He stops."]},
    "v_b": {"duration": 30.0, "timestamps": [[5, 10]], "sentences": ["A dog barks."]},
}
PERFECT = {"v_a_0": [[0, 20]], "v_a_1": [[30, 60]], "v_b_0": [[5, 10]]}


def run(answers: Any, truth: Any, **settings: Any) -> ScoreReport:
    found = score("moment_retrieval", answers, truth, **settings)
    for name, estimate in found.scored.estimates.items():
        mean = estimate.scale * np.nanmean(estimate.values)  # type: ignore[union-attr]
        assert found.headline[name] == pytest.approx(mean, abs=0.00501), name
    assert set(found.scored.estimates) == set(found.headline)
    return found


def query(windows: list[list[float]], identity: Any = 1, **fields: Any) -> Row:
    return {"qid": identity, "vid": "v", "duration": 30, "relevant_windows": windows, **fields}


def test_charades_release(data_dir: Path) -> None:
    file = data_dir / "charades" / "charades_test_release.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    answers = {str(row["qid"]): [[0, 10], *row["relevant_windows"]] for row in rows}
    found = run(answers, file, dataset="charades_sta", split="test")
    assert found.headline["R5@0.9"] == found.headline["best_mIoU"] == 100
    assert found.headline["R1@0.5"] < 50
    assert found.missing == "zero"


# Truth of each data set


def test_activitynet_captions() -> None:
    settings = {"dataset": "activitynet_captions", "split": "val_2"}
    assert run(PERFECT, CAPTIONS, **settings).headline["R1@0.9"] == 100
    for split in (None, "val"):
        with pytest.raises(ConfigError, match="name the split"):
            run(PERFECT, CAPTIONS, dataset="activitynet_captions", split=split)


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """The same ids with other sentences and times, as in the two validation splits."""
    other = {
        video: {**row, "sentences": [f"Another {i} thing." for i, _ in enumerate(row["sentences"])]}
        for video, row in CAPTIONS.items()
    }
    for name, rows in (("val_1.json", CAPTIONS), ("val_2.json", other)):
        (tmp_path / name).write_text(json.dumps(rows))
    return tmp_path / "val_1.json", tmp_path / "val_2.json"


def test_a_truth_file_named_after_another_split(files: tuple[Path, Path]) -> None:
    first, second = files
    assert run(PERFECT, first, dataset="activitynet_captions", split="val_1").headline["mIoU"] == 100
    with pytest.raises(ScoringError, match="this is val_2, but the split to score is val_1"):
        run(PERFECT, second, dataset="activitynet_captions", split="val_1")


def test_predictions_that_say_they_are_of_another_split(files: tuple[Path, Path], tmp_path: Path) -> None:
    rows = [{"id": name, "moments": windows, "split": "val_1"} for name, windows in PERFECT.items()]
    with pytest.raises(ScoringError, match="this is val_1, but the split to score is val_2"):
        run(rows, files[1], dataset="activitynet_captions", split="val_2")
    named = tmp_path / "preds_val1.json"
    named.write_text(json.dumps(PERFECT))
    with pytest.raises(ScoringError, match="this is val1, but"):
        run(named, files[1], dataset="activitynet_captions", split="val_2")


def test_predictions_for_other_sentences(files: tuple[Path, Path]) -> None:
    sentences = {"v_a_0": "a man runs", "v_a_1": "he stops", "v_b_0": "a dog bark"}  # as Grounded-VideoLLM cuts them
    rows = [{"id": name, "moments": PERFECT[name], "query": text} for name, text in sentences.items()]
    assert run(rows, files[0], dataset="activitynet_captions", split="val_1").headline["mIoU"] == 100
    with pytest.raises(ScoringError, match="3 of 3 predictions are for other sentences"):
        run(rows, files[1], dataset="activitynet_captions", split="val_2")


def test_predictions_with_other_ids() -> None:
    more = {**PERFECT, "v_b_1": [[0, 1]]}
    with pytest.raises(ScoringError, match="1 extra"):
        run(more, CAPTIONS, dataset="activitynet_captions", split="val_1")
    with pytest.raises(ScoringError, match="another split"):
        run({"v_z_0": [[0, 1]]}, CAPTIONS, dataset="activitynet_captions", split="val_1")


def test_tacos_counts_frames() -> None:
    truth = {
        "s1-d1.avi": {"timestamps": [[50, 100]], "sentences": ["He cuts."], "fps": 25.0, "num_frames": 1000},
    }
    assert run({"s1-d1.avi_0": [[2, 4]]}, truth, dataset="tacos").headline["R1@0.9"] == 100
    assert run({"s1-d1.avi_0": [[2, 41]]}, truth).pairs.tally.out_of_range == 1
    with pytest.raises(ScoringError, match="fps"):
        run({"a_0": [[2, 4]]}, {"a": {**truth["s1-d1.avi"], "fps": 0}})


def test_charades_lines(tmp_path: Path) -> None:
    file = tmp_path / "charades_sta_test.txt"
    file.write_text("3MSZA 24.3 30.4##person turn a light on.\nAMT7R 4.3 12.5##a person.\n")
    found = run({"0": [[24.3, 30.4]], "1": [[0, 1]]}, file, dataset="charades_sta")
    assert found.headline["R1@0.5"] == 50
    assert found.pairs.videos == ["3MSZA", "AMT7R"]
    file.write_text("3MSZA 24.3##person\n")
    with pytest.raises(ScoringError, match="line 1: expected 'video start end##sentence'"):
        run({"0": [[1, 2]]}, file)


def test_didemo_in_segments() -> None:
    truth = [
        {"annotation_id": 7, "video": "a", "times": [[1, 1], [1, 1], [1, 1], [4, 5]], "description": "x"},
        {"annotation_id": 8, "video": "a", "times": [[0, 0], [0, 1], [0, 1], [2, 2]], "description": "y"},
    ]
    answers = {"7": [[1, 1], [0, 0]], "8": [[0, 0], [0, 1], [2, 2]]}
    found = run(answers, truth, dataset="didemo")
    assert found.missing == "error"
    # Ranks of the best three: 1, 1, 1 and 1, 2, 2; overlaps 1, 1, 1 and 1, 1/2, 1/2.
    assert found.figures["didemo"] == {"R1": 0.5, "R5": 1.0, "mIoU": pytest.approx((1 + 2 / 3) / 2)}
    assert found.headline["didemo_R1"] == 50
    assert found.headline["mIoU"] == 100  # as seconds, against the annotator who agrees most
    seconds = run({"7": [[5, 10]], "8": [[0, 5.5]]}, truth, dataset="didemo")
    assert "didemo" not in seconds.figures and "left out" in seconds.scored.notes[0]
    assert seconds.headline["R1@0.9"] == 100
    with pytest.raises(ScoringError, match="1 missing"):
        run({"7": [[1, 1]]}, truth, dataset="didemo")
    with pytest.raises(ScoringError, match="no pairs of whole numbers"):
        run({"7": [[5, 10.5]], "8": [[0, 5]]}, truth, didemo_unit="segments")


def test_ego4d(tmp_path: Path) -> None:
    queries = [{"clip_start_sec": a, "clip_end_sec": b, "query": "where?"} for a, b in ((0, 10), (20, 30), (5, 6))]
    clip = {
        "clip_uid": "c",
        "video_start_sec": 0,
        "video_end_sec": 480,
        "annotations": [{"annotation_uid": "u", "language_queries": queries}],
    }
    truth = {"version": "1", "date": "", "description": "", "videos": [{"video_uid": "v", "clips": [clip]}]}
    answers = {
        "version": "1.0",
        "challenge": "ego4d_nlq_challenge",
        "results": [
            {"clip_uid": "c", "annotation_uid": "u", "query_idx": 0, "predicted_times": [[0, 5], [0, 10]]},
            {"clip_uid": "c", "annotation_uid": "u", "query_idx": 1, "predicted_times": [[20, 30]]},
        ],
    }
    for name, content in (("truth.json", truth), ("answers.json", answers)):
        (tmp_path / name).write_text(json.dumps(content))
    found = run(tmp_path / "answers.json", tmp_path / "truth.json", dataset="ego4d_nlq")
    assert found.missing == "drop" and found.pairs.tally.missing == 1
    # An overlap of just 0.5 is not above 0.5 for Ego4D's script, but reaches it for the others.
    assert found.headline["R1@0.5"] == 100 and found.headline["ego4d_R1@0.5"] == 50
    assert found.headline["ego4d_R5@0.5"] == 100
    assert found.headline["ego4d_mIoU"] == found.headline["ego4d_mean_R1"] == 75
    assert found.pairs.ids == ["u_0", "u_1"]


# Answers


@pytest.mark.parametrize(
    "answer",
    [
        {"qid": 1, "pred_relevant_windows": [[0, 10, 0.3]]},
        {"id": "1", "moments": [[0, 10]], "text": ""},
        {"qid": "Charades_1", "pred_windows": [[0, 10]]},
        {"id": 1, "answer": "From 0 to 10 seconds."},
        {"qid": "1", "response": "[[0, 10]]"},
        {"question_id": 1, "pred": [0, 10]},
        {"id": 1, "output": "0 - 10.0"},
    ],
)
def test_forms_of_answers(answer: Row) -> None:
    assert run([answer], [query([[0, 10]])]).headline["R1@0.9"] == 100
    assert run([answer], [query([[0, 10]], "Charades_1")]).headline["R1@0.9"] == 100


def test_answers_by_id() -> None:
    assert run({"1": "between 0 and 10"}, [query([[0, 10]])]).headline["R1@0.9"] == 100


def test_texts_without_a_window_count_and_overlap_nothing() -> None:
    rows = [{"id": 1, "answer": "0 to 10"}, {"id": 2, "answer": "I do not know."}, {"id": 3, "answer": "<12><30>"}]
    found = run(rows, [query([[0, 10]], n) for n in (1, 2, 3)])
    assert found.pairs.tally.unparseable == 2
    assert found.headline["mIoU"] == 33.33


def test_time_tokens_are_parts_of_the_duration() -> None:
    truth = [query([[3, 6]])]
    found = run([{"id": 1, "answer": "From <60> to <30>."}], truth, reading="time_tokens")
    assert found.headline["R1@0.9"] == 100 and found.pairs.tally.out_of_range == 0
    with pytest.raises(ScoringError, match="duration"):
        run([{"id": 1, "answer": "<1><2>"}], [{"qid": 1, "relevant_windows": [[3, 6]]}], reading="time_tokens")


def test_grounded_videollm_of_2024() -> None:
    """Any number of digit groups but two is the whole video; true windows are rounded down to tokens."""
    truth = [query([[3.09, 6.09]], 1), query([[0, 30]], 2)]
    rows = [{"id": 1, "answer": "<30><60>"}, {"id": 2, "answer": "<1><2><3>"}]
    found = run(rows, truth, reading="dev2024")
    assert found.headline["dev2024_R1@0.9"] == found.headline["dev2024_mIoU"] == 100
    assert set(found.figures) == {"dev2024"}
    standard = run(rows, truth, reading="time_tokens")
    assert standard.headline["mIoU"] < 60
    reversed_pair = run([{"id": 1, "answer": "<60><30>"}], truth[:1], reading="dev2024")
    assert reversed_pair.headline["dev2024_mIoU"] == 0


def test_variants() -> None:
    found = run({"1": [[0, 5], [5, 10], [20, 30]]}, [query([[0, 10], [20, 25]])])
    assert found.headline["mIoU"] == 50  # [0, 5] and [0, 10]
    assert found.headline["best_mIoU"] == found.headline["R5@0.5"] * 0.5 == 50
    assert found.headline["union_mIoU"] == 75
    assert found.figures["listed"]["mIoU"] == 0.25
    alone = run({"1": [[0, 5]]}, [query([[0, 10]])])
    assert "no query has several windows" in alone.scored.notes[-1]


def test_five_windows_count() -> None:
    windows = [[20, 30]] * 5 + [[0, 10]]
    found = run({"1": windows}, [query([[0, 10]])])
    assert found.headline["R5@0.3"] == 0 and found.headline["best_R1@0.9"] == 100
    assert run({"1": windows[1:]}, [query([[0, 10]])]).headline["R5@0.9"] == 100


# Bad input


def test_gaps_and_duplicates() -> None:
    truths = [query([[0, 10]], n) for n in (1, 2)]
    found = run([{"id": 1, "moments": [[0, 1]]}, {"id": 1, "moments": [[0, 10]]}], truths)
    assert found.headline["R1@0.5"] == 50  # the last row counts, the missing one is missed
    assert (found.pairs.tally.duplicated, found.pairs.tally.missing) == (1, 1)


@pytest.mark.parametrize(
    "truth",
    [{"a": {"timestamps": [[0, 1]], "sentences": [], "duration": 3}}, [query([])], [query([[0, float("nan")]])]],
)
def test_truth_that_cannot_be_read(truth: Any) -> None:
    with pytest.raises(ScoringError, match="the truth cannot be read"):
        run({"1": [[0, 1]]}, truth)


def test_fuzzed_rows(tmp_path: Path) -> None:
    """Whatever a row holds, it is scored, counted, or refused with a message."""
    draw = random.Random(0)
    values: list[Any] = [
        None, True, -3, 7, 1e400, float("nan"), 10**400, "", "x", "3 to 9", "[[1, 2]]", [], [[]], [[1]], [[1, 2]],
        [[1e308, -1e308]],
        [[2, 1]], [[1, 2, 3]], [[1, 2], [3, 4, 0.5]], [["1", "2"]], [1, 2], {}, {"a": 1}, [[[1]]], "\ud83d\ude00",
    ]  # fmt: skip
    names = ["id", "qid", "moments", "answer", "pred_relevant_windows", "pred_windows", "split", "query", "malformed"]
    truths = [query([[1, 2]], n) for n in range(20)]
    scored = 0
    for _ in range(50):
        rows: list[Any] = [{"id": 0, "moments": [[1, 2]]}]
        for _ in range(10):
            fields = {draw.choice(names): draw.choice(values) for _ in range(draw.randint(1, 4))}
            rows.append({**fields, "id": draw.choice([draw.randint(0, 19), *values])})
        for protocol in ("moment_retrieval", "qvhighlights", "calce"):
            try:
                found = score(protocol, rows, truths, missing="zero", extra="drop")
            except ScoringError:
                continue
            scored += 1
            assert all(0 <= value <= 100 for value in found.headline.values())
    assert scored > 100


def test_a_torn_line_and_text_lines(tmp_path: Path) -> None:
    file = tmp_path / "p.jsonl"
    file.write_text('{"id": 1, "answer": "0 to 10"}\n{"id": 2, "answer": "0 to')
    found = run(file, [query([[0, 10]], n) for n in (1, 2)])
    assert (found.headline["mIoU"], found.pairs.tally.unparseable) == (50, 1)

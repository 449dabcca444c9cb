from __future__ import annotations

import json
import random
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lavis.scoring.base import ScoringError
from lavis.scoring.captions import dense
from lavis.scoring.captions.tools import CaptionTools, captions_available
from lavis.scoring.intervals import bootstrap
from lavis.scoring.protocols import dense_captioning
from lavis.scoring.scorer import score

TRUTH = {
    "v_a": {"duration": 60.0, "timestamps": [[0, 20], [20, 60]], "sentences": ["A man cooks.", "He eats the soup."]},
    "v_b": {"duration": 30.0, "timestamps": [[5, 12]], "sentences": ["A dog runs on the beach."]},
}
ANSWERS = {
    "v_a": [{"timestamp": [0, 18], "sentence": "A man is cooking."}, {"timestamp": [20, 61], "caption": "He eats."}],
    "v_b": [{"timestamp": [20, 30], "sentence": "A cat sleeps."}],
}
GOLD = [
    {"question_id": 7, "answer": [{"content": "cut it. mix it", "time": [0, 6]}, {"content": "fry", "time": [6, 12]}]},
    {"question_id": 8, "answer": [{"content": "serve", "time": [0, 9]}]},
]


@pytest.fixture
def no_java(monkeypatch: pytest.MonkeyPatch) -> None:
    """Localisation alone: what these tests look at needs no words."""
    monkeypatch.setattr(dense_captioning, "captions_available", lambda: "Java is absent")
    monkeypatch.setattr(dense_captioning, "ngrams_available", lambda: "a package is absent")


@pytest.fixture(scope="module")
def shared_tools() -> Iterator[CaptionTools]:
    reason = captions_available()
    if reason:
        pytest.skip(reason)
    with dense_captioning.caption_tools() as made:
        yield made


@pytest.fixture
def java(shared_tools: CaptionTools, monkeypatch: pytest.MonkeyPatch) -> None:
    """One METEOR process for all tests of this file."""

    class Kept:
        def __enter__(self) -> CaptionTools:
            return shared_tools

        def __exit__(self, *_: object) -> None:
            pass

    monkeypatch.setattr(dense_captioning, "caption_tools", Kept)


def replies(identity: Any, *said: tuple[str, float]) -> dict[str, Any]:
    turns = [{"role": "assistant", "content": text, "time": time} for text, time in said]
    return {"question_id": identity, "model_response_list": [{"role": "user", "content": "?", "time": 0}, *turns]}


def test_without_java_localisation_comes_out_and_the_rest_is_explained(no_java: None) -> None:
    report = score("dense_captioning", ANSWERS, TRUTH)
    assert report.headline == {"Recall": 43.75, "Precision": 43.75, "F1": 43.75}
    assert "METEOR" not in report.figures
    assert "Java is absent" in report.scored.notes[0]


def test_figures_of_the_activitynet_line(java: None) -> None:
    report = score("dense_captioning", ANSWERS, TRUTH, intervals=True)
    figures = report.figures
    assert list(figures)[:4] == ["soda_c", "METEOR", "CIDEr", "Rouge-L"]
    assert figures["Recall@0.3"] == 0.5 and figures["Precision@0.3"] == 0.5
    assert figures["Recall"] == pytest.approx((1 + 1 + 1 + 0.5) / 8)
    assert report.pairs.tally.out_of_range == 1
    assert set(report.headline) <= set(report.intervals)


def test_estimates_give_the_figures(java: None) -> None:
    for variant in ("activitynet", "mmduet"):
        report = score("dense_captioning", ANSWERS, TRUTH, variant=variant, corrected=True)
        assert "SODA_c_corrected" in report.headline and "SODA_c_corrected" not in report.figures
        given = bootstrap(report.scored, report.pairs.ids, report.pairs.videos)
        assert set(report.headline) - set(given) <= {"Para_METEOR"}


def test_a_video_without_prediction_is_left_out_or_counts_as_missed(java: None) -> None:
    answers = {"v_a": ANSWERS["v_a"]}
    dropped = score("dense_captioning", answers, TRUTH)
    zero = score("dense_captioning", answers, TRUTH, missing="zero")
    empty = score("dense_captioning", {**answers, "v_b": []}, TRUTH)
    assert dropped.pairs.tally.missing == 1 and dropped.missing == "drop"
    assert zero.figures["soda_c"] == pytest.approx(dropped.figures["soda_c"] / 2)
    assert empty.figures == zero.figures


def test_order_of_rows_has_no_influence(java: None) -> None:
    one = score("dense_captioning", ANSWERS, TRUTH).figures
    other = score("dense_captioning", dict(reversed(ANSWERS.items())), dict(reversed(TRUTH.items()))).figures
    assert other == pytest.approx(one, abs=1e-15)


def test_any_word_without_partner_gives_the_same_figures(java: None, monkeypatch: pytest.MonkeyPatch) -> None:
    for variant in ("activitynet", "mmduet"):
        want = score("dense_captioning", ANSWERS, TRUTH, variant=variant).figures
        for seed in (1, 2, 3):
            draw = random.Random(seed)
            word = "".join(draw.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(draw.randint(10, 20)))
            monkeypatch.setattr(dense, "UNMATCHED", word)
            assert score("dense_captioning", ANSWERS, TRUTH, variant=variant).figures == want


def test_responses_of_mmduet(java: None) -> None:
    answers = [replies(7, ("cut", 1), ("mix it", 6), ("fry", 12)), replies(8, ("serve", 4))]
    report = score("dense_captioning", answers, GOLD, variant="mmduet")
    assert report.forms["predictions"].startswith("MMDuet responses")
    assert report.figures["n_preds"] == 1.0
    assert report.figures["SODA_c_1"] == -100.0
    assert report.figures["Recall@0.9"] == 25.0 and report.figures["Precision@0.3"] == 50.0


def test_the_first_caption_is_discarded_or_kept(no_java: None) -> None:
    answers = [replies(8, ("serve", 9))]
    assert score("dense_captioning", answers, GOLD, variant="mmduet").figures["n_preds"] == 0.0
    kept = score("dense_captioning", answers, GOLD, variant="mmduet", first_caption="keep")
    assert kept.figures["F1_Score"] == 100.0


def test_every_form_says_the_same(no_java: None, tmp_path: Path) -> None:
    want = score("dense_captioning", ANSWERS, TRUTH).figures
    lists = {k: {"timestamps": [e["timestamp"] for e in v], "sentences": ["x" for _ in v]} for k, v in ANSWERS.items()}
    ours = [
        {"id": k, "moments": [[*e["timestamp"], 0.5] for e in v], "captions": ["x"] * len(v)}
        for k, v in ANSWERS.items()
    ]
    told = [
        {"id": k, "moments": [], "text": "\n".join("From {} to {}, x".format(*e["timestamp"]) for e in v)}
        for k, v in ANSWERS.items()
    ]
    plain = [{"id": row["id"], "text": row["text"]} for row in told]
    wrapped = {"results": ANSWERS, "version": "VERSION 1.0", "external_data": {}}
    for rows in (lists, ours, told, plain, wrapped):
        assert score("dense_captioning", rows, TRUTH).figures == want
    path = tmp_path / "answers.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ours))
    assert score("dense_captioning", path, TRUTH).figures == want
    stories = [
        {"id": k, "moments": v["timestamps"], "captions": v["sentences"], "duration": v["duration"]}
        for k, v in TRUTH.items()
    ]
    assert score("dense_captioning", ANSWERS, stories).figures == want


def test_a_log_of_vtimellm(no_java: None) -> None:
    events = [("A man cooks.", "from 00 to 32"), ("x", "from 33 to 99")]
    answer = "Sure: " + json.dumps([{"event": text, "timestamps": times} for text, times in events])
    rows = [
        {"video_id": "v_a", "task": "grounding", "query_id": 0, "answer": "from 1 to 2", "info": {"iou": 0.1}},
        {"video_id": "v_a", "task": "captioning", "query_id": 0, "answer": answer},
        {"video_id": "v_b", "task": "captioning", "query_id": 0, "answer": "I see nothing."},
    ]
    report = score("dense_captioning", rows, TRUTH)
    story = report.pairs.answers[0]
    assert dense_captioning.DenseCaptioning().events(story, 60.0).windows.tolist() == pytest.approx(
        np.array([[0, 19.8], [19.8, 60]])
    )
    assert report.pairs.tally.unparseable == 1
    assert report.figures["Recall@0.9"] == 0.5


def test_times_in_percent(no_java: None) -> None:
    rows = [{"id": "v_a", "text": "From 0 to 33, x\nFrom 34 to 100, y"}]
    assert score("dense_captioning", rows, TRUTH, text_times="percent").figures["Recall@0.9"] == 1.0
    assert score("dense_captioning", rows, TRUTH).figures["Recall@0.9"] == 0.0
    with pytest.raises(ScoringError, match="annotations with durations"):
        score("dense_captioning", rows, {"v_a": TRUTH["v_a"]["timestamps"] and ANSWERS["v_a"]}, text_times="percent")


def test_text_answers_of_baselines_are_read_as_mmduet_reads_them(no_java: None) -> None:
    rows = [
        {
            "question_id": 7,
            "model_response": ["0.0 - 6.0 seconds, cut\n6.0 - 12.0 seconds, fry"],
            "video_duration": 50.0,
        },
        {"question_id": 8, "model_response": "nothing", "video_duration": 50.0},
    ]
    report = score("dense_captioning", rows, GOLD, variant="mmduet")
    assert report.figures["Recall@0.9"] == 50.0
    assert report.pairs.tally.unparseable == 1
    percent = [{"question_id": 7, "model_response": "From 0 to 12, cut\nFrom 12 to 24, fry", "video_duration": 50.0}]
    assert (
        score("dense_captioning", percent, GOLD, variant="mmduet", text_times="percent").figures["Recall@0.9"] == 100.0
    )


def test_several_annotators(java: None, tmp_path: Path) -> None:
    second = tmp_path / "val_2.json"
    other = {"timestamps": [[0, 60]], "sentences": ["A man cooks and eats."], "duration": 60.0}
    third = {"timestamps": [[0, 9]], "sentences": ["Cars pass."], "duration": 9.0}
    second.write_text(json.dumps({"v_a": other, "v_c": third}))
    answers = {**ANSWERS, "v_c": [{"timestamp": [0, 9], "sentence": "Cars pass."}]}
    report = score("dense_captioning", answers, TRUTH, more_annotations=str(second), intervals=True)
    first = score("dense_captioning", ANSWERS, TRUTH)
    alone = score("dense_captioning", answers, json.loads(second.read_text()))
    assert report.pairs.tally.counts()["queries"] == 3
    assert report.figures["soda_c"] == pytest.approx((first.figures["soda_c"] + alone.figures["soda_c"]) / 2)
    assert report.figures["Recall@0.3"] == pytest.approx((1 + 0 + 1) / 3)
    assert report.headline["soda_c"] == round(100 * report.figures["soda_c"], 2)
    assert "soda_c" in report.intervals


def test_repeated_sentences_can_be_joined(no_java: None) -> None:
    events = [
        {"timestamp": [0, 10], "sentence": "He eats soup."},
        {"timestamp": [10.5, 20], "sentence": "He eats soup."},
    ]
    answers = {"v_a": events}
    assert score("dense_captioning", answers, TRUTH).figures["Recall@0.9"] == 0.0
    assert score("dense_captioning", answers, TRUTH, merge_similar=True).figures["Recall@0.9"] == 0.5


def test_more_proposals_than_count(no_java: None) -> None:
    events = [{"timestamp": [50, 51], "sentence": "x"}] * 3 + ANSWERS["v_a"]
    assert score("dense_captioning", {"v_a": events}, TRUTH, max_proposals=3).figures["Recall@0.3"] == 0.0
    assert score("dense_captioning", {"v_a": events}, TRUTH).figures["Recall@0.3"] == 1.0


def test_hard_captions(java: None) -> None:
    hard = ["a ||| b", "line\nline", "\U0001f600", "", "word " * 2000, "\ud83d", "\u4f60\u597d caf\u00e9"]
    events = [{"timestamp": [0, 20], "sentence": text} for text in hard]
    usual = [text for text in hard if len(text) < 1000]
    truth = {"v_a": {"timestamps": [[0, 20]] * len(usual), "sentences": usual, "duration": 20.0}}
    for variant in ("activitynet", "mmduet"):
        report = score("dense_captioning", {"v_a": events}, truth, variant=variant)
        assert all(np.isfinite(value) for value in report.figures.values())
        assert report.headline["soda_c" if variant == "activitynet" else "SODA_c_2"] > 0


BAD_ROWS: list[Any] = [
    {"id": "v_a", "moments": [[0, float("nan")]], "captions": ["x"]},
    {"id": "v_a", "moments": [["0", "5"]], "captions": ["x"]},
    {"id": "v_a", "moments": [[0, 5, 6, 7], [1]], "captions": ["x", "y"]},
    {"id": "v_a", "moments": [[0, 5]], "captions": []},
    {"id": "v_a", "moments": [[0, 5]], "captions": [3]},
    {"id": "v_a", "moments": "none", "captions": []},
    {"id": None, "moments": [], "captions": []},
    {"id": "v_a", "moments": [[0, float("inf")]], "captions": ["x"]},
]


@pytest.mark.parametrize("row", BAD_ROWS, ids=range(len(BAD_ROWS)))
def test_rows_that_cannot_be_read_are_counted(no_java: None, row: dict[str, Any]) -> None:
    good = {"id": "v_b", "moments": [[5, 12]], "captions": ["x"]}
    report = score("dense_captioning", [good, row], TRUTH)
    assert report.pairs.tally.unparseable == 1
    assert "row 2" in report.pairs.tally.examples["unparseable"][0]


def test_reversed_and_negative_windows_are_counted(no_java: None) -> None:
    answers = {"v_a": [{"timestamp": [20, 0], "sentence": "x"}], "v_b": [{"timestamp": [-5, 12], "sentence": "x"}]}
    for variant in ("activitynet", "mmduet"):
        assert score("dense_captioning", answers, TRUTH, variant=variant).pairs.tally.out_of_range == 2


def test_ids_as_number_and_text_are_one(no_java: None) -> None:
    answers = [replies("7", ("a", 1), ("b", 6)), replies("8", ("a", 1), ("b", 9))]
    assert score("dense_captioning", answers, GOLD, variant="mmduet").pairs.tally.scored == 2


def test_predictions_are_never_scored_against_themselves(no_java: None) -> None:
    with pytest.raises(ScoringError, match="annotations"):
        score("dense_captioning", ANSWERS)


def test_files_that_do_not_belong_together(no_java: None, tmp_path: Path) -> None:
    with pytest.raises(ScoringError, match="another split"):
        score("dense_captioning", {"v_z": ANSWERS["v_a"]}, TRUTH)
    with pytest.raises(ScoringError, match="no event"):
        score("dense_captioning", ANSWERS, {"v_a": {"timestamps": [], "sentences": []}})
    with pytest.raises(ScoringError):
        score("dense_captioning", {}, TRUTH)
    with pytest.raises(ValueError, match="more_annotations"):
        score("dense_captioning", ANSWERS, TRUTH, variant="mmduet", more_annotations="val_2.json")
    torn = tmp_path / "torn.jsonl"
    torn.write_text(json.dumps(replies(7, ("a", 1), ("b", 5))) + "\n" + '{"question_id": 8, "model_resp')
    tally = score("dense_captioning", torn, GOLD, variant="mmduet").pairs.tally
    assert tally.unparseable == 1 and "line 2" in tally.examples["unparseable"][0]


def test_fuzzed_rows(no_java: None) -> None:
    draw = random.Random(0)
    values: list[Any] = [None, True, -1, 3.5, float("nan"), "", "x", [], [[1, 2]], [[2, 1]], {}, [{}], ["x"], 10**400]
    fields = ["id", "moments", "captions", "text", "model_response_list", "model_response", "timestamps", "sentences"]
    for _ in range(500):
        row = {name: draw.choice(values) for name in draw.sample(fields, draw.randint(0, 5))}
        good = {"id": "v_b", "moments": [[5, 12]], "captions": ["x"]}
        with suppress(ScoringError):
            score("dense_captioning", [good, row] if draw.random() < 0.7 else [row], TRUTH)

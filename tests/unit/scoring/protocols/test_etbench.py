"""The protocol of E.T. Bench: rows, options, figures."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lavis.common.yaml_tree import ConfigError
from lavis.scoring.base import Array, ScoringError
from lavis.scoring.etbench.sentence_similarity import SentenceSimilarity
from lavis.scoring.etbench.table import COLUMNS, MERGED
from lavis.scoring.intervals import point_estimates
from lavis.scoring.protocols import etbench
from lavis.scoring.protocols.etbench import ETBench
from lavis.scoring.scorer import ScoreReport, score

Row = dict[str, Any]
LETTERS = ("rar", "eca", "rvq")


@pytest.fixture(autouse=True)
def without_java(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(etbench, "captions_available", lambda: "they need Java (here: not wanted)")


def row(task: str, answer: str, source: str = "s", index: Any = 0, **fields: Any) -> Row:
    truth: Row = {"tgt": [10.0, 20.0]}
    if task in (*LETTERS, "gvq"):
        truth |= {"o": ["0 - 5", "10 - 20", "30 - 40", "50 - 60"], "p": 1}
    if task in ("tal", "evs", "vhd", "tem", "dvc", "slc"):
        truth["tgt"] = [[10.0, 20.0], [30.0, 40.0]]
    if task in ("dvc", "slc"):
        truth["g"] = ["one cat", "two dogs"]
    if task in LETTERS:
        del truth["tgt"]
    video = f"{source}/{task}_{index}.mp4"
    return {"version": 1.0, "task": task, "source": source, "idx": index, "video": video, "duration": 50.0,
            **truth, "a": answer, **fields}  # fmt: skip


def all_tasks(count: int = 4) -> list[Row]:
    answers = {"vhd": "at 12", "gvq": "(B) 10 - 20", **dict.fromkeys(LETTERS, "(B)")}
    default = "10 - 20 seconds, one cat. 30 - 40 seconds, two dogs."
    texts = {task: answers.get(task, default) for task in etbench.TASKS}
    rows = [row(task, text, index=i) for task, text in texts.items() for i in range(count)]
    for i, each in enumerate(rows):
        if i % 3 == 0:
            each["a"] = "no"
    return [{**each, "a": "(C)"} if each["a"] == "no" and each["task"] in (*LETTERS, "gvq") else each for each in rows]


def tokens(task: str, answer: str, rows: Sequence[Sequence[float]], events: Sequence[int], **fields: Any) -> Row:
    others = [i for i in range(len(rows)) if i not in events]
    extra = {"ent_inds": list(events), "tst_inds": others, "vl_sims": [list(r) for r in rows], "scale": 15.5}
    return row(task, answer, **extra, **fields)


def bump(start: int, end: int, height: float = 0.9, frames: int = 50) -> list[float]:
    return [height if start < i < end else 0.0 for i in range(frames)]


def figure(rows: list[Row], task: str, key: str, **options: Any) -> float:
    return score("etbench", rows, **options).figures[task]["s"][key]


def test_all_tasks_and_the_table() -> None:
    report = score("etbench", all_tasks())
    assert list(report.figures) == list(etbench.TASKS)
    assert set(report.headline) >= (set(COLUMNS) | set(MERGED)) - {"DVC (Sim)", "SLC (Sim)", "Sim (cap)"}
    assert any("Java" in note for note in report.scored.notes)
    assert report.missing == "drop"
    json.dumps(report.figures)


def test_headline_follows_from_estimates() -> None:
    report = score("etbench", all_tasks(), evs_failures="zero")
    points = point_estimates(report.scored, report.pairs.ids, report.pairs.videos)
    for name, value in report.headline.items():
        if name in points:
            assert points[name] == pytest.approx(value, abs=0.0501), name
    assert set(points) >= set(report.headline) & (set(COLUMNS) | set(MERGED))


def test_order_of_rows_does_not_matter() -> None:
    rows = all_tasks()
    shuffled = random.Random(0).sample(rows, len(rows))
    assert score("etbench", rows).figures == score("etbench", shuffled).figures
    assert list(score("etbench", shuffled).figures) == list(etbench.TASKS)


def test_mode() -> None:
    rows = [tokens("tvg", "30 - 40 seconds<ent>", [bump(9, 20)], [0])]
    assert figure(rows, "tvg", "F1") == 1.0
    assert figure(rows, "tvg", "F1", mode="text") == 0.0
    with pytest.raises(ScoringError, match="no query is left|vl_sims|known form"):
        score("etbench", [row("tvg", "1 - 2")], mode="similarity")
    mixed = [*rows, row("tvg", "10 - 20", index=1)]
    assert figure(mixed, "tvg", "F1") == 1.0


def test_threshold_and_nms() -> None:
    similarities = [0.6 if 9 < i < 12 else value for i, value in enumerate(bump(12, 20))]
    assert figure([tokens("tvg", "x<ent>", [similarities], [0])], "tvg", "mIoU") == round(8 / 10, 5)
    assert figure([tokens("tvg", "x<ent>", [similarities], [0])], "tvg", "mIoU", threshold=0.5) > 0.9
    twice = [tokens("tal", "x<ent>y<ent>", [bump(9, 20), bump(9, 21, 0.9)], [0, 1])]
    assert figure(twice, "tal", "F1", nms=1.0) == figure(twice, "tal", "F1") == 0.5
    for name in ("threshold", "nms"):
        with pytest.raises(ConfigError, match=name):
            score("etbench", twice, **{name: 2.0})


def test_suppressed_boxes_count() -> None:
    rows = [tokens("tal", "x<ent>y<ent>", [bump(40, 49), bump(40, 49)], [0, 1], tgt=[[10.0, 12.0], [40.0, 50.0]])]
    assert len(ETBench().answer_forms[0].read(_row(rows[0]))[0].windows) == 2
    assert len(ETBench(suppressed="drop").answer_forms[0].read(_row(rows[0]))[0].windows) == 1


def _row(fields: Row) -> Any:
    from lavis.scoring.base import Row as ScoringRow

    return ScoringRow(fields, 0, "row")


def test_confidences_of_another_box() -> None:
    first, second = bump(2, 5, 0.5), bump(9, 30)
    first[4], second[25] = 0.55, 0.95
    rows = [tokens("vhd", "x<ent>y<ent>", [first, second], [0, 1], tgt=[[24.5, 25.5]])]
    assert figure(rows, "vhd", "F1", confidences="sorted") == 1.0
    assert figure(rows, "vhd", "F1") == 0.0


def test_strip() -> None:
    rows = [tokens("dvc", "<tst>takes it<ent>", [bump(9, 20)], [0])]
    read = [ETBench(strip=how).answer_forms[0].read(_row(rows[0]))[0].captions for how in ("characters", "marker")]
    assert read == [["akes i"], ["takes it"]]


def test_letters() -> None:
    rows = [tokens("gvq", "<ent> Therefore, the answer is (D).", [bump(9, 20)], [0], p=3)]
    assert figure(rows, "gvq", "Acc") == 0.0
    assert figure(rows, "gvq", "Acc", letters="repaired") == 1.0
    assert figure(rows, "gvq", "mRec", letters="repaired") == 1.0


class Second(SentenceSimilarity):
    """Always finds the second of four options."""

    def __call__(self, first: Sequence[str], second: Sequence[str]) -> Array:
        return np.array([float(text.startswith("(B)")) for text in second])


def scored_with(similarity: SentenceSimilarity, rows: list[Row], **options: Any) -> ScoreReport:
    protocol = ETBench(**options)
    protocol.similarity = similarity
    return score(protocol, rows)


def test_referring() -> None:
    rows = [row("rar", "(A) x")]
    found = {
        how: scored_with(Second(), rows, referring=how).figures["rar"]["s"]["Acc"] for how in ("auto", "stop", "go_on")
    }
    assert found == {"auto": 0.0, "stop": 0.0, "go_on": 1.0}
    with_tokens = [tokens("rar", "(A) x", [bump(1, 5)], [0])]
    assert scored_with(Second(), with_tokens).figures["rar"]["s"]["Acc"] == 1.0


def test_windows_choose_where_there_are_tokens() -> None:
    rows = [tokens("eca", "(A) x<ent>", [bump(9, 20)], [0])]
    assert figure(rows, "eca", "Acc") == 1.0
    assert figure(rows, "eca", "Acc", mode="text") == 0.0


def test_evs_failures() -> None:
    rows = [row("evs", "10 - 20, 30 - 40"), row("evs", "no", index=1)]
    assert figure(rows, "evs", "F1") == 1.0
    assert figure(rows, "evs", "F1", evs_failures="zero") == 0.5


def test_captions_are_scored_with_what_the_options_say(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    arithmetic = etbench.captioned
    monkeypatch.setattr(
        etbench, "captioned", lambda samples, judges: seen.append(judges) or arithmetic(samples, judges)
    )
    score("etbench", [row("dvc", "no")])
    score("etbench", [row("dvc", "no")], random_captions="random", seed=3, tokenized="apart")
    assert [(j.filler, j.seed, j.tokenized) for j in seen] == [("constant", 0, "together"), ("random", 3, "apart")]


def test_subset_and_tasks(tmp_path: Path) -> None:
    rows = [row("tvg", "10 - 20"), row("tvg", "1 - 2", index=1), row("epm", "no"), row("rar", "(B)", index="7")]
    file = tmp_path / "subset.json"
    file.write_text(json.dumps({"tvg": {"s": [0]}, "rar": {"s": [7]}}))
    report = score("etbench", rows, subset=str(file))
    assert {task: found["s"]["Total"] for task, found in report.figures.items()} == {"rar": 1, "tvg": 1}
    assert report.pairs.tally.counts()["extra"] == 0
    assert list(score("etbench", rows, tasks=["epm"]).figures) == ["epm"]
    with pytest.raises(ConfigError, match="no nothing"):
        score("etbench", rows, tasks=["nothing"])
    file.write_text("[]")
    with pytest.raises(ValueError, match="subset"):
        score("etbench", rows, subset=str(file))


def test_no_sentence_model(tmp_path: Path) -> None:
    rows = [row("rar", "the cat"), row("rvq", "(B)")]
    report = score("etbench", rows, sentence_model=str(tmp_path))
    assert report.figures["rar"]["s"] == {"Total": 1, "Failed": 1}
    assert report.figures["rvq"]["s"]["Acc"] == 1.0
    assert any("sentence_model" in note for note in report.scored.notes)


def test_annotations_tell_what_is_missing() -> None:
    truth = [{key: value for key, value in row("tvg", "", index=i).items() if key != "a"} for i in range(3)]
    answers = [{"task": "tvg", "source": "s", "idx": 0, "a": "10 - 20"}]
    dropped = score("etbench", answers, truth)
    assert dropped.pairs.tally.counts()["missing"] == 2
    assert dropped.figures["tvg"]["s"]["Total"] == 1
    zero = score("etbench", answers, truth, missing="zero")
    assert zero.figures["tvg"]["s"]["Failed"] == 2
    with pytest.raises(ScoringError, match="missing"):
        score("etbench", answers, truth, missing="error")
    with pytest.raises(ScoringError, match="another split"):
        score("etbench", [{**answers[0], "source": "other"}], truth)


def test_missing_answers_to_every_task_count_as_missed() -> None:
    rows = all_tasks()
    truth = [{key: value for key, value in each.items() if key != "a"} for each in rows]
    report = score("etbench", rows[:1], truth, missing="zero")
    assert report.headline["F1 (gnd)"] == report.headline["Rec (com)"] == report.headline["F1 (cap)"] == 0.0
    assert all(figures["s"]["Failed"] >= 3 for figures in report.figures.values())


def test_prediction_lines() -> None:
    truth = [row("tvg", ""), row("vhd", ""), row("rar", "")]
    lines = [
        {"id": "tvg/s/0", "text": "", "moments": [[10, 20, 0.5]]},
        {"id": "vhd/s/0", "text": "", "moments": [[10, 14]]},
        {"id": "rar/s/0", "text": "(B)", "moments": []},
    ]
    found = score("etbench", lines, truth).headline
    assert (found["TVG (F1)"], found["VHD (F1)"], found["RAR (Acc)"]) == (100.0, 100.0, 100.0)


def test_forms_of_truth() -> None:
    rows = [
        row("tvg", "10 - 20", tgt=[[10, 20]]),
        row("vhd", "35", tgt=[[[1, 2]], [[34, 36], [40, 41]]]),
        row("eca", "10 - 20", o=[[0, 5], [10, 20], [30, 40], [50, 60]]),
        row("tem", "30 - 40", index="12"),
    ]
    found = scored_with(Second(), rows).headline
    assert [found[name] for name in ("TVG (F1)", "VHD (F1)", "EVC (Acc)", "TEM (Rec)")] == [100.0] * 4


def test_counts() -> None:
    rows = [row("tvg", "10 - 99"), row("tvg", "no", index=1), row("vhd", "-3"), row("rar", " "), row("tvg", "1 - 2")]
    counts = score("etbench", rows).pairs.tally.counts()
    assert (counts["out_of_range"], counts["unparseable"], counts["duplicated"]) == (1, 2, 1)


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"a": None}, "'a' must be text"),
        ({"a": 3.0}, "'a' must be text"),
        ({"tgt": [1.0, float("nan")]}, "finite"),
        ({"tgt": ["a", "b"]}, "numbers"),
        ({"tgt": []}, "no window"),
        ({"task": "xyz"}, "unknown task"),
        ({"idx": None}, "id"),
        ({"duration": "long"}, "duration"),
        ({"ent_inds": [0], "tst_inds": [], "vl_sims": [["x"]], "scale": 1}, "vl_sims"),
        ({"ent_inds": [0, 1], "tst_inds": [], "vl_sims": [[0.1, 0.2]], "scale": 1}, "vl_sims"),
    ],
)
def test_broken_rows_are_counted(fields: Row, problem: str) -> None:
    report = score("etbench", [row("tvg", "10 - 20"), row("tvg", "10 - 20", index=1) | fields])
    assert report.pairs.tally.unparseable == 1
    assert problem in report.pairs.tally.examples["unparseable"][0]
    assert report.figures["tvg"]["s"]["Total"] == 1


@pytest.mark.parametrize(
    ("task", "fields"),
    [("rar", {"o": "abcd"}), ("rar", {"o": [1, 2]}), ("rar", {"p": 4}), ("rar", {"p": 0.5}), ("dvc", {"g": ["one"]})],
)
def test_broken_truth_is_counted(task: str, fields: Row) -> None:
    report = score("etbench", [row("tvg", "10 - 20"), row(task, "(B)", **fields)])
    assert report.pairs.tally.unparseable == 1


def test_a_torn_last_line(tmp_path: Path) -> None:
    file = tmp_path / "preds.jsonl"
    file.write_text("".join(json.dumps(row("tvg", "10 - 20", index=i)) + "\n" for i in range(3))[:-20])
    report = score("etbench", file)
    assert report.figures["tvg"]["s"]["Total"] == 2
    assert "line 3" in report.pairs.tally.examples["unparseable"][0]


def test_empty(tmp_path: Path) -> None:
    (tmp_path / "empty.json").write_text("")
    for given in (tmp_path / "empty.json", []):
        with pytest.raises(ScoringError, match="empty|no rows"):
            score("etbench", given)


def test_fuzzed_rows() -> None:
    draw = random.Random(0)
    values: list[Any] = [None, "", "(B)", "3 - 4", "12.. - 5...6", -1, 1e400, float("nan"), [], [[]], [[1]], [[3, 1]]]
    values += [{}, "é", [1, 2], [[1, 2], [3, 4]], [[[1, 2]]], ["a", "b"], True, "starts 00:00:05", "9" * 400 + " - 1"]
    rows = [row("tvg", "10 - 20", source="whole", index=i) for i in range(20)]
    for i in range(500):
        each = row(draw.choice(etbench.TASKS), draw.choice(["10 - 20 seconds, x y z", "(B)", "B"]), index=i)
        for name in draw.sample(list(each), draw.randint(0, 2)):
            each[name] = draw.choice(values)
        rows.append(draw.choice([each, each, each, draw.choice(values)]))
    protocol = ETBench()
    protocol.similarity = Second()
    report = score(protocol, rows)
    assert report.pairs.tally.unparseable > 50
    assert report.pairs.tally.scored > 100


def test_golden(golden_dir: Path) -> None:
    """Everything but captions and similarity, which the parity runner compares."""
    metrics = golden_dir / "meco" / "metrics"
    if not (metrics / "meco_etbench_result.json").is_file():
        pytest.skip("no recorded figures of E.T. Bench")
    tasks = ["tvg", "epm", "tal", "evs", "vhd", "tem"]
    for name in ("etbench_txt", "meco_etbench"):
        recorded = json.loads((metrics / f"{name}_result.json").read_text())["collected"]
        report = score("etbench", metrics / f"{name}_preds.json", tasks=tasks)
        assert report.figures == {task: recorded[task] for task in tasks}


@pytest.mark.parametrize("times", [[0, 1e39], [-1e308, 1]])
def test_true_times_beyond_reason_are_refused(times: list[float]) -> None:
    question = {"task": "tvg", "source": "s", "idx": 0, "video": "v.mp4", "duration": 10, "tgt": times}
    with pytest.raises(ScoringError, match="'tgt': times must lie within"):
        score("etbench", [{"task": "tvg", "source": "s", "idx": 0, "a": "0 - 5"}], [question])

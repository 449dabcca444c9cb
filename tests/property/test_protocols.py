"""Laws that every scoring protocol keeps, on small made-up files; a protocol without a generator here fails.

For each: the order of rows does not matter, a headline figure is what its estimate says, equal predictions score
equally, ids may be numbers or text, and every row that is missing, extra, repeated or unreadable is counted, under each
policy.
"""

from __future__ import annotations

import copy
import math
import random
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lavis.common.io import write_jsonl
from lavis.common.registry import registry
from lavis.scoring.base import Estimate, ScoringError
from lavis.scoring.intervals import point_estimates
from lavis.scoring.score_report import ScoreReport
from lavis.scoring.scorer import score

Row = dict[str, Any]
Policy = Any
NAN = float("nan")
QUERIES = 12
UNKNOWN = 9_001
TWIN = 9_002
seeds = st.integers(0, 10_000)


@dataclass(frozen=True)
class Case:
    """How rows of one protocol are made.

    Args:
        truth: row of query ``n``.
        answer: row that answers a row of truth.
        id: field with the id, in both kinds of rows.
        spoiled: fields of an answer that make it unreadable while its id can be read.
        options: of the protocol.
        rounding: by how much a headline figure may differ from its estimate.
        spoiled_counts: whether an unreadable answer is still an answer (a wrong one).
        answer_id: field with the id in answers, where it is another.
    """

    truth: Callable[[random.Random, int], Row]
    answer: Callable[[random.Random, Row], Row]
    id: str
    spoiled: Mapping[str, Any]
    options: Mapping[str, Any] = field(default_factory=dict)
    rounding: float = 0.0051
    spoiled_counts: bool = False
    answer_id: str = ""

    @property
    def id_of_answers(self) -> str:
        return self.answer_id or self.id


@dataclass
class Files:
    """Rows of truth and answers, in the same order."""

    truths: list[Row]
    answers: list[Row]


def window(rng: random.Random, duration: float) -> list[float]:
    start = round(rng.uniform(0, duration - 4), 2)
    return [start, round(rng.uniform(start + 2, duration), 2)]


def windowed(rng: random.Random, number: int) -> Row:
    windows = [window(rng, 60) for _ in range(rng.randrange(1, 3))]
    fields = {"qid": number, "vid": f"v{number % 5}", "query": f"query {number}", "duration": 60}
    return {**fields, "relevant_windows": windows}


def rated(rng: random.Random, number: int) -> Row:
    start = 2 * rng.randrange(20)
    clips = list(range(start // 2, start // 2 + rng.randrange(2, 10)))
    ratings = [[rng.randrange(5) for _ in range(3)] for _ in clips]
    moment = {"relevant_windows": [[start, 2 * clips[-1] + 2]], "relevant_clip_ids": clips, "saliency_scores": ratings}
    return {**windowed(rng, number), **moment}


def submitted(rng: random.Random, truth: Row) -> Row:
    windows = [[*window(rng, 60), round(rng.random(), 4)] for _ in range(rng.randrange(1, 12))]
    clips = [round(rng.random(), 3) for _ in range(30)]
    return {"qid": truth["qid"], "pred_relevant_windows": windows, "pred_saliency_scores": clips}


def own_lines(rng: random.Random, truth: Row) -> Row:
    moments = [[*window(rng, 60), round(rng.random(), 4)] for _ in range(3)]
    return {"id": truth["qid"], "moments": moments, "frame_scores": [round(rng.random(), 3) for _ in range(30)]}


def similarities(rng: random.Random, truth: Row) -> Row:
    events, count = rng.randrange(1, 3), int(truth["duration"])
    rows = [[round(rng.uniform(-0.3, 0.9), 3) for _ in range(count)] for _ in range(2 * events)]
    places = {"ent_inds": list(range(0, 2 * events, 2)), "tst_inds": list(range(1, 2 * events, 2))}
    return {"qid": truth["qid"], "duration": truth["duration"], **places, "vl_sims": rows, "scale": 10.0}


def frames(rng: random.Random, truth: Row) -> Row:
    shown = [{"time": 2.0 * i, "relevance_score": round(rng.random(), 3)} for i in range(25)]
    return {"question_id": truth["question_id"], "debug_data": shown}


def timed_answers(rng: random.Random, number: int) -> Row:
    said = [{"role": "assistant", "content": f"it is {i}", "time": window(rng, 60)} for i in range(rng.randrange(1, 4))]
    asked = [{"role": "user", "content": "what happens?", "time": 0}]
    return {"question_id": number, "video": f"v{number % 5}", "conversation": asked, "answer": said}


def replies(rng: random.Random, truth: Row) -> Row:
    said = [
        {"role": "assistant", "content": f"reply {i % 2}", "time": rng.uniform(0, 60)}
        for i in range(rng.randrange(1, 5))
    ]
    ratings = [[rng.randrange(1, 6) for _ in said] for _ in truth["answer"]]
    return {"question_id": truth["question_id"], "model_response_list": said, "evaluator_output": ratings}


def story(rng: random.Random, number: int) -> Row:
    count = rng.randrange(1, 4)
    fields = {"id": number, "duration": 60, "timestamps": [window(rng, 60) for _ in range(count)]}
    return {**fields, "sentences": [f"a man cooks {rng.choice(['rice', 'fish'])} {i}" for i in range(count)]}


def told(rng: random.Random, truth: Row) -> Row:
    count = rng.randrange(1, 4)
    captions = [f"a man cooks {rng.choice(['rice', 'fish'])}" for _ in range(count)]
    return {"id": truth["id"], "moments": [window(rng, 60) for _ in range(count)], "captions": captions}


def grounded(rng: random.Random, number: int) -> Row:
    fields = {"id": number, "video": f"v{number % 5}", "duration": 60, "relevant_windows": [window(rng, 60)]}
    return {**fields, **options(rng)}


def options(rng: random.Random) -> Row:
    return {"options": ["a cat", "a dog", "a fish", "a bird"], "answer": rng.randrange(4)}


def letter(rng: random.Random) -> str:
    return f"({rng.choice('ABCD')})"


def etbench(rng: random.Random, number: int) -> Row:
    task = ("tvg", "epm", "tal", "evs", "vhd", "tem", "rar")[number % 7]
    fields = {"version": 1.0, "idx": number, "task": task, "source": f"s{number % 2}", "video": f"v{number % 5}.mp4"}
    fields |= {"duration": 60.0, "q": "question"}
    if task == "rar":
        return {**fields, "o": ["a cat", "a dog", "a fish"], "p": rng.randrange(3)}
    several = [window(rng, 60) for _ in range(2)]
    return {**fields, "tgt": {"tvg": several[0], "epm": several[0], "vhd": [several]}.get(task, several)}


def etbench_answer(rng: random.Random, truth: Row) -> Row:
    start, end = window(rng, 60)
    text = {"rar": f"({rng.choice('ABC')})", "vhd": f"{start} seconds."}.get(truth["task"], f"{start} - {end} seconds.")
    return {**truth, "a": text}


def spoken(seconds: list[float]) -> str:
    return f"From second {seconds[0]:.1f} to second {seconds[1]:.1f}."


WORDS = ("beginning", "middle", "end", "throughout")
_WINDOWS = {"pred_relevant_windows": [[NAN, 3, 0.5]]}
_SPOKEN = Case(
    lambda rng, n: {"id": n, "video_fname": f"v{n % 5}.mp4", "gt_answer": spoken(window(rng, 60))},
    lambda rng, truth: {"id": truth["id"], "pred": spoken(window(rng, 60))},
    "id",
    {"pred": NAN},
)

CASES: dict[str, Case] = {
    "calce": Case(windowed, submitted, "qid", _WINDOWS),
    "dense_captioning": Case(story, told, "id", {"moments": [[NAN, 3]], "captions": ["x"]}),
    "direct_grounding": _SPOKEN,
    "etbench": Case(
        etbench,
        etbench_answer,
        "idx",
        {"a": NAN},
        {"sentence_model": "no-such-folder"},  # texts without a letter are not scored
        rounding=0.051,
    ),
    "etchat_charades": Case(
        lambda rng, n: {"qid": n, "vid": f"v{n % 5}", "query": f"query {n}", "span": window(rng, 60)},
        lambda rng, truth: {**{k: truth[k] for k in ("qid", "vid", "query")}, "pred": window(rng, 60)},
        "qid",
        {"pred": [NAN, 3]},
    ),
    "frame_scores": Case(
        lambda rng, n: {"question_id": n, "video": f"v{n % 5}", "timestamps": [window(rng, 50)]},
        frames,
        "question_id",
        {"debug_data": [{"time": NAN, "relevance_score": 0.5}]},
    ),
    "magqa": Case(
        timed_answers,
        replies,
        "question_id",
        {"model_response_list": [{"role": "assistant", "content": "x", "time": NAN}], "evaluator_output": [[1]]},
    ),
    "meco_charades": Case(windowed, similarities, "qid", {"vl_sims": [[NAN] * 60] * 2}),
    "meco_qvhighlights": Case(rated, similarities, "qid", {"vl_sims": [[NAN] * 60] * 2}),
    "moment_retrieval": Case(windowed, submitted, "qid", _WINDOWS),
    "multiple_choice": Case(
        lambda rng, n: {"id": n, "video": f"v{n % 5}", "kind": f"k{n % 2}", **options(rng)},
        lambda rng, truth: {"id": truth["id"], "pred": letter(rng)},
        "id",
        {"pred": NAN},
        rounding=0.051,
        spoiled_counts=True,
    ),
    "nextgqa": Case(
        grounded,
        lambda rng, truth: {"id": truth["id"], "moments": [window(rng, 60)], "pred": letter(rng)},
        "id",
        {"moments": [[NAN, 3]]},
        rounding=0.051,
    ),
    "qvhighlights": Case(rated, submitted, "qid", _WINDOWS),
    "recursive_grounding": Case(
        windowed,
        lambda rng, truth: {
            "qid": truth["qid"], "duration": 60.0, "pred_answer_list": rng.choices(WORDS[:3], k=rng.randrange(1, 5))
        },
        "qid",
        {"duration": NAN},
    ),
    # Further forms and options of the same protocols.
    "calce: texts": Case(
        windowed,
        lambda rng, truth: {"qid": truth["qid"], "raw_pred_windows": f"[{window(rng, 60)}]"},
        "qid",
        {"raw_pred_windows": NAN},
    ),
    "dense_captioning: mmduet": Case(
        story, told, "id", {"moments": [[NAN, 3]], "captions": ["x"]}, {"variant": "mmduet"}, rounding=0.051
    ),
    "direct_grounding: frames": Case(
        _SPOKEN.truth,
        lambda rng, truth: {"id": truth["id"], "video_secs": 60, "pred": f"From frame 2 to {rng.randrange(3, 12)}."},
        "id",
        {"pred": NAN},
        {"unit": "frames"},
    ),
    "frame_scores: highlights": Case(
        rated,
        lambda rng, truth: {"qid": truth["qid"], "pred_saliency_scores": [round(rng.random(), 3) for _ in range(30)]},
        "qid",
        {"pred_saliency_scores": [NAN]},
    ),
    "frame_scores: own lines": Case(
        lambda rng, n: {"question_id": n, "video": f"v{n % 5}", "timestamps": [window(rng, 50)]},
        lambda rng, truth: {"id": truth["question_id"], "frame_scores": [rng.random() for _ in range(25)]},
        "question_id",
        {"frame_scores": [NAN]},
        answer_id="id",
    ),
    "meco_qvhighlights: windows": Case(rated, submitted, "qid", _WINDOWS),
    "moment_retrieval: own lines": Case(windowed, own_lines, "qid", {"moments": [[NAN, 3]]}, answer_id="id"),
    "moment_retrieval: Ego4D": Case(windowed, submitted, "qid", _WINDOWS, {"dataset": "ego4d_nlq"}),
    "moment_retrieval: val_2": Case(
        windowed, submitted, "qid", _WINDOWS, {"dataset": "activitynet_captions", "split": "val_2"}
    ),
    "multiple_choice: own lines": Case(
        lambda rng, n: {"id": n, "video": f"v{n % 5}", "kind": f"k{n % 2}", **options(rng)},
        lambda rng, truth: {"id": truth["id"], "text": letter(rng), "scores": {"option": rng.randrange(4)}},
        "id",
        {"text": NAN, "scores": {}},
        rounding=0.051,
        spoiled_counts=True,
    ),
    "nextgqa: own lines": Case(
        grounded,
        lambda rng, truth: {"id": truth["id"], "moments": [window(rng, 60)], "text": letter(rng)},
        "id",
        {"moments": [[NAN, 3]]},
        rounding=0.051,
    ),
    "qvhighlights: own lines": Case(rated, own_lines, "qid", {"moments": [[NAN, 3]]}, answer_id="id"),
    "recursive_grounding: own lines": Case(
        windowed,
        lambda rng, truth: {"id": truth["qid"], "text": ", ".join(rng.choices(WORDS[:3], k=2))},
        "qid",
        {"text": NAN},
        answer_id="id",
    ),
}  # fmt: skip
NAMES = sorted(CASES)


@pytest.fixture(autouse=True)
def _no_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """Captions are compared by windows alone: their words need Java, and tests of their own."""
    import lavis.scoring.protocols.dense_captioning as dense_captioning

    monkeypatch.setattr(dense_captioning, "captions_available", lambda: "left out here")


def made(name: str, seed: int) -> Files:
    case, rng = CASES[name], random.Random(seed)
    truths = [case.truth(rng, 100 + number) for number in range(QUERIES)]
    return Files(truths, [case.answer(rng, truth) for truth in truths])


def scored(name: str, files: Files, **policies: Policy) -> ScoreReport:
    chosen = {"missing": "zero", "extra": "drop", **policies}
    answers, truths = copy.deepcopy(files.answers), copy.deepcopy(files.truths)
    return score(name.partition(":")[0], answers, truths, **chosen, **CASES[name].options)


def unrounded(report: ScoreReport) -> dict[str, float]:
    """Figures as their estimates give them."""
    return point_estimates(report.scored, report.pairs.ids, report.pairs.videos)


def assert_same(one: Any, other: Any, where: str = "figures", slack: float = 1e-9) -> None:
    """Equal but for ``slack``; "not a number" equals itself."""
    if isinstance(one, Mapping):
        assert set(one) == set(other), where
        for key in one:
            assert_same(one[key], other[key], f"{where}.{key}", slack)
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(other), where
        for number, (a, b) in enumerate(zip(one, other, strict=True)):
            assert_same(a, b, f"{where}[{number}]", slack)
    elif isinstance(one, float):
        assert one == pytest.approx(other, abs=slack, nan_ok=True), where
    else:
        assert one == other, where


def test_every_protocol_has_a_case() -> None:
    covered = {name.partition(":")[0] for name in NAMES}
    assert set(registry.protocols.names()) == covered, "give the new protocol a generator in CASES"


@pytest.mark.parametrize("name", NAMES)
@given(seed=seeds)
@settings(max_examples=6, deadline=None)
def test_the_order_of_rows_does_not_matter(name: str, seed: int) -> None:
    files, rng = made(name, seed), random.Random(seed)
    before = scored(name, files)
    shuffled = Files(rng.sample(files.truths, QUERIES), rng.sample(files.answers, QUERIES))
    after = scored(name, shuffled)
    assert_same(unrounded(before), unrounded(after), "estimates")
    # Sums in another order differ in their last bits, which decides a tie of rounding.
    step = 2 * CASES[name].rounding
    assert_same(before.headline, after.headline, "headline", step)
    assert_same(before.figures, after.figures, slack=step)
    assert before.pairs.tally.counts() == after.pairs.tally.counts()


@pytest.mark.parametrize("name", NAMES)
@given(seed=seeds)
@settings(max_examples=6, deadline=None)
def test_headlines_are_what_their_estimates_say(name: str, seed: int) -> None:
    files = made(name, seed)
    del files.answers[seed % QUERIES]
    for missing in ("zero", "drop"):
        report = scored(name, files, missing=missing)
        estimates = unrounded(report)
        shared = [key for key in report.headline if key in estimates]
        assert shared
        for key in shared:
            expected = pytest.approx(estimates[key], abs=CASES[name].rounding, nan_ok=True)
            assert report.headline[key] == expected, f"{key}, {missing}"


@pytest.mark.parametrize("name", NAMES)
@given(seed=seeds)
@settings(max_examples=4, deadline=None)
def test_recall_falls_with_the_threshold(name: str, seed: int) -> None:
    recalls: dict[str, dict[float, float]] = {}
    for key, value in scored(name, made(name, seed)).headline.items():
        found = re.fullmatch(r"(.*(?:R\d?|IoP|IoU)@)(0\.\d+)", key)
        if found:
            recalls.setdefault(found[1], {})[float(found[2])] = value
    for by_threshold in recalls.values():
        falling = [by_threshold[threshold] for threshold in sorted(by_threshold)]
        assert falling == sorted(falling, reverse=True)


@pytest.mark.parametrize("name", NAMES)
@given(seed=seeds)
@settings(max_examples=4, deadline=None)
def test_equal_predictions_score_equally(name: str, seed: int) -> None:
    files, case = made(name, seed), CASES[name]
    first, second = scored(name, files), scored(name, files)
    assert_same(first.figures, second.figures)
    files.truths.append({**copy.deepcopy(files.truths[0]), case.id: TWIN})
    files.answers.append({**copy.deepcopy(files.answers[0]), case.id_of_answers: TWIN})
    found = scored(name, files).scored
    for key, estimate in found.estimates.items():
        if found.ids is None and isinstance(estimate, Estimate):
            assert estimate.values[0] == pytest.approx(estimate.values[-1], nan_ok=True), key


@pytest.mark.parametrize("name", NAMES)
def test_ids_are_numbers_or_text(name: str) -> None:
    files, case = made(name, 1), CASES[name]
    expected = scored(name, files).figures
    for change in (str, float):
        answers = [{**row, case.id_of_answers: change(row[case.id_of_answers])} for row in files.answers]
        truths = [{**row, case.id: change(row[case.id])} for row in files.truths]
        assert_same(expected, scored(name, Files(files.truths, answers)).figures)
        assert_same(expected, scored(name, Files(truths, files.answers)).figures)


@pytest.mark.parametrize("name", NAMES)
@given(seed=seeds, removed=st.integers(0, 3), spoiled=st.integers(0, 3), repeated=st.integers(0, 3),
       unknown=st.integers(0, 3), junk=st.integers(0, 2))  # fmt: skip
@settings(max_examples=12, deadline=None)
def test_every_row_is_counted(
    name: str, seed: int, removed: int, spoiled: int, repeated: int, unknown: int, junk: int
) -> None:
    files, case, rng = made(name, seed), CASES[name], random.Random(seed)
    kept = rng.sample(files.answers, QUERIES)[removed:]
    rows: list[Any] = [{**row, **case.spoiled} for row in kept[:spoiled]] + kept[spoiled:]
    rows += [copy.deepcopy(kept[-1 - number]) for number in range(repeated)]
    rows += [{**kept[-1], case.id_of_answers: UNKNOWN + number} for number in range(unknown)]
    rows += ["junk"] * junk
    rng.shuffle(rows)
    while isinstance(rows[0], str):
        rows.append(rows.pop(0))
    answers = Files(files.truths, rows)
    lost = removed + (0 if case.spoiled_counts else spoiled)
    counts = {
        "queries": QUERIES, "missing": removed, "extra": unknown, "duplicated": repeated, "unparseable": spoiled + junk,
    }  # fmt: skip
    for missing, left in (("zero", QUERIES), ("drop", QUERIES - lost)):
        report = scored(name, answers, missing=missing)
        found = report.pairs.tally.counts()
        assert {key: found[key] for key in counts} == counts
        assert found["scored"] == left
        assert all(math.isfinite(value) or math.isnan(value) for value in report.headline.values())
    if removed or junk or (spoiled and not case.spoiled_counts):
        with pytest.raises(ScoringError, match="do not match"):
            scored(name, answers, missing="error")
    if unknown:
        with pytest.raises(ScoringError, match="extra"):
            scored(name, answers, extra="error")


@pytest.mark.parametrize("name", NAMES)
def test_nothing_fits(name: str) -> None:
    """Truth of another split, no rows at all, and rows of no form are messages."""
    files, case = made(name, 2), CASES[name]
    other = [{**row, case.id: row[case.id] + 500} for row in files.truths]
    with pytest.raises(ScoringError):
        scored(name, Files(other, files.answers), missing="error", extra="error")
    for rows in ([], ["junk"] * 3, [{"nothing": 1}] * 3, [None]):
        with pytest.raises(ScoringError):
            scored(name, Files(files.truths, rows), missing="error")
        with pytest.raises(ScoringError):
            scored(name, Files(rows, files.answers))


@pytest.mark.parametrize("name", NAMES)
def test_files_score_as_rows_do_and_a_torn_last_line_is_counted(name: str, tmp_path: Path) -> None:
    files, protocol = made(name, 3), name.partition(":")[0]
    truths, answers = tmp_path / "truth.jsonl", tmp_path / "answers.jsonl"
    write_jsonl(truths, files.truths)
    write_jsonl(answers, files.answers)
    expected = scored(name, files)
    report = score(protocol, answers, truths, missing="zero", **CASES[name].options)
    assert_same(expected.figures, report.figures)
    whole = answers.read_text("utf-8")
    answers.write_text(whole + whole[: len(whole) // 40], encoding="utf-8")
    torn = score(protocol, answers, truths, missing="zero", **CASES[name].options)
    assert torn.pairs.tally.unparseable == 1
    assert f"answers.jsonl, line {QUERIES + 1}" in torn.pairs.tally.examples["unparseable"][0]
    assert_same(expected.figures, torn.figures)


def _anything(rng: random.Random, depth: int = 0) -> Any:
    plain = [None, True, -1, 0, 7, 10**400, 2.5, -0.0, NAN, math.inf, -1e308, "", "x", "7", "\ud800", "From 1.0 to 2.0"]
    if depth > 2 or rng.random() < 0.6:
        return rng.choice(plain)
    if rng.random() < 0.3:
        return {rng.choice(("start", "time", "content", "value")): _anything(rng, depth + 1)}
    return [_anything(rng, depth + 1) for _ in range(rng.randrange(4))]


def _mutated(rng: random.Random, value: Any) -> Any:
    """``value`` with something in it replaced, left out or doubled, at any depth."""
    if rng.random() < 0.3 or not isinstance(value, (dict, list)) or not value:
        return _anything(rng)
    changed = copy.deepcopy(value)
    key = rng.choice(list(changed)) if isinstance(changed, dict) else rng.randrange(len(changed))
    if rng.random() < 0.2:
        del changed[key]
    elif isinstance(changed, list) and rng.random() < 0.2:
        changed.append(changed[key])
    else:
        changed[key] = _mutated(rng, changed[key])
    return changed


@pytest.mark.parametrize("name", NAMES)
@given(seed=seeds)
@settings(max_examples=15, deadline=None)
def test_broken_rows_are_counted_or_refused(name: str, seed: int) -> None:
    """Whatever stands in a file: figures and counts, or a message."""
    rng = random.Random(seed)
    files = made(name, seed)
    answers = [_mutated(rng, row) if rng.random() < 0.5 else row for row in files.answers]
    try:
        report = scored(name, Files(files.truths, answers), missing="drop")
    except ScoringError:
        pass
    else:
        assert report.pairs.tally.queries == QUERIES
    truths = list(files.truths)
    truths[seed % QUERIES] = _mutated(rng, truths[seed % QUERIES])
    try:
        report = scored(name, Files(truths, files.answers))
    except ScoringError:
        pass
    else:
        unrounded(report)

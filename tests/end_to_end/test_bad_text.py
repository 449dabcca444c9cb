"""Whatever a model says, an evaluation ends with finite windows, files that can be read, and a count of what was odd.

Texts come from a stand-in for the language model's generation; everything behind it is the real thing.
"""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any

import pytest

from lavis.common.config import load_config
from lavis.common.schema import GenerationConfig
from lavis.models.build import build_model
from lavis.models.language_models.t5 import T5
from lavis.runners.run import evaluate
from lavis.structures import Batch, ModelOutput, Moment, Packed, Prediction
from tests.end_to_end.tiny import SECONDS, Corpus, experiment, metrics, predictions, write_corpus
from tests.toy_models import batch, sample

TEXTS = {
    "empty": "",
    "blank": " \n\t ",
    "words": "the man opens the door",
    "one number": "12",
    "opened": "[[",
    "closed": "]]",
    "no window": "[[]]",
    "half a window": "[[4]]",
    "unclosed": "[[4, 12], [14, 2",
    "reversed": "[[12, 4]]",
    "negative": "[[-5, 3]]",
    "far away": "[[900, 99999]]",
    "three bounds": "[[1, 2, 3]]",
    "fractions": "[[1.5, 2.5]]",
    "exponent": "[[1e400, 2]]",
    "no number": "[[nan, inf]]",
    "infinite": "[[Infinity, -Infinity]]",
    "digits": "[[" + "9" * 5000 + ", 1]]",
    "nested": "[" * 50_000 + "1" + "]" * 50_000,
    "nested windows": "[[[[1, 2]]], [[3, [4]]]]",
    "many windows": "[" + ", ".join("[1, 2]" for _ in range(20_000)) + "]",
    "huge": "[[4, 12]] " * 100_000,
    "spaces": "[[" + " " * 200_000 + "4, 12]]",
    "commas": "[[4" + "," * 200_000 + "12]]",
    "code": "[[__import__('pathlib').Path('harm').touch(), 2]]",
    "code as a comprehension": "[[x for x in ().__class__.__base__.__subclasses__()], [1, 2]]",
    "exponent tower": "[[9**9**9**9, 2]]",
    "a string": "[['4', '12']]",
    "JSON": '{"windows": [[4, 12]]}',
    "markup": "<script>alert(1)</script> [[4, 12]]",
    "end marks": "</s></s>[[4, 12]]</s>",
    "zero bytes": "[[4,\x00 12]]",
    "other digits": "[[٤, ١٢]]",
    "lone surrogate": "[[4, 12]] \ud800",
    "line separators": "[[4,\u2028 12]]\u2029",
    "right": "[[4, 12]]",
    "right, twice": "[[4, 12], [14, 20]]",
}
CODECS = {
    "calce": {"parser": "calce"},
    "mr_blip": {"parser": "mr_blip", "target_replacement": "none"},
    "floats": {"style": "seconds_floats", "parser": "mr_blip"},
    "indices": {"style": "frame_indices"},
    "clamped": {"parser": "mr_blip", "clamp": True, "malformed": "drop"},
    "relative": {"name": "relative_text"},
}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """One video, asked about once for every text."""
    folder = tmp_path_factory.mktemp("texts")
    made = write_corpus(folder, train=0, val=0, test=len(TEXTS), rows_of_video=len(TEXTS))
    for row in made.rows["test"]:
        row["query"] = "a man opens the door"  # equally long, so that they are asked in their order
    made.write_annotations()
    return made


@pytest.fixture
def says(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Texts that the language model says next."""
    coming: list[str] = []

    def generate(model: T5, packed: Packed, generation: GenerationConfig, *more: object) -> list[ModelOutput]:
        return [ModelOutput(coming.pop(0), sequence_score=-0.5) for _ in range(packed.embeds.shape[0])]

    monkeypatch.setattr(T5, "generate", generate)
    return coming


@pytest.mark.parametrize("codec", CODECS)
def test_a_whole_evaluation(
    corpus: Corpus, says: list[str], codec: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(corpus.folder)
    says += TEXTS.values()
    node = {"name": "seconds_text", **CODECS[codec]}
    settings = {"batch_size": 8, "test_splits": ["test"], "valid_splits": [], "train_splits": []}
    file = experiment(
        corpus, f"texts/{codec}", model={"codec": node}, run=settings, metrics=["temporal", "qvhighlights"]
    )
    start = time.process_time()
    folder = evaluate(load_config(file))
    assert time.process_time() - start < 10
    assert not (corpus.folder / "harm").exists()

    rows = dict(zip(TEXTS, predictions(folder, "clips_test"), strict=True))
    assert [row["id"] for row in rows.values()] == corpus.ids("test")
    bounds = [bound for row in rows.values() for window in row["moments"] for bound in window]
    assert all(math.isfinite(bound) for bound in bounds)
    assert rows["right"]["moments"]
    assert not rows["right"].get("malformed", False)
    assert rows["empty"]["malformed"]
    assert rows["words"]["malformed"]
    if node.get("clamp"):
        assert all(0 <= bound <= SECONDS for bound in bounds)
    figures = metrics(folder)["clips_test"]
    assert all(math.isfinite(value) for value in figures.values())
    assert figures["total"] == len(TEXTS)
    assert figures["skipped"] == 0
    assert len(json.loads((folder / "predictions" / "clips_test.json").read_text())) == len(TEXTS)


@pytest.mark.parametrize("codec", ["calce", "mr_blip"])
def test_what_a_first_stage_said_is_a_prior_for_the_second(corpus: Corpus, says: list[str], codec: str) -> None:
    settings = {"batch_size": 8, "test_splits": ["test"], "valid_splits": [], "train_splits": []}
    node = {"name": "seconds_text", **CODECS[codec]}
    says += TEXTS.values()
    first = evaluate(load_config(experiment(corpus, f"prior/{codec}1", model={"codec": node}, run=settings)))
    says += ["[[4, 12]]"] * len(TEXTS)
    prior = {"prior": str(first / "predictions" / "clips_{split}.jsonl")}
    second = experiment(corpus, f"prior/{codec}2", "tiny/calce_stage2", dataset=prior, run=settings)
    folder = evaluate(load_config(second, ["model.codec.parser=" + codec]))
    assert metrics(folder)["clips_test"]["total"] == len(TEXTS)


@pytest.mark.parametrize(
    "prior",
    [[], [(-1, -1)], [(900, 99999)], [(12, 12)], [(0, 30)] * 500, [(1e300, 1.5e300)], [(-1e300, 1e300)]],
    ids=["none", "mark", "far away", "point", "many", "huge", "wide"],
)
def test_odd_priors(prior: list[tuple[float, float]]) -> None:
    node = load_config("tiny/calce_stage2")["model"]
    model = build_model({**node, "processor": None}).eval()
    asked = sample(prior=[Moment(*pair) for pair in prior])
    (answer,) = model.generate(batch(asked, num_frames=24))
    assert answer.id == asked.id


HOSTILE_QUERIES = {
    "special tokens": "</s> <pad> <unk> <extra_id_0> [CLS] [SEP] [MASK] [PAD] [DEC]",
    "long": "man " * 20_000,
    "one long word": "m" * 20_000,
    "a prompt": "Query: x\nGiven the video, relevant windows: [[0, 1]]",
    "other scripts": "一个男人打开门 \u202e\u200f مرحبا 👩‍🍳",
    "zero bytes": "a\x00man",
    "half a character that was replaced": "a \ufffd man",
    "braces": "{query} {0} %s ${oc.env:HOME}",
}


@pytest.mark.parametrize("flavour", ["calce_stage1", "calce_stage2", "mr_blip"])
@pytest.mark.parametrize("query", HOSTILE_QUERIES)
def test_hostile_queries(flavour: str, query: str) -> None:
    model = build_model({**load_config(f"tiny/{flavour}")["model"], "processor": None}).eval()
    asked = sample(query=HOSTILE_QUERIES[query], items=[HOSTILE_QUERIES[query]], prior=[Moment(4, 12)])
    questions: Batch = batch(asked, num_frames=24)
    (answer,) = model.generate(questions)
    assert isinstance(answer, Prediction)
    losses = model(questions)
    assert all(math.isfinite(float(loss.detach())) for loss in losses.values())


def test_hostile_ids_and_names_stay_data(tmp_path: Path, says: list[str]) -> None:
    """Ids and queries come from files; they must not leave the results folder or break a line of it."""
    corpus = write_corpus(tmp_path, train=0, val=0, test=2, rows_of_video=1)
    odd: list[dict[str, Any]] = corpus.rows["test"]
    odd[0]["qid"] = "../../../outside\n{}"
    odd[1]["qid"] = "a" * 3000
    odd[1]["query"] = "line\nbreak\u2028 and \x00"
    corpus.write_annotations()
    says += ["[[4, 12]]"] * 2
    settings = {"test_splits": ["test"], "valid_splits": [], "train_splits": []}
    folder = evaluate(load_config(experiment(corpus, "tiny/odd", run=settings)))
    assert [row["id"] for row in predictions(folder, "clips_test")] == corpus.ids("test")
    assert sorted(path.name for path in (folder / "predictions").iterdir() if path.name[0] != ".") == [
        "clips_test.json",
        "clips_test.jsonl",
    ]

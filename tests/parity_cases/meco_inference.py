"""Prediction files of MeCo's inference: what is recorded of an answer, and figures of evaluations on recorded answers.

Answers are made from recorded ids and similarities; recorded prediction files go through tasks and back, and an
evaluation of them must say what scoring the files says (which the other cases compare with recorded results).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lavis.metrics._protocol import TOKENS
from lavis.models.codecs.structural_tokens import StructuralTokens
from lavis.scoring.scorer import score
from lavis.structures import ModelOutput, Moment, Prediction, VideoSample
from lavis.tasks.base import Task, build_task

SYSTEM = "meco"
TOLERANCE = 1e-5
CLIP_SECONDS = 2

Case = tuple[str, Callable[[], float]]
Row = dict[str, Any]


def cases(golden: Path) -> Iterator[Case]:
    """Comparisons for whatever ``golden`` holds; none of its files is required."""
    for meta in sorted(golden.glob("models/*/meta.json")):
        for run, recorded in json.loads(meta.read_text()).get("generate", {}).items():
            if isinstance(recorded, dict) and "ent_inds" in recorded:
                yield f"record of models/{meta.parent.name} {run}", _record(meta.parent, run, recorded)
    for path in [*sorted(golden.glob("metrics/*preds*.json")), *sorted(golden.glob("metrics/*/preds*.json"))]:
        rows = json.loads(path.read_text())
        if not isinstance(rows, list) or not rows:
            continue
        name = f"evaluation of {path.relative_to(golden / 'metrics').with_suffix('')}"
        if {"task", "source", "a"} <= rows[0].keys():
            yield name, _etbench(rows)
        elif {*TOKENS, "relevant_windows"} <= rows[0].keys():
            yield name, _grounding(rows, "charades" in str(path.relative_to(golden)))
        elif {"pred", "span"} <= rows[0].keys():
            yield name, _matches(rows)


class _Vocabulary:
    """As much of a tokenizer as a codec asks for."""

    def __init__(self, folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        self.ids = {"<ent>": config["ent_token_id"], "<tst>": config["tst_token_id"]}

    def get_vocab(self) -> dict[str, int]:
        return self.ids


def _record(folder: Path, run: str, recorded: Row) -> Callable[[], float]:
    def compare() -> float:
        with np.load(folder / "generate.npz") as stored:
            ids, rows = stored[f"{run}_tokens"].tolist(), torch.from_numpy(stored[f"{run}_sim"])
        codec = StructuralTokens()
        codec.bind(_Vocabulary(folder))
        hidden = {"similarities": rows, "scale": torch.tensor(recorded["scale"])}
        sample = VideoSample("a", "b.mp4", "q", float(rows.shape[1]), extra={"etbench": _question("a", "b.mp4")})
        prediction = codec.decode(ModelOutput(recorded["text"], ids, hidden=hidden), sample)
        (row,) = build_task("etbench").result_rows([sample], [prediction])
        for name in ("ent_inds", "tst_inds"):
            assert row[name] == recorded[name], f"{name}: {row[name]} where {recorded[name]} were recorded"
        assert row["a"] == recorded["text"]
        ours, theirs = np.array(row["vl_sims"]), np.array(recorded["vl_sims"])
        assert ours.shape == theirs.shape, f"vl_sims: {ours.shape} where {theirs.shape} were recorded"
        return max(float(np.abs(ours - theirs).max(initial=0)), abs(float(row["scale"]) - float(recorded["scale"])))

    return compare


def _question(name: str, video: str) -> Row:
    return {"task": "tvg", "source": name, "idx": 0, "video": video, "duration": 1.0}


def _etbench(rows: list[Row]) -> Callable[[], float]:
    def compare() -> float:
        samples = [
            VideoSample(
                f"{row['task']}/{row['source']}/{row['idx']}", row["video"], row["q"], row["duration"],
                extra={"etbench": {k: v for k, v in row.items() if k not in ("a", *TOKENS)}},
            )
            for row in rows
        ]  # fmt: skip
        return _same(build_task("etbench"), "etbench", samples, rows)

    return compare


def _grounding(rows: list[Row], charades: bool) -> Callable[[], float]:
    def compare() -> float:
        samples = []
        for row in rows:
            ratings = None
            if "saliency_scores" in row:
                ratings = np.zeros((int(row["duration"] / CLIP_SECONDS), len(row["saliency_scores"][0])), dtype=int)
                ratings[row["relevant_clip_ids"]] = row["saliency_scores"]
            windows = [Moment(*window) for window in row["relevant_windows"]]
            saliency = None if ratings is None else ratings.tolist()
            samples.append(
                VideoSample(str(row["qid"]), row["vid"], row["query"], row["duration"], windows, saliency=saliency)
            )
        protocol = "meco_charades" if charades else "meco_qvhighlights"
        task = build_task({"name": "similarity_grounding", "metrics": [{"name": protocol}]})
        return _same(task, protocol, samples, rows)

    return compare


def _matches(rows: list[Row]) -> Callable[[], float]:
    def compare() -> float:
        samples = [
            VideoSample(f"{row['vid']}_{i}", row["vid"], row["query"], 1e4, [Moment(*row["span"])])
            for i, row in enumerate(rows)
        ]
        answers = [
            Prediction(sample.id, [], row["response"], details={"frames": row["pred"] or []})
            for sample, row in zip(samples, rows, strict=True)
        ]
        task = build_task({"name": "similarity_grounding", "metrics": [{"name": "etchat_charades"}]})
        return _equal(task.evaluate(samples, answers), score("etchat_charades", rows).headline)

    return compare


def _same(task: Task, protocol: str, samples: list[VideoSample], rows: list[Row]) -> float:
    """Rows come back as they were, and the evaluation says what the rows' file is scored with."""
    answers = [
        Prediction(sample.id, [], row["a"], details={name: row[name] for name in TOKENS if name in row})
        for sample, row in zip(samples, rows, strict=True)
    ]
    for given, written in zip(rows, task.result_rows(samples, answers), strict=True):
        lost = [name for name in ("a", *TOKENS) if given.get(name) != written.get(name)]
        assert not lost, f"{lost} are not as recorded"
    return _equal(task.evaluate(samples, answers), score(protocol, rows).headline)


def _equal(ours: Row, theirs: Row) -> float:
    assert theirs, "there are no figures"
    differing = {name: (ours.get(name), value) for name, value in theirs.items() if ours.get(name) != value}
    assert not differing, f"an evaluation and the score of its file differ: {differing}"
    return 0.0

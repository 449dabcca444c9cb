"""Recorded outputs of MMDuet's question answering in time: what its judge was asked, ratings, printed scores, batches.

Cases follow from the entries of ``summary_*.json`` (``evaluate...`` with the judge's calls, ``analyze...`` with a
printed line) and from the files beside it by their form: batches of requests (``custom_id``, ``body``) and of results
(``custom_id``, ``response``).
"""

from __future__ import annotations

import json
import re
import tempfile
import unittest
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lavis.scoring.judges.base import Judge, JudgingPending, Pair, Reply
from lavis.scoring.scorer import score

Case = tuple[str, Callable[[], float]]
Rows = list[dict[str, Any]]

_KEPT = ("question_id", "evaluator_output", "answer", "answer_time")


class Recalling(Judge):
    """Says what the recorded judge said, and remembers what it was asked."""

    def __init__(self, calls: Sequence[Sequence[str]]) -> None:
        self._said = {(question, gold, predicted): reply for question, gold, predicted, reply in calls}
        self.asked: list[list[str]] = []

    def replies(self, pairs: Sequence[Pair]) -> list[Reply]:
        self.asked += [list(pair.texts) for pair in pairs]
        return [self._said[pair.texts] for pair in pairs]


def cases(golden: Path) -> Iterator[Case]:
    """All cases of the folder of metrics."""
    folder = golden / "metrics"
    for path in sorted(folder.glob("summary_*.json")):
        summary = {name: entry for name, entry in json.loads(path.read_text()).items() if isinstance(entry, Mapping)}
        calls = [call for entry in summary.values() for call in entry.get("scorer_calls", ())]
        for name, entry in summary.items():
            if "scorer_calls" in entry or "n_calls" in entry:
                yield f"metrics/magqa {name}", lambda n=name, e=entry, c=calls: evaluated(folder, n, e, c)
            elif "last_line" in entry:
                yield f"metrics/magqa {name}", lambda n=name, e=entry: analyzed(folder, n, e)
    for path in sorted(folder.glob("*.jsonl")):
        rows = read(path)
        if rows and {"custom_id", "body"} <= set(rows[0]):
            yield f"metrics/{path.name}", lambda p=path, r=rows: requests(folder, p, r)
        elif rows and {"custom_id", "response"} <= set(rows[0]):
            yield f"metrics/{path.name}", lambda p=path, r=rows: results(folder, p, r)


def evaluated(folder: Path, name: str, entry: Mapping[str, Any], calls: Sequence[Sequence[str]]) -> float:
    """The judge is asked for the same pairs in the same order, and the lines that come out are equal."""
    assert entry["returncode"] == 0
    suffix = name.removeprefix("evaluate").strip("_")
    predictions = read(first_of(folder, f"magqa_{suffix}_pred.jsonl", "magqa_pred.jsonl"))
    part = re.fullmatch(r"start(\d+)_end(\d+)", suffix)
    if part is not None:
        predictions = predictions[int(part[1]) : int(part[2])]
        suffix = f"range_{part[1]}_{part[2]}"
    judge = Recalling(calls)
    ours = judged(folder, predictions, judge, "last_character", concat_replies=suffix == "concat")
    if "scorer_calls" in entry:
        assert judge.asked == [call[:3] for call in entry["scorer_calls"]], "the judge is asked for other pairs"
    assert len(judge.asked) == entry.get("n_calls", len(judge.asked)), f"{len(judge.asked)} calls"
    recorded = first_of(folder, f"magqa_{suffix}_eval.jsonl", f"magqa_eval_{suffix}.jsonl", "magqa_eval.jsonl")
    return same_lines(ours, read(recorded))


def judged(folder: Path, predictions: Rows, judge: Judge | dict[str, Any], rule: str, **options: Any) -> Rows:
    """The lines that our evaluation writes."""
    with tempfile.TemporaryDirectory() as scratch:
        written = Path(scratch, "judged.jsonl")
        gold = folder / "magqa_gold.json"
        score("magqa", predictions, gold, judge=judge, reply_rule=rule, judged_file=str(written), **options)
        return read(written)


def same_lines(ours: Rows, recorded: Rows) -> float:
    """Ratings, reference answers and replies of each line, exactly."""
    assert [row["question_id"] for row in ours] == [row["question_id"] for row in recorded]
    for row, other in zip(ours, recorded, strict=True):
        for key in _KEPT:
            assert row[key] == other[key], f"{row['question_id']} {key}: {row[key]} instead of {other[key]}"
        assert replies(row) == replies(other), row["question_id"]
    return 0.0


def replies(row: Mapping[str, Any]) -> list[tuple[float, str]]:
    return [(turn["time"], turn["content"]) for turn in row["model_response_list"] if turn["role"] == "assistant"]


def analyzed(folder: Path, name: str, entry: Mapping[str, Any]) -> float:
    """The printed line, character by character."""
    assert entry["returncode"] == 0
    options = options_of(entry.get("args", ()))
    number = re.search(r"num(\d+)", name)
    if "num_examples" not in options and number is not None:
        options["num_examples"] = int(number[1])
    if "n_line" in entry:
        path = folder / entry["n_line"].split()[0]
    else:
        word = name.removeprefix("analyze_").partition("_")[0]
        path = first_of(folder, *(p.name for p in sorted(folder.glob(f"*{word}*.jsonl")) if is_judged(p)))
    figures = score("magqa", path, reply_rule="first_character", **options).figures["original"]
    assert figures["printed"] == entry["last_line"], f"{figures['printed']} instead of {entry['last_line']}"
    if "n_line" in entry:
        assert str(figures["examples"]) == entry["n_line"].split()[1], entry["n_line"]
    return 0.0


def options_of(arguments: Sequence[str]) -> dict[str, Any]:
    """Our options for the original's arguments."""
    given = dict(zip(arguments[::2], map(int, arguments[1::2]), strict=True))
    options: dict[str, Any] = {}
    for argument, value in given.items():
        if argument == "--num_examples":
            options["num_examples"] = value
        elif argument == "--pad_with_one":
            options["pad_with_one"] = bool(value)
        elif argument == "--baseline_all_match":
            options["untimed"] = "match" if value else "skip"
        else:
            raise AssertionError(f"no option is known for {argument}")
    return options


def requests(folder: Path, path: Path, recorded: Rows) -> float:
    """Our batch of requests, with the recorded prompt and the original's names, is the recorded one."""
    system, asked = (message["content"] for message in recorded[0]["body"]["messages"])
    model = recorded[0]["body"]["model"]
    user = template(asked, pairs_asked(folder, predictions_of(folder, path)))
    with tempfile.TemporaryDirectory() as scratch:
        prompt, written = Path(scratch, "prompt.txt"), Path(scratch, "requests.jsonl")
        prompt.write_text(f"[system]\n{system}\n[user]\n{user}\n")
        judge = {"name": "batch", "requests": str(written), "model": model, "prompt": str(prompt), "temperature": None}
        try:
            judged(folder, predictions_of(folder, path), {**judge, "custom_id": "original"}, "whole")
        except JudgingPending:
            ours = read(written)
    assert [row["custom_id"] for row in ours] == [row["custom_id"] for row in recorded]
    for row, other in zip(ours, recorded, strict=True):
        assert row == other, f"{row['custom_id']}: {row} instead of {other}"
    return 0.0


def pairs_asked(folder: Path, predictions: Rows) -> list[tuple[str, str, str]]:
    """Question, reference and answer of each pair that a judge has to rate, in order."""
    asked: list[tuple[str, str, str]] = []

    class Noting(Judge):
        def replies(self, pairs: Sequence[Pair]) -> list[Reply]:
            asked.extend(pair.texts for pair in pairs)
            return ["1" for _ in pairs]

    judged(folder, predictions, Noting(), "whole")
    return asked


def template(asked: str, pairs: Sequence[tuple[str, str, str]]) -> str:
    """What is asked, with blanks for the texts of one of the pairs, which stand in it in their order."""
    for texts in pairs:
        found = re.fullmatch("(.*?)" + "(.*?)".join(map(re.escape, texts)) + "(.*)", asked, re.DOTALL)
        if found:
            return "".join(map("".join, zip(found.groups(), ("{question}", "{gold}", "{predicted}", ""), strict=True)))
    raise AssertionError(f"asks about none of the pairs that are to be rated: {asked}")


def results(folder: Path, path: Path, recorded: Rows) -> float:
    """Ratings read back from a batch; a reply that is no whole number, at which the original stops, is counted."""
    texts = [row["response"]["body"]["choices"][0]["message"]["content"] for row in recorded]
    whole = [re.fullmatch(r"\s*\d+\s*", text) is not None for text in texts]
    judge = {"name": "recorded", "file": str(path), "absent": "error" if all(whole) else "unscored"}
    predictions = predictions_of(folder, path)
    report = score("magqa", predictions, folder / "magqa_gold.json", judge=judge, reply_rule="whole")
    counted = report.pairs.tally.unparseable
    assert counted >= whole.count(False) and (counted == 0) == all(whole), report.pairs.tally.counts()
    if not all(whole):
        return 0.0
    lines = [p for p in sorted(folder.glob("magqa_*.jsonl")) if "openai" in p.name and is_judged(p)]
    if not lines:
        raise unittest.SkipTest(f"no lines made of {path.name} are recorded")
    return same_lines(judged(folder, predictions, judge, "whole"), read(lines[0]))


def predictions_of(folder: Path, path: Path) -> Rows:
    """The predictions that a batch was made from: of its name, or the plain ones."""
    beginning = path.stem.rpartition("_")[0]
    return read(first_of(folder, f"{beginning}_pred.jsonl", "magqa_pred.jsonl"))


def first_of(folder: Path, *names: str) -> Path:
    """The first of these files that is there."""
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise unittest.SkipTest(f"none of {', '.join(names) or 'the files of this case'} is here")


def is_judged(path: Path) -> bool:
    """Whether a file holds ratings."""
    rows = read(path)
    return bool(rows) and "evaluator_output" in rows[0]


def read(path: Path) -> Rows:
    return [json.loads(line) for line in path.read_text().splitlines() if line.strip()]

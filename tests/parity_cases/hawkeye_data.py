"""What HawkEye's tools make of annotations, and how they merge, choose and surround segments for InternVid-G.

Inputs and outputs are recorded; random draws too, as the original's generator was seeded before each tool. Not
compared: answers that are drawn for the servers of STAR and TVQA, since here a draw belongs to its question.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from lavis.common.io import write_json, write_jsonl, write_text
from lavis.preparation import hawkeye_conversions as conversions
from lavis.preparation import hawkeye_questions as questions
from lavis.preparation.internvid_g.merging import merge_files
from lavis.preparation.internvid_g.negatives import ORIGINAL, negative_files
from lavis.preparation.internvid_g.selection import median_score, read_scored, select_file
from lavis.scoring.questions.leaderboards import star_submission, tvqa_submission

Case = tuple[str, Callable[[], float]]
Row = dict[str, Any]
Tool = Callable[[Path, str], list[Row]]

LITERAL = "When does '%s' happen?"
UNREADABLE = "(Z) x"


def cases(golden: Path) -> Iterator[Case]:
    """A case for each recorded output of each file whose form is known."""
    for path in sorted(golden.glob("*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, Mapping):
            continue
        if {"scenes", "similarity", "captions"} <= set(content):
            yield from _construction(path.stem, dict(content))
        elif "inputs" in content and "internvid.choice" in content:
            yield from _conversions(path.stem, dict(content))


def _construction(name: str, content: Row) -> Iterator[Case]:
    for key in content:
        kind, _, rest = key.partition("_")
        if kind == "merge":
            alike_to, _, above = rest.partition("_")
            yield f"{name} {key}", lambda k=key, a=alike_to, t=above: _merging(content, k, a, float(t))
        elif kind == "negative":
            yield f"{name} {key}", lambda k=key: _negatives(content, k, float(k.rpartition("_")[2]))
    yield f"{name} selected", lambda: _selection(content)


def _merging(content: Row, key: str, alike_to: Any, above: float) -> float:
    with _files(content, "scenes", "similarity") as (folder, (scenes, similarity)):
        merge_files(scenes, similarity, folder / "merged", folder / "alike", above, alike_to, max_scenes=100)
        _equal(_lines(folder / "merged"), content[key]["scenes"], f"{key}, scenes")
        _equal(_lines(folder / "alike"), content[key]["similarity"], f"{key}, similarity")
    return 0.0


def _negatives(content: Row, key: str, like_from: float) -> float:
    """The original goes through a set, so order tells nothing; the recorded rows are sorted."""
    with _files(content, "captions", "scenes", "similarity") as (folder, (captions, scenes, similarity)):
        options = replace(ORIGINAL, like_from=like_from)
        negative_files(captions, scenes, similarity, folder / "made", content["durations"], options)
        made = _lines(folder / "made")
    _equal([list(row) for row in made], [list(row) for row in content[key]], f"{key}, names of the fields")
    _equal(sorted(map(json.dumps, made)), sorted(map(json.dumps, content[key])), key)
    return 0.0


def _selection(content: Row) -> float:
    """Captions of a segment come out of a set in the original: any order of them is one of its."""

    def ordered(rows: list[Row]) -> list[Row]:
        return [{**row, "captions": sorted(row["captions"])} for row in rows]

    with _files(content, "caption_sims") as (folder, (scores,)):
        select_file(scores, folder / "made")
        _equal(median_score(read_scored(scores)), content["median"], "median")
        _equal(ordered(_lines(folder / "made")), ordered(content["selected"]), "selected")
    return 0.0


def _conversions(name: str, content: Row) -> Iterator[Case]:
    for key in content:
        source, _, form = key.partition(".")
        tool = TOOLS.get(source)
        if form.endswith("_output"):
            yield f"{name} {key}", lambda k=form: {"star_output": _star_output, "tvqa_output": _tvqa_output}[k](content)
        elif source == "videoqa" or tool is not None:
            chosen = QUESTIONS.get(form) if source == "videoqa" else tool
            yield f"{name} {key}", lambda k=key, f=form, t=chosen: _conversion(content, k, f, t)


def _conversion(content: Row, key: str, form: str, tool: Tool | None) -> float:
    assert tool is not None, f"no conversion is written for {key!r}"
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for name, value in content["inputs"].items():
            if isinstance(value, str):
                write_text(folder / name, value)
            elif name in ("internvid", "tvqa"):
                write_jsonl(folder / f"{name}.jsonl", value)
            else:
                write_json(folder / f"{name}.json", value)
        _equal(tool(folder, form), content[key], key)
    return 0.0


def _internvid(folder: Path, form: str) -> list[Row]:
    return _trained(conversions.internvid_segments([folder / "internvid.jsonl"]), form, folder)


def _charades(folder: Path, form: str) -> list[Row]:
    lengths = None if form.startswith("test") else folder / "charades_lengths.json"
    segments = conversions.charades_segments(folder / "charades", lengths)
    return _trained(segments, form, folder, conversions.IN_FRAMES)


def _activitynet(folder: Path, form: str) -> list[Row]:
    more = folder / "anet2.json" if "two_files" in form else None
    return _trained(conversions.activitynet_segments(folder / "anet1.json", more), form, folder)


def _nextgqa(folder: Path, form: str) -> list[Row]:
    return list(questions.nextgqa_rows(folder / "nextgqa_csv", folder / "nextgqa_gsub.json", folder / "video_map.json"))


def _trained(segments: Any, form: Any, folder: Path, times: str = conversions.IN_SECONDS) -> list[Row]:
    if form.startswith("test_grounding"):
        return list(conversions.grounding_test_rows(segments))
    literal = form.endswith("_literal_question")
    asked = conversions.read_wordings(LITERAL if literal else str(folder / "questions.json"))
    wording = conversions.Wording(conversions.read_wordings(str(folder / "instructions.json")), asked, times)
    return list(conversions.training_rows(segments, form.removesuffix("_literal_question"), wording, seed=0))


TOOLS: dict[str, Tool] = {
    "internvid": _internvid, "charades": _charades, "anetc": _activitynet, "nextgqa": _nextgqa,
}  # fmt: skip
QUESTIONS: dict[str, Tool] = {
    "nextqa-test": lambda folder, _: list(
        questions.nextqa_rows(folder / "nextqa_csv", folder / "video_map.json")
    ),
    "tvqa": lambda folder, _: list(questions.tvqa_rows(folder / "tvqa.jsonl")),
    "star": lambda folder, _: list(questions.star_rows(folder / "star.json")),
}  # fmt: skip


def _star_output(content: Row) -> float:
    recorded = content["videoqa.star_output"]
    ids = [row["qid"] for row in content["videoqa.star"]]
    made = star_submission([{"pred": text, "gt_answer": ""} for text in recorded["pred"]], ids)
    assert len(made.drawn) == 1, f"{made.drawn} were drawn instead of one"
    _equal(_without(made.files["submission.json"], made.drawn), _without(recorded["out"], made.drawn), "star_output")
    return 0.0


def _without(categories: Mapping[str, list[Row]], drawn: list[str]) -> Row:
    return {name: [row for row in rows if row["question_id"] not in drawn] for name, rows in categories.items()}


def _tvqa_output(content: Row) -> float:
    """The answers are not recorded; these are one with the letter of the first answer, and one without any."""
    recorded = content["videoqa.tvqa_output"]
    first, second = map(str, recorded["prediction_test_public.json"])
    letter = "ABCDE"[recorded["prediction_test_public.json"][first]]
    answers = [{"pred": text, "gt_answer": ""} for text in (f"({letter}) x", UNREADABLE)]
    meta = {"model_name": recorded["meta.json"]["model_name"]}
    made = tvqa_submission(answers, [first, second], validation_ids=[first, second], meta=meta)
    _equal(made.files["meta.json"], recorded["meta.json"], "meta.json")
    _equal(sorted(made.files), sorted(recorded), "files")
    for name, answered in recorded.items():
        if name != "meta.json":
            _equal(list(made.files[name]), list(answered), f"{name}, questions")
    public = made.files["prediction_test_public.json"]
    _equal(public[first], recorded["prediction_test_public.json"][first], "answer with a letter")
    _equal(made.drawn, [second], "drawn answers")
    return 0.0


class _files:
    """Recorded rows as files of JSON lines, in a folder that goes away."""

    def __init__(self, content: Row, *names: str) -> None:
        self._rows = {name: content[name] for name in names}
        self._folder = tempfile.TemporaryDirectory()

    def __enter__(self) -> tuple[Path, list[Path]]:
        folder = Path(self._folder.name)
        return folder, [write_jsonl(folder / f"{name}.jsonl", rows) for name, rows in self._rows.items()]

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()


def _lines(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _equal(ours: Any, recorded: Any, what: str) -> None:
    assert ours == recorded, f"{what}: {ours!r:.400} instead of {recorded!r:.400}"

"""HawkEye's figures: recursive grounding round by round, windows told in words, and the check of lettered answers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lavis.scoring.protocols.direct_grounding import DirectGrounding
from lavis.scoring.protocols.recursive_grounding import printed
from lavis.scoring.questions.text import gold_text, hawkeye_correct, plain_question_text, question_text
from lavis.scoring.recursive.replay import best_overlap, replay
from lavis.scoring.scorer import score

Case = tuple[str, Callable[[], float]]
Row = dict[str, Any]

CLOSE = 1e-12
# The recorded checks do not tell length and frames of their video; two seconds a frame explain all of them.
NUM_FRAMES, SECONDS = 12, 24.0
UNITS = {"grounding_frame": "frames", "grounding_sec": "seconds"}


def cases(golden: Path) -> Iterator[Case]:
    """All cases of a folder: of each file those whose form it has."""
    for path in sorted(golden.glob("*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        name = path.stem
        if isinstance(content, Mapping) and {"predictions", "golds"} <= set(content):
            yield from _rounds(name, dict(content))
        elif isinstance(content, Mapping) and {"check", "check_columns"} <= set(content):
            yield from _checks(name, dict(content))
        elif isinstance(content, list) and content and _is_run(content[0]):
            yield f"{name} windows", lambda rows=content: _windows(rows)
            yield f"{name} failed runs", lambda rows=content: _failures(rows)


def _is_run(row: Any) -> bool:
    return isinstance(row, Mapping) and {"answers", "bound", "duration", "script"} <= set(row)


def _rounds(name: str, content: Row) -> Iterator[Case]:
    if "aggregate" in content:
        yield f"{name} aggregate", lambda: _aggregate(content)
    if "iou_per_turn" in content:
        yield f"{name} iou_per_turn", lambda: _per_turn(content)
    if "printed" in content:
        yield f"{name} printed", lambda: _printed(content)
    if "iou" in content:
        yield f"{name} iou", lambda: _grid(content)


def _aggregate(content: Row) -> float:
    ours = score("recursive_grounding", content["predictions"], content["golds"]).figures
    assert sorted(ours) == sorted(content["aggregate"]), f"turns {sorted(ours)} instead of those recorded"
    for turn, recorded in content["aggregate"].items():
        assert ours[turn] == recorded, f"{turn}: {ours[turn]} instead of {recorded}"
    return 0.0


def _per_turn(content: Row) -> float:
    scored = score("recursive_grounding", content["predictions"], content["golds"]).scored
    turns = range(1, len(content["iou_per_turn"][0]) + 1)
    ours = np.stack([scored.estimates[f"turn{turn}/mean_iou"].values for turn in turns], axis=1)
    assert ours.tolist() == content["iou_per_turn"], "IoUs of single queries differ"
    return 0.0


def _printed(content: Row) -> float:
    ours = printed(score("recursive_grounding", content["predictions"], content["golds"]).figures)
    recorded = [line for line in content["printed"] if line]
    assert ours == recorded, f"{ours} instead of {recorded}"
    return 0.0


def _grid(content: Row) -> float:
    for predicted, gold, *recorded in content["iou"]:
        (ours,) = best_overlap(np.array([predicted], dtype=np.float64), [[gold]])
        assert [ours] * len(recorded) == recorded, f"IoU of {predicted} and {gold}: {ours} instead of {recorded}"
    return 0.0


def _windows(rows: list[Row]) -> float:
    """The evaluator's final window; it starts from the centre where the notebook starts from the ends."""
    largest = 0.0
    for row in rows:
        if row["error"] is None:
            _stops_in_time(row)
            window = replay(np.array([row["duration"]]), [row["answers"]], max(len(row["answers"]), 1))[-1, 0]
            difference = float(np.abs(window - np.array(row["bound"])).max())
            assert difference <= CLOSE, f"{row['answers']} of {row['duration']} s: {window} instead of {row['bound']}"
            largest = max(largest, difference)
    return largest


def _stops_in_time(row: Row) -> None:
    """A run ends with "throughout", or when its rounds are used up; the log, where there is one, tells each round."""
    answers, rounds = row["answers"], row.get("max_turns")
    if rounds is not None:
        ended = "throughout" in answers[-1:] or len(answers) == rounds
        assert ended and len(answers) <= rounds, f"{answers} in {rounds} rounds"
    if row.get("log"):
        assert len(row["log"]) == len(answers), f"{len(row['log'])} rounds are logged for {answers}"


def _failures(rows: list[Row]) -> float:
    """Runs that failed are left out of the figures, and counted."""
    given = [{"pred_answer_list": row["answers"], "duration": row["duration"]} for row in rows]
    truth = [{"question": "q", "answer": [0.0, 1.0]} for _ in rows]
    failed = sum(row["error"] is not None for row in rows)
    tally = score("recursive_grounding", given, truth).pairs.tally
    assert tally.unparseable == failed, f"{tally.unparseable} rows left out instead of {failed}"
    assert tally.scored == len(rows) - failed
    return 0.0


def _checks(name: str, content: Row) -> Iterator[Case]:
    modes = {row[content["check_columns"].index("mode")] for row in content["check"]}
    for mode in sorted(modes):
        yield f"{name} check {mode}", lambda mode=mode: _check(mode, content)
    if "template" in content:
        yield f"{name} template", lambda: _template(content["template"])


def _check(mode: str, content: Row) -> float:
    largest = 0.0
    for values in content["check"]:
        row = dict(zip(content["check_columns"], values, strict=True))
        if row["mode"] != mode:
            continue
        if mode in UNITS:
            ours = _direct(UNITS[mode], row)
            assert (ours is None) == (row["result"] is None), f"{row}: {ours}"
            difference = 0.0 if ours is None else abs(ours - row["result"])
            assert difference <= CLOSE, f"{row}: {ours}"
            largest = max(largest, difference)
        elif mode in ("choice", "grounding_choice"):
            assert hawkeye_correct(row["pred"], row["gt_answer"]) == row["result"], f"{row}"
        else:
            raise AssertionError(f"no check is written for the mode {mode!r}")
    return largest


def _direct(unit: str, row: Row) -> float | None:
    """The IoU of one row, as the protocol finds it; ``None`` where it leaves the row out."""
    readable = {"pred": "From 1.0 to 2.0", "gt_answer": "From 1.0 to 2.0", "video_secs": SECONDS}
    protocol = DirectGrounding("frames" if unit == "frames" else "seconds", NUM_FRAMES)
    report = score(protocol, [{**row, "video_secs": SECONDS}, readable])
    if report.pairs.tally.unparseable:
        return None
    return float(report.scored.estimates["mIoU"].values[0])


def _template(rows: list[Row]) -> float:
    for row in rows:
        data = row["data"]
        if "error" in row:
            tally_error = _refused(data)
            assert tally_error, f"{data} must be refused, as there is no answer"
            continue
        ours = [question_text(data["question"], data["candidates"]), gold_text(data["answer"], data["candidates"])]
        assert ours == row["choice"], f"{ours} instead of {row['choice']}"
        plain = [plain_question_text(data["question"]), data["answer"]]
        assert plain == row["grounding"], f"{plain} instead of {row['grounding']}"
    return 0.0


def _refused(data: Row) -> bool:
    """Whether a question without an answer is refused as truth, where the original breaks."""
    try:
        score("multiple_choice", [{"qid": "q", "pred": "A"}], [{"qid": "q", "video": "v", **data}], benchmark="mvbench")
    except ValueError:
        return True
    return False

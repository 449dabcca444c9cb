"""Recorded figures of MMDuet's grounding and highlights: every row of every sweep, and what was printed.

A case is a file of predictions (``<name>_pred.jsonl``) with a recorded result (``<name>_result.json``) or an entry of
that name in a summary; its truth has the same name, or that of the longest beginning of it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from lavis.scoring.base import ScoringError
from lavis.scoring.frames.grounding import FIGURES
from lavis.scoring.scorer import ScoreReport, score

Case = tuple[str, Callable[[], float]]

_TOLERANCE = 1e-9
_PRINTED = re.compile(r"([\d.]+)/([\d.]+)/([\d.]+)/([\d.]+)$")
_PAIR = re.compile(r"'(HL-min-\w+-(?:mAP|Hit1))', ([\d.]+)")


def cases(golden: Path) -> Iterator[Case]:
    """All cases of the folder of metrics."""
    folder = golden / "metrics"
    summaries = _summaries(folder)
    for predictions in sorted(folder.glob("*_pred.jsonl")):
        name = predictions.name.removesuffix("_pred.jsonl")
        truth = truth_of(folder, name)
        if truth is None or not _is_ours(truth):
            continue
        result = folder / f"{name}_result.json"
        if result.is_file():
            yield (
                f"metrics/{result.name}",
                lambda p=predictions, t=truth, r=result: sweep(p, t, json.loads(r.read_text())),
            )
        if name in summaries:
            yield f"metrics/{name} (summary)", lambda p=predictions, t=truth, s=summaries[name]: summary(p, t, s)


def truth_of(folder: Path, name: str) -> Path | None:
    """The file of truth with this name, or with the longest beginning of it."""
    words = name.split("_")
    for length in range(len(words), 0, -1):
        beginning = "_".join(words[:length])
        for path in (folder / f"{beginning}_gold.json", folder / f"{beginning}_gold.jsonl"):
            if path.is_file():
                return path
    return None


def sweep(predictions: Path, truth: Path, recorded: list[dict[str, Any]]) -> float:
    """Every row of the recorded sweep, in order."""
    report = scored(predictions, truth, recorded)
    ours = report.figures["sweep_on_test"]
    assert len(ours) == len(recorded), f"{len(ours)} rows instead of {len(recorded)}"
    return max(difference(row, other, f"row {i}") for i, (row, other) in enumerate(zip(ours, recorded, strict=True)))


def scored(predictions: Path, truth: Path, recorded: list[dict[str, Any]]) -> ScoreReport:
    """Our figures for the task that a result is of."""
    task = "grounding" if "threshold" in recorded[0] else "highlights"
    return score("frame_scores", predictions, truth, task=task)


def summary(predictions: Path, truth: Path, recorded: Mapping[str, Any]) -> float:
    """What was printed; where the original broke off, that ours says so or counts what it broke at."""
    task = "highlights" if truth.suffix == ".jsonl" else "grounding"
    if recorded["returncode"] != 0:
        return broken(predictions, truth, task, recorded["error"])
    report = score("frame_scores", predictions, truth, task=task)
    worst = 0.0
    if "stdout_best_lines" in recorded:
        rows = [row["scores"] for row in report.figures["oracle_threshold"]]
        assert len(rows) == len(recorded["stdout_best_lines"])
        worst = max(map(printed, rows, recorded["stdout_best_lines"]))
    if any(_PRINTED.search(line) for line in recorded.get("stdout", ())):
        worst = max(worst, printed([report.headline[name] for name in FIGURES], recorded["stdout"][-1]))
    if "stdout_tail" in recorded:
        brief = {name: float(value) for name, value in _PAIR.findall(recorded["stdout_tail"])}
        assert brief, "the printed line holds no figures"
        worst = max(worst, difference(report.figures["result"]["brief"], brief, "brief"))
    return worst


def broken(predictions: Path, truth: Path, task: str, error: str) -> float:
    """The original's error against what ours does with the same files."""
    if "video_time" in error:  # the other schema of frames, which ours reads
        report = score("frame_scores", predictions, truth, task=task)
        assert report.pairs.tally.unparseable == 0
        return 0.0
    try:
        tally = score("frame_scores", predictions, truth, task=task).pairs.tally
    except ScoringError:
        return 0.0
    assert "range()" not in error, "frames further apart than a clip were scored"
    counted = tally.extra if error.startswith("KeyError") else tally.unparseable
    assert counted > 0, f"{error}, but nothing was counted: {tally.counts()}"
    return 0.0


def printed(ours: list[float], line: str) -> float:
    """Figures against a line of four with two decimals."""
    match = _PRINTED.search(line)
    assert match is not None, f"no four figures in {line!r}"
    told = "/".join(f"{value:.2f}" for value in ours)
    assert told == match.group(0), f"{told} instead of {match.group(0)}"
    return 0.0


def difference(ours: Any, recorded: Any, at: str) -> float:
    """Largest difference of two nested results.

    Raises:
        AssertionError: where shapes or names differ, or a number by more than rounding.
    """
    if isinstance(recorded, Mapping):
        assert set(ours) == set(recorded), f"{at}: {sorted(ours)} instead of {sorted(recorded)}"
        return max((difference(ours[key], value, f"{at}.{key}") for key, value in recorded.items()), default=0.0)
    if isinstance(recorded, list):
        assert len(ours) == len(recorded), f"{at}: {len(ours)} values instead of {len(recorded)}"
        return max((difference(a, b, at) for a, b in zip(ours, recorded, strict=True)), default=0.0)
    if isinstance(recorded, float) and recorded != recorded:
        assert ours != ours, f"{at}: {ours!r} instead of NaN"
        return 0.0
    if isinstance(recorded, (int, float)):
        gap = abs(ours - recorded)
        assert gap <= _TOLERANCE, f"{at}: {ours!r} instead of {recorded!r}"
        return gap
    assert ours == recorded, f"{at}: {ours!r} instead of {recorded!r}"
    return 0.0


def _summaries(folder: Path) -> dict[str, Mapping[str, Any]]:
    found: dict[str, Mapping[str, Any]] = {}
    for path in sorted(folder.glob("summary_*.json")):
        found |= {name: entry for name, entry in json.loads(path.read_text()).items() if isinstance(entry, Mapping)}
    return found


def _is_ours(truth: Path) -> bool:
    """Whether a file of truth has spans or rated clips, and not captions or answers."""
    text = truth.read_text()
    rows = json.loads(text) if truth.suffix == ".json" else [json.loads(text.splitlines()[0])]
    first = rows[0] if isinstance(rows, list) and rows else {}
    return "timestamps" in first or "saliency_scores" in first or isinstance(first.get("answer"), Mapping)

"""What out-of-fold hints do for the second stage, on the sample corpus.

    python -m benchmarks.folds --seeds 42
    python -m benchmarks.folds --quick

CALCE's second stage learns to correct the first one's windows. Made by a model that was trained on the same queries,
they are far better in training than at test, and the second stage learns to trust them. ``configs/quickstart/
calce_folds.yaml`` trains it twice: on such windows, and on those of models that had not seen the video (``folds: 4``).
Printed: how good the hints are on train and val, and both second stages on test. Minutes of one CPU core for a seed;
``--quick`` scores what finished runs have left.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lavis.common.io import read_json, read_jsonl, write_text
from lavis.common.registry import registry
from lavis.metrics.base import grouped
from lavis.structures import Moment, Prediction, VideoSample

COLUMNS = {"R1@0.5": 1.0, "R1@0.7": 1.0, "mIoU": 100.0}
NAME = "sample_corpus"
HINTS = {
    "in-sample, train": ("predictions", "train"),
    "out-of-fold, train": ("out_of_fold", "train"),
    "val": ("predictions", "val"),
    "test": ("predictions", "test"),
}
STAGES = {
    "stage 1": "calce_stage1",
    "stage 2, in-sample hints": "calce_stage2",
    "stage 2, out-of-fold hints": "calce_stage2_folds",
}
LAST = "calce_stage2_folds"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[42])
    parser.add_argument("--folder", type=Path, default=Path("results/folds"), help="results (default: %(default)s)")
    parser.add_argument("--options", nargs="+", default=[], help="changes to all stages, such as run.epochs=1")
    parser.add_argument("--output", type=Path, help="also write the table to this file")
    parser.add_argument("--quick", action="store_true", help="score finished runs only")
    arguments = parser.parse_args()
    if not arguments.quick:
        for seed in arguments.seeds:
            run(seed, arguments.folder, arguments.options)
    done = [seed for seed in arguments.seeds if (runs(arguments.folder, seed) / LAST / "metrics.json").is_file()]
    if not done:
        print(f"no finished run below {arguments.folder}; leave out --quick to make them", file=sys.stderr)
        return 0 if arguments.quick else 1
    text = table(arguments.folder, done)
    print(text)
    if arguments.output:
        write_text(arguments.output, text + "\n")
    return 0


def run(seed: int, folder: Path, options: Sequence[str]) -> None:
    environment = {**os.environ, "LAVIS_RESULTS": str(folder / str(seed)), "LAVIS_SAMPLE": str(folder / "data")}
    command = [sys.executable, "-m", "lavis.cli", "pipeline", "quickstart/calce_folds", "--options"]
    subprocess.run([*command, f"run.seed={seed}", *options], env=environment, check=True)


def runs(folder: Path, seed: int) -> Path:
    return folder / str(seed) / "quickstart"


def table(folder: Path, seeds: Sequence[int]) -> str:
    machine = platform.processor() or platform.machine()
    lines = [
        f"{len(seeds)} seed{'s' if len(seeds) > 1 else ''} ({', '.join(map(str, seeds))}), {machine}, sample corpus"
    ]
    lines += ["", f"{'hints of stage 1':30}" + "".join(f"{name:>16}" for name in COLUMNS)]
    hints = {label: [hint_figures(folder, seed, *place) for seed in seeds] for label, place in HINTS.items()}
    lines += [_row(label, values) for label, values in hints.items()]
    lines += ["", f"{'on the test split':30}" + "".join(f"{name:>16}" for name in COLUMNS)]
    found = {label: [stage_figures(folder, seed, run) for seed in seeds] for label, run in STAGES.items()}
    lines += [_row(label, values) for label, values in found.items()]
    lines.append("")
    before, after = (found[label] for label in list(STAGES)[1:])
    for name in COLUMNS:
        gains = [two[name] - one[name] for one, two in zip(before, after, strict=True)]
        lines.append(f"out-of-fold against in-sample hints, {name}: {statistics.fmean(gains):+.2f}")
    for label in ("in-sample, train", "out-of-fold, train"):
        gap = statistics.fmean(a["R1@0.5"] - b["R1@0.5"] for a, b in zip(hints[label], hints["val"], strict=True))
        lines.append(f"R1@0.5 of hints {label} against val: {gap:+.2f}")
    return "\n".join(lines)


def hint_figures(folder: Path, seed: int, kind: str, split: str) -> dict[str, float]:
    """How good stage 1's windows for a split are."""
    truth = {row["qid"]: row for row in read_json(folder / "data" / "annotations" / f"{split}.json")}
    answers = read_jsonl(runs(folder, seed) / "calce_stage1" / kind / f"{NAME}_{split}.jsonl")
    predictions = [Prediction.from_json(row) for row in answers]
    assert len(predictions) == len(truth), f"{split}: {len(predictions)} answers to {len(truth)} queries"
    samples = [_sample(truth[prediction.id]) for prediction in predictions]
    metric = registry.metrics.get("temporal")()
    return _percent(grouped(metric, samples, predictions, lambda sample: "all")["all"])


def stage_figures(folder: Path, seed: int, stage: str) -> dict[str, float]:
    """What a run scored on the test split."""
    return _percent(read_json(runs(folder, seed) / stage / "metrics.json")[f"{NAME}_test"])


def _sample(row: dict[str, Any]) -> VideoSample:
    moments = [Moment(start, end) for start, end in row["relevant_windows"]]
    return VideoSample(row["qid"], row["video"], row["query"], row["duration"], moments)


def _percent(figures: Any) -> dict[str, float]:
    return {name: factor * figures[name] for name, factor in COLUMNS.items()}


def _row(label: str, values: Sequence[dict[str, float]]) -> str:
    cells = []
    for name in COLUMNS:
        own = [value[name] for value in values]
        spread = f" ± {statistics.stdev(own):.2f}" if len(own) > 1 else ""
        cells.append(f"{statistics.fmean(own):.2f}{spread}")
    return f"{label:30}" + "".join(f"{cell:>16}" for cell in cells)


if __name__ == "__main__":
    sys.exit(main())

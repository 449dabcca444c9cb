"""The quickstart over several seeds: is the second stage at least as good as the first, in the mean?

    python -m benchmarks.quickstart_seeds --seeds 42 43 44
    python -m benchmarks.quickstart_seeds --quick

Each seed is a run of ``lavis quickstart`` with results of its own; the sample data is made once. ``--quick`` scores
what finished runs have left, and runs nothing.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
from pathlib import Path

from lavis.common.io import read_json, write_text

FIGURES = {"R1@0.5": 1.0, "R1@0.7": 1.0, "mIoU": 100.0, "mAP@0.5": 1.0, "mAP@0.75": 1.0}
STAGES = ("calce_stage1", "calce_stage2", "calce_stage1_no_captions", "calce_stage2_no_captions")
SPLIT = "sample_corpus_test"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[42, 43, 44])
    parser.add_argument("--folder", type=Path, default=Path("results/seeds"), help="results (default: %(default)s)")
    parser.add_argument("--output", type=Path, help="also write the table to this file")
    parser.add_argument("--quick", action="store_true", help="score finished runs only")
    arguments = parser.parse_args()
    if not arguments.quick:
        for seed in arguments.seeds:
            run(seed, arguments.folder)
    done = [seed for seed in arguments.seeds if (arguments.folder / str(seed) / "quickstart" / STAGES[1]).is_dir()]
    if not done:
        print(f"no finished run below {arguments.folder}; leave out --quick to make them", file=sys.stderr)
        return 2
    text = table(arguments.folder, done)
    print(text)
    if arguments.output:
        write_text(arguments.output, text + "\n")
    return 0


def run(seed: int, folder: Path) -> None:
    environment = {**os.environ, "LAVIS_RESULTS": str(folder / str(seed)), "LAVIS_SAMPLE": str(folder / "data")}
    command = [sys.executable, "-m", "lavis.cli", "quickstart", "--options", f"run.seed={seed}"]
    subprocess.run(command, env=environment, check=True)


def table(folder: Path, seeds: list[int]) -> str:
    lines = [
        f"{len(seeds)} seeds ({', '.join(map(str, seeds))}), test split, {platform.processor() or platform.machine()}"
    ]
    lines.append(f"{'':28}" + "".join(f"{name:>18}" for name in FIGURES))
    means: dict[tuple[str, str], float] = {}
    for stage in STAGES:
        for prefix, label in (("", "all"), ("seen/", "seen"), ("said/", "said")):
            cells = []
            for name, factor in FIGURES.items():
                values = [factor * figures(folder, seed, stage)[prefix + name] for seed in seeds]
                means[stage, prefix + name] = statistics.fmean(values)
                spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
                cells.append(f"{statistics.fmean(values):.2f}{spread}")
            lines.append(f"{stage + ' ' + label:28}" + "".join(f"{cell:>18}" for cell in cells))
    for name in ("R1@0.7", "mIoU"):
        gain = means[STAGES[1], name] - means[STAGES[0], name]
        lines.append(f"stage 2 against stage 1, {name}: {gain:+.2f}")
    return "\n".join(lines)


def figures(folder: Path, seed: int, stage: str) -> dict[str, float]:
    scores: dict[str, float] = read_json(folder / str(seed) / "quickstart" / stage / "metrics.json")[SPLIT]
    return scores


if __name__ == "__main__":
    sys.exit(main())

"""Killed anywhere, a pipeline ends in the same bytes: SIGKILL at random moments, and again, until it is through.

    python -m benchmarks.kill_anywhere --kills 200
    python -m benchmarks.kill_anywhere --quick

A tiny pipeline of two stages (train CALCE's first stage, predict all splits, merge the predictions into annotations,
train the second stage on them, evaluate) runs once undisturbed. Then it is started, killed after a random time and
started again until it is through, as often as it takes to spend the kills; each time weights, predictions, figures and
merged annotations must be those of the undisturbed run, byte for byte. Children are forked from a process that has
everything imported, so that kills fall into work. Ends with exit status 1 if anything differs.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks._common import conditions
from lavis.common.io import write_text

QUICK_KILLS = 20
LIVES = (2.0, 16.0)
"""Into how many lives a pipeline is cut in the mean: few reach its end, many fall into the first things it does."""
FEW = 6
"""Kills of one pipeline, below which the next one is killed sooner."""
ARTEFACTS = (
    "results/**/best.safetensors", "results/**/predictions/*.json*", "results/**/metrics.json", "merged/*.json",
)  # fmt: skip
UNFINISHED = ("*.tmp", "*.part", "*.part/*")
FILE = "pipeline.yaml"
Say = Callable[[str], None]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200, help="in all (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_KILLS} kills")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--folder", type=Path, help="where to work, and leave everything; by default a temporary one")
    parser.add_argument("--output", type=Path, help="also write the text to this file")
    arguments = parser.parse_args(argv)
    kills = min(arguments.kills, QUICK_KILLS) if arguments.quick else arguments.kills
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="kill_anywhere_"))
    lines = [f"python -m benchmarks.kill_anywhere --kills {kills} --seed {arguments.seed}", conditions("cpu")]
    print("\n".join(lines), flush=True)

    def say(line: str) -> None:
        print(line, flush=True)
        lines.append(line)

    try:
        good = kill_anywhere(folder, kills, arguments.seed, say)
        if arguments.output:
            write_text(arguments.output, "\n".join(lines) + "\n")
        return 0 if good else 1
    finally:
        if arguments.folder is None:
            shutil.rmtree(folder, ignore_errors=True)


def kill_anywhere(folder: Path, kills: int, seed: int, say: Say) -> bool:
    """Spends ``kills`` and says where they fell; whether every pipeline ended as the undisturbed one."""
    prepare()
    template = folder / "template"
    make_pipeline(template)
    start = time.monotonic()
    if finish(start_child(fresh(template, folder / "undisturbed"))) != 0:
        log = folder / "undisturbed" / "log"
        say(f"the undisturbed run failed: see {log}, which ends\n{end_of(log)}")
        return False
    whole = time.monotonic() - start
    expected = artefacts(folder / "undisturbed")
    say(f"undisturbed: {whole:.1f} s, {len(expected)} artefacts")
    moments = random.Random(seed)
    places: Counter[str] = Counter()
    good = True
    rounds = 0
    while sum(places.values()) < kills and good:
        rounds += 1
        trial = fresh(template, folder / f"killed_{rounds}")
        before = sum(places.values())
        good = one_pipeline(trial, whole, kills, moments, places, say)
        # How fast the machine is just now, by how often a pipeline could be killed.
        whole *= 0.7 if sum(places.values()) - before < FEW else 1.0
        good = good and same(expected, artefacts(trial), rounds, say)
        if good:
            shutil.rmtree(trial)
    say(f"{sum(places.values())} kills in {rounds} pipelines, {time.monotonic() - start:.0f} s:")
    for place, count in sorted(places.items(), key=lambda row: -row[1]):
        say(f"  {count:4d}  {place}")
    say("passed: all artefacts are byte-identical" if good else f"FAILED; everything is kept in {folder}")
    return good


def one_pipeline(trial: Path, whole: float, kills: int, moments: random.Random, places: Counter[str], say: Say) -> bool:
    """Runs one pipeline to its end, killing it as long as kills are left; false if it fails of itself."""
    while True:
        before = unfinished(trial)
        child = start_child(trial)
        # Exponential times: moments anywhere, and now and then a life long enough to get on.
        spare = sum(places.values()) < kills
        lives = moments.uniform(*LIVES)
        end = time.monotonic() + moments.expovariate(lives / whole) if spare else None
        while end is None or time.monotonic() < end:
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                if status != 0:
                    say(f"a restarted pipeline failed: see {trial / 'log'}, which ends\n{end_of(trial / 'log')}")
                return status == 0
            time.sleep(0.002)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        place = stage_under_way(trial)
        places[f"{place}, within a save" if unfinished(trial) - before else place] += 1


def prepare() -> None:
    """Imports all that a child needs, and keeps this process to one thread, as a forked one has no other."""
    os.environ["OMP_NUM_THREADS"] = "1"
    import torch

    torch.set_num_threads(1)
    import peft
    import transformers

    import lavis.actions
    import lavis.report.run_report
    import lavis.runners.pipeline
    from lavis.common.config import load_config
    from lavis.models.build import build_model

    del peft, transformers, lavis
    # Building a model once imports every part of it.
    build_model(load_config("tiny/calce_stage2")["model"])


def make_pipeline(folder: Path) -> None:
    """Data, configurations and pipeline, with relative paths: the folder must not be part of the weights' metadata."""
    from lavis.common.yaml_tree import dump_yaml
    from tests.end_to_end.tiny import experiment, write_corpus

    folder.mkdir(parents=True)
    with inside(folder):
        corpus = write_corpus(Path("."), train=6, val=2, test=3)
        run: dict[str, Any] = {"epochs": 2, "save_steps": 1, "batch_size": 2, "eval_batch_size": 1, "threads": 1}
        first = experiment(corpus, "tiny/stage1", run=run)
        merged = {split: f"merged/{split}_stage2.json" for split in corpus.rows}
        weights = "results/tiny/stage1/checkpoints/best.safetensors"
        second = experiment(
            corpus,
            "tiny/stage2",
            "tiny/calce_stage2",
            dataset={"annotations": merged},
            model={"weights": weights},
            run=run,
        )
        predictions = "results/tiny/stage1/predictions"
        merging = {"datasets": ["qvh"], "results": predictions, "annotations": "annotations", "out": "merged"}
        stages = [
            {"name": "stage 1 training", "action": "train", "config": str(first)},
            {"name": "stage 1 answers", "action": "infer", "config": str(first), "splits": [*corpus.rows]},
            {"name": "merging", "action": "merge", "settings": merging},
            {"name": "stage 2 training", "action": "train", "config": str(second)},
            {"name": "stage 2 answers", "action": "evaluate", "config": str(second), "splits": ["val", "test"]},
        ]
        Path(FILE).write_text(dump_yaml({"name": "killed", "output_dir": "results", "stages": stages}))


class inside:
    """The working directory, for a while."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.before = Path.cwd()

    def __enter__(self) -> None:
        os.chdir(self.folder)

    def __exit__(self, *error: object) -> None:
        os.chdir(self.before)


def fresh(template: Path, folder: Path) -> Path:
    """A new copy of data and configurations."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(template, folder)
    return folder


def start_child(folder: Path) -> int:
    """Starts the pipeline in a forked process, its output in ``log``; returns the process's number."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        os.chdir(folder)
        log = os.open("log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        from lavis.actions import draw_graph, more_actions
        from lavis.runners.pipeline import run_pipeline

        run_pipeline(FILE, actions=more_actions(), draw=draw_graph)
        status = 0
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        os._exit(status)


def finish(child: int) -> int:
    return os.waitpid(child, 0)[1]


def end_of(log: Path, lines: int = 30) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:]) if log.is_file() else "(there is none)"


def stage_under_way(folder: Path) -> str:
    """The stage that the record says was under way."""
    from lavis.common.io import read_json

    path = folder / "results" / "pipelines" / "killed.json"
    stages = read_json(path)["stages"] if path.is_file() else {}
    found = [name for name, stage in stages.items() if stage["outputs"] is None]
    return found[0] if found else "between stages"


def unfinished(folder: Path) -> set[tuple[str, int]]:
    """Files and folders that something was being written to; to be asked while nothing runs that moves them."""
    return {
        (str(path), path.stat().st_mtime_ns) for pattern in UNFINISHED for path in (folder / "results").rglob(pattern)
    }


def artefacts(folder: Path) -> dict[str, str]:
    """Digests of what a pipeline is run for, by path."""
    files = {path for pattern in ARTEFACTS for path in folder.glob(pattern) if path.is_file()}
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(files)}


def same(expected: Mapping[str, str], found: Mapping[str, str], number: int, say: Say) -> bool:
    """Whether the artefacts are those expected; says which are not."""
    for path in sorted({*expected, *found}):
        if expected.get(path) != found.get(path):
            what = "is missing" if path not in found else "should not be there" if path not in expected else "differs"
            say(f"pipeline {number}: {path} {what}")
    return dict(expected) == dict(found)


if __name__ == "__main__":
    sys.exit(main())

"""Small experiments for whole runs: generated clips with subtitles and annotations, YAML files on the tiny flavours."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from lavis.runners.answers import AnswerFiles
from lavis.structures import Prediction
from tests.forked import start
from tests.video_factory import write_video

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 30
SRT = """1
00:00:02,000 --> 00:00:05,500
The man talks.

2
00:00:14,000 --> 00:00:18,250
Now the door opens!
"""


@dataclass
class Corpus:
    """Clips of 30 s (a frame a second), each with an SRT file, and rows in CALCE's form by split.

    Args:
        folder: holds ``videos``, ``subtitles``, ``annotations`` and ``results``.
        rows: annotations by split; written by ``write_annotations``.
    """

    folder: Path
    rows: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    @property
    def videos(self) -> Path:
        return self.folder / "videos"

    @property
    def subtitles(self) -> Path:
        return self.folder / "subtitles"

    @property
    def results(self) -> Path:
        return self.folder / "results"

    def annotations(self, split: str) -> Path:
        return self.folder / "annotations" / f"{split}.json"

    def ids(self, split: str) -> list[str]:
        return [row["qid"] for row in self.rows[split]]

    def write_annotations(self) -> None:
        for split, rows in self.rows.items():
            self.annotations(split).parent.mkdir(exist_ok=True)
            self.annotations(split).write_text(json.dumps(rows))

    def copied(self, folder: Path) -> Corpus:
        """The same elsewhere, to be spoilt: also in YAML files, since a run continues only under its own settings."""
        shutil.copytree(self.folder, folder)
        for file in folder.rglob("*.yaml"):
            file.write_text(file.read_text().replace(str(self.folder), str(folder)))
        return Corpus(folder, json.loads(json.dumps(self.rows)))

    def dataset(self, **changes: Any) -> dict[str, Any]:
        """The node of this corpus under ``datasets``."""
        return {
            "name": "grounding",
            "format": {"name": "calce"},
            "annotations": {split: str(self.annotations(split)) for split in self.rows},
            "videos": str(self.videos),
            "subtitles": str(self.subtitles),
            **changes,
        }


def write_corpus(folder: Path, train: int = 4, val: int = 2, test: int = 3, rows_of_video: int = 2) -> Corpus:
    """A corpus with one video for every ``rows_of_video`` rows, named ``<split>_<n>``."""
    corpus = Corpus(folder)
    for name in (corpus.videos, corpus.subtitles):
        name.mkdir(parents=True)
    number = 0
    for split, count in (("train", train), ("val", val), ("test", test)):
        corpus.rows[split] = []
        for i in range(count):
            video = f"{split}_{i // rows_of_video}"
            if i % rows_of_video == 0:
                write_video(corpus.videos / f"{video}.mp4", num_frames=SECONDS, fps=1)
                (corpus.subtitles / f"{video}.srt").write_text(SRT)
            start = 2 * (i % 5)
            corpus.rows[split].append(
                {
                    "video": video,
                    "qid": f"Clip_{number}",
                    "query": f"a man opens door {i}",
                    "duration": SECONDS,
                    "items": ["man", "door"],
                    "relevant_windows": [[start, start + 8]],
                }
            )
            number += 1
    corpus.write_annotations()
    return corpus


def experiment(
    corpus: Corpus,
    name: str = "tiny/stage1",
    base: str = "tiny/calce_stage1",
    *,
    dataset: Mapping[str, Any] | None = None,
    model: Mapping[str, Any] | None = None,
    run: Mapping[str, Any] | None = None,
    metrics: Sequence[str] = ("temporal",),
) -> Path:
    """A YAML file that trains ``base`` on ``corpus`` for two iterations, with changes to its sections."""
    tree: dict[str, Any] = {
        "_base_": base,
        "name": name,
        "datasets": {"clips": corpus.dataset(**(dataset or {}))},
        "task": {"name": "moment_retrieval", "metrics": [{"name": metric} for metric in metrics]},
        "run": {
            "output_dir": str(corpus.results),
            "device": "cpu",
            "batch_size": 2,
            "learning_rate": 1e-3,
            "log_every": 1,
            **(run or {}),
        },
    }
    if model:
        tree["model"] = dict(model)
    path = corpus.folder / f"{name.replace('/', '_')}.yaml"
    path.write_text(yaml.safe_dump(tree, sort_keys=False))
    return path


def predictions(folder: Path, name: str) -> list[dict[str, Any]]:
    """Rows of ``predictions/<name>.jsonl`` of a run."""
    text = (folder / "predictions" / f"{name}.jsonl").read_text()
    return [json.loads(line) for line in text.split("\n") if line]


def put_predictions(folder: Path, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Makes ``rows`` what the model of a run said: a file that is merely edited is noticed and mended."""
    files = AnswerFiles(folder / "predictions", name)
    found = [Prediction.from_json(row) for row in rows]
    files.finish(found, [])


def metrics(folder: Path) -> dict[str, dict[str, float]]:
    """What ``metrics.json`` of a run holds."""
    found: dict[str, dict[str, float]] = json.loads((folder / "metrics.json").read_text())
    return found


LAUNCHER = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node")


def command(
    *arguments: object, cwd: Path, seconds: float = 900, real: bool = False, **environment: str
) -> subprocess.CompletedProcess[str]:
    """A command as a user gives it: another process, in ``cwd``, with the checkout on its path.

    ``python -m ...``, also behind ``torchrun``, is forked from a process that has imported what it needs
    (``tests.forked``), unless it is to be ``real``.
    """
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    variables = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONPATH": path, **environment}
    if arguments[:2] == LAUNCHER[:2] and sys.platform == "linux" and not real:
        processes = None
        if arguments[: len(LAUNCHER)] == LAUNCHER:
            processes = int(str(arguments[len(LAUNCHER)]))
            arguments = arguments[len(LAUNCHER) :]
        module, *told = map(str, arguments[2:])
        return start(module, told, cwd=cwd, environment=variables, seconds=seconds, processes=processes)
    return subprocess.run(
        [str(argument) for argument in arguments],
        cwd=cwd,
        env=variables,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )


def lavis(*arguments: object, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """``lavis ...`` in another process."""
    return command(sys.executable, "-m", "lavis.cli", *arguments, cwd=cwd, **environment)

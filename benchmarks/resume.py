"""Killed anywhere, a training goes on to the same bits: SIGKILL at random moments, also during a save.

    python -m benchmarks.resume --tries 100 --processes 1 2
    python -m benchmarks.resume --quick

A tiny CALCE trains on generated clips, with LoRA, dropout, gradients carried over the end of an epoch, and a full
checkpoint at every iteration, every other try in a thread beside the training (``run.async_save``), some with loader
processes. Of two processes, one is killed and then the other. A try is killed up to three times: at a random time, some
way into an iteration, a save, a validation or the final evaluation, or before one of the renames, removals and
synchronisations of a save. Then it is left to end, and weights, optimizer, gradients, random states, losses, metrics
and predictions must be those of the undisturbed run, to the bit. Runs are forked from a process that has imported
everything. Ends with exit status 1 where something differs.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import random
import signal
import socket
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import RawArray
from pathlib import Path
from typing import Any

RUN = {
    "epochs": 2, "accumulate": 2, "accumulation": "sum", "leftover": "carry", "warmup_steps": 3, "learning_rate": 1e-3,
    "warmup_learning_rate": 1e-8, "schedule": {"name": "linear_warmup_cosine", "counter": "calce"}, "save_steps": 1,
    "log_every": 2, "valid_splits": ["val"], "test_splits": ["test"], "num_workers": 0,
}  # fmt: skip
GLOBAL_BATCH = 2
PLACES = ("start", "step", "save", "validation", "test")
HISTORY = ("seconds", "peak_gib", "cache_hits")
"""Figures that depend on the clock, or on what this process has done before."""
MOST_KILLS = 3


@dataclass(frozen=True)
class Kill:
    """When a run is to die: ``seconds`` after its start, or within something it does.

    Args:
        seconds: for a kill from outside.
        where: for one within: an iteration, save, validation or final evaluation, the ``count``-th from 0.
        count: see there.
        delay: seconds after its begin,
        action: or, for a save, before its so many-th rename, removal or synchronisation.
        rank: the process that dies first.
        pause: seconds until the others die as well, as a launcher sees to it.
    """

    seconds: float | None = None
    where: str | None = None
    count: int = 0
    delay: float | None = None
    action: int | None = None
    rank: int = 0
    pause: float = 0.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tries", type=int, default=100, help="for each number of processes (default: %(default)s)")
    parser.add_argument("--processes", type=int, nargs="+", default=[1], help="of a run (default: 1)")
    parser.add_argument("--minutes", type=float, help="begin no further try after so many, for each of them")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--quick", action="store_true", help="5 tries, under a minute")
    parser.add_argument("--output", type=Path, help="also write the text to this file")
    arguments = parser.parse_args()
    tries = 5 if arguments.quick else arguments.tries
    limit = f" --minutes {arguments.minutes:g}" if arguments.minutes is not None else ""
    lines = [
        f"python -m benchmarks.resume --tries {tries} --processes {' '.join(map(str, arguments.processes))}{limit}",
        f"{os.cpu_count()}-core CPU machine, Python {platform.python_version()}, torch {_version()}",
    ]
    print("\n".join(lines), flush=True)
    good = True
    with tempfile.TemporaryDirectory() as name:
        for processes in arguments.processes:
            trial = Trial(Path(name) / str(processes), processes)
            text, same = trial.run(tries, arguments.seed, arguments.minutes)
            print(text, flush=True)
            lines.append(text)
            good = good and same
    if arguments.output:
        arguments.output.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return 0 if good else 1


class Trial:
    """Tries with one number of processes."""

    def __init__(self, folder: Path, processes: int) -> None:
        self.folder = folder
        self.processes = processes
        self.places: Counter[str] = Counter()

    def run(self, tries: int, seed: int, minutes: float | None = None) -> tuple[str, bool]:
        """Makes the tries; what to print, and whether all ended as they should."""
        self.folder.mkdir(parents=True)
        _forked(lambda: _write_experiment(self.folder, self.processes))
        whole = self.folder / "undisturbed"
        status = self._once(whole, {}, None)
        if status != 0:
            return f"the undisturbed run failed:\n{_tail(whole)}", False
        _import_all(whole / "modules.json")
        begin = time.monotonic()
        self._once(self.folder / "timed", {}, None)
        duration = time.monotonic() - begin
        expected = outcome(whole, self.processes)
        moments, done, faults, begin = random.Random(f"{seed}:{self.processes}"), 0, [], time.monotonic()
        while done < tries and (minutes is None or time.monotonic() - begin < 60 * minutes):
            fault = self._try(done, moments, duration, expected)
            done += 1
            if fault is not None:
                faults.append(f"try {done}: {fault}")
                print(faults[-1], flush=True)
        fell = ", ".join(f"{self.places[place]} in {_WORDS[place]}" for place in PLACES if self.places[place])
        text = (
            f"{self.processes} process{'es' if self.processes > 1 else ''}: {done - len(faults)} of {done} tries ended "
            f"in the same bits; {sum(self.places.values())} kills: {fell}; undisturbed {duration:.1f} s, "
            f"{(time.monotonic() - begin) / max(1, done):.1f} s a try"
        )
        return "\n".join([text, *faults]), not faults

    def _try(self, number: int, moments: random.Random, duration: float, expected: dict[str, Any]) -> str | None:
        """Kills, resumes and compares; what is wrong, if anything."""
        folder = self.folder / f"try{number}"
        settings = {"async_save": number % 2 == 1, "num_workers": moments.choice([0, 0, 2])}
        for kills in range(moments.randint(1, MOST_KILLS)):
            status = self._once(folder, settings, self._kill(moments, duration))
            if status == 0 and kills:
                break
            if status == 0:  # it was through before its moment came
                status = self._once(folder, {**settings, "resume": "never"}, Kill(where="save", delay=0.0))
            if status != -signal.SIGKILL:
                return f"ended with {status}:\n{_tail(folder)}"
        status = self._once(folder, settings, None)
        if status != 0:
            return f"resuming failed with {status}:\n{_tail(folder)}"
        found = outcome(folder, self.processes)
        odd = [name for name in sorted(expected.keys() | found.keys()) if expected.get(name) != found.get(name)]
        return f"differs in {', '.join(odd)} ({folder})" if odd else None

    def _kill(self, moments: random.Random, duration: float) -> Kill:
        rank, pause = moments.randrange(self.processes), moments.choice([0.0, 0.05, 0.3])
        chance = moments.random()
        if chance < 0.4:
            return Kill(seconds=moments.uniform(0.02, 1.0) * duration, rank=rank, pause=pause)
        if chance < 0.6:
            where, count = moments.choice([("step", 5), ("validation", 2), ("test", 1)])
            delay = moments.uniform(0.0, 0.1)
            return Kill(where=where, count=moments.randrange(count), delay=delay, rank=rank, pause=pause)
        count = moments.randrange(5)
        if chance < 0.8:
            return Kill(where="save", count=count, delay=moments.uniform(0.0, 0.04), rank=rank, pause=pause)
        return Kill(where="save", count=count, action=moments.randrange(10), rank=rank, pause=pause)

    def _once(self, folder: Path, settings: dict[str, Any], kill: Kill | None) -> int:
        """One run; its exit status, or that of the first process that did not end well, signals being negative."""
        folder.mkdir(exist_ok=True)
        place = RawArray("i", self.processes)
        with _reserved_port() as reserved:
            return self._shared(folder, settings, kill, place, reserved.getsockname()[1])

    def _shared(self, folder: Path, settings: dict[str, Any], kill: Kill | None, place: Any, port: int) -> int:
        children = {
            rank: _fork(lambda rank=rank: self._child(folder, settings, kill, rank, port, place))  # type: ignore[misc]
            for rank in range(self.processes)
        }
        begin, statuses = time.monotonic(), dict[int, int]()
        while len(statuses) < len(children):
            for rank, child in children.items():
                if rank not in statuses and (ended := os.waitpid(child, os.WNOHANG))[0]:
                    statuses[rank] = os.waitstatus_to_exitcode(ended[1])
            first = next(iter(statuses.values()), 0)
            if first != 0:
                time.sleep(kill.pause if kill else 5.0)
                self._kill_all(children, statuses)
            elif kill and kill.seconds is not None and time.monotonic() - begin > kill.seconds:
                self._kill_all({kill.rank: children[kill.rank]}, statuses)
            elif time.monotonic() - begin > 900:
                self._kill_all(children, statuses)
                return 1
            time.sleep(0.005)
        odd = [status for status in statuses.values() if status != 0]
        if kill and -signal.SIGKILL in odd:
            self.places[PLACES[place[kill.rank]]] += 1
            return -signal.SIGKILL
        return odd[0] if odd else 0

    @staticmethod
    def _kill_all(children: dict[int, int], ended: dict[int, int]) -> None:
        for rank, child in children.items():
            if rank not in ended:
                os.kill(child, signal.SIGKILL)

    def _child(
        self, folder: Path, settings: dict[str, Any], kill: Kill | None, rank: int, port: int, place: Any
    ) -> None:
        """What a process of a run does; it works in ``folder``, so that all have the same configuration."""
        log = os.open(folder / f"process{rank}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.chdir(folder)
        os.environ.update(OMP_NUM_THREADS="1", HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
        if self.processes > 1:
            os.environ.update(
                RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(self.processes), MASTER_ADDR="127.0.0.1",
                LOCAL_WORLD_SIZE=str(self.processes), MASTER_PORT=str(port), ACCELERATE_USE_CPU="true",
            )  # fmt: skip
        from lavis.common.config import load_config
        from lavis.runners.run import train

        _watch(place, rank, kill)
        train(load_config(self.folder / "experiment.yaml", [f"run.{key}={value}" for key, value in settings.items()]))
        if rank == 0 and not settings:
            Path("modules.json").write_text(json.dumps(list(sys.modules)))


_WORDS = {
    "start": "building and resuming", "step": "iterations", "save": "saves", "validation": "validations",
    "test": "the final evaluation",
}  # fmt: skip


def _watch(place: Any, rank: int, kill: Kill | None) -> None:
    """Notes where the process is, and lets it kill itself there."""
    import shutil

    from lavis.runners import saver
    from lavis.runners.runner import Runner

    begun: Counter[str] = Counter()
    actions = [0]

    def enter(where: str) -> None:
        if kill and kill.rank == rank and kill.where == where and begun[where] == kill.count and kill.delay is not None:
            if kill.delay == 0.0:
                _die(0.0)  # a thread might come too late
            threading.Thread(target=_die, args=(kill.delay,), daemon=True).start()
        begun[where] += 1
        actions[0] = 0

    def wrap(owner: Any, name: str, where: str, counts: bool = True) -> None:
        plain = getattr(owner, name)

        def noted(*args: Any, **named: Any) -> Any:
            before, place[rank] = place[rank], PLACES.index(where)
            if counts:
                enter(where)
            try:
                return plain(*args, **named)
            finally:
                place[rank] = before

        setattr(owner, name, noted)

    def write(job: Any, plain: Callable[[Any], None] = saver._Job.run) -> None:
        """A save beside the training counts as one, whatever the training does meanwhile."""
        before, place[rank] = place[rank], PLACES.index("save")
        plain(job)
        place[rank] = before

    def act(plain: Callable[..., Any]) -> Callable[..., Any]:
        def action(*args: Any, **named: Any) -> Any:
            if kill and kill.rank == rank and kill.action is not None and begun["save"] == kill.count + 1:
                if actions[0] >= kill.action:
                    place[rank] = PLACES.index("save")
                    _die(0.0)
                actions[0] += 1
            return plain(*args, **named)

        return action

    saver._Job.run = write  # type: ignore[method-assign]
    os.replace, os.fsync, shutil.rmtree = act(os.replace), act(os.fsync), act(shutil.rmtree)  # type: ignore[assignment]
    Path.replace = act(Path.replace)  # type: ignore[method-assign]
    wrap(Runner, "_train_epoch", "step", counts=False)
    wrap(Runner, "_iteration", "step")
    wrap(Runner, "_validate", "validation")
    wrap(Runner, "_test", "test")
    wrap(Runner, "save", "save", counts=False)
    wrap(saver.Saver, "save", "save")
    wrap(saver.Saver, "_finish", "save", counts=False)


def _die(delay: float) -> None:
    time.sleep(delay)
    os.kill(os.getpid(), signal.SIGKILL)


def outcome(folder: Path, processes: int) -> dict[str, Any]:
    """All that must be the same, by name: bytes of files, and losses without ``HISTORY``."""
    from lavis.common.checkpoint import read_checkpoint
    from lavis.runners.checkpoints import newest_whole

    run = folder / "results" / "resume"
    newest = newest_whole(run / "checkpoints")
    assert newest is not None, f"{run} has no checkpoint"
    best = read_checkpoint(run / "checkpoints" / "best.safetensors").state
    found: dict[str, Any] = {f"best {name}": tensor.numpy().tobytes() for name, tensor in best.items()}
    for name in ("weights.safetensors", "state.pt", *(f"process{rank}.pt" for rank in range(processes))):
        found[name] = (newest[0] / name).read_bytes()
    found["progress"] = newest[1]["progress"]
    found["checkpoints"] = sorted(path.name for path in (run / "checkpoints").iterdir())
    for path in sorted((run / "predictions").rglob("*.json*")):
        found[str(path.relative_to(run))] = path.read_bytes()
    found["metrics.json"] = (run / "metrics.json").read_bytes()
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    found["metrics.jsonl"] = [{key: value for key, value in row.items() if key not in HISTORY} for row in rows]
    return found


def _write_experiment(folder: Path, processes: int) -> None:
    from tests.end_to_end.tiny import experiment, write_corpus

    corpus = write_corpus(folder / "corpus", train=6, val=2, test=2)
    path = experiment(corpus, "resume", run={**RUN, "batch_size": GLOBAL_BATCH // processes, "output_dir": "results"})
    path.rename(folder / "experiment.yaml")


def _import_all(names: Path) -> None:
    """Imports what a run imports, so that those that follow begin with it; no code of a run is executed here."""
    import torch

    torch.set_num_threads(1)
    for name in json.loads(names.read_text()):
        with suppress(Exception):  # some modules of libraries exist only once something else was done
            importlib.import_module(name)


def _fork(work: Callable[[], None]) -> int:
    sys.stdout.flush()
    child = os.fork()
    if child:
        return child
    try:
        work()
    except SystemExit as stop:
        os._exit(stop.code if isinstance(stop.code, int) else 1)
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
    os._exit(0)


def _forked(work: Callable[[], None]) -> None:
    status = os.waitstatus_to_exitcode(os.waitpid(_fork(work), 0)[1])
    assert status == 0, f"a child ended with {status}"


def _reserved_port() -> socket.socket:
    """A socket on a port that nobody else is given while it is open, and that a server which asks for it may use."""
    found = socket.socket()
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    found.bind(("127.0.0.1", 0))
    return found


def _tail(folder: Path, lines: int = 15) -> str:
    logs: Sequence[Path] = sorted(folder.glob("process*.log"))
    return "\n".join(line for log in logs for line in log.read_text(errors="replace").splitlines()[-lines:])


def _version() -> str:
    from importlib.metadata import version

    return version("torch")


if __name__ == "__main__":
    sys.exit(main())

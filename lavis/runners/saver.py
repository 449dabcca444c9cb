"""Writes the checkpoints of a training: at once or beside it, whole or not at all, and no more of them than wanted.

A checkpoint is written beside its place, gets its manifest last, and is moved; ``checkpoints.py`` says what lies there.
Every process writes its own files, in a thread if wanted; that all have is agreed in the main threads, so that no
thread ever waits for a message. Ours; ``torch.distributed.checkpoint`` writes what is sharded (``shards.py``).
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from lavis.common import distributed
from lavis.common.checkpoint import CheckpointError
from lavis.common.io import sync_folder, write_json
from lavis.common.logging import get_logger
from lavis.runners import shards
from lavis.runners.checkpoints import MANIFEST, checkpoints, facts_of, read_manifest, replace_folder, step_of
from lavis.runners.failures import RunError
from lavis.runners.state import Snapshot

Files = dict[str, dict[str, Any]]
T = TypeVar("T")
logger = get_logger(__name__)


@dataclass(slots=True)
class _Job:
    """One checkpoint being written by this process: into ``part``, later ``target``."""

    part: Path
    target: Path
    snapshot: Snapshot
    thread: threading.Thread | None = None
    files: Files = field(default_factory=dict)
    problem: str | None = None
    fault: BaseException | None = None

    def run(self) -> None:
        try:
            parts = self.part.glob(f"{shards.FOLDER}/__{distributed.rank()}_*")
            written = [*self.snapshot.write(self.part), *parts]
            self.files = {path.relative_to(self.part).as_posix(): facts_of(path) for path in written}
        except OSError as error:
            self.problem = str(error)
        except BaseException as error:  # of a thread; raised again in the main one
            self.fault = error


class Saver:
    """Writes checkpoints, one at a time, and removes those that are no longer wanted; every process has one.

    Args:
        folder: where they lie, such as ``<run>/checkpoints``, on a disk that all processes share.
        keep: how many of the newest stay, at least 1.
        keep_every: those at the end of every so many epochs stay for good; ``None`` for none.
        beside: write in a thread, beside the training.

    A checkpoint that cannot be written is an error in the log and the training goes on, unless it is ``required``.
    """

    def __init__(self, folder: Path, *, keep: int = 2, keep_every: int | None = None, beside: bool = False) -> None:
        self.folder = folder
        self.keep = keep
        self.keep_every = keep_every
        self.beside = beside
        self.newest: Path | None = None
        self._job: _Job | None = None

    def __enter__(self) -> Saver:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is None:
            self.wait()
        else:
            self._abandon()

    def clear(self) -> None:
        """Removes all checkpoints, so that a training begun anew is not continued with one of them."""
        on_main(self._clear)

    def tidy(self) -> None:
        """Completes or removes what a killed run was writing."""
        on_main(self._tidy)

    def save(self, snapshot: Snapshot, more: Callable[[Path], None], *, required: bool = False) -> None:
        """Writes a checkpoint, after the one under way; every process must call.

        Args:
            snapshot: what to write.
            more: writes further files into the folder it gets, at once and in every process.
            required: do not return before it is written, and fail if it cannot be.

        Raises:
            RunError: if a required one cannot be written; the checkpoints there are stay.
        """
        self.wait()
        target = self.folder / f"step_{snapshot.facts['progress']['global_step']:06d}"
        self._job = job = _Job(self.folder / f".{target.name}.part", target, snapshot)
        try:
            on_main(lambda: _empty(job.part))
            more(job.part)
        except OSError as error:
            job.problem = str(error)
        failed = distributed.any_rank(job.problem is not None)
        if self.beside and not required and not failed:
            job.thread = threading.Thread(target=job.run, name="checkpoint", daemon=True)
            job.thread.start()
            return
        if not failed:
            job.run()
        self._finish(required)

    def renew(self, progress: Mapping[str, Any]) -> None:
        """Renews how far the newest checkpoint says the training is; every process must call."""
        self.wait()
        newest = self.newest
        if newest is None:
            return
        try:
            on_main(lambda: write_json(newest / MANIFEST, {**read_manifest(newest), "progress": dict(progress)}))
        except OSError as error:
            logger.error("%s; after an interruption what came since is done again", error)

    def poll(self) -> None:
        """Completes the checkpoint under way if all processes have written their part; every process must call."""
        if self._job is None or self._job.thread is None:
            return
        if not distributed.any_rank(self._job.thread.is_alive()):
            self._finish(required=False)

    def wait(self) -> None:
        """Waits for the checkpoint under way and completes it; every process must call."""
        if self._job is not None:
            self._finish(required=False)

    def _abandon(self) -> None:
        """After an error: completes the checkpoint under way if no other process is needed for it."""
        job, self._job = self._job, None
        if job is None or job.thread is None:
            return
        job.thread.join()
        if distributed.world_size() == 1 and job.problem is None and job.fault is None:
            with suppress(OSError):  # the error that ends the run is the one to hear of
                self._commit(job, job.files)

    def _finish(self, required: bool) -> None:
        job, self._job = self._job, None
        assert job is not None
        if job.thread is not None:
            job.thread.join()
        if job.fault is not None:
            raise job.fault
        parts: list[tuple[Files, str | None]] = distributed.gather_objects((job.files, job.problem))
        problems = [problem for _, problem in parts if problem is not None]
        if not problems:
            files = {name: facts for own, _ in parts for name, facts in own.items()}
            try:
                on_main(lambda: self._commit(job, files))
                self.newest = job.target
                return
            except OSError as error:
                problems = [str(error)]
        self._failed(job, problems[0], required)

    def _failed(self, job: _Job, problem: str, required: bool) -> None:
        if distributed.is_main():
            shutil.rmtree(job.part, ignore_errors=True)
        known = checkpoints(self.folder)
        last = f"the last one, {known[-1]}, is untouched" if known else "there is none yet"
        text = (
            f"the checkpoint {job.target} was not written: {problem}; {last}. Free some space on that disk (other "
            "runs' checkpoints/step_*, or a smaller run.keep_checkpoints), or mend its permissions"
        )
        if required:
            raise RunError(f"{text}; then start again to resume")
        logger.error("%s; the training goes on and tries again at the next save", text)

    def _commit(self, job: _Job, files: Files) -> None:
        """Writes the manifest, moves the checkpoint into place and removes what is no longer wanted."""
        others = [p for p in job.part.rglob("*") if p.is_file() and p.relative_to(job.part).as_posix() not in files]
        files = {**files, **{p.relative_to(job.part).as_posix(): facts_of(p) for p in others}}
        write_json(job.part / MANIFEST, {**job.snapshot.facts, "files": dict(sorted(files.items()))})
        _move(job.part, job.target)
        self._prune(job.target)

    def _prune(self, newest: Path) -> None:
        """Keeps the newest ones; those of later iterations belong to a training that was not gone on with."""
        known = checkpoints(self.folder)
        past = [path for path in known if step_of(path) <= step_of(newest)]
        wanted = {*past[-self.keep :], *(path for path in past if self._for_good(path))}
        for path in [*known, *self.folder.glob("torn_step_*")]:
            if path not in wanted:
                shutil.rmtree(path, ignore_errors=True)

    def _for_good(self, folder: Path) -> bool:
        if self.keep_every is None:
            return False
        try:
            progress = read_manifest(folder)["progress"]
        except CheckpointError:
            return False
        return bool(progress["step"] == 0 and progress["epoch"] % self.keep_every == 0)

    def _clear(self) -> None:
        for pattern in (".step_*.part", ".step_*.old", "step_*", "torn_step_*"):
            for path in self.folder.glob(pattern):
                shutil.rmtree(path)

    def _tidy(self) -> None:
        for part in self.folder.glob(".step_*.part"):
            # The manifest comes last, so a part that has one only lacks its move.
            if (part / MANIFEST).is_file():
                _move(part, self.folder / part.name[1 : -len(".part")])
            else:
                shutil.rmtree(part)
        for old in self.folder.glob(".step_*.old"):
            shutil.rmtree(old)


def on_main(work: Callable[[], T]) -> T:
    """What ``work`` gives in the main process, or its error, in every process, so that none waits for another.

    Raises:
        OSError, ValueError: as the main process met them.
    """
    outcome: tuple[T | None, Exception | None] = (None, None)
    if distributed.is_main():
        try:
            outcome = (work(), None)
        except (OSError, ValueError) as error:
            outcome = (None, error)
    result, problem = distributed.broadcast_object(outcome)
    if problem is not None:
        raise problem
    return result  # type: ignore[no-any-return]


def _move(part: Path, target: Path) -> None:
    old = target.with_name(f".{target.name}.old")
    if target.exists():
        replace_folder(target, old)
    sync_folder(part)
    part.replace(target)
    sync_folder(target.parent)
    shutil.rmtree(old, ignore_errors=True)


def _empty(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)

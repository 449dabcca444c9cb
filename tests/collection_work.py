"""Work for the tests of the executor, in a module of its own since other processes import it; and a run to be killed.

``python -m tests.collection_work FOLDER OUT MOST``: copies the files of a folder, slowly, in two processes, and notes
every start; each copies ``MOST`` files, and stops in the next one until it is killed.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lavis.common.io import explained, write_text
from lavis.preparation.collection.items import Item
from lavis.preparation.collection.run import run_collection


def as_told(item: Item, scratch: Path) -> dict[str, Any]:
    """Does what the file says."""
    told = item.path.read_text()
    if told == "raise":
        raise ValueError(f"{item.path}: told to raise")
    if told == "fault":
        raise KeyError("a fault of a library")
    if told == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if told == "exit":
        os._exit(3)
    if told == "gorge":
        return {"bytes": len(bytearray(1 << 30))}
    if told == "hang":
        (item.path.parent.parent / "hangs").touch()
        time.sleep(1000)
    if told == "full":
        with explained(item.path):
            raise OSError(errno.ENOSPC, "No space left on device")
    if told == "folder":
        with explained(item.path):
            raise IsADirectoryError(errno.EISDIR, "Is a directory")
    if told == "odd":
        return {"value": object()}
    return {"told": told, "duration_s": 3600.0, "process": os.getpid()}


def starts_a_program(item: Item, scratch: Path) -> dict[str, Any]:
    """Starts a program that would outlive it, notes its number, and hangs."""
    import subprocess

    program = subprocess.Popen(["sleep", "1000"])
    write_text(item.path.with_suffix(".pid"), str(program.pid))
    time.sleep(1000)
    return {}


def makes_a_semaphore(item: Item, scratch: Path) -> dict[str, Any]:
    """As libraries do that show progress."""
    import multiprocessing

    KEPT.append(multiprocessing.RLock())
    return {}


KEPT: list[Any] = []


def gorges_in_a_program(item: Item, scratch: Path) -> dict[str, Any]:
    """Starts a program that takes a gibibyte, and reports what it says."""
    import subprocess

    program = [sys.executable, "-c", "bytearray(1 << 30)"]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ValueError(f"the program failed: {done.stderr.strip()}") from MemoryError()
    return {}


@dataclass(frozen=True)
class SlowCopy:
    """Copies a file in two writes with a pause between them.

    Args:
        out: where to.
        pause_s: seconds.
        most: how many a process copies; in the next one it pauses until it is killed.
        copied: what this process has copied.
    """

    out: Path
    pause_s: float = 0.05
    most: int | None = None
    copied: list[str] = field(default_factory=list)

    def __call__(self, item: Item, scratch: Path) -> dict[str, Any]:
        with (self.out / "starts.txt").open("a") as notes:
            notes.write(f"{item.name}\n")
        with (self.out / "processes.txt").open("a") as notes:
            notes.write(f"{os.getpid()}\n")
        data = item.path.read_bytes()
        unfinished = scratch / item.name
        with unfinished.open("wb") as stream:
            stream.write(data[: len(data) // 2])
            stream.flush()
            time.sleep(self.pause_s if self.most is None or len(self.copied) < self.most else 1000)
            stream.write(data[len(data) // 2 :])
        os.replace(unfinished, self.out / item.name)
        self.copied.append(item.name)
        return {"bytes": len(data)}


def files_of(folder: Path) -> list[Item]:
    return [Item(path.name, path) for path in sorted(folder.iterdir())]


def main(folder: Path, out: Path, most: int) -> None:
    summary = run_collection(files_of(folder), SlowCopy(out, most=most), out, name="copy", workers=2)
    print(summary.to_text())


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))

"""What a launcher starts in the tests of the watchdog: two processes of which the second hangs or is killed.

``torchrun --nproc-per-node 2 -m tests.hanging FOLDER HOW SECONDS``; ``HOW`` is ``hangs``, ``killed``, ``fails``
or ``slow``. For the watchdogs of a training that hangs or is slow time goes on only when the second process says so,
and not before both have looked: however busy the machine is, no other process comes late.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from lavis.common import distributed, liveness
from lavis.common.io import write_text
from lavis.common.liveness import Doing
from lavis.common.logging import setup_logging
from lavis.runners import watchdog
from lavis.runners.watchdog import Watchdog
from tests.fake_run import FakeData
from tests.several_processes import runner


class Clock:
    """The time of the watchdogs of all processes, in seconds, kept in a file.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / "clock"
        self.notes = folder / watchdog.FOLDER

    def monotonic(self) -> float:
        return float(self.path.read_text()) if self.path.is_file() else 0.0

    def advance(self, seconds: float) -> None:
        """Lets time go on; returns once both watchdogs have looked since then."""
        write_text(self.path, str(self.monotonic() + seconds))
        for rank in range(2):
            seen = self.note(rank)["seq"]
            while self.note(rank)["seq"] < seen + 2:  # it looks after each note
                time.sleep(0.01)

    def note(self, rank: int) -> dict[str, Any]:
        """What a process said last."""
        row: dict[str, Any] = json.loads((self.notes / f"process{rank}.json").read_text())
        return row


class Odd(FakeData):
    """The second process does something odd when it reads its second sample."""

    def __init__(self, size: int, split: str, how: str, seconds: float, clock: Clock) -> None:
        super().__init__(size, split)
        self.how = how
        self.seconds = seconds
        self.clock = clock
        self.read = 0

    def __getitem__(self, index: int) -> Any:
        self.read += 1
        if distributed.rank() == 1 and self.read == 2:
            if self.how == "hangs":
                self._hang()
            elif self.how == "killed":
                while self.clock.note(1)["what"] != liveness.current().what:
                    time.sleep(0.01)  # until the others can know where it was
                os.kill(os.getpid(), signal.SIGKILL)
            elif self.how == "fails":
                raise RuntimeError("the file server is on fire")
        if distributed.rank() == 1 and self.how == "slow":
            self.clock.advance(self.seconds / 4)  # slower than the other, but going on
        return super().__getitem__(index)

    def _hang(self) -> None:
        """Does nothing any more, once the other one waits for it."""
        awaited = liveness.current().what.removeprefix("the data of ")
        while (note := self.clock.note(0))["what"] != awaited or note["doing"] == Doing.OWN:
            time.sleep(0.01)
        self.clock.advance(0.0)  # both know that they stand still
        while True:
            self.clock.advance(self.seconds / 4)


def main(folder: Path, how: str, seconds: float) -> None:
    clock = Clock(folder)
    Watchdog.interval = 0.2  # type: ignore[assignment, method-assign]
    if how in ("hangs", "slow"):
        watchdog.time = SimpleNamespace(monotonic=clock.monotonic, sleep=time.sleep)  # type: ignore[assignment]
    odd = Odd(8, "train", how, seconds, clock)
    validated = {"val": {"fake": Odd(13, "val", how, seconds, clock)}} if how == "slow" else {}
    own = runner(
        folder,
        train_data=[odd],
        eval_data=validated,
        valid_splits=list(validated),
        hang_timeout=seconds,
    )
    setup_logging(folder)
    with Watchdog(folder, seconds):
        own.train()
    print(f"process {distributed.rank()} is done")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], float(sys.argv[3]))
    sys.stdout.flush()
    os._exit(0)

"""What a launcher starts in the tests of the watchdog: two processes of which the second hangs or is killed.

``torchrun --nproc-per-node 2 -m tests.hanging FOLDER HOW SECONDS``; ``HOW`` is ``hangs``, ``killed``, ``fails``
or ``slow``.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from lavis.common import distributed
from lavis.common.logging import setup_logging
from lavis.runners.watchdog import Watchdog
from tests.fake_run import FakeData
from tests.several_processes import runner


class Odd(FakeData):
    """The second process does something odd when it reads its second sample."""

    def __init__(self, size: int, split: str, how: str, seconds: float) -> None:
        super().__init__(size, split)
        self.how = how
        self.seconds = seconds
        self.read = 0

    def __getitem__(self, index: int) -> Any:
        self.read += 1
        if distributed.rank() == 1 and self.read == 2:
            if self.how == "hangs":
                time.sleep(1000)
            elif self.how == "killed":
                time.sleep(1.0)  # so that the others have heard where it was
                os.kill(os.getpid(), signal.SIGKILL)
            elif self.how == "fails":
                raise RuntimeError("the file server is on fire")
        if distributed.rank() == 1 and self.how == "slow":
            time.sleep(self.seconds / 4)  # slower than the other, but going on
        return super().__getitem__(index)


def main(folder: Path, how: str, seconds: float) -> None:
    odd = Odd(8, "train", how, seconds)
    validated = {"val": {"fake": Odd(13, "val", how, seconds)}} if how == "slow" else {}
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

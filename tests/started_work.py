"""Work that is started in each process, for the tests of the executor: in a module, since other processes import it."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lavis.preparation.collection.items import Item


@dataclass
class Started:
    """Notes its start, and does what the file says.

    Args:
        notes: file with a line for each start.
        fault: what starting raises, if anything.
    """

    notes: Path
    fault: str = ""
    worker: int | None = None

    def start(self, worker: int) -> None:
        if self.fault == "exit":
            os._exit(3)
        if self.fault:
            raise ValueError(self.fault)
        self.worker = worker
        with self.notes.open("a") as notes:
            notes.write(f"{worker} {os.getpid()}\n")

    def __call__(self, item: Item, scratch: Path) -> dict[str, Any]:
        if item.path.read_text() == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        return {"worker": self.worker, "process": os.getpid()}

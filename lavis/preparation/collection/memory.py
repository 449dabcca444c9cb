"""A limit on the memory that an item may take, so that one odd file does not bring down a machine with its neighbours.

The system refuses memory beyond it (``RLIMIT_DATA``; elsewhere than on Linux ``RLIMIT_AS``), in the process that works
on the item and in each program that it starts. What counts is private memory that is reserved, used or not, with the
stacks of threads; files that are mapped, such as libraries, do not count on Linux. Memory of GPUs is not limited, and
CUDA reserves a lot at its start, which is why the limit begins after that.
"""

from __future__ import annotations

import errno
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lavis.preparation.collection.items import Item
from lavis.preparation.collection.outcome import OverMemory, Work

MIB = 2**20
_SAID_BY_LIBRARIES = "allocate memory"


@dataclass(frozen=True)
class LimitedMemory:
    """Work that may take ``limit_mib`` more than its process has once it is started.

    Args:
        work: what is done.
        limit_mib: mebibytes.
    """

    work: Work
    limit_mib: int

    @property
    def gpus(self) -> float:
        """As of the work."""
        return float(getattr(self.work, "gpus", 0))

    @property
    def start_s(self) -> float:
        """As of the work."""
        from lavis.preparation.collection.pool import START_S

        return float(getattr(self.work, "start_s", START_S))

    def start(self, worker: int) -> None:
        """Starts the work, then sets the limit of this process."""
        start = getattr(self.work, "start", None)
        if start is not None:
            start(worker)
        import resource

        kind = resource.RLIMIT_DATA if sys.platform == "linux" else resource.RLIMIT_AS
        _, hard = resource.getrlimit(kind)
        wanted = private_bytes() + self.limit_mib * MIB
        resource.setrlimit(kind, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard))

    def __call__(self, item: Item, scratch: Path) -> Mapping[str, Any]:
        try:
            return self.work(item, scratch)
        except Exception as error:
            if _is_of_memory(error):
                raise OverMemory(f"it took more than {self.limit_mib} MiB (--memory-limit): {error}") from error
            raise


def private_bytes() -> int:
    """Private memory of this process so far, as the limit counts it; 0 where the system does not tell."""
    try:
        with open("/proc/self/status", encoding="ascii") as file:
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmData:"))
    except (OSError, StopIteration):
        return 0


def _is_of_memory(error: BaseException | None) -> bool:
    """Whether memory was refused to a library or a program, however many errors have been wrapped around that."""
    while error is not None:
        if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
            return True
        if _SAID_BY_LIBRARIES in str(error).lower():
            return True
        error = error.__cause__ or error.__context__
    return False

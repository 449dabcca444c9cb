"""Readers that misbehave, for another process to import: what native libraries do on bad files, on order.

Nothing is registered here; a test that needs a name registers one for as long as it runs.
"""

from __future__ import annotations

import logging
import os
import re
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lavis.processors.readers.base import Pixels, Size, VideoInfo
from lavis.processors.readers.pyav import PyAVReader


@dataclass(frozen=True)
class BadReader(PyAVReader):
    """Does what the name of a file says (``hang``, ``abort``, ``grow`` ...), before its index is read or afterwards.

    Where a file with the suffix ``.does`` lies beside it, that one says it.

    Args:
        late: whether it shows in decoding only.
    """

    late: bool = False

    def probe(self, path: str | Path) -> VideoInfo:
        if not self.late:
            misbehave(path)
        return super().probe(path)

    def _decode(self, path: str, wanted: list[int], size: Size | None, info: VideoInfo) -> tuple[Pixels, Sequence[int]]:
        misbehave(path)
        return super()._decode(path, wanted, size, info)


def misbehave(path: str | Path) -> None:
    order = Path(path).with_suffix(".does")
    kind = order.read_text() if order.is_file() else Path(path).stem
    if kind == "hang":
        time.sleep(600)
    elif kind == "spin":
        re.match("(a|aa)+$", "a" * 90 + "b")  # for years, and no other thread gets a turn
    elif kind == "abort":
        os.abort()
    elif kind == "alarm":
        os.kill(os.getpid(), signal.SIGALRM)  # as its own alarm does, if the parent is too busy to look at the time
    elif kind == "kill":
        os.kill(os.getpid(), 9)
    elif kind == "exit":
        os._exit(3)
    elif kind == "grow":
        held: list[Any] = []
        while True:
            held.append(np.ones(2**22))
    elif kind == "fail":
        raise RuntimeError("no such thing")
    elif kind == "import":
        raise ImportError("it needs the package nothing")
    elif kind == "warn":
        logging.getLogger("somewhere").warning("odd file %s", Path(path).name)

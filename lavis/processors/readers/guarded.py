"""Another reader in a process of its own: a file that hangs, crashes or swallows memory costs one error and no worker.

Ours: the original systems read in the loader process, where one bad file ends a training or stops it for ever. Frames
come back to the bit as the inner reader gives them; they cross a socket, which costs milliseconds
(``benchmarks/guard.py``). ``run.decode`` puts this around the readers of a model without a change of its configuration.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lavis.common.construct import build_part
from lavis.common.registry import registry
from lavis.processors.readers.base import (
    Damage,
    Pixels,
    Size,
    VideoDecodeError,
    VideoInfo,
    VideoReader,
    positive,
    whole_path,
)


def _default() -> VideoReader:
    return build_part(registry.readers, "pyav", "guarded.reader")  # type: ignore[no-any-return]


@registry.readers.register("guarded")
@dataclass(frozen=True, repr=False)
class GuardedReader(VideoReader):
    """Reads as ``reader`` does, within limits of time and memory.

    Its ``repr`` is that of ``reader``, since it names what is done to pixels: features kept of one are those of the
    other.

    Args:
        reader: a reader, or its name or node in a configuration; what ``imports`` registers must lie in a module that
            can be imported, as a class defined in a script or notebook is unknown to another process.
        seconds: that a look at a file's index, or the decoding of its frames, may take, above 0.
        memory_mb: MiB that this may take, at least 1, frames included.

    Raises:
        ValueError: if a limit is out of range, or ``reader`` is guarded already.
    """

    reader: VideoReader = field(default_factory=_default)
    seconds: float = 120.0
    memory_mb: int = 4096

    def __post_init__(self) -> None:
        positive("guarded.seconds", self.seconds)
        positive("guarded.memory_mb", self.memory_mb)
        if os.name != "posix":
            raise ValueError("reader guarded needs Linux or macOS; set run.decode.isolate=false")
        if not isinstance(self.reader, VideoReader):
            object.__setattr__(self, "reader", build_part(registry.readers, self.reader, "guarded.reader"))
        if isinstance(self.reader, GuardedReader):
            raise ValueError("guarded.reader is guarded already; once is enough")

    def __repr__(self) -> str:
        return repr(self.reader)

    def __str__(self) -> str:
        return f"{self.reader} within {self.seconds:g} s and {self.memory_mb} MiB"

    @property
    def on_truncated(self) -> Damage:
        """That of ``reader``."""
        return getattr(self.reader, "on_truncated", "raise")

    def fingerprint(self, path: str | Path) -> str:
        return self.reader.fingerprint(path)

    def probe(self, path: str | Path) -> VideoInfo:
        head, body = self._ask(os.fspath(path), {"do": "probe"})
        return VideoInfo(**head["info"], times=np.frombuffer(body, dtype=np.float64).tolist())

    def _decode(self, path: str, wanted: list[int], size: Size | None, info: VideoInfo) -> tuple[Pixels, Sequence[int]]:
        request = {"do": "decode", "wanted": wanted, "size": size, "num_frames": info.num_frames}
        head, body = self._ask(path, request)
        return np.frombuffer(body, dtype=np.uint8).reshape(head["shape"]), head["shown"]

    def _ask(self, path: str, request: Mapping[str, Any]) -> tuple[dict[str, Any], memoryview]:
        from lavis.processors.readers._decode_process import ChildEnded, borrowed

        whole = whole_path(path)  # the other process may have been started in another folder
        request = {**request, "path": whole}
        with borrowed(self.memory_mb) as process:
            try:
                head, body = process.ask(request, pickle.dumps(self.reader), self.seconds)
            except ChildEnded as ended:
                cure = "fetch or re-encode the file; for more time set run.decode.seconds, or seconds of guarded"
                raise VideoDecodeError(path, f"cannot be decoded: {ended}", cure) from None
            if head.get("error") == "memory":
                process.end()  # what it holds by now is anyone's guess
        if "error" in head:
            error = self._error(path if head.get("path", whole) == whole else head["path"], head)
            raise error from (_InChild(f"\n{head['trace']}") if "trace" in head else None)
        return head, body

    def _error(self, path: str, head: Mapping[str, Any]) -> Exception:
        kind = head["error"]
        if kind == "decode":
            return VideoDecodeError(path, head["cause"], head["cure"])
        if kind == "import":
            return ImportError(head["text"])
        if kind == "memory":
            cure = "re-encode the file, or set run.decode.memory_mb, or memory_mb of guarded"
            return VideoDecodeError(path, f"decoding it takes more than {self.memory_mb} MiB", cure)
        return VideoDecodeError(path, f"the reader failed on it ({head['text']})", "fetch or re-encode it")


class _InChild(Exception):
    """Shows the traceback of the decoding process above that of this one."""

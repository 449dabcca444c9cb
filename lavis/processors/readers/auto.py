"""The fastest reader that works on this machine.

The order comes from ``benchmarks.decode`` and ``benchmarks.timestamps`` (see ``benchmarks/results``): PyAV is the
fastest and the only one that reads every complete file of the corpus, torchcodec is near it in speed, decord refuses
many files. The choice is made once, and the name of the chosen reader goes into the keys of kept features.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lavis.common.registry import registry
from lavis.processors.readers.base import Pixels, Size, VideoInfo, VideoReader

ORDER = (("pyav", "av"), ("torchcodec", "torchcodec"), ("decord", "decord"), ("opencv", "cv2"))


@registry.readers.register("auto")
@dataclass(frozen=True, repr=False)
class AutoReader(VideoReader):
    """The first of pyav, torchcodec, decord and opencv whose package can be imported.

    Its ``repr`` is that of the chosen reader, as its pixels are.

    Raises:
        ImportError: if there is none.
    """

    reader: VideoReader = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "reader", _first_that_works())

    def __repr__(self) -> str:
        return repr(self.reader)

    def probe(self, path: str | Path) -> VideoInfo:
        return self.reader.probe(path)

    def _decode(self, path: str, wanted: list[int], size: Size | None, info: VideoInfo) -> tuple[Pixels, Sequence[int]]:
        return self.reader._decode(path, wanted, size, info)

    def fingerprint(self, path: str | Path) -> str:
        return self.reader.fingerprint(path)


def _first_that_works() -> VideoReader:
    reasons = []
    for name, package in ORDER:
        try:
            importlib.import_module(package)
        except (ImportError, RuntimeError, OSError) as error:  # the latter two where FFmpeg's libraries are missing
            reasons.append(f"{name} ({str(error).strip().splitlines()[0]})")
            continue
        reader: VideoReader = registry.readers.get(name)()
        return reader
    raise ImportError(f"reader auto finds no package to read videos with: {', '.join(reasons)}; pip install av")

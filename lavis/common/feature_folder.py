"""Tensors on disk, one safetensors file each: written at once or not at all, checked when read, oldest out first.

Several processes may read, write and clean up the same folder. A file is written beside its place and renamed into it;
one that is cut short, foreign, of another version or of another shape is named in one warning, removed, and made anew.

Source: the layout of content-addressed stores (git objects, Bazel's disk cache), over safetensors.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import time
import zlib
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from torch import Tensor

from lavis.common.logging import get_logger

FORMAT = "lavis-features-1"
"""Written into every file; another one is not read."""

ROOM = 0.9
"""Part of the limit that is left in use after a clean-up."""

_NAME = re.compile(r"[0-9a-f]{32}\.safetensors")
RECOUNT = 64
"""A writer counts the whole folder anew when it has added this part of the limit: others add to it as well."""

_STALE_S = 3600
"""Age of a temporary file in seconds after which its writer is taken for dead."""

logger = get_logger(__name__)


class FeatureFolder:
    """Entries by name (32 hexadecimal digits) below ``folder/ab/cd/``.

    Args:
        folder: made with the first entry.
        max_bytes: what all entries together may take; those not used for longest go first.
    """

    def __init__(self, folder: str | Path, max_bytes: int) -> None:
        self.folder = Path(folder).expanduser()
        self.max_bytes = max_bytes
        self._size: int | None = None
        self._added = 0
        self._broken = False
        self._warned: set[str] = set()

    def path(self, name: str) -> Path:
        """Where an entry lies."""
        return self.folder / name[:2] / name[2:4] / f"{name}.safetensors"

    def holds(self, name: str) -> bool:
        """Whether there is a file of that name; it may still turn out to be spoilt."""
        return os.path.isfile(self.path(name))

    def read(self, name: str, only: Collection[str] | None = None) -> dict[str, Tensor] | None:
        """The tensors of an entry, or ``None`` if there is none that can be used.

        Args:
            name: of the entry.
            only: names of the tensors wanted; ``None`` reads all and checks their sum.
        """
        from safetensors import SafetensorError, safe_open

        path = self.path(name)
        try:
            with safe_open(str(path), framework="pt") as file:
                facts = file.metadata() or {}
                if facts.get("format") != FORMAT or facts.get("name") != name:
                    raise _SpoiltError(f"it is no {FORMAT} file of that name but {facts.get('format') or 'foreign'}")
                wanted = file.keys() if only is None else only
                # A copy in memory of its own: mapped pages would change, or be gone, with the file.
                found = {key: file.get_tensor(key).clone() for key in wanted}
            if only is None and facts.get("sum") != _sum(found):
                raise _SpoiltError("its content is not what was written")
        except FileNotFoundError:
            return None
        except (SafetensorError, _SpoiltError) as error:
            self.discard(name, str(error))
            return None
        except OSError as error:
            self._warn("read", f"cannot be read ({error.strerror or error}); such features are computed anew")
            return None
        except RuntimeError as error:
            # The library has torch open the file once more, and another process may have removed it meanwhile.
            if "No such file" not in str(error):
                raise
            return None
        self._touch(path)
        return found

    def discard(self, name: str, why: str) -> None:
        """Removes an entry that cannot be used; says so once."""
        self._warn(
            "spoilt",
            f"holds a file that cannot be used, {name}: {why}. Such files are removed and made anew",
        )
        _remove(self.path(name))

    def write(self, name: str, tensors: Mapping[str, Tensor]) -> None:
        """Adds an entry unless it is there; where that fails, says so once and writes no more."""
        from safetensors.torch import save

        path = self.path(name)
        if self._broken or self.holds(name):
            return
        facts = {"format": FORMAT, "name": name, "sum": _sum(tensors)}
        data = _in_order(save({key: tensor.contiguous() for key, tensor in tensors.items()}, facts))
        if len(data) > self.max_bytes:
            self._warn(
                "large", f"has room for {self.max_bytes} bytes, less than one entry ({len(data)}); raise disk_gb"
            )
            return
        beside = path.with_name(f".{name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            beside.write_bytes(data)
            os.replace(beside, path)
        except OSError as error:
            self._broken = True
            self._warn("write", f"cannot be written ({error.strerror or error}); the run goes on without adding to it")
            _remove(beside)
            return
        self._grow(len(data))

    @property
    def closed(self) -> bool:
        """Whether nothing more is written, since writing failed once."""
        return self._broken

    def entries(self) -> Iterator[tuple[Path, os.stat_result]]:
        """Files of entries with their facts, in no order."""
        for sub in _folders(self.folder):
            for subsub in _folders(sub):
                for row in _listing(subsub):
                    try:
                        facts = row.stat()
                    except OSError:
                        continue  # another process was faster
                    if _NAME.fullmatch(row.name):
                        yield Path(row.path), facts
                    elif row.name.endswith(".tmp") and time.time() - facts.st_mtime > _STALE_S:
                        _remove(Path(row.path))

    def _grow(self, added: int) -> None:
        self._added += added
        if self._size is None or self._added * RECOUNT >= self.max_bytes:
            self._size, self._added = sum(facts.st_size for _, facts in self.entries()), 0
        else:
            self._size += added
        if self._size > self.max_bytes:
            self._clean()

    def _clean(self) -> None:
        """Removes what was not used for longest; counts anew first, as others write and clean too."""
        rows = sorted(self.entries(), key=lambda row: row[1].st_mtime_ns)
        size = sum(facts.st_size for _, facts in rows)
        for path, facts in rows:
            if size <= self.max_bytes * ROOM:
                break
            _remove(path)
            size -= facts.st_size
        self._size = size

    def _touch(self, path: Path) -> None:
        with suppress(OSError):  # a folder that one may only read has no order of use
            os.utime(path)

    def _warn(self, kind: str, what: str) -> None:
        if kind not in self._warned:
            self._warned.add(kind)
            logger.warning("the feature cache %s %s", self.folder, what)


class _SpoiltError(Exception):
    """A file that is not what its name says."""


def _sum(tensors: Mapping[str, Tensor]) -> str:
    import torch

    total = 0
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        total = zlib.crc32(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode(), total)
        total = zlib.crc32(tensor.reshape(-1).view(torch.uint8).numpy().data, total)
    return f"{total:08x}"


def _remove(path: Path) -> None:
    with suppress(OSError):  # what could not be removed is counted again at the next clean-up
        path.unlink(missing_ok=True)


def _in_order(data: bytes) -> bytes:
    """The same file with its facts by name: the library has them as its hash table does, other ones in each process."""
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    ordered = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode().ljust(size)
    if len(ordered) > size:  # then tensors would begin elsewhere
        return data
    return data[:8] + ordered + data[8 + size :]


def _folders(folder: Path) -> list[Path]:
    return [Path(row.path) for row in _listing(folder) if re.fullmatch("[0-9a-f]{2}", row.name) and row.is_dir()]


def _listing(folder: Path) -> list[os.DirEntry[str]]:
    try:
        return list(os.scandir(folder))
    except OSError:
        return []

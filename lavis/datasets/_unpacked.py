"""Media of shards as files, for readers that open paths: written when they are needed, the oldest removed."""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from collections import OrderedDict
from pathlib import Path

from lavis.common.io import explained
from lavis.common.tar_shards import Member, read_member


class Unpacked:
    """A folder of media for one data set, with a part of its own for every process that reads.

    Args:
        folder: where it is made; ``None`` is the system's folder of temporary files. It goes with the process that
            made it.
        max_bytes: what each process keeps at most, beside the file in use.
    """

    def __init__(self, folder: str | None, max_bytes: int) -> None:
        with explained(folder or tempfile.gettempdir()):
            if folder is not None:
                Path(folder).expanduser().mkdir(parents=True, exist_ok=True)
            self.root = Path(tempfile.mkdtemp(prefix="lavis-shards-", dir=folder and os.path.expanduser(folder)))
        self.max_bytes = max_bytes
        self._forget()
        weakref.finalize(self, _remove, self.root, os.getpid())

    def path(self, shard: Path, member: Member) -> Path:
        """The file that holds a member, written unless it is there.

        Raises:
            ShardError: if the member cannot be used.
            WriteError: if the file cannot be written.
        """
        if self._process != os.getpid():
            self._forget()  # what another process unpacked is that one's to remove
        target = self.root / str(self._process) / shard.stem / member.name
        if target in self._held and target.is_file():
            self._held.move_to_end(target)
            return target
        data = read_member(shard, member)
        with explained(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
        self._hold(target, len(data))
        return target

    def _hold(self, target: Path, size: int) -> None:
        self._size += size - self._held.pop(target, 0)
        self._held[target] = size
        while self._size > self.max_bytes and len(self._held) > 1:
            oldest, freed = self._held.popitem(last=False)
            oldest.unlink(missing_ok=True)
            self._size -= freed

    def _forget(self) -> None:
        self._process = os.getpid()
        self._held: OrderedDict[Path, int] = OrderedDict()
        self._size = 0


def _remove(root: Path, owner: int) -> None:
    if os.getpid() == owner:  # and not a process that was forked with a copy
        shutil.rmtree(root, ignore_errors=True)

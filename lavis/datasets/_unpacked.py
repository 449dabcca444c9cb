"""Media of shards as files, for readers that open paths: written when they are needed, the oldest removed."""

from __future__ import annotations

import os
import re
import shutil
import socket
import tempfile
import weakref
from collections import OrderedDict
from functools import lru_cache
from glob import escape
from pathlib import Path
from threading import Lock

from lavis.common.io import explained
from lavis.common.locking import runs
from lavis.common.tar_shards import Member, ShardError, read_index, read_member


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
            place = Path(folder).expanduser() if folder is not None else Path(tempfile.gettempdir())
            _remove_abandoned(place)
            self.root = Path(tempfile.mkdtemp(prefix=f"{_mark()}{os.getpid()}-", dir=place))
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


def _mark() -> str:
    """How the names of this host's folders begin; the number of the process that made one follows."""
    return f"lavis-shards-{socket.gethostname()}-"


def _remove_abandoned(place: Path) -> None:
    """Removes the folders of processes of this host that were killed, and could not do so themselves."""
    for left in place.glob(f"{escape(_mark())}*"):
        # All of the name: beside the host "node" there may be one that is called "node-12".
        owner = re.fullmatch(r"(\d+)-[^-]+", left.name[len(_mark()) :])
        if owner and not runs(int(owner[1])):
            shutil.rmtree(left, ignore_errors=True)


def shard_of(video: str) -> Path | None:
    """The shard in which the medium lies that a sample of the data set ``shards`` names; ``None`` for a file."""
    folders = (folder for folder in Path(video).parents if folder.suffix == ".tar")  # members may have folders
    return next((folder for folder in folders if not folder.is_dir()), None)


class MediaFiles:
    """Files for the media that samples name, wherever these lie; several threads may ask.

    Args:
        folder, max_bytes: see ``Unpacked``; it is made when the first medium of a shard is asked for.
    """

    def __init__(self, folder: str | None = None, max_bytes: int = 2**30) -> None:
        self.folder, self.max_bytes = folder, max_bytes
        self._unpacked: Unpacked | None = None
        self._lock = Lock()

    def path(self, video: str) -> str:
        """A file that can be opened: ``video`` itself, or what its member of a shard was unpacked to.

        Raises:
            ShardError: if the shard or its member cannot be used.
        """
        shard = shard_of(video)
        if shard is None:
            return video
        with self._lock:
            if self._unpacked is None:
                self._unpacked = Unpacked(self.folder, self.max_bytes)
            return str(self._unpacked.path(shard, _member(shard, Path(video).relative_to(shard).as_posix())))


def _member(shard: Path, name: str) -> Member:
    try:
        facts = shard.stat()
    except OSError as error:
        raise ShardError(shard, f"cannot be opened: {error.strerror or error}", name) from error
    found = _members(shard, facts.st_size, facts.st_mtime_ns).get(name)
    if found is None:
        raise ShardError(shard, "is not in the index of the shard", name)
    return found


@lru_cache(maxsize=4)
def _members(shard: Path, size: int, mtime_ns: int) -> dict[str, Member]:
    _, rows = read_index(shard)
    return {member.name: member for row in rows for member in row.members.values()}


def _remove(root: Path, owner: int) -> None:
    if os.getpid() == owner:  # and not a process that was forked with a copy
        shutil.rmtree(root, ignore_errors=True)

"""Output of frozen networks, kept: what does not change is not computed twice.

Two tiers: memory, lost with the process, and a folder that runs, stages and processes share. Entries are the network's
own tensors in its own precision, named by all that made them, so results do not change.

Source: the encoder caches of serving systems (vLLM, TensorRT-LLM), keyed by content; here also on disk.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from lavis.common.feature_folder import FeatureFolder
from lavis.common.feature_index import FeatureIndex
from lavis.common.logging import get_logger

Shapes = Mapping[str, Sequence[int]]

logger = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class CacheConfig:
    """Where the output of frozen parts is kept. Results do not depend on it."""

    memory_mb: int = 1024  # MiB on the host, in each process; 0 keeps nothing in memory
    folder: str | None = None  # shared by runs and stages; null keeps nothing on disk
    disk_gb: float = 50.0  # GB that the folder may take, above 0; what was not used for longest goes first

    def __post_init__(self) -> None:
        if self.memory_mb < 0:
            raise ValueError(f"memory_mb must be at least 0, got {self.memory_mb}")
        if self.disk_gb <= 0:
            raise ValueError(f"disk_gb must be above 0, got {self.disk_gb}; to keep nothing on disk set folder: null")


@dataclass(slots=True)
class Counts:
    """What became of look-ups, in videos: found in memory, on disk, or computed; and the bytes moved."""

    memory: int = 0
    disk: int = 0
    computed: int = 0
    bytes_read: int = 0
    bytes_kept: int = 0

    @property
    def asked(self) -> int:
        """Videos asked for."""
        return self.memory + self.disk + self.computed


class FeatureStore:
    """Groups of tensors by name, in memory and on disk.

    Args:
        config: limits and folder.
    """

    def __init__(self, config: CacheConfig) -> None:
        self.max_bytes = config.memory_mb * 2**20
        self.disk = None if config.folder is None else FeatureFolder(config.folder, int(config.disk_gb * 1e9))
        self.index = FeatureIndex(self.disk, config.memory_mb > 0)
        self.counts = Counts()
        self.size = 0
        self._entries: OrderedDict[str, _Held] = OrderedDict()

    @property
    def enabled(self) -> bool:
        """Whether anything is kept at all."""
        return self.max_bytes > 0 or self.disk is not None

    def __len__(self) -> int:
        """Entries in memory."""
        return len(self._entries)

    def get(self, name: str, shapes: Shapes) -> dict[str, Tensor] | None:
        """An entry, on the host, or ``None``; one on disk that has not the ``shapes`` asked for is removed."""
        held = self._entries.get(name)
        if held is not None and not held.untouched():
            logger.warning("kept features were written to in place; they are computed anew. Change a copy of them")
            self._forget(name)
            held = None
        found = None if held is None else held.tensors
        if found is not None:
            self._entries.move_to_end(name)
            self.counts.memory += 1
        elif self.disk is not None:
            found = self.disk.read(name)
            if found is not None and any(
                key not in found or tuple(found[key].shape) != tuple(shape) for key, shape in shapes.items()
            ):
                has = {key: tuple(tensor.shape) for key, tensor in found.items()}
                self.disk.discard(name, f"it holds {has}, not {dict(shapes)}")
                found = None
            if found is not None:
                self.counts.disk += 1
                self._remember(name, found)
        if found is not None:
            self.counts.bytes_read += _bytes(found)
        return found

    def put(self, name: str, tensors: Mapping[str, Tensor], lasting: bool) -> None:
        """Keeps an entry in memory and, if what made it is ``lasting``, on disk."""
        entry = {key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}
        self.counts.bytes_kept += _bytes(entry)
        self._remember(name, entry)
        if lasting and self.disk is not None:
            self.disk.write(name, entry)

    def _remember(self, name: str, entry: dict[str, Tensor]) -> None:
        if name in self._entries or _bytes(entry) > self.max_bytes:
            return
        self._entries[name] = _Held(entry, _versions(entry))
        self.index.add(name)
        self.size += _bytes(entry)
        while self.size > self.max_bytes:
            self._forget(next(iter(self._entries)))

    def _forget(self, name: str) -> None:
        self.size -= _bytes(self._entries.pop(name).tensors)
        self.index.remove(name)


@dataclass(frozen=True, slots=True)
class _Held:
    """An entry in memory: on a CPU the very tensors that were handed out, and so with the versions they had."""

    tensors: dict[str, Tensor]
    versions: list[int]

    def untouched(self) -> bool:
        return self.versions == _versions(self.tensors)


def _versions(entry: Mapping[str, Tensor]) -> list[int]:
    return [0 if tensor.is_inference() else tensor._version for tensor in entry.values()]


def _bytes(entry: Mapping[str, Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in entry.values())

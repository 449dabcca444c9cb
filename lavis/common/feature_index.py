"""What loader processes may know of a model's kept features: for which frames a video need not be decoded.

A loader process has no model. It sees, in memory shared with the process that has one, digests of the weights in use,
and tags of what that process holds in memory; what lies on disk it finds there. Answers may lag behind: then a video
is decoded in vain, or in the model's process after all.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Sequence
from typing import Any

import torch

from lavis.common.feature_folder import FeatureFolder

_SLOTS = 2**16
"""Places for tags, 8 bytes each; of two entries that meet in one the later is remembered."""

LEVELS = 2
"""What a frame's features may be kept as: 0 the compressor's reading of them, 1 the encoder's tokens."""

TIMES = "times"
"""Tensor of every entry: seconds of the frames, float64."""


def entry_name(key: str, state: str) -> str:
    """Name of the entry that networks in ``state`` make of the frames called ``key``: 32 hexadecimal digits."""
    return hashlib.blake2b(f"{state}:{key}".encode(), digest_size=16).hexdigest()


class FeatureIndex:
    """Which frames' features are kept, for every process that reads videos.

    Args:
        disk: the folder, if there is one.
        memory: whether anything is kept in memory.
    """

    def __init__(self, disk: FeatureFolder | None, memory: bool) -> None:
        self.disk = disk
        self.ask: Callable[[], object] | None = None
        self._owner = os.getpid()
        self._tags = _shared(torch.int64, _SLOTS) if memory else None
        used = memory or disk is not None
        self._states = _shared(torch.uint8, 2, LEVELS, 32) if used else None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "ask": None}  # a model does not travel with its processor

    def publish(self, train: bool, level: int, state: str) -> None:
        """Tells all processes the digest of what makes features at a level now; empty if nothing is kept there."""
        if self._states is not None:
            letters = state.encode().ljust(32, b"\0")
            self._states[int(train), level] = torch.frombuffer(bytearray(letters), dtype=torch.uint8)

    def add(self, name: str) -> None:
        """Notes that an entry is in memory."""
        if self._tags is not None:
            slot, tag = _place(name)
            self._tags[slot] = tag

    def remove(self, name: str) -> None:
        """Notes that an entry has left the memory."""
        if self._tags is not None:
            slot, tag = _place(name)
            if int(self._tags[slot]) == tag:
                self._tags[slot] = 0

    def find(self, key: str, train: bool) -> str | None:
        """Name of an entry for frames called ``key``, if one seems to be there."""
        states = self._published(train)
        if not states and self.ask is not None and self._by_owner():
            self.ask()
            states = self._published(train)
        for state in states:
            name = entry_name(key, state)
            slot, tag = _place(name)
            in_memory = self._tags is not None and int(self._tags[slot]) == tag
            if in_memory or (self.disk is not None and self.disk.holds(name)):
                return name
        return None

    def times(self, name: str) -> list[float] | None:
        """Seconds of the frames of an entry on disk."""
        entry = self.disk.read(name, only=(TIMES,)) if self.disk is not None and self.disk.holds(name) else None
        return None if entry is None else [float(t) for t in entry[TIMES].tolist()]

    def _by_owner(self) -> bool:
        # Gradients and autocast are settings of a thread: one that reads ahead would be told of another precision.
        return os.getpid() == self._owner and threading.current_thread() is threading.main_thread()

    def _published(self, train: bool) -> Sequence[str]:
        if self._states is None:
            return ()
        rows = (bytes(row.tolist()).rstrip(b"\0").decode() for row in self._states[int(train)])
        return [state for state in rows if state]


def _shared(dtype: torch.dtype, *shape: int) -> torch.Tensor:
    shared: torch.Tensor = torch.zeros(shape, dtype=dtype, device="cpu").share_memory_()  # type: ignore[no-untyped-call]
    return shared


def _place(name: str) -> tuple[int, int]:
    number = int(name[:15], 16)
    return number % _SLOTS, number or 1

"""The process that decodes for reader ``guarded``: what it runs, and the messages between it and its parent.

Ours. Requests are a line of JSON and a pickled reader, answers a line of JSON and plain bytes: whatever a broken or
hostile file makes of this process, its parent unpickles nothing that comes from here.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import pickle
import select
import signal
import socket
import struct
import sys
import threading
import traceback
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from typing import Any

import numpy as np

from lavis.processors.readers.base import VideoDecodeError, VideoInfo, VideoReader

GRACE_S = 10.0
"""Seconds after its limit at which this process ends by itself, should nobody be left who would end it."""

_HEADER = struct.Struct("!IQ")
_INFOS = 64
_RELAYED = 100
"""Videos whose index is remembered; log records of one request that are passed on."""

Buffer = bytes | bytearray | memoryview


def send(connection: socket.socket, head: Mapping[str, Any], body: Buffer = b"") -> None:
    """Sends a message: JSON-ready facts, and bytes."""
    facts = json.dumps(head).encode()
    connection.sendall(_HEADER.pack(len(facts), len(body)) + facts)
    if len(body):
        connection.sendall(body)


def receive_head(connection: socket.socket) -> tuple[dict[str, Any], int]:
    """The facts of the next message, and how many bytes follow them.

    Raises:
        EOFError: if the other side is gone.
    """
    facts, length = _HEADER.unpack(receive_body(connection, _HEADER.size))
    return dict(json.loads(bytes(receive_body(connection, facts)))), length


def receive_body(connection: socket.socket, length: int) -> memoryview:
    """The next ``length`` bytes, in memory that may be written to.

    Raises:
        EOFError: if the other side is gone before.
    """
    whole = np.empty(length, dtype=np.uint8).data
    done = 0
    while done < length:
        count = connection.recv_into(whole[done:])
        if not count:
            raise EOFError
        done += count
    return whole


def main(descriptor: int, memory_mb: int, level: int) -> None:
    """Answers requests until the parent is gone.

    Args:
        descriptor: of the socket to the parent.
        memory_mb: MiB that decoding may take beyond what this process takes now.
        level: of log records that are passed on.
    """
    connection = socket.socket(fileno=descriptor)
    _end_with_parent(connection)
    logging.getLogger().setLevel(level)
    _limit_memory(memory_mb)
    server = _Server()
    send(connection, {"ready": os.getpid()})
    while True:
        try:
            request, length = receive_head(connection)
            reader = bytes(receive_body(connection, length))
        except EOFError:
            return
        with _alarm(request["seconds"] + GRACE_S), _relayed() as records:
            head, body = server.answer(request, reader)
        send(connection, {**head, "log": records}, body)


class _Server:
    """Does what requests ask for; remembers readers, and the indices of videos, which are not sent around."""

    def __init__(self) -> None:
        self._readers: dict[bytes, VideoReader] = {}
        self._infos: OrderedDict[Any, VideoInfo] = OrderedDict()

    def answer(self, request: Mapping[str, Any], pickled: bytes) -> tuple[dict[str, Any], Buffer]:
        path = request["path"]
        try:
            try:
                reader = self._reader(pickled)
            except (ImportError, AttributeError) as error:
                return {"error": "import", "text": f"the reader cannot be made there: {error}"}, b""
            if request["do"] == "probe":
                info = reader.probe(path)
                self._remember(pickled, path, info)
                return {"info": _facts(info)}, np.asarray(info.times, dtype=np.float64).tobytes()
            info = self._info(reader, pickled, path, request["num_frames"])
            size = None if request["size"] is None else (int(request["size"][0]), int(request["size"][1]))
            pixels, shown = reader._decode(path, request["wanted"], size, info)
            pixels = np.ascontiguousarray(pixels)
            return {"shape": pixels.shape, "shown": [int(i) for i in shown]}, pixels.data.cast("B")
        except Exception as error:  # of any kind: a reader may be anyone's, and its file anything
            return _failure(error), b""

    def _reader(self, pickled: bytes) -> VideoReader:
        if pickled not in self._readers:
            reader = pickle.loads(pickled)
            self._readers[pickled] = reader
        return self._readers[pickled]

    def _info(self, reader: VideoReader, pickled: bytes, path: str, num_frames: int) -> VideoInfo:
        info = self._infos.get((pickled, path, _stamp(path)))
        if info is None:
            info = reader.probe(path)
            self._remember(pickled, path, info)
        if info.num_frames != num_frames:
            raise VideoDecodeError(path, "was changed while it was read", "start again once it is complete")
        return info

    def _remember(self, pickled: bytes, path: str, info: VideoInfo) -> None:
        self._infos[pickled, path, _stamp(path)] = info
        if len(self._infos) > _INFOS:
            self._infos.popitem(last=False)


def _facts(info: VideoInfo) -> dict[str, Any]:
    """What JSON can say of a video; floats survive it to the bit."""
    return {f.name: getattr(info, f.name) for f in fields(info) if f.name not in ("times", "index")}


def _stamp(path: str) -> tuple[int, ...]:
    facts = os.stat(path)
    return facts.st_size, facts.st_mtime_ns, facts.st_ino


def _failure(error: Exception) -> dict[str, Any]:
    if _no_memory(error):
        return {"error": "memory"}  # a traceback would want some, too
    told: dict[str, Any] = {"trace": "".join(traceback.format_exception(error))}
    if isinstance(error, VideoDecodeError):
        return {**told, "error": "decode", "path": error.path, "cause": error.cause, "cure": error.cure}
    if isinstance(error, ImportError):
        return {**told, "error": "import", "text": str(error)}
    return {**told, "error": "other", "text": f"{type(error).__name__}: {error}".rstrip(": ")}


def _no_memory(error: BaseException | None) -> bool:
    """Whether an error, or what led to it, says that memory ran out; libraries say it in words of their own."""
    while error is not None:
        words = str(error).lower()
        if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
            return True
        if "allocate memory" in words or "bad_alloc" in words:
            return True
        error = error.__cause__ or error.__context__
    return False


def _end_with_parent(connection: socket.socket) -> None:
    """Ends this process once the other end of the socket is closed, also in the middle of decoding."""
    poll = select.poll()
    poll.register(connection, 0)  # that the other side hung up is reported unasked

    def watch() -> None:
        while not any(events & (select.POLLHUP | select.POLLERR | select.POLLNVAL) for _, events in poll.poll()):
            pass
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    """The system ends this process after that time, even where a library holds the interpreter and nobody watches."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _limit_memory(memory_mb: int) -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a crash is expected here and nobody looks at its core
    # What is mapped from files, such as libraries, does not count in RLIMIT_DATA; systems other than Linux ignore it.
    kind = resource.RLIMIT_DATA if sys.platform == "linux" else resource.RLIMIT_AS
    resource.setrlimit(kind, (_data_bytes() + memory_mb * 2**20, resource.RLIM_INFINITY))


def _data_bytes() -> int:
    """Bytes of private memory of this process so far, as RLIMIT_DATA counts them; 0 where the system does not tell."""
    try:
        with open("/proc/self/status", encoding="ascii") as file:
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmData:"))
    except (OSError, StopIteration):
        return 0


@contextmanager
def _relayed() -> Iterator[list[list[Any]]]:
    """Collects log records for the parent, whose log has a file."""
    records: list[list[Any]] = []

    class Collect(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if len(records) < _RELAYED:
                records.append([record.name, record.levelno, record.getMessage()])

    handler = Collect()
    logging.getLogger().addHandler(handler)
    try:
        yield records
    finally:
        logging.getLogger().removeHandler(handler)

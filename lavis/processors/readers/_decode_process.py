"""The other side of ``_decode_child``: starts decoding processes, asks them, and ends those that overrun a limit.

Started with ``subprocess`` and not ``multiprocessing``, since loader processes may have no children of the latter kind;
as fresh interpreters, since a fork of a process with threads may stand still for ever. One is kept for each thread that
decodes at a time, and a process forked from this one starts its own.
"""

from __future__ import annotations

import atexit
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any
from weakref import WeakSet

import torch

from lavis.processors.readers._decode_child import receive_body, receive_head, send

START_S = 300.0
"""Seconds that a new process may take until it is ready: it imports torch, perhaps from a slow disk."""

_END_S = 30.0
"""Seconds that one which has let go of its socket may take to end: the system may be writing its memory to disk."""

_PROGRAM = (
    "import signal, sys, json; signal.signal(signal.SIGINT, signal.SIG_IGN); given = json.loads(sys.argv[1]); "
    "sys.path[:] = given['path']; from lavis.processors.readers._decode_child import main; main(*given['arguments'])"
)
_BUFFER = 2**20


class GuardError(OSError):
    """A decoding process that cannot be started; no file is to blame."""


class ChildEnded(Exception):
    """The decoding process is gone, or was ended for its time; the message says how, for a sentence on the file."""


class DecodeProcess:
    """One decoding process.

    Args:
        memory_mb: see ``_decode_child.main``.

    Raises:
        GuardError: if it does not start.
    """

    def __init__(self, memory_mb: int) -> None:
        self.memory_mb = memory_mb
        self._socket, theirs = socket.socketpair()
        for end in (self._socket, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
            end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        level = logging.getLogger().getEffectiveLevel()
        given = {"path": sys.path, "arguments": [theirs.fileno(), memory_mb, level]}
        threads = {"OMP_NUM_THREADS": str(torch.get_num_threads())}
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _PROGRAM, json.dumps(given)],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env={**os.environ, **threads},
            )
        _all.add(self)
        try:
            self._socket.settimeout(START_S)
            receive_head(self._socket)
        except (EOFError, OSError) as error:
            how = "it is not ready" if isinstance(error, TimeoutError) else _ending(self._wait(_END_S))
            self.end()
            raise GuardError(
                f"the process that decodes videos cannot be started ({how}); its own messages are above. Without it, "
                "set run.decode.isolate=false or take the reader inside of guarded"
            ) from error

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def ask(self, request: Mapping[str, Any], body: bytes, seconds: float) -> tuple[dict[str, Any], memoryview]:
        """The answer to a request.

        Raises:
            ChildEnded: if there is none within ``seconds``, or the process ends; it must not be asked again.
        """
        deadline = _Deadline(self._socket, time.monotonic() + seconds)
        try:
            send(deadline, {**request, "seconds": seconds}, body)  # type: ignore[arg-type]
            head, length = receive_head(deadline)  # type: ignore[arg-type]
            answer = receive_body(deadline, length)  # type: ignore[arg-type]
        except TimeoutError:
            self.end()
            raise ChildEnded(f"it takes longer than {seconds:g} s") from None
        except (EOFError, ConnectionError):
            status = self._wait(_END_S)
            self.end()
            if status == -signal.SIGALRM:  # it ended itself, before this process came to look at the time
                raise ChildEnded(f"it takes longer than {seconds:g} s") from None
            how = _ending(status)
            raise ChildEnded(f"it brings the process that decodes to an end ({how})") from None
        except BaseException:
            self.end()  # its answer would be taken for that to the next request
            raise
        for name, level, message in head.pop("log", []):
            logging.getLogger(name).log(level, "%s", message)
        return head, answer

    def end(self) -> None:
        """Ends the process; one that the system cannot end at once (a dead network disk) is not waited for."""
        self._socket.close()
        with suppress(ProcessLookupError):
            self._process.kill()
        self._wait()

    def forget(self) -> None:
        """In a process forked from the owner: lets go without ending it."""
        self._socket.close()
        self._process.returncode = 0  # not a child of this process, which must not wait for it

    def _wait(self, seconds: float = 2.0) -> int | None:
        try:
            return self._process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            return None


class _Deadline:
    """A socket whose every operation ends at one moment."""

    def __init__(self, connection: socket.socket, end: float) -> None:
        self._connection = connection
        self._end = end

    def sendall(self, data: Any) -> None:
        self._set()
        self._connection.sendall(data)

    def recv_into(self, target: memoryview) -> int:
        self._set()
        return self._connection.recv_into(target)

    def _set(self) -> None:
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._connection.settimeout(left)


_lock = threading.Lock()
_idle: list[DecodeProcess] = []
_all: WeakSet[DecodeProcess] = WeakSet()


@contextmanager
def borrowed(memory_mb: int) -> Iterator[DecodeProcess]:
    """A decoding process that nobody else uses meanwhile; it is kept for the next unless it has ended."""
    with _lock:
        found = next((p for p in reversed(_idle) if p.memory_mb == memory_mb), None)
        if found is not None:
            _idle.remove(found)
    if found is not None and not found.alive:  # ended while idle: no file is to blame
        found.end()
        found = None
    process = found or DecodeProcess(memory_mb)
    try:
        yield process
    finally:
        if process.alive:
            with _lock:
                _idle.append(process)


def end_all() -> None:
    """Ends the decoding processes that are idle."""
    with _lock:
        idle, _idle[:] = _idle[:], []
    for process in idle:
        process.end()


def _after_fork() -> None:
    global _lock
    _lock = threading.Lock()
    _idle.clear()
    for process in list(_all):
        process.forget()
    _all.clear()


def _ending(status: int | None) -> str:
    if status is None:
        return "it does not say why"
    if status >= 0:
        return f"status {status}"
    name = signal.Signals(-status).name
    return f"{name}, as where memory runs out" if -status == signal.SIGKILL else name


atexit.register(end_all)
os.register_at_fork(after_in_child=_after_fork)

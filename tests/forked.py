"""Other processes for the tests without the seconds each would take to import torch: forked from one that has.

``start`` stands for ``python -m MODULE ARGUMENTS``, and for ``torchrun --standalone --nproc-per-node N -m MODULE
ARGUMENTS``: processes of their own, in a folder, with an environment, with streams and with an exit status. What
differs from the real ones is the start alone. Where that is what a test is about it starts a real one.

The process they are forked from is a server (``python -m tests.forked SOCKET``) that has imported what trainings need
and has done nothing else. It ends with the tests.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import importlib
import json
import os
import runpy
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
IMPORTED = (
    "torch", "torch.distributed.fsdp", "torch.distributed.checkpoint", "torch.utils.data", "transformers",
    "transformers.models.t5.modeling_t5", "transformers.models.bert.modeling_bert", "peft", "accelerate", "av",
    "lavis.cli", "lavis.api", "lavis.runners.run", "lavis.models.build", "tests.fake_run",
)  # fmt: skip
SERVER = "LAVIS_TEST_SERVER"
"""Variable with the address of the server, for the programs of ``programs``."""
GRACE = 30.0
"""Seconds that the others have to end after one has failed, as with ``torchrun``."""


def start(
    module: str,
    arguments: Sequence[object],
    *,
    cwd: Path,
    environment: Mapping[str, str],
    seconds: float,
    processes: int | None = None,
) -> subprocess.CompletedProcess[str]:
    """Runs a module as the main program of one process, or of ``processes`` that know of each other.

    Args:
        module: as behind ``python -m``, or the path of a ``.py`` file, or ``-c``, and the first argument is a program.
        arguments: of the program.
        cwd: its working directory.
        environment: all of it.
        seconds: after which it is killed.
        processes: with the variables that a launcher sets; ``None`` for one without.

    Raises:
        subprocess.TimeoutExpired: if it took longer.
    """
    told = [str(argument) for argument in arguments]
    with tempfile.TemporaryDirectory() as name, socket.socket(socket.AF_UNIX) as connection:
        out, err = Path(name, "out"), Path(name, "err")
        request = {"module": module, "arguments": told, "cwd": str(cwd), "environment": dict(environment),
                   "processes": processes, "out": str(out), "err": str(err)}  # fmt: skip
        connection.settimeout(seconds)
        connection.connect(_server())
        connection.sendall(json.dumps(request).encode() + b"\n")
        try:
            answer = connection.makefile().readline()
        except TimeoutError:
            text = err.read_text() if err.exists() else ""
            raise subprocess.TimeoutExpired([module, *told], seconds, stderr=text) from None
        assert answer, "the server of the tests has ended"
        codes = json.loads(answer)
        status = next((code for code in codes if code), 0)
        return subprocess.CompletedProcess(
            [module, *told], status, out.read_text(errors="replace"), err.read_text(errors="replace")
        )


@functools.cache
def _server() -> str:
    """The address of the server, which is started when it is first needed."""
    if SERVER in os.environ:
        return os.environ[SERVER]
    place = None if len(tempfile.gettempdir()) < 80 else "/tmp"  # names of sockets must not be long
    folder = tempfile.TemporaryDirectory(prefix="forked", dir=place)
    address = str(Path(folder.name, "socket"))
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONPATH": path}
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.forked", address], cwd=ROOT, env=environment, stdin=subprocess.PIPE
    )

    def end() -> None:
        process.kill()
        process.wait()
        folder.cleanup()

    atexit.register(end)
    end_of_waiting = time.monotonic() + 600
    while not Path(address).exists():
        assert process.poll() is None and time.monotonic() < end_of_waiting, "the server of the tests does not start"
        time.sleep(0.02)
    return address


def programs(folder: Path) -> dict[str, str]:
    """The environment of a script for which ``torchrun`` and ``lavis`` are ``start``, by programs in ``folder``."""
    folder.mkdir(exist_ok=True)
    for name in ("torchrun", "lavis", "python"):
        program = folder / name
        program.write_text(f"#!{sys.executable} -S\nimport sys\nsys.path.insert(0, {str(ROOT)!r})\n"
                           f"from tests.forked import stand_in\nstand_in({name!r}, sys.argv[1:])\n")  # fmt: skip
        program.chmod(0o700)
    path = os.pathsep.join([str(folder), str(Path(sys.executable).parent), os.environ["PATH"]])
    return {"PATH": path, SERVER: _server()}


def stand_in(program: str, arguments: list[str]) -> None:
    """Is ``torchrun``, ``lavis`` or ``python``, as far as the run scripts use them on one node."""
    module, processes = "lavis.cli", None
    if program == "python":
        if arguments[:1] == ["-m"]:
            arguments = arguments[1:]
        module, *arguments = arguments
    if program == "torchrun":
        standalone, number, module, *arguments = arguments
        name, _, count = number.partition("=")
        assert standalone == "--standalone" and name == "--nproc_per_node", f"not understood: {standalone} {number}"
        processes = int(count)
        if module == "-m":
            module, *arguments = arguments
    done = start(module, arguments, cwd=Path.cwd(), environment=os.environ, seconds=900, processes=processes)
    sys.stdout.write(done.stdout)
    sys.stderr.write(done.stderr)
    sys.stdout.flush()
    sys.exit(abs(done.returncode))


# ---------------------------------------------------------------------------------------------------------- the server


def serve(address: str) -> dict[str, Any]:
    """Answers until the tests end; returns only in the processes that are to run something, with what that is."""
    before = address + ".new"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(before)
        listener.listen(16)
        os.rename(before, address)  # whoever finds it can connect
        while True:
            ready, _, _ = select.select([listener, sys.stdin], [], [], 1.0)
            with contextlib.suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
            if sys.stdin in ready:  # closed: the tests are gone
                shutil.rmtree(Path(address).parent, ignore_errors=True)
                os._exit(0)
            if listener not in ready:
                continue
            connection, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                return _supervise(connection)
            connection.close()


def _supervise(connection: socket.socket) -> dict[str, Any]:
    """Forks the processes of one request, waits for them and tells how they ended; returns in each of them."""
    request: dict[str, Any] = json.loads(connection.makefile().readline())
    number = request["processes"] or 1
    reserved = reserved_port()
    children: dict[int, int] = {}
    for rank in range(number):
        child = os.fork()
        if child == 0:
            connection.close()
            port = reserved.getsockname()[1]
            reserved.close()
            _become(request, rank, port)
            return request
        children[child] = rank
    codes = [0] * number
    deadline = float("inf")
    while children:
        ended, status = os.waitpid(-1, os.WNOHANG)
        if ended in children:
            codes[children.pop(ended)] = os.waitstatus_to_exitcode(status)
            if any(codes) and deadline == float("inf"):
                deadline = time.monotonic() + GRACE
                _signal(children, signal.SIGTERM)
            continue
        if time.monotonic() > deadline or select.select([connection], [], [], 0.01)[0]:  # or nobody listens any more
            _signal(children, signal.SIGKILL)
            deadline = float("inf")
            time.sleep(0.05)
    with contextlib.suppress(OSError):
        connection.sendall(json.dumps(codes).encode() + b"\n")
    os._exit(0)


def _signal(children: Mapping[int, int], number: int) -> None:
    for child in children:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, number)


def reserved_port() -> socket.socket:
    """A socket on a port that nobody else is given while it is open, and that a server which asks for it may use."""
    found = socket.socket()
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    found.bind(("127.0.0.1", 0))
    return found


def _become(request: Mapping[str, Any], rank: int, port: int) -> None:
    """Makes this process what a new one would be."""
    with open(os.devnull) as nothing:
        os.dup2(nothing.fileno(), 0)
    for stream, path in ((1, request["out"]), (2, request["err"])):
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(file, stream)
        os.close(file)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["environment"])
    if request["processes"] is not None:
        number = str(request["processes"])
        os.environ.update(
            RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=number, LOCAL_WORLD_SIZE=number, GROUP_RANK="0",
            MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port),
        )  # fmt: skip


def _main() -> None:
    for name in IMPORTED:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    assert threading.active_count() == 1, "a process with threads must not fork"
    request = serve(sys.argv[1])
    program = request["module"]
    told = request["arguments"]
    if program == "-c":
        sys.argv = [program, *told[1:]]
        exec(compile(told[0], "<string>", "exec"), {"__name__": "__main__"})
        return
    sys.argv = [program, *told]
    if program.endswith(".py"):
        sys.path.insert(0, str(Path(program).resolve().parent))
        runpy.run_path(program, run_name="__main__")
    else:
        sys.path.insert(0, request["cwd"])
        sys.modules.pop(program, None)
        runpy.run_module(program, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    _main()

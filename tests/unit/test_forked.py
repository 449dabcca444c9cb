"""What stands for ``python -m`` and ``torchrun`` in the tests behaves as they do."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import dealt
from tests.forked import programs, reserved_port, start

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the tests start real processes here")


def run(program: str, folder: Path, *arguments: object, **settings: Any) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "TOLD": "this"}
    return start("-c", [program, *arguments], cwd=folder, **{"environment": environment, "seconds": 600, **settings})


def test_folder_environment_arguments_and_streams(tmp_path: Path) -> None:
    program = "import os, sys; print(os.getcwd(), os.environ['TOLD'], sys.argv[1:]); print('bad', file=sys.stderr)"
    done = run(program, tmp_path, "a", 1)
    assert done.stdout == f"{tmp_path} this ['a', '1']\n"
    assert (done.returncode, done.stderr) == (0, "bad\n")


@pytest.mark.parametrize(
    ("program", "status", "message"),
    [
        ("raise SystemExit(3)", 3, ""),
        ("raise SystemExit('no')", 1, "no"),
        ("1 / 0", 1, "ZeroDivisionError"),
        ("import os; os.kill(os.getpid(), 9)", -9, ""),
    ],
)
def test_how_it_ends(program: str, status: int, message: str, tmp_path: Path) -> None:
    done = run(program, tmp_path)
    assert done.returncode == status and message in done.stderr


def test_one_that_takes_too_long_is_killed(tmp_path: Path) -> None:
    program = "import os, pathlib, time; pathlib.Path('id').write_text(str(os.getpid())); time.sleep(1000)"
    for seconds in (1.0, 10.0, 100.0):  # the first will do, unless the machine is busy
        with pytest.raises(subprocess.TimeoutExpired):
            run(program, tmp_path, seconds=seconds)
        if (tmp_path / "id").is_file() and (tmp_path / "id").read_text():
            break
    process = Path("/proc") / (tmp_path / "id").read_text() / "cmdline"
    for _ in range(2000):
        if not process.is_file() or not process.read_bytes():
            return
        subprocess.run(["sleep", "0.05"], check=True)
    raise AssertionError("it still runs")


def test_processes_know_of_each_other_and_end_together(tmp_path: Path) -> None:
    program = (
        "import os, time\n"
        "open(os.environ['RANK'], 'w').write(os.environ['WORLD_SIZE'] + os.environ['MASTER_PORT'])\n"
        "while os.environ['RANK'] == '1' and not (os.path.exists('0') and open('0').read()): time.sleep(0.01)\n"
        "if os.environ['RANK'] == '1': raise SystemExit(5)\n"
        "time.sleep(1000)"
    )
    done = run(program, tmp_path, processes=2)
    assert done.returncode in (5, -15)
    told = [(tmp_path / str(rank)).read_text() for rank in range(2)]
    assert told[0] == told[1] and told[0].startswith("2")


def test_a_reserved_port_is_given_to_nobody_and_may_be_listened_on() -> None:
    with reserved_port() as reserved:
        port = reserved.getsockname()[1]
        with socket.socket() as server:
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            server.bind(("", port))
            server.listen()
            socket.create_connection(("127.0.0.1", port)).close()
        with socket.socket() as other, pytest.raises(OSError):
            other.bind(("127.0.0.1", port))


def test_programs_of_scripts(tmp_path: Path) -> None:
    (tmp_path / "ranks.py").write_text("import os, sys; print(os.environ['RANK'], sys.argv[1:])")
    environment = {**os.environ, **programs(tmp_path / "programs")}
    script = "torchrun --standalone --nproc_per_node=2 ranks.py a && python -c 'print(3)' && lavis nothing"
    done = subprocess.run(
        ["sh", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600, check=False
    )
    assert sorted(done.stdout.splitlines()) == ["0 ['a']", "1 ['a']", "3"]
    assert done.returncode == 2 and "invalid choice: 'nothing'" in done.stderr


@pytest.mark.parametrize("count", [2, 3])
def test_every_process_begins_with_its_long_files(count: int, root: Path) -> None:
    class Item:
        def __init__(self, name: str) -> None:
            self.path = root / "tests" / name

    items: list[Any] = [Item(f"end_to_end/{name}.py") for name in "aabbbc"] + [Item("unit/d.py") for _ in range(15)]
    found = dealt(items, count)
    assert sorted(map(id, found)) == sorted(map(id, items))
    share = len(items) // count
    for first in range(count):
        assert "end_to_end" in str(found[first * share].path)

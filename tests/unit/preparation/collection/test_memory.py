"""An item that takes too much memory fails alone, with a name for it; and idle processes leave nothing behind."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lavis.preparation.collection.command_line import add_running, parser_of, running_of
from lavis.preparation.collection.memory import LimitedMemory
from lavis.preparation.collection.outcome import OverMemory
from lavis.preparation.collection.run import run_collection
from tests.collection_work import as_told, files_of, gorges_in_a_program

ROOT = Path(__file__).resolve().parents[4]
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_DATA holds on Linux only")


def folder_of(tmp_path: Path, **told: str) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    for name, text in told.items():
        (folder / name).write_text(text)
    return folder


@LINUX
def test_one_item_that_takes_too_much_fails_alone(tmp_path: Path) -> None:
    items = files_of(folder_of(tmp_path, a="1", b="gorge", c="2", d="gorge", e="3"))
    summary = run_collection(items, as_told, tmp_path, name="test", workers=1, budget=2, memory_limit_mib=256)
    assert {each.item: each.failure for each in summary.failed} == {"b": "memory_limit", "d": "memory_limit"}
    assert summary.failed[0].error.startswith("it took more than 256 MiB (--memory-limit)")
    assert [(each.result or {})["told"] for each in summary.done] == ["1", "2", "3"]
    processes = [(each.result or {})["process"] for each in summary.done]
    assert len(set(processes)) == 3  # the process that gorged is replaced
    (row, _) = map(json.loads, summary.quarantine.read_text().splitlines())
    assert (row["item"], row["failure"]) == ("b", "memory_limit")
    # It is known in the journal, stays in quarantine, and passes with more when it is asked for.
    again = run_collection(items, as_told, tmp_path, name="test", budget=2, memory_limit_mib=256)
    assert (again.new, len(again.failed)) == (0, 2)
    more = run_collection(items[:2], as_told, tmp_path, name="test", workers=1, retry=True, memory_limit_mib=4096)
    assert (more.new, more.failed) == (1, [])


@LINUX
def test_programs_that_are_started_are_limited_too(tmp_path: Path) -> None:
    items = files_of(folder_of(tmp_path, a=""))
    summary = run_collection(
        items, gorges_in_a_program, tmp_path, name="test", workers=1, budget=1, memory_limit_mib=256
    )
    assert summary.failed[0].failure == "memory_limit"
    assert "MemoryError" in summary.failed[0].error


@pytest.mark.parametrize(
    ("error", "of_memory"),
    [
        (MemoryError(), True),
        (OSError(errno.ENOMEM, "no"), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), True),
        (ValueError("ffmpeg: Cannot allocate memory"), True),
        (ValueError("not a video"), False),
        (OSError(errno.ENOENT, "no"), False),
    ],
)
def test_which_errors_are_of_memory(error: Exception, of_memory: bool, tmp_path: Path) -> None:
    def work(item: Any, scratch: Path) -> dict[str, Any]:
        try:
            raise error
        except Exception as cause:
            raise ValueError("it could not be read") from cause

    limited = LimitedMemory(work, 7)
    expected = pytest.raises(OverMemory, match=r"more than 7 MiB \(--memory-limit\)") if of_memory else None
    with expected or pytest.raises(ValueError, match="could not be read"):
        limited(files_of(folder_of(tmp_path, a=""))[0], tmp_path)


def test_without_a_limit_it_is_an_error_like_others(tmp_path: Path) -> None:
    items = files_of(folder_of(tmp_path, a="raise"))
    assert run_collection(items, as_told, tmp_path, name="test", budget=1).failed[0].failure == "error"


@pytest.mark.parametrize(
    ("executor", "limit", "message"), [("serial", 100, "this very process"), ("pool", 0, "at least 1")]
)
def test_limits_that_make_no_sense(tmp_path: Path, executor: Any, limit: int, message: str) -> None:
    items = files_of(folder_of(tmp_path, a="1"))
    with pytest.raises(ValueError, match=message):
        run_collection(items, as_told, tmp_path, name="test", executor=executor, memory_limit_mib=limit)


def test_the_option_of_the_command_line() -> None:
    parser = parser_of("What.")
    add_running(parser)
    assert running_of(parser.parse_args(["--memory-limit", "2048"]))["memory_limit_mib"] == 2048
    assert running_of(parser.parse_args([]))["memory_limit_mib"] is None


def test_no_semaphores_are_left_behind(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path\n"
        "from lavis.preparation.collection.run import run_collection\n"
        "from tests.collection_work import files_of, makes_a_semaphore\n"
        "if __name__ == '__main__':\n"
        "    run_collection(files_of(Path(sys.argv[1])), makes_a_semaphore, sys.argv[2], name='test', workers=2)\n"
    )
    program = tmp_path / "run.py"
    program.write_text(script)
    folder = folder_of(tmp_path, a="", b="", c="")
    arguments = [sys.executable, str(program), str(folder), str(tmp_path / "out")]
    done = subprocess.run(
        arguments,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=600,
        check=True,
    )
    assert "leaked" not in done.stderr

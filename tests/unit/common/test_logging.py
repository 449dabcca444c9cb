"""Messages of a run, and progress on terminals and elsewhere."""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lavis.common.logging import Progress, close_logging, format_seconds, get_logger, setup_logging


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    close_logging()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_messages_reach_file_and_standard_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    setup_logging(tmp_path)
    get_logger("lavis.runners").info("epoch %d", 3)
    assert capsys.readouterr().err.endswith("INFO epoch 3\n")
    assert (tmp_path / "run.log").read_text().endswith("INFO epoch 3\n")


def test_again_replaces_and_appends(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        setup_logging(tmp_path)
    get_logger().info("once")
    assert capsys.readouterr().err.count("once") == 1
    setup_logging(tmp_path)
    get_logger().info("twice")
    assert len((tmp_path / "run.log").read_text().splitlines()) == 2


def test_other_ranks_only_warn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "2")
    setup_logging(tmp_path)
    get_logger().info("quiet")
    get_logger().warning("loud")
    assert capsys.readouterr().err.startswith("[rank 2] ")
    assert not (tmp_path / "run.log").exists()
    assert list(Progress([1, 2], "x", every=1e-9)) == [1, 2]
    assert capsys.readouterr().err == ""


def test_closed_logging_is_as_before() -> None:
    setup_logging()
    close_logging()
    assert logging.getLogger("lavis").handlers == []
    assert logging.getLogger("lavis").propagate


def test_lines_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    setup_logging()
    progress = Progress(range(3), "epoch 1/2", done=5, total=8, every=1e-9)
    for _ in progress:
        progress.facts(loss=0.123456)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].endswith("epoch 1/2 6/8, 0:00 left, loss 0.1235")
    assert len(lines) == 3


def test_items_may_count_several(capsys: pytest.CaptureFixture[str]) -> None:
    setup_logging()
    assert list(Progress(["ab", "c"], "x", total=3, weight=len, unit="queries", every=1e-9)) == ["ab", "c"]
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(" x ")[1].split(",")[0] for line in lines] == ["2/3", "3/3"]
    assert all(line.endswith(" queries/s") for line in lines)


def test_few_lines_if_the_interval_is_long(capsys: pytest.CaptureFixture[str]) -> None:
    setup_logging()
    assert list(Progress(range(3), "x", every=60.0)) == [0, 1, 2]
    assert list(Progress(iter([1]), "y", every=0)) == [1]
    assert capsys.readouterr().err == ""


def test_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    progress = Progress(range(3), "epoch 1/2")
    for _ in progress:
        progress.facts(loss=0.5)
    assert "epoch 1/2" in terminal.getvalue()


@pytest.mark.parametrize(("seconds", "text"), [(3, "0:03"), (62.4, "1:02"), (3723, "1:02:03"), (-1, "0:00")])
def test_seconds(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text

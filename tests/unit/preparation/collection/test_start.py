"""Work that loads something before its first item: once in each process, and again where one died."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lavis.preparation.collection.items import Item
from lavis.preparation.collection.pool import StartError
from lavis.preparation.collection.run import run_collection
from tests.collection_work import files_of
from tests.started_work import Started


def items_of(folder: Path, told: list[str]) -> list[Item]:
    folder.mkdir()
    for number, text in enumerate(told):
        (folder / f"{number:02d}").write_text(text)
    return files_of(folder)


def test_each_process_starts_once(tmp_path: Path) -> None:
    items = items_of(tmp_path / "in", ["1"] * 8)
    summary = run_collection(items, Started(tmp_path / "notes"), tmp_path, name="test", workers=2)
    starts = [line.split() for line in (tmp_path / "notes").read_text().splitlines()]
    assert sorted(number for number, _ in starts) == ["0", "1"]
    by_process = {int(process): int(number) for number, process in starts}
    for outcome in summary.outcomes:
        assert outcome.result is not None
        assert by_process[outcome.result["process"]] == outcome.result["worker"]


def test_this_process_starts_too(tmp_path: Path) -> None:
    items = items_of(tmp_path / "in", ["1"] * 3)
    run_collection(items, Started(tmp_path / "notes"), tmp_path, name="test", executor="serial")
    assert (tmp_path / "notes").read_text() == f"0 {os.getpid()}\n"
    run_collection(items, Started(tmp_path / "notes"), tmp_path, name="test", executor="serial")
    assert (tmp_path / "notes").read_text() == f"0 {os.getpid()}\n", "nothing is to be done, and nothing is loaded"


def test_a_process_that_died_is_started_again_under_its_number(tmp_path: Path) -> None:
    items = items_of(tmp_path / "in", ["1", "die", "1"])
    summary = run_collection(items, Started(tmp_path / "notes"), tmp_path, name="test", workers=1, budget=1)
    assert [outcome.failure for outcome in summary.outcomes] == [None, "died", None]
    starts = (tmp_path / "notes").read_text().splitlines()
    assert [line.split()[0] for line in starts] == ["0", "0"]


def test_what_cannot_start_ends_the_job(tmp_path: Path) -> None:
    items = items_of(tmp_path / "in", ["1"] * 3)
    with pytest.raises(StartError, match="^there is no model$"):
        run_collection(items, Started(tmp_path / "notes", "there is no model"), tmp_path, name="test", workers=2)
    with pytest.raises(RuntimeError, match="could not start"):
        run_collection(items, Started(tmp_path / "notes", "exit"), tmp_path, name="test", workers=1)
    assert not list(tmp_path.rglob("journal-*.jsonl")), "no item is to blame"

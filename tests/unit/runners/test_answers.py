"""A predictions file that was edited by hand: what was not touched is kept, the rest is asked again, and it is said."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lavis.runners.answers import AnswerFiles
from lavis.runners.runner import Runner
from lavis.structures import Moment, Prediction
from tests.fake_run import FakeModel, fake_runner

Maker = Callable[[], tuple[Runner, FakeModel]]
LINES = Callable[[list[str]], list[str]]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Maker]:
    made: list[Runner] = []

    def build() -> tuple[Runner, FakeModel]:
        model = FakeModel()
        # One at a time: what is asked alone and what in a batch may differ in the last digit.
        made.append(fake_runner(tmp_path, model, eval_batch_size=1))
        return made[-1], model

    yield build
    for runner in made:
        runner.engine.close()


def changed(line: str, **fields: Any) -> str:
    return json.dumps({**json.loads(line), **fields})


EDITS: dict[str, tuple[LINES, list[str], str]] = {
    "changed": (lambda ls: [ls[0], changed(ls[1], text="9"), *ls[2:]], ["val_1"], "the answer to val_1 was changed"),
    "out of range": (
        lambda ls: [changed(ls[0], moments=[[-5, 1e9]]), *ls[1:]], ["val_0"], "the answer to val_0 was changed",
    ),
    "not finite": (lambda ls: [*ls[:4], changed(ls[4], moments=[[float("nan"), 3]])], ["val_4"], "val_4 was changed"),
    "deleted": (lambda ls: [*ls[:2], *ls[3:]], ["val_2"], r"1 rows were changed or are missing \(val_2\)"),
    "doubled": (lambda ls: [*ls, ls[0]], [], "line 6: val_0 comes twice"),
    "torn in the middle": (lambda ls: [ls[0], ls[1][:25], *ls[2:]], ["val_1"], "line 2 is no prediction"),
    "not JSON": (lambda ls: [*ls[:4], "{,}"], ["val_4"], "line 5 is no prediction"),
    "no mapping": (lambda ls: ["[1]", *ls[1:]], ["val_0"], "line 1 is no prediction"),
    "no id": (lambda ls: ['{"moments": []}', *ls[1:]], ["val_0"], "line 1 is no prediction"),
    "unknown id": (lambda ls: [*ls, changed(ls[0], id="elsewhere")], [], "line 6: 'elsewhere' was not answered here"),
    "another's answer": (lambda ls: [*ls[:4], changed(ls[0], id="val_4")], ["val_4"], "the answer to val_4 was ch"),
}  # fmt: skip


@pytest.mark.parametrize("edit", list(EDITS))
def test_only_what_was_edited_is_asked_again(
    make: Maker, tmp_path: Path, caplog: pytest.LogCaptureFixture, edit: str
) -> None:
    spoil, asked, message = EDITS[edit]
    runner, _ = make()
    whole = runner.evaluate(["val"])
    path = tmp_path / "predictions" / "fake_val.jsonl"
    before = path.read_bytes()
    path.write_text("\n".join(spoil(before.decode().splitlines())) + "\n")
    edited = path.read_bytes()
    other, model = make()
    assert other.evaluate(["val"]) == whole
    assert model.asked == asked
    assert path.read_bytes() == before
    assert re.search(message, caplog.text)
    assert "fake_val.jsonl was not left as it was written" in caplog.text
    assert path.with_name(".fake_val.edited.jsonl").read_bytes() == edited
    caplog.clear()
    third, model = make()
    assert third.evaluate(["val"]) == whole
    assert model.asked == []
    assert "not left" not in caplog.text


def test_a_file_formatted_anew_is_the_same(make: Maker, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    runner, _ = make()
    runner.evaluate(["val"])
    path = tmp_path / "predictions" / "fake_val.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("\n\n".join(json.dumps(row, sort_keys=True, separators=(",", ":")) for row in rows))
    other, model = make()
    other.evaluate(["val"])
    assert model.asked == []
    assert "not left" not in caplog.text


def test_a_removed_file_is_asked_anew(make: Maker, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    runner, _ = make()
    runner.evaluate(["val"])
    (tmp_path / "predictions" / "fake_val.jsonl").unlink()
    other, model = make()
    other.evaluate(["val"])
    assert len(model.asked) == 5
    assert "not left" not in caplog.text


@pytest.mark.parametrize("content", ["{", "[]"])
def test_without_its_fingerprint_all_is_asked_anew(make: Maker, tmp_path: Path, content: str) -> None:
    runner, _ = make()
    whole = runner.evaluate(["val"])
    (tmp_path / "predictions" / ".fake_val.fingerprint.json").write_text(content)
    other, model = make()
    assert other.evaluate(["val"]) == whole
    assert len(model.asked) == 5


def test_edits_during_an_interruption_are_noticed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    files = AnswerFiles(tmp_path, "x_val")
    samples = {"a": "1", "b": "2", "c": "3"}
    assert files.known("f", samples) == {}
    files.add([Prediction("a", [Moment(1, 2)]), Prediction("b", [Moment(3, 4)])])
    files.path.write_text(files.path.read_text().replace("[[1, 2]]", "[[1, 3]]"))
    again = AnswerFiles(tmp_path, "x_val")
    assert again.known("f", samples) == {"b": Prediction("b", [Moment(3, 4)])}
    assert "the answer to a was changed" in caplog.text
    assert not list(tmp_path.glob(".x_val.digests*"))


def test_a_crash_between_digests_and_rows_loses_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    files = AnswerFiles(tmp_path, "x_val")
    samples = {"a": "1", "b": "2"}
    files.known("f", samples)
    files.add([Prediction("a", [])])
    whole = files.path.read_bytes()
    files.add([Prediction("b", [])])
    files.path.write_bytes(whole)
    assert list(AnswerFiles(tmp_path, "x_val").known("f", samples)) == ["a"]
    assert caplog.text == ""


def test_digests_that_cannot_be_read_vouch_for_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    files = AnswerFiles(tmp_path, "x_val")
    files.known("f", {"a": "1"})
    files.add([Prediction("a", [])])
    (journal,) = tmp_path.glob(".x_val.digests*")
    journal.write_text("{,}\n")
    assert AnswerFiles(tmp_path, "x_val").known("f", {"a": "1"}) == {}
    assert "are asked again" in caplog.text


def test_a_batch_whose_rows_were_cut_short_is_asked_again_as_a_whole(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    files = AnswerFiles(tmp_path, "x_val")
    samples = dict.fromkeys("abcde", "1")
    files.known("f", samples)
    files.add([Prediction("a", []), Prediction("b", [])])
    files.add([Prediction(identity, [Moment(1, 2)]) for identity in "cde"])
    files.path.write_bytes(files.path.read_bytes()[:-10])
    assert list(AnswerFiles(tmp_path, "x_val").known("f", samples)) == ["a", "b"]
    assert caplog.text == ""

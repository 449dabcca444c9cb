"""Which checkpoint is whole, which one is loaded, which ones stay, and what becomes of a write that fails."""

from __future__ import annotations

import io
import json
import resource
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from lavis.common.checkpoint import CheckpointError
from lavis.runners import state
from lavis.runners.checkpoints import checkpoints, named, newest_whole, step_of, verified
from lavis.runners.failures import RunError
from lavis.runners.hooks.base import Hook
from lavis.runners.runner import Runner
from lavis.runners.saver import Saver
from tests.fake_run import fake_runner

Maker = Callable[..., Runner]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Maker]:
    made: list[Runner] = []

    def build(folder: str = "run", **settings: Any) -> Runner:
        made.append(fake_runner(tmp_path / folder, **{"epochs": 1, "valid_splits": [], "save_steps": 1, **settings}))
        return made[-1]

    yield build
    for runner in made:
        runner.engine.close()


@pytest.fixture
def saved(make: Maker) -> Path:
    """A folder with the checkpoints of the last two of four iterations."""
    make().train()
    return make().saver.folder


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != "best.safetensors")


def spoil(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


@pytest.fixture
def warnings(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level("WARNING", "lavis")
    return caplog


def test_the_newest_stay(saved: Path, make: Maker) -> None:
    assert names(saved) == ["step_000003", "step_000004"]
    assert set(verified(saved / "step_000004")) == {"progress", "processes", "global_batch", "files"}
    make("one", keep_checkpoints=1).train()
    make("three", keep_checkpoints=3).train()
    assert names(saved.parents[1] / "one" / "checkpoints") == ["step_000004"]
    assert len(names(saved.parents[1] / "three" / "checkpoints")) == 3


def test_some_epochs_stay_for_good(make: Maker) -> None:
    runner = make(epochs=5, keep_every=2, keep_checkpoints=1)
    runner.train()
    assert [step_of(path) for path in checkpoints(runner.saver.folder)] == [8, 16, 20]


@pytest.mark.parametrize("name", ["weights.safetensors", "state.pt", "process0.pt"])
def test_the_one_before_a_torn_one(saved: Path, name: str, warnings: pytest.LogCaptureFixture) -> None:
    path = saved / "step_000004" / name
    path.write_bytes(path.read_bytes()[:-10])
    found = newest_whole(saved)
    assert found is not None
    assert found[0] == saved / "step_000003"
    assert f"{name} is torn or was changed" in warnings.text
    assert "goes on from" in warnings.text
    assert "the iterations 4 to 4 are done again" in warnings.text
    assert names(saved) == ["step_000003", "torn_step_000004"]


def test_a_changed_byte_a_lost_file_and_a_torn_manifest(saved: Path) -> None:
    newest = saved / "step_000004"
    spoil(newest / "state.pt")
    with pytest.raises(CheckpointError, match=r"state\.pt is torn or was changed"):
        verified(newest)
    (newest / "state.pt").unlink()
    with pytest.raises(CheckpointError, match="0 bytes"):
        verified(newest)
    manifest = newest / "manifest.json"
    manifest.write_text(manifest.read_text()[:-30])
    with pytest.raises(CheckpointError, match=r"manifest\.json cannot be read"):
        verified(newest)
    manifest.write_text(json.dumps({"progress": {}, "processes": 1, "global_batch": 2, "files": {"a": 3}}))
    with pytest.raises(CheckpointError, match=r"manifest\.json cannot be read"):
        verified(newest)
    manifest.unlink()
    with pytest.raises(CheckpointError, match=r"has no manifest\.json: it is torn"):
        verified(newest)


def test_all_torn(saved: Path) -> None:
    for checkpoint in checkpoints(saved):
        spoil(checkpoint / "weights.safetensors")
    with pytest.raises(CheckpointError, match=r"no checkpoint in .* is whole: .*step_000004.*step_000003.*=never"):
        newest_whole(saved)
    assert names(saved) == ["step_000003", "step_000004"]


def test_a_torn_one_does_not_count_among_those_to_keep(saved: Path, make: Maker) -> None:
    spoil(saved / "step_000004" / "state.pt")
    make(max_steps=6, epochs=2).train()
    assert names(saved) == ["step_000005", "step_000006"]


def test_what_a_killed_run_was_writing(saved: Path, make: Maker) -> None:
    complete, partial = saved / ".step_000004.part", saved / ".step_000005.part"
    (saved / "step_000004").rename(complete)
    partial.mkdir()
    (partial / "state.pt").write_bytes(b"half")
    (saved / ".step_000002.old").mkdir()
    make().saver.tidy()
    assert names(saved) == ["step_000003", "step_000004"]
    verified(saved / "step_000004")


def test_beginning_anew_leaves_nothing_to_resume(saved: Path, make: Maker) -> None:
    (saved / "torn_step_000009").mkdir()
    make().saver.clear()
    assert names(saved) == []
    assert newest_whole(saved) is None


def test_naming_one(saved: Path) -> None:
    assert named(saved / "step_000003")[0] == saved / "step_000003"
    assert named(saved)[0] == named(saved.parent)[0] == saved / "step_000004"
    with pytest.raises(CheckpointError, match="is no checkpoint folder with a manifest.*and no run that has one"):
        named(saved.parents[1] / "nothing")
    spoil(saved / "step_000003" / "state.pt")
    with pytest.raises(CheckpointError, match="is torn"):
        named(saved / "step_000003")
    spoil(saved / "step_000004" / "state.pt")
    with pytest.raises(CheckpointError, match="is whole"):
        named(saved.parent)
    assert names(saved) == ["step_000003", "step_000004"]  # another's run is left as it is


def test_going_back_drops_what_came_after(saved: Path, make: Maker) -> None:
    again = make(resume=str(saved / "step_000003"), max_steps=3)
    again.train()
    assert names(saved) == ["step_000003", "step_000004"]
    again = make(resume=str(saved / "step_000003"))
    again.train()
    assert names(saved) == ["step_000003", "step_000004"]
    other = make(resume=str(saved / "step_000003"), save_steps=2, max_steps=6, epochs=2)
    other.train()
    assert names(saved) == ["step_000004", "step_000006"]


def test_an_iteration_is_written_once(make: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[Path] = []
    plain = state.Snapshot.write
    monkeypatch.setattr(state.Snapshot, "write", lambda self, folder: written.append(folder) or plain(self, folder))
    runner = make(epochs=2)
    runner.train()
    assert len(written) == 8  # the end of an epoch only renews how far it is
    assert runner.latest is not None
    assert verified(runner.latest)["progress"]["epoch"] == 2


class Counts(Hook):
    """Counts iterations, and validations in a way that only its own state knows."""

    def __init__(self) -> None:
        self.steps = self.validations = 0

    def state_dict(self) -> dict[str, Any]:
        return {"steps": self.steps, "validations": self.validations}

    def load_state_dict(self, state: Any) -> None:
        self.steps, self.validations = state["steps"], state["validations"]

    def step(self, runner: Runner, record: Any) -> None:
        self.steps += 1

    def validate(self, runner: Runner) -> None:
        self.validations += 1


def test_what_hooks_count_is_saved_after_their_turn(make: Maker) -> None:
    settings: dict[str, Any] = {"epochs": 3, "valid_splits": ["val"], "log_every": 3, "save_steps": 2}
    for steps in (2, 6, None):
        runner, counts = make("parts", max_steps=steps, **settings), Counts()
        runner.hooks.append(counts)
        runner.train()
        assert counts.steps == runner.progress.global_step
    make("whole", **settings).train()
    lines = [
        [(row["step"], row["loss"]) for row in map(json.loads, file.read_text().splitlines()) if "loss" in row]
        for file in (runner.folder / "metrics.jsonl", runner.folder.parent / "whole" / "metrics.jsonl")
    ]
    assert lines[0] == lines[1]
    assert [step for step, _ in lines[0]] == [3, 6, 9, 12]


# Writing beside the training


def test_beside_the_training_the_files_are_the_same(make: Maker) -> None:
    make("beside", async_save=True).train()
    make("plain").train()
    folders = [make(name).saver.folder for name in ("beside", "plain")]
    assert names(folders[0]) == names(folders[1]) == ["step_000003", "step_000004"]
    for path in (folders[0] / "step_000003").iterdir():
        assert path.read_bytes() == (folders[1] / "step_000003" / path.name).read_bytes()


def test_the_training_goes_on_while_it_is_written(make: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    gate, plain = threading.Event(), state.Snapshot.write
    seen: list[str] = []

    def write(self: state.Snapshot, folder: Path) -> list[Path]:
        assert gate.wait(600)
        return plain(self, folder)

    class Opens(Hook):
        def step(self, runner: Runner, record: Any) -> None:
            if record.global_step == 2:
                seen.extend(names(runner.saver.folder))
                gate.set()

    monkeypatch.setattr(state.Snapshot, "write", write)
    runner = make(async_save=True, save_steps=2)
    runner.hooks.append(Opens())
    runner.train()
    assert seen == [".step_000002.part"]
    assert names(runner.saver.folder) == ["step_000002", "step_000004"]


def test_a_failure_beside_the_training_is_told_at_the_next_step(
    make: Maker, monkeypatch: pytest.MonkeyPatch, warnings: pytest.LogCaptureFixture
) -> None:
    fail_first(monkeypatch, 1)
    make(async_save=True).train()
    assert warnings.text.count("was not written: cannot write") == 1


def test_a_fault_beside_the_training_is_no_failed_write(make: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(self: state.Snapshot, folder: Path) -> list[Path]:
        raise ZeroDivisionError("ours")

    monkeypatch.setattr(state.Snapshot, "write", write)
    with pytest.raises(ZeroDivisionError, match="ours"):
        make(async_save=True, save_steps=1).train()


# Disks that are full


def fail_first(monkeypatch: pytest.MonkeyPatch, times: int) -> None:
    """The next ``times`` archives meet a full disk."""
    plain, left = torch.save, [times]

    def save(content: Any, file: Any) -> None:
        if not isinstance(file, io.BytesIO):
            left[0] -= 1
            if left[0] >= 0:
                raise OSError(28, "No space left on device")
        plain(content, file)

    monkeypatch.setattr(torch, "save", save)


def test_a_failed_save_is_told_and_tried_again(
    make: Maker, monkeypatch: pytest.MonkeyPatch, warnings: pytest.LogCaptureFixture
) -> None:
    runner = make(max_steps=2)
    runner.train()
    fail_first(monkeypatch, 1)
    runner = make()
    runner.train()
    assert "step_000003 was not written: cannot write" in warnings.text
    assert "No space left on device" in warnings.text
    assert "MiB free" in warnings.text
    assert "step_000002, is untouched" in warnings.text
    assert "tries again at the next save" in warnings.text
    assert names(runner.saver.folder) == ["step_000002", "step_000004"]


def test_a_save_that_must_be_ends_the_run(make: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    make(max_steps=2).train()
    fail_first(monkeypatch, 99)
    runner = make(max_steps=4)
    with pytest.raises(RunError, match=r"step_000004 was not written: cannot write .*No space left.*start again"):
        runner.train()
    assert names(runner.saver.folder) == ["step_000001", "step_000002"]
    monkeypatch.undo()
    again = make(max_steps=4)
    again.train()
    assert names(runner.saver.folder) == ["step_000003", "step_000004"]


def test_lines_of_the_curve_wait_for_room(
    make: Maker, monkeypatch: pytest.MonkeyPatch, warnings: pytest.LogCaptureFixture
) -> None:
    from lavis.runners.hooks import log

    plain, left = log.append_jsonl, [2]

    def append(path: Path, rows: Any) -> Path:
        left[0] -= 1
        if left[0] >= 0:
            raise OSError(28, "No space left on device")
        return plain(path, rows)

    monkeypatch.setattr(log, "append_jsonl", append)
    runner = make()
    runner.train()
    rows = [json.loads(line) for line in (runner.folder / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    assert "2 lines are kept for the next attempt" in warnings.text


def test_best_weights_that_cannot_be_saved(make: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    from lavis.runners import best as module

    def save(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "save_checkpoint", save)
    with pytest.raises(RunError, match=r"best weights were not saved: .*No space left.*what the validation answered"):
        make(valid_splits=["val"]).train()
    monkeypatch.undo()
    again = make(valid_splits=["val"])
    again.train()
    assert again.engine.model.asked == []  # type: ignore[union-attr]
    assert again.best.is_file()


def test_settings_are_checked() -> None:
    from tests.fake_run import run_config

    for name in ("keep_checkpoints", "keep_every"):
        with pytest.raises(ValueError, match=f"{name} must be at least 1"):
            run_config(**{name: 0})
    assert Saver(Path("x")).keep == 2


@pytest.mark.parametrize("beside", [False, True])
def test_shards_that_do_not_fit(make: Maker, beside: bool, warnings: pytest.LogCaptureFixture) -> None:
    class Fills(Hook):
        """Lets no file grow beyond 1 kB while the second checkpoint is written."""

        limits = resource.getrlimit(resource.RLIMIT_FSIZE)

        def step(self, runner: Runner, record: Any) -> None:
            low = record.global_step == 1
            resource.setrlimit(resource.RLIMIT_FSIZE, (1000 if low else self.limits[0], self.limits[1]))

    runner = make(sharded_checkpoints=True, async_save=beside)
    runner.hooks.append(Fills())
    runner.train()
    assert "step_000002 was not written: cannot write" in warnings.text
    assert "too large" in warnings.text
    assert names(runner.saver.folder) == ["step_000003", "step_000004"]
    assert "shards/__0_0.distcp" in verified(runner.saver.folder / "step_000004")["files"]

"""Curves, log lines and further hooks."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lavis.common.construct import ConfigError
from lavis.common.registry import UnknownEntryError
from lavis.runners.hooks.base import STANDARD, build_hooks
from lavis.runners.hooks.log import Log
from lavis.runners.hooks.timer import Timer
from lavis.runners.runner import Runner
from tests.fake_run import fake_runner

Maker = Callable[..., Runner]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Maker]:
    made: list[Runner] = []

    def build(**settings: Any) -> Runner:
        made.append(fake_runner(tmp_path, **settings))
        return made[-1]

    yield build
    for runner in made:
        runner.engine.close()


def rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_standard_hooks_come_first_and_can_be_set() -> None:
    hooks = build_hooks(["tensorboard", {"name": "log", "bar_seconds": 5.0}])
    assert [type(hook).__name__ for hook in hooks] == ["Timer", "Log", "CheckpointHook", "Evaluate", "TensorBoard"]
    assert isinstance(hooks[1], Log)
    assert hooks[1].bar_seconds == 5.0
    assert len(build_hooks([])) == len(STANDARD)


def test_unknown_hooks_and_settings() -> None:
    with pytest.raises(
        UnknownEntryError, match=r"unknown hook 'tensorbord' \(run.hooks\)\. Did you mean 'tensorboard'"
    ):
        build_hooks(["tensorbord"])
    with pytest.raises(ConfigError, match=r"run\.hooks.*evry"):
        build_hooks([{"name": "log", "evry": 3}])


def test_lines_are_means_since_the_last(make: Maker, tmp_path: Path) -> None:
    make(log_every=1, valid_splits=[]).train()
    each = [row["loss"] for row in rows(tmp_path)]
    make(log_every=4, valid_splits=[], resume="never").train()
    assert [row["loss"] for row in rows(tmp_path)] == pytest.approx([sum(each[:4]) / 4, sum(each[4:]) / 4])
    assert {"step", "epoch", "loss", "lr", "lm", "seconds"} == set(rows(tmp_path)[0])


def test_repeated_iterations_have_one_line(make: Maker, tmp_path: Path) -> None:
    make(max_steps=3).train()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"step": 4, "loss": 9.0}) + "\n" + '{"step": 5, "lo')
    make().train()
    steps = [row["step"] for row in rows(tmp_path) if "loss" in row]
    assert steps == list(range(1, 9))


def test_an_evaluation_alone_is_no_point_of_a_curve(make: Maker, tmp_path: Path) -> None:
    runner = make()
    runner.learning = False
    runner.evaluate(["test"])
    (row,) = rows(tmp_path)
    assert row["split"] == "fake_test"
    assert "step" not in row


def test_tensorboard_has_the_curves(make: Maker, tmp_path: Path) -> None:
    make(hooks=["tensorboard"], epochs=1).train()
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert {"train/loss", "train/lr", "fake_val/error"} <= set(events.Tags()["scalars"])
    assert [event.step for event in events.Scalars("train/loss")] == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("hook", "module", "cure"),
    [("tensorboard", "torch.utils.tensorboard", "tensorboard"), ("wandb", "wandb", r"'lavis\[track\]'")],
)
def test_a_missing_package_is_named(
    make: Maker, monkeypatch: pytest.MonkeyPatch, hook: str, module: str, cure: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ValueError, match=rf"run\.hooks: {hook} needs its package; pip install {cure}"):
        make(hooks=[hook]).train()


def test_wandb_gets_the_curves(make: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    logged: list[tuple[int, set[str]]] = []
    session = SimpleNamespace(
        log=lambda row, step: logged.append((step, set(row))), finish=lambda: logged.append((0, set()))
    )
    started: list[dict[str, Any]] = []

    def init(**settings: Any) -> Any:
        started.append(settings)
        return session

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=init))
    make(hooks=[{"name": "wandb", "project": "moments"}], epochs=1).train()
    assert (started[0]["project"], started[0]["mode"]) == ("moments", "offline")
    assert [step for step, _ in logged] == [1, 2, 3, 4, 4, 0]
    assert "train/loss" in logged[0][1]
    assert "fake_val/error" in logged[4][1]


def test_time_of_the_first_iteration_is_not_counted(make: Maker) -> None:
    runner = make()
    record = SimpleNamespace(step=0, facts={})
    timer = Timer()
    timer.start(runner)
    timer.step(runner, record)  # type: ignore[arg-type]
    assert record.facts == {}
    record.step = 1
    timer.step(runner, record)  # type: ignore[arg-type]
    assert record.facts["seconds"] >= 0


def test_a_best_metric_that_is_no_number_is_not_kept(make: Maker, caplog: pytest.LogCaptureFixture) -> None:
    runner = make(epochs=1)
    runner.task.evaluate = lambda samples, predictions: {"agg_metrics": float("nan")}  # type: ignore[method-assign]
    runner.train()
    assert "no number; these weights are not kept" in caplog.text
    assert runner.progress.best is None

"""Stages in order, and only those that are not done yet or no longer true."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lavis.common.yaml_tree import ConfigError
from lavis.runners.pipeline_stages import Stage

Run = Callable[..., list[tuple[str, bool]]]

NAMES = ["stage1", "predictions", "stage2", "evaluation"]


def test_stages_in_order_and_then_not_again(run: Run, calls: list[str]) -> None:
    assert run() == [(name, False) for name in NAMES]
    assert calls == ["train one auto", "evaluate one train,val", "train two auto", "evaluate two val"]
    assert run() == [(name, True) for name in NAMES]
    assert len(calls) == 4
    assert Path("results/pipelines/calce/both.json").is_file()


def test_a_changed_setting_repeats_what_depends_on_it(run: Run, calls: list[str]) -> None:
    run()
    calls.clear()
    assert run("stages.stage2.run.learning_rate=2") == [
        *(("stage1", True), ("predictions", True)),
        *(("stage2", False), ("evaluation", False)),
    ]
    assert calls == ["train two never", "evaluate two val"]


def test_how_a_stage_runs_does_not_count(run: Run) -> None:
    run()
    assert all(skipped for _, skipped in run("run.num_workers=4", "run.device=cpu"))


def test_a_changed_first_stage_repeats_everything(run: Run, calls: list[str]) -> None:
    run()
    calls.clear()
    assert run("run.learning_rate=3") == [(name, False) for name in NAMES]
    assert calls[0] == "train one never"


def test_changed_content_of_an_input_counts_and_its_time_does_not(run: Run) -> None:
    run()
    Path("train.json").touch()
    assert all(skipped for _, skipped in run())
    Path("results/one/predictions/qvh_val.jsonl").write_text("other\n")
    assert run() == [("stage1", True), ("predictions", False), ("stage2", True), ("evaluation", True)]
    Path("val.json").write_text("[1]")
    assert run() == [(name, False) for name in NAMES]


def test_a_lost_output_is_made_again(run: Run, calls: list[str]) -> None:
    run()
    calls.clear()
    Path("results/two/checkpoints/best.safetensors").unlink()
    assert [name for name, skipped in run() if not skipped] == ["stage2"]
    assert calls == ["train two never"], "its last weights need not be its best"


def test_an_interrupted_stage_is_resumed_if_it_is_the_same(run: Run, calls: list[str]) -> None:
    def failing(stages: list[dict[str, Any]]) -> None:
        stages[2]["options"] = ["run.fail=true"]

    for resume in ("auto", "auto"):
        with pytest.raises(OSError, match="fire"):
            run(change=failing)
        assert calls.pop() == f"train two {resume}"
    assert [name for name, skipped in run() if not skipped] == ["stage2", "evaluation"]
    assert calls[-2] == "train two never"


def test_other_actions_inputs_and_outputs(run: Run) -> None:
    seen: list[Stage] = []
    Path("extra.json").write_text("[]")

    def merge(stage: Stage) -> list[Path]:
        seen.append(stage)
        Path("merged.json").write_text("x")
        return []

    def with_merge(stages: list[dict[str, Any]]) -> None:
        settings = {"split": "val"}
        stages.append(
            {
                "name": "merge",
                "action": "merge",
                "settings": settings,
                "inputs": ["extra.json"],
                "outputs": ["merged.json"],
            }
        )

    assert run(change=with_merge, actions={"merge": merge})[-1] == ("merge", False)
    assert seen[0].settings == {"split": "val"}
    assert run(change=with_merge, actions={"merge": merge})[-1] == ("merge", True)
    Path("extra.json").unlink()
    with pytest.raises(ValueError, match=r"stage 5/5 merge reads files that do not exist: extra\.json \(it was there"):
        run(change=with_merge, actions={"merge": merge})


def test_a_stage_that_does_not_write_its_outputs(run: Run) -> None:
    with pytest.raises(ValueError, match=r"stage 1/4 stage1 ended without writing nowhere\.txt"):
        run(change=lambda stages: stages[0].update(outputs=["nowhere.txt"]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda stages: stages[0].update(action="boil"), "unknown action 'boil'; known: evaluate, infer, train"),
        (lambda stages: stages[0].update(verb="boil"), "stage 'stage1': unknown key verb; known: name, action"),
        (lambda stages: stages[1].update(name="stage1"), "stage 'stage1' is given twice"),
        (lambda stages: stages[0].pop("config"), "the action 'train' needs a 'config'"),
        (lambda stages: stages[0].pop("name"), "stage 1 needs a name and an action"),
        (lambda stages: stages[3].update(config="three"), "three"),
        (lambda stages: stages.clear(), "'stages' must be a list"),
    ],
)
def test_faults_are_found_before_the_first_stage(run: Run, calls: list[str], change: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        run(change=change)
    assert calls == []


def test_an_option_for_a_stage_that_is_not_there(run: Run) -> None:
    with pytest.raises(ConfigError, match="has no stage stage9; it has stage1, predictions"):
        run("stages.stage9.run.seed=1")

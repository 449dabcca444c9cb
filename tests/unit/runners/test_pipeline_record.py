"""Why a stage is done again, in words; what is kept; and files that were spoilt between stages."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lavis.actions import more_actions
from lavis.common.locking import BusyError, sole_writer
from lavis.common.yaml_tree import ConfigError
from lavis.runners import pipeline as pipelines
from lavis.runners import pipeline_inputs
from lavis.runners.pipeline import plan_pipeline, plan_text

Run = Callable[..., list[tuple[str, bool]]]
RECORD = Path("results/pipelines/calce/both.json")
PREDICTIONS = Path("results/one/predictions/qvh_val.jsonl")


def why(*options: str, **more: Any) -> dict[str, tuple[str, str]]:
    """Plan and reason by stage."""
    return {row.name: (row.plan, row.why) for row in plan_pipeline("both.yaml", options, **more)}


def edit_record(change: Callable[[dict[str, Any]], object]) -> None:
    known = json.loads(RECORD.read_text())
    change(known)
    RECORD.write_text(json.dumps(known))


def test_a_plan_says_what_would_be_done_and_does_nothing(run: Run, calls: list[str]) -> None:
    run()
    calls.clear()
    assert {plan for plan, _ in why().values()} == {"up to date"}
    before = RECORD.read_bytes()
    plan = why("stages.stage1.run.learning_rate=5")
    assert plan["stage1"] == ("run", "run.learning_rate: 1 -> 5")
    assert plan["predictions"][0] == plan["stage2"][0] == plan["evaluation"][0] == "perhaps"
    assert "stage 'stage1' will write results/one/checkpoints/best.safetensors anew" in plan["predictions"][1]
    assert "stage 'stage2' will write" in plan["evaluation"][1]
    assert why(force=["stage2"])["stage2"] == ("run", "asked for")
    assert [plan for plan, _ in why(start="stage2").values()] == ["up to date", "up to date", "run", "run"]
    assert calls == []
    assert RECORD.read_bytes() == before
    table = plan_text(plan_pipeline("both.yaml"))
    assert table.splitlines()[0].split() == ["stage", "action", "plan", "why"]
    assert table.splitlines()[1].split() == ["stage1", "train", "up", "to", "date"]


@pytest.mark.parametrize(
    ("spoil", "stage", "reason"),
    [
        (lambda: Path("val.json").write_text("[1]"), "stage1", "val.json has changed (datasets.qvh.annotations.val)"),
        (lambda: Path("val.json").unlink(), "stage1", "val.json is gone (datasets.qvh.annotations.val)"),
        (lambda: PREDICTIONS.unlink(), "predictions", f"its output {PREDICTIONS} is gone"),
        (
            lambda: PREDICTIONS.write_text("mine\n"),
            "predictions",
            f"its output {PREDICTIONS} was changed by hand or by another program",
        ),
        (
            lambda: PREDICTIONS.write_text("mine\n"),
            "stage2",
            f"{PREDICTIONS}, which stage 'predictions' writes, has changed (datasets.qvh.prior (val))",
        ),
        (
            lambda: edit_record(lambda known: known["stages"]["stage2"].update(outputs=None)),
            "stage2",
            "it was interrupted",
        ),
        (
            lambda: edit_record(lambda known: known["stages"].update(stage1={"fingerprint": "f", "outputs": {}})),
            "stage1",
            "an earlier version of this program did it and did not note with what",
        ),
    ],
)
def test_reasons_name_file_and_writer(run: Run, spoil: Callable[[], object], stage: str, reason: str) -> None:
    run()
    spoil()
    assert why()[stage] == ("run", reason)


def test_what_failed_is_said(run: Run) -> None:
    with pytest.raises(OSError, match="fire"):
        run(change=lambda stages: stages[2].update(options=["run.fail=true"]))
    assert why()["stage2"] == ("run", "it failed: disk on fire")


def test_weights_are_an_input_of_the_evaluation(run: Run, calls: list[str]) -> None:
    run()
    calls.clear()
    run("stages.stage2.run.learning_rate=2")
    assert calls == ["train two never", "evaluate two val"]


def test_predictions_changed_by_hand_are_kept_and_made_again(
    run: Run, calls: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    run()
    whole = PREDICTIONS.read_text()
    PREDICTIONS.write_text("mine\n")
    calls.clear()
    assert run() == [("stage1", True), ("predictions", False), ("stage2", True), ("evaluation", True)]
    assert calls == ["evaluate one train,val"]
    assert PREDICTIONS.read_text() == whole
    assert PREDICTIONS.with_name("qvh_val.jsonl.kept1").read_text() == "mine\n"


def test_predictions_changed_by_hand_may_be_accepted(run: Run, calls: list[str]) -> None:
    run()
    PREDICTIONS.write_text("mine\n")
    calls.clear()
    assert run(accept=["predictions"])[1] == ("predictions", True)
    assert calls[0] == "train two never", "the next stage reads the changed file"
    assert PREDICTIONS.read_text() == "mine\n"
    PREDICTIONS.unlink()
    with pytest.raises(ValueError, match=r"qvh_val\.jsonl, which the stage 'predictions' wrote, is gone"):
        run(accept=["predictions"])
    with pytest.raises(ConfigError, match=r"calce/both has no stage 'stage9'; it has stage1, predictions"):
        run(accept=["stage9"])


def test_a_stage_is_done_again_if_asked_for(run: Run, calls: list[str]) -> None:
    run()
    calls.clear()
    assert [name for name, skipped in run(force=["predictions"]) if not skipped] == ["predictions"]
    assert PREDICTIONS.with_name("qvh_val.jsonl.kept1").is_file(), "answers that are there would not be asked again"
    assert [name for name, skipped in run(start="stage2") if not skipped] == ["stage2", "evaluation"]
    assert calls == ["evaluate one train,val", "train two never", "evaluate two val"]


def test_a_missing_input_is_named_with_what_to_do(run: Run) -> None:
    run()
    Path("train.json").unlink()
    message = r"stage 1/4 stage1 reads files that do not exist: train\.json \(datasets\.qvh\.annotations\.train: it was"
    with pytest.raises(ValueError, match=message):
        run()

    def lone(stages: list[dict[str, Any]]) -> None:
        del stages[:2]

    Path("train.json").write_text("[]")
    shutil.rmtree("results/one/predictions")
    with pytest.raises(ValueError, match=r"stage 1/2 stage2 reads .*qvh_train\.jsonl .*stage 'predictions' wrote it"):
        run(change=lone)


@pytest.mark.parametrize("code", ["note", "stale"])
def test_changed_code_is_noted_or_a_reason(
    run: Run, calls: list[str], monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    run()
    text = Path("both.yaml").read_text()
    calls.clear()
    monkeypatch.setattr(pipeline_inputs, "code_facts", lambda: {"lavis": "other", "torch": "9"})
    Path("both.yaml").write_text(f"code: {code}\n{text}")
    plan, reason = why()["stage1"]
    assert plan == {"note": "up to date", "stale": "run"}[code]
    assert reason.startswith("the code changed since (lavis itself")
    assert "-> 9" in reason


def test_a_changed_input_of_a_running_stage_makes_it_stale(
    run: Run, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def meddling(stage: Any) -> list[Path]:
        Path("extra.json").write_text("[2]")
        return []

    def with_merge(stages: list[dict[str, Any]]) -> None:
        stages.append({"name": "merge", "action": "merge", "inputs": ["extra.json"]})

    Path("extra.json").write_text("[1]")
    run(change=with_merge, actions={"merge": meddling})
    plan = {row.name: row.why for row in plan_pipeline("both.yaml", actions={"merge": meddling})}
    assert plan["merge"] == "extra.json has changed (extra.json)"


def test_results_may_be_moved(run: Run, calls: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    run()
    elsewhere = tmp_path.parent / f"{tmp_path.name}_moved"
    shutil.move(str(tmp_path), elsewhere)
    monkeypatch.chdir(elsewhere)
    assert {plan for plan, _ in why().values()} == {"up to date"}


@pytest.mark.parametrize("content", ['{"stages": {', "[]", '{"stages": {"a": 1}}', '{"version": 99}'])
def test_a_broken_record_is_named_and_the_results_are_kept(run: Run, calls: list[str], content: str) -> None:
    run()
    RECORD.write_text(content)
    calls.clear()
    with pytest.raises(ValueError, match=r"both\.json.*what they wrote is kept"):
        run()
    assert calls == []
    assert Path("results/one/checkpoints/best.safetensors").is_file()
    RECORD.rename("aside.json")
    run()
    assert calls[0] == "train one auto", "an action is asked to go on, not to begin anew"


def test_a_broken_memory_of_digests_costs_only_time(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    run()
    Path("results/pipelines/calce/both/digests.json").write_text("{")
    assert all(skipped for _, skipped in run())


def test_two_runs_of_one_pipeline(run: Run, calls: list[str]) -> None:
    run()
    with (
        sole_writer(RECORD.with_suffix(""), "the first"),
        pytest.raises(BusyError, match="calce/both is being written"),
    ):
        run()


def test_an_interruption_before_an_edited_file_is_put_aside_does_not_accept_it(
    run: Run, calls: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*arguments: Any) -> None:
        raise KeyboardInterrupt

    run()
    PREDICTIONS.write_text("mine\n")
    with monkeypatch.context() as patch:
        patch.setattr(pipelines, "_clear", killed)
        with pytest.raises(KeyboardInterrupt):
            run()
    run()
    assert PREDICTIONS.with_name("qvh_val.jsonl.kept1").read_text() == "mine\n"


def test_an_interruption_before_the_old_state_is_gone_does_not_resume_it(run: Run, calls: list[str]) -> None:
    run()
    old = Path("results/one/checkpoints/latest")
    old.mkdir()
    edit_record(lambda known: known["stages"]["stage1"].update(outputs=None, clearing=True))
    calls.clear()
    run()
    assert calls[0] == "train one never"
    assert not old.exists()
    assert Path("results/one/checkpoints/best.safetensors").is_file()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda stages: stages[1].update(folds=1),
            "'folds' goes with the action 'infer' and is a number of at least 2",
        ),
        (lambda stages: stages[0].update(folds=3), "'folds' goes with the action 'infer'"),
        (lambda stages: stages[1].update(folds=2, splits=["val"]), "add train to its splits"),
        (lambda stages: stages[1].update(splits="val"), "'splits' must be a list"),
        (lambda stages: stages[1].update(settings=["x"]), "'settings' must be a mapping"),
    ],
)
def test_faulty_stages(run: Run, change: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        run(change=change)


def test_settings_of_a_later_action_are_checked_first(run: Run, calls: list[str]) -> None:
    def report(stages: list[dict[str, Any]]) -> None:
        stages.append({"name": "report", "action": "report", "settings": {"run": ["x"]}})

    with pytest.raises(ConfigError, match="settings of stage 'report': unknown: run"):
        run(change=report, actions=more_actions())
    assert calls == []


def test_code_is_note_or_stale(run: Run) -> None:
    run()
    Path("both.yaml").write_text("code: ignore\n" + Path("both.yaml").read_text())
    with pytest.raises(ConfigError, match="note .say so. or stale"):
        plan_pipeline("both.yaml")


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)

"""The command line: what each command calls, the familiar flags, errors as one message, and speed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lavis import cli
from lavis.structures import Moment, Prediction

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = [
    "train",
    "evaluate",
    "infer",
    "merge",
    "pipeline",
    "localize",
    "ask",
    "convert",
    "list",
    "show",
    "report",
    "quickstart",
    "score",
    "audit",
    "submit",
    "ceiling",
]
EXPERIMENT = "experiments/calce/qvh_stage1"

Calls = list[tuple[str, Any]]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """Records what the commands hand to the functions behind them."""
    seen: Calls = []

    def recorder(name: str, result: Any) -> Callable[..., Any]:
        def record(*args: Any, **named: Any) -> Any:
            seen.append((name, named | {"args": args}))
            return result

        return record

    stages = [SimpleNamespace(name="one", skipped=True, seconds=2.0, outputs=[Path("page.html")])]
    for module, functions in {
        "lavis.runners.run": {"train": Path("results/x"), "evaluate": Path("results/x")},
        "lavis.runners.pipeline": {"run_pipeline": stages, "plan_pipeline": [], "plan_text": "the plan"},
        "lavis.report.run_report": {"write_report": Path("report/index.html")},
        "lavis.convert.convert": {"convert": "converted"},
    }.items():
        fake = SimpleNamespace(**{name: recorder(name, result) for name, result in functions.items()})
        monkeypatch.setitem(sys.modules, module, fake)
    return seen


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment,
        timeout=600,
        check=False,
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main([command, "--help"])
    assert caught.value.code == 0
    assert f"Example: lavis {command}" in " ".join(capsys.readouterr().out.split())


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    out = capsys.readouterr().out
    assert [line.split()[0] for line in out.splitlines() if line[:4] == "    " and line[4:5].strip()] == COMMANDS


@pytest.mark.parametrize(
    "arguments",
    [
        [EXPERIMENT, "--options", "run.batch_size=3", "run.seed=7"],
        ["--cfg-path", f"configs/{EXPERIMENT}.yaml", "--options", "run.batch_size=3", "--options", "run.seed=7"],
        ["--cfg-path", EXPERIMENT, "--options", "run.batch_size", "3", "run.seed", "7"],
        ["--cfg-path", EXPERIMENT, "run.batch_size", "3", "run.seed=7"],
        ["--local_rank", "0", "--cfg-path", EXPERIMENT, "run.batch_size", "3", "--options", "run.seed=7"],
        [EXPERIMENT, "run.batch_size", "3", "run.seed", "7", "--local-rank=1"],
    ],
)
@pytest.mark.parametrize("command", ["train", "evaluate"])
def test_configuration_and_options_in_all_spellings(command: str, arguments: list[str], calls: Calls) -> None:
    assert cli.main([command, *arguments]) == 0
    ((name, given),) = calls
    (config,) = given["args"]
    assert name == command
    assert config.find("run.batch_size") == 3
    assert config.find("run.seed") == 7
    assert config.name == "calce/qvh_stage1"


def test_infer_predicts_the_given_splits(calls: Calls, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["infer", EXPERIMENT, "--splits", "train", "val"]) == 0
    assert calls[0][0] == "evaluate"
    assert calls[0][1]["args"][0].find("run.test_splits") == ["train", "val"]
    assert capsys.readouterr().out == "results/x\n"


def test_only_one_process_prints(
    calls: Calls, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RANK", "1")
    assert cli.main(["train", EXPERIMENT]) == 0
    assert capsys.readouterr().out == ""


def test_pipeline_quickstart_report_and_convert(calls: Calls, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["pipeline", "pipelines/calce_qvh", "--options", "run.seed", "1"]) == 0
    assert cli.main(["quickstart", "--options", "run.seed=1"]) == 0
    assert cli.main(["report", "results/a", "results/b", "--out", "page"]) == 0
    assert cli.main(["convert", "in.pth", "out", "--family", "calce", "--cfg-path", "tiny/mr_blip"]) == 0
    names = [name for name, _ in calls]
    assert names == ["run_pipeline", "run_pipeline", "write_report", "convert"]
    path, options, actions = calls[0][1]["args"]
    assert (path, options) == ("pipelines/calce_qvh", ["run.seed=1"])
    assert set(actions) == {"generate", "merge", "report"}
    assert calls[0][1]["force"] == [] and calls[0][1]["start"] is None and calls[0][1]["accept"] == []
    assert calls[1][1]["args"][:2] == ("quickstart/calce", ["run.seed=1"])
    assert calls[2][1]["args"] == (["results/a", "results/b"], "page")
    source, out, family, model = calls[3][1]["args"]
    assert (source, out, family) == ("in.pth", "out", "calce")
    assert model["compressor"]["name"] == "qformer_frames"
    out = capsys.readouterr().out
    assert "one: 2 s (done before)" in out
    assert "report: page.html" in out
    pair = "--model results/quickstart/calce_stage2 --coarse results/quickstart/calce_stage1"
    assert f'lavis localize VIDEO.mp4 "a red circle moves left" {pair}\n' in out
    assert cli.main(["quickstart", "--system", "meco"]) == 0
    assert capsys.readouterr().out.endswith(" --model results/quickstart/meco_stage3\n")


@pytest.fixture
def localized(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    seen: dict[str, Any] = {}

    class Model:
        def localize(self, video: str, query: str, **named: Any) -> Prediction:
            seen["localize"] = (video, query, named)
            return Prediction("id", [Moment(1, 2.5, 0.25), Moment(3, 4)], "text", malformed=query == "unreadable")

    def load_model(name: str, **named: Any) -> Model:
        seen["load"] = (name, named)
        return Model()

    monkeypatch.setattr("lavis.api.load_model", load_model)
    (tmp_path / "v.mp4").write_bytes(b"")
    (tmp_path / "v.srt").write_text("1\n00:00:01,000 --> 00:00:02,000\nhello there\n")
    monkeypatch.chdir(tmp_path)
    return seen


def test_localize_prints_moments(localized: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["localize", "v.mp4", "a dog", "--model", "tiny/mr_blip", "--subtitles", "v.srt"]) == 0
    assert capsys.readouterr().out == "    1.00 s  to     2.50 s   score 0.250\n    3.00 s  to     4.00 s\n"
    name, named = localized["load"]
    assert name == "tiny/mr_blip"
    assert named == {"is_eval": True, "device": "auto", "checkpoint": None, "options": [], "coarse": None}
    assert [line.text for line in localized["localize"][2]["subtitles"]] == ["hello there"]
    assert len(localized["localize"][2]["speech"]) == 1


def test_localize_as_json_and_with_a_checkpoint_alone(
    localized: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["localize", "v.mp4", "unreadable", "--checkpoint", "c.safetensors", "--json", "--device", "cpu"]
    assert cli.main(arguments) == 0
    assert json.loads(capsys.readouterr().out)["moments"] == [[1, 2.5, 0.25], [3, 4]]
    assert localized["load"][0] == "c.safetensors"
    assert cli.main(arguments[:-3]) == 0
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "could not be read as moments: 'text'" in captured.err


def test_localize_takes_the_quickstart_by_default(
    localized: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["localize", "v.mp4", "a dog"]) == cli.USER_ERROR
    assert "make quickstart" in capsys.readouterr().err
    for number, name in enumerate(("stage1", "stage2")):
        run_folder = Path("results/quickstart", name)
        (run_folder / "checkpoints").mkdir(parents=True)
        (run_folder / "config.yaml").write_text(f"model: {{prompt: {{show_prior: {str(number == 1).lower()}}}}}\n")
        best = run_folder / "checkpoints" / "best.safetensors"
        best.write_bytes(b"")
        os.utime(best, (number, number))
    assert cli.main(["localize", "v.mp4", "a dog"]) == 0
    assert localized["load"][0] == "results/quickstart/stage2"
    assert localized["load"][1]["coarse"] == "results/quickstart/stage1"


def test_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["list"]) == 0
    everything = capsys.readouterr().out
    assert cli.main(["list", "codecs"]) == 0
    codecs = capsys.readouterr().out
    assert codecs.startswith("option_letter") or "seconds_text" in codecs
    assert "seconds_text" in everything
    assert "models/calce/qvh_stage1" in everything
    assert "experiments/calce/qvh_stage1" in everything
    assert cli.main(["list", "codex"]) == cli.USER_ERROR
    assert "there is no kind 'codex'" in capsys.readouterr().err


def test_list_knows_what_the_registries_know(capsys: pytest.CaptureFixture[str]) -> None:
    from lavis.common.catalogue import describe_entries
    from lavis.common.registry import registry

    for kind, table in registry.kinds().items():
        described = describe_entries(table)
        aliases = {name for name in table.names() if name.endswith("_lr")}  # LAVIS' names of schedules, given in a loop
        assert set(described) == set(table.names()) - aliases, kind
        assert all(described.values()), kind


def test_show(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["show", "tiny/calce_stage2", "--origin", "--options", "model.seed=3"]) == 0
    shown = capsys.readouterr().out
    assert "  seed: 3  # --options" in shown
    assert "num_frames: 24  # configs/tiny/calce_stage2.yaml:" in shown or "num_frames: 24  # /" in shown
    assert cli.main(["show", "tiny/calce_stage2", "--check", "--options", "model.sede=3"]) == cli.USER_ERROR
    captured = capsys.readouterr()
    assert "sede: 3" in captured.out
    assert "model.sede: unknown key of model 'video_llm'. Did you mean 'seed'?" in captured.err


def test_errors_are_one_message(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LAVIS_TRACEBACK", raising=False)
    assert cli.main(["show", "experiments/calce/qvh_stage3"]) == cli.USER_ERROR
    err = capsys.readouterr().err
    assert err.startswith("lavis show: configuration: no file")
    assert "Did you mean 'experiments/calce/qvh_stage" in err
    assert "Traceback" not in err
    with pytest.raises(ValueError, match="no file"):
        cli.main(["show", "nothing", "--traceback"])
    monkeypatch.setenv("LAVIS_TRACEBACK", "1")
    with pytest.raises(ValueError, match="no file"):
        cli.main(["show", "nothing"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "required: COMMAND"),
        (["train"], "train needs a configuration, such as: lavis train experiments/"),
        (["train", EXPERIMENT, "--bacth", "2"], "unrecognized arguments: --bacth"),
        (["report", "a", "--output", "b"], "unrecognized arguments: --output"),
        (["paint"], "invalid choice: 'paint'"),
    ],
)
def test_usage_errors(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


def test_option_without_value(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["show", "tiny/mr_blip", "--options", "run.seed"]) == cli.USER_ERROR
    assert "'run.seed' has no value; write run.seed=VALUE" in capsys.readouterr().err


def test_interruption_is_clean(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_list", interrupted)
    assert cli.main(["list"]) == cli.INTERRUPTED
    assert capsys.readouterr().err == "\ninterrupted\n"


def test_a_reader_that_has_enough_is_no_error() -> None:
    command = f"{sys.executable} -m lavis.cli list | head -1"
    result = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=600,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""


def test_merge_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["merge", "--dataset", "qvh", "--annotations", str(tmp_path), "--eval"]) == cli.USER_ERROR
    assert "no annotations: looked for" in capsys.readouterr().err


@pytest.mark.parametrize("script", ["train.py", "evaluate.py"])
def test_root_scripts_are_the_commands(script: str, tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, str(ROOT / script), "--cfg-path", EXPERIMENT, "--local_rank", "0", "rn.x", "1"],
        capture_output=True, text=True, cwd=tmp_path, timeout=600, check=False,
    )  # fmt: skip
    assert result.returncode == cli.USER_ERROR
    assert f"lavis {script.removesuffix('.py')}:" in result.stderr
    assert "rn: unknown key of a configuration. Did you mean 'run'?" in result.stderr


def test_every_run_script_names_a_configuration_that_exists() -> None:
    scripts = sorted(path for name in ("CALCE", "MR_BLIP") for path in (ROOT / "run_scripts" / name).glob("**/*.sh"))
    assert len(scripts) >= 10
    for script in scripts:
        shebang, line = script.read_text().splitlines()
        assert shebang == "#!/bin/sh"
        assert os.access(script, os.X_OK)
        assert line.startswith("exec torchrun ")
        assert line.endswith(' "$@"')
        config = line.split("--cfg-path ")[1].split()[0]
        assert (ROOT / "configs" / f"{config}.yaml").is_file(), script


# ------------------------------------------------------------------------ speed


def test_importing_lavis_imports_no_torch() -> None:
    for statement in ("import lavis", "import lavis.cli", "import lavis.api", "from lavis import registry, load_model"):
        result = run(
            "-c", f"{statement}\nimport sys; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
        )
        assert result.returncode == 0, statement + result.stderr


@pytest.mark.parametrize(("arguments", "most"), [(["--help"], 150), (["list"], 250), (["show", EXPERIMENT], 400)])
def test_light_commands_import_no_torch_and_little_else(arguments: list[str], most: int) -> None:
    """Which is what makes them quick; ``benchmarks/startup.py`` has the seconds."""
    code = (
        "import sys\n"
        f"from lavis.cli import main\ntry:\n    main({arguments!r})\nexcept SystemExit:\n    pass\n"
        "print('torch' in sys.modules, len(sys.modules), file=sys.stderr)"
    )
    result = run("-c", code)
    torch_imported, modules = result.stderr.split()[-2:]
    assert torch_imported == "False"
    assert int(modules) < most

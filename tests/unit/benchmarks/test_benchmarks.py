"""Every benchmark runs at its smallest size, and a bar that is missed gives exit status 1. No time is asserted.

Each runs once, with a bar that nothing holds: the text says that this one is missed and that all others are held.
"""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import (
    batched_inference,
    cache,
    decode,
    encoder,
    evaluate,
    gpu,
    gpu_meco,
    guard,
    loading,
    memory,
    scaling,
    score,
    startup,
    train_step,
)
from benchmarks._common import SIDES

ROOT = Path(__file__).resolve().parents[3]
TINY = ["--quick", "--threads", "1", "--size", "tiny"]
NEVER, ALWAYS = 1e12, -1e12


@pytest.fixture(autouse=True)
def _small_products(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SIDES, "cpu", (64,))


def run(module: Any, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    status = module.main([*TINY, *arguments])
    return status, capsys.readouterr().out


def only_missed(text: str, *bars: str) -> bool:
    """Whether these bars are missed, each at least once, and no other."""
    missed = [line for line in text.splitlines() if "MISSED" in line]
    return all(any(line.startswith(f"bar: {bar}") for line in missed) for bar in bars) and all(
        any(line.startswith(f"bar: {bar}") for bar in bars) for line in missed
    )


def every_size(value: float) -> dict[str, float]:
    return {"tiny": value, "middle": value, "published": value}


def test_decode(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(decode, "SPEED", NEVER)
    found, text = run(decode, capsys, "--repeats", "1", "--num-frames", "4")
    assert found == 1 and only_missed(text, "speed of"), text
    assert "pyav" in text and "frames/s" in text


def test_guard(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(guard, "RATIO", ALWAYS)
    monkeypatch.setattr(guard, "START_S", NEVER)
    found, text = run(guard, capsys, "--repeats", "1", "--num-frames", "4")
    assert found == 1 and only_missed(text, "seconds guarded against plain"), text
    assert "frames, 224x224: equal" in text and "frames, as it is: equal" in text


def test_encoder(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(encoder, "SPEED", NEVER)
    found, text = run(encoder, capsys, "--repeats", "1", "--chunk-size", "3")
    assert found == 1 and only_missed(text, "speed against"), text
    assert "frame by frame" in text and "transformers" in text


def test_the_encoder_of_transformers_has_our_sizes() -> None:
    from benchmarks._models import TINY as SIZE
    from benchmarks._models import model_node
    from lavis.common.construct import build_part
    from lavis.common.registry import registry

    ours = build_part(registry.encoders, model_node(SIZE)["encoder"], "encoder").visual_encoder
    theirs = encoder.transformers_vit(SIZE)
    sizes = [sorted(tuple(p.shape) for p in model.parameters() if p.ndim > 1) for model in (ours, theirs)]
    assert sizes[0] == sizes[1]


@pytest.mark.parametrize(
    ("arguments", "bar", "status"), [([], ALWAYS, 0), (["--activation-checkpointing", "--precision", "bf16"], NEVER, 1)]
)
def test_train_step(
    arguments: list[str],
    bar: float,
    status: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(train_step, "RATIO", every_size(bar))
    found, text = run(train_step, capsys, "--repeats", "1", *arguments)
    assert found == status, text
    assert "first loss: equal" in text and "of the fastest product" in text


def test_evaluate(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(evaluate, "RATIO", every_size(NEVER))
    found, text = run(evaluate, capsys)
    assert found == 1 and only_missed(text, "ratio"), text
    assert "answers that differ: 0" in text and "14 queries" in text


def test_batched_inference(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(batched_inference, "TOKENS", {True: 4})
    monkeypatch.setattr(batched_inference, "RATIO", {"tiny": {"meco": NEVER, "shared": NEVER, "prefix": NEVER}})
    found, text = run(batched_inference, capsys)
    assert found == 1 and only_missed(text, "ratio"), text
    assert text.count("answers that differ, in batches: 0") == 2


def test_cache(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(cache, "RATIO", every_size(NEVER))
    found, text = run(cache, capsys, "--epochs", "2")
    assert found == 1 and only_missed(text, "ratio from the second epoch on", "ratio of the first epoch"), text
    for tier in ("in memory", "on disk", "on disk, filled before"):
        assert f"losses, {tier}: equal" in text


@pytest.mark.parametrize(("bar", "status"), [(NEVER, 0), (ALWAYS, 1)])
def test_memory(bar: float, status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def child(parsed: Any, way: str, words: int = 0) -> dict[str, float]:
        parsed.child, parsed.words = way, words
        return memory.measure(parsed)

    monkeypatch.setattr(memory, "RATIO", bar)
    monkeypatch.setattr(memory, "in_child", child)
    found, text = run(memory, capsys)
    assert found == status, text
    assert "MiB" in text


def test_memory_of_a_child(capsys: pytest.CaptureFixture[str]) -> None:
    assert memory.main([*TINY, "--child", "plain", "--words", "5"]) == 0
    assert '"tokens": 69' in capsys.readouterr().out  # 8 frames of 8 tokens, and 5 words


def test_memory_asks_processes_of_their_own(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    commands: list[list[str]] = []

    def answer(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        commands.append(command)
        peak = 100 if "lavis" in command else 80
        return subprocess.CompletedProcess(command, 0, f'{{"peak_mib": {peak}, "before_mib": 5, "tokens": 103}}\n', "")

    monkeypatch.setattr(subprocess, "run", answer)
    found, text = run(memory, capsys, "--precision", "bf16")
    assert found == 1 and "ratio: 1.25" in text
    assert [command[command.index("--child") + 1] for command in commands] == ["lavis", "plain"]
    # 103 tokens, of which 8 frames have 8 each: the plain prompt gets as many words as ours.
    assert commands[1][commands[1].index("--words") + 1] == "39"
    for command in commands:
        parsed = dict(zip(command[3:-1:2], command[4::2], strict=False))
        assert parsed["--size"] == "tiny" and parsed["--precision"] == "bf16" and command[-1] == "--quick"

    def fail(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, 1, "", "out of memory")

    monkeypatch.setattr(subprocess, "run", fail)
    with pytest.raises(SystemExit, match="out of memory"):
        run(memory, capsys)


@pytest.mark.parametrize(("bar", "status"), [(NEVER, 0), (ALWAYS, 1)])
def test_startup(bar: float, status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    known = startup.commands
    chosen = {"import lavis"}
    monkeypatch.setattr(startup, "commands", lambda video: {k: v for k, v in known(video).items() if k in chosen})
    monkeypatch.setattr(startup, "BARS", {"import lavis": bar})
    found, text = run(startup, capsys, "--repeats", "1")
    assert found == status, text


def test_startup_tells_which_command_fails() -> None:
    with pytest.raises(SystemExit, match="no_such_module"):
        startup.timed([sys.executable, "-c", "import no_such_module"], 1)


def test_scaling(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(scaling, "EXPONENT", ALWAYS)
    found, text = run(scaling, capsys, "--most", "100", "--plot", str(tmp_path / "plots" / "scaling.svg"))
    assert found == 1 and only_missed(text, "exponent of the last step", "exponent of all points"), text
    assert (tmp_path / "plots" / "scaling.svg").read_text().startswith("<svg")


def test_the_exponent_of_a_power_law() -> None:
    assert scaling.power([10, 100, 1000], [3, 30, 300]) == pytest.approx(1)
    assert scaling.power([10, 100], [1, 100]) == pytest.approx(2)


def test_score(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(score, "RATIO", NEVER)
    monkeypatch.setattr(score, "FEW", 500)
    for name in ("CPU", "COMMAND", "MEMORY"):
        monkeypatch.setattr(score, name, NEVER)  # no time is asserted here
    assert score.main(["--quick", "--threads", "1", "--repeats", "1"]) == 1
    text = capsys.readouterr().out
    assert only_missed(text, "ratio"), text
    assert "all figures: equal" in text
    assert "moment_retrieval: " in text


def test_score_without_the_published_sample(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("LAVIS_TEST_DATA", str(tmp_path))
    monkeypatch.setattr(score, "QUERIES", 40)
    monkeypatch.setattr(score, "FEW", 100)
    score.main(["--quick", "--threads", "1", "--repeats", "1"])
    assert "40 made-up queries" in capsys.readouterr().out


def test_loading(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(loading, "SHARE", NEVER)
    small = ["--videos", "2", "--workers", "1", "--frames", "2", "--rounds", "1"]
    assert loading.main(["--quick", "--threads", "1", *small]) == 1
    text = capsys.readouterr().out
    assert only_missed(text, "loader from"), text
    assert "loader, tar shards" in text


def test_gpu_code_runs_on_a_cpu(capsys: pytest.CaptureFixture[str]) -> None:
    found, text = run(gpu, capsys, "--device", "cpu", "--repeats", "1", "--questions", "2", "--samples", "1")
    assert found == 0, text
    assert all(name in text for name in gpu.GOALS)


def test_gpu_code_of_meco_runs_on_a_cpu(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_meco, "LENGTHS", (4, 6))
    monkeypatch.setattr(gpu_meco, "TRAINED", 6)
    monkeypatch.setattr(gpu_meco, "TOKENS", 2)
    found, text = run(gpu_meco, capsys, "--device", "cpu", "--repeats", "1")
    assert found == 0, text
    assert text.count("question") == 6 and "training step of 2" in text


def test_every_benchmark_is_in_the_table() -> None:
    table = (ROOT / "benchmarks" / "README.md").read_text()
    names = {path.stem for path in (ROOT / "benchmarks").glob("*.py") if not path.stem.startswith("_")}
    missing = [name for name in sorted(names) if f"`{name}`" not in table]
    assert not missing, f"add to benchmarks/README.md: {missing}"
    for name in names:
        assert hasattr(importlib.import_module(f"benchmarks.{name}"), "main")

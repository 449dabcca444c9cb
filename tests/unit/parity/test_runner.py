"""The parity runner itself: what it finds, what it prints, and when it fails."""

from __future__ import annotations

import json
import unittest
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.parity import __main__ as command
from tests.parity import runner

Cases = list[tuple[str, Callable[[], float]]]


def differs() -> float:
    raise AssertionError("largest difference 3 in logits, tolerance 1e-5")


def crashes() -> float:
    raise KeyError("sequences")


def unavailable() -> float:
    raise unittest.SkipTest("no such tokenizer here")


def unavailable_pytest() -> float:
    pytest.skip("not today")


@pytest.fixture
def golden(tmp_path: Path) -> Path:
    (tmp_path / "golden" / "calce").mkdir(parents=True)
    return tmp_path / "golden"


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> Callable[[Cases], list[Path]]:
    """Replaces the case files by the given cases; returns the folders they were asked for."""

    def replace(cases: Cases) -> list[Path]:
        asked: list[Path] = []

        def listing(folder: Path) -> Iterator[tuple[str, Callable[[], float]]]:
            asked.append(folder)
            yield from cases

        monkeypatch.setattr(runner, "modules", lambda: iter([("calce", "calce_text"), ("meco", "meco_text")]))
        monkeypatch.setattr(runner, "load", lambda name: SimpleNamespace(cases=listing))
        return asked

    return replace


def test_all_equal(golden: Path, given: Callable[[Cases], list[Path]], capsys: pytest.CaptureFixture[str]) -> None:
    asked = given([("stage1/main logits", lambda: 2.5e-7), ("unit/srt", lambda: 0.0)])
    assert command.main(["--golden", str(golden)]) == 0
    printed = capsys.readouterr().out
    assert asked == [golden / "calce"]  # meco has no folder
    first = printed.splitlines()[0].split()
    assert first[:5] == ["calce", "stage1/main", "logits", "2.5e-07", "ok"]
    assert "2 ok, 0 failed, 0 skipped" in printed
    assert "largest difference 2.5e-07 (stage1/main logits)" in printed


@pytest.mark.parametrize(
    ("compare", "reason"),
    [(differs, "tolerance 1e-5"), (crashes, "KeyError: 'sequences'"), (lambda: float("nan"), "difference is nan")],
)
def test_one_failure_fails(
    golden: Path,
    given: Callable[[Cases], list[Path]],
    capsys: pytest.CaptureFixture[str],
    compare: Callable[[], float],
    reason: str,
) -> None:
    given([("a", compare), ("b", lambda: 0.0)])
    assert command.main(["--golden", str(golden)]) == 1
    printed = capsys.readouterr().out
    assert reason in printed
    assert "1 ok, 1 failed" in printed


@pytest.mark.parametrize(("difference", "code"), [(1e-4, 0), (1.1e-4, 1), (4.5, 1)])
def test_tolerance_of_a_case_file(
    golden: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    difference: float,
    code: int,
) -> None:
    module = SimpleNamespace(cases=lambda folder: iter([("logits", lambda: difference)]), TOLERANCE=1e-4)
    monkeypatch.setattr(runner, "modules", lambda: iter([("calce", "calce_text")]))
    monkeypatch.setattr(runner, "load", lambda name: module)
    assert command.main(["--golden", str(golden)]) == code
    assert ("allowed is 1e-04" in capsys.readouterr().out) == bool(code)


def test_fail_fast_and_json(golden: Path, given: Callable[[Cases], list[Path]]) -> None:
    given([("a", differs), ("b", lambda: 0.0)])
    out = golden / "deep" / "out.json"
    assert command.main(["--golden", str(golden), "--fail-fast", "--json", str(out)]) == 1
    (row,) = json.loads(out.read_text())
    assert (row["system"], row["name"], row["status"], row["difference"]) == ("calce", "a", "FAIL", None)


def test_skips_are_named_and_skipping_everything_fails(
    golden: Path, given: Callable[[Cases], list[Path]], capsys: pytest.CaptureFixture[str]
) -> None:
    given([("a", unavailable), ("b", unavailable_pytest)])
    assert command.main(["--golden", str(golden)]) == 1
    printed = capsys.readouterr()
    assert "no such tokenizer here" in printed.out
    assert "not today" in printed.out
    assert "nothing was compared" in printed.err


def test_folder_of_one_system(golden: Path, given: Callable[[Cases], list[Path]]) -> None:
    asked = given([("a", lambda: 0.0)])
    assert command.main(["--golden", str(golden / "calce")]) == 0
    assert [path.name for path in asked] == ["calce"]
    other = golden.parent / "downloaded"
    other.mkdir()
    assert command.main(["--golden", str(other)]) == 1
    assert command.main(["--golden", str(other), "--system", "calce"]) == 0
    assert asked[-1] == other


@pytest.mark.parametrize("arguments", [["--system", "calcee"], ["--system", "meco"], ["--filter", "nowhere"]])
def test_finding_nothing_fails(golden: Path, given: Callable[[Cases], list[Path]], arguments: list[str]) -> None:
    given([("a", lambda: 0.0)])
    assert command.main(["--golden", str(golden), *arguments]) == 1


def test_missing_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--golden", str(tmp_path / "no")]) == 1
    assert "is no folder" in capsys.readouterr().err


def test_a_module_that_cannot_list_its_cases_fails(golden: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def listing(folder: Path) -> Iterator[tuple[str, Callable[[], float]]]:
        yield "a", lambda: 0.0
        raise FileNotFoundError(folder / "unit" / "srt.json")

    monkeypatch.setattr(runner, "load", lambda name: SimpleNamespace(cases=listing))
    first, second = (runner.run(case) for case in runner.cases_of("calce_text", "calce", golden))
    assert first.status == "ok"
    assert second.status == "FAIL"
    assert "srt.json" in second.reason


@pytest.mark.parametrize(
    ("name", "system"), [("calce_text", "calce"), ("grounded_videollm_rope", "grounded_videollm"), ("novel_x", "novel")]
)
def test_system_by_file_name(name: str, system: str) -> None:
    assert runner.system_of(name) == system


def test_system_may_be_declared(tmp_path: Path) -> None:
    (tmp_path / "shared_text.py").write_text('from x import y\n\nSYSTEM = "mmduet"\n')
    (tmp_path / "_helper.py").write_text("")
    assert list(runner.modules(tmp_path)) == [("mmduet", "shared_text")]

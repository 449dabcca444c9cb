"""The installer chooses a build of torch, and never fetches CUDA libraries for a machine without a GPU."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "requirements" / "install.py"


class FakePip:
    """Notes what pip is asked; plans the given packages."""

    def __init__(self, *planned: str) -> None:
        self.planned = planned
        self.asked: list[list[str]] = []

    def __call__(self, python: Path, *arguments: str) -> None:
        self.asked.append(list(arguments))
        if "--report" in arguments:
            plan = [{"metadata": {"name": name}} for name in self.planned]
            Path(arguments[arguments.index("--report") + 1]).write_text(json.dumps({"install": plan}))

    @property
    def installed(self) -> list[list[str]]:
        return [arguments for arguments in self.asked if "--dry-run" not in arguments]


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("install_script", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name in ("TORCH", "TORCH_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(module, "make_environment", lambda folder: Path(sys.executable))
    monkeypatch.setattr(module, "installed_version", lambda python: "")
    monkeypatch.setattr(module, "has_gpu", lambda: False)
    monkeypatch.setattr(sys, "argv", ["install.py", "--target", "test", "--extras", "dev"])
    return module


def run(module: ModuleType, monkeypatch: pytest.MonkeyPatch, pip: FakePip) -> int:
    monkeypatch.setattr(module, "pip", pip)
    code: int = module.main()
    return code


def test_cpu_build_on_offer(install: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    pip = FakePip("torch", "sympy")
    assert run(install, monkeypatch, pip) == 0
    torch, project = pip.installed
    assert torch == ["install", "torch==2.13.0"]
    assert project[:2] == ["install", "-c"]
    assert project[-1].endswith("[dev]")


def test_only_cuda_on_offer_installs_nothing(
    install: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pip = FakePip("torch", "nvidia-cublas-cu12", "triton")
    assert run(install, monkeypatch, pip) == 1
    assert not pip.installed
    assert "make test TORCH_INDEX_URL=" in capsys.readouterr().err


def test_named_index_is_used_for_torch_alone(install: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_INDEX_URL", "https://index.example/cpu")
    pip = FakePip("torch")
    assert run(install, monkeypatch, pip) == 0
    torch, project = pip.installed
    assert torch == ["install", "--index-url", "https://index.example/cpu", "torch==2.13.0"]
    assert "--index-url" not in project


def test_gpu_takes_what_pip_takes(install: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(install, "has_gpu", lambda: True)
    pip = FakePip("torch", "nvidia-cublas-cu12")
    assert run(install, monkeypatch, pip) == 0
    assert len(pip.asked) == 1
    assert "-c" not in pip.asked[0]


def test_installed_torch_is_kept(install: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(install, "installed_version", lambda python: "2.13.0+cpu")
    pip = FakePip("torch", "nvidia-cublas-cu12")
    assert run(install, monkeypatch, pip) == 0
    assert len(pip.asked) == 1


def test_unknown_build_is_refused(install: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["install.py", "--torch", "rocm"])
    with pytest.raises(SystemExit):
        run(install, monkeypatch, FakePip())
    monkeypatch.setattr(sys, "argv", ["install.py"])
    monkeypatch.setenv("TORCH", "rocm")
    assert run(install, monkeypatch, FakePip()) == 1


def test_make_knows_its_targets() -> None:
    if not any((Path(folder) / "make").is_file() for folder in os.get_exec_path()):
        pytest.skip("make is not installed")
    shown = subprocess.run(["make", "help"], cwd=SCRIPT.parents[1], capture_output=True, text=True, check=True).stdout
    for target in ("quickstart", "test", "lint", "clean", "parity"):
        assert f"make {target}" in shown

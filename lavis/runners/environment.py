"""What a run ran on, for ``environment.json``: versions, device, code."""

from __future__ import annotations

import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from lavis.common import distributed

PACKAGES = (
    "accelerate", "av", "decord", "deepspeed", "numpy", "omegaconf", "peft", "safetensors", "timm", "tokenizers",
    "torch", "torchcodec", "transformers",
)  # fmt: skip


def environment(device: torch.device) -> dict[str, Any]:
    """Facts on interpreter, packages, device, processes, command line and code; JSON-ready."""
    gpu = None
    if device.type == "cuda":
        facts = torch.cuda.get_device_properties(device)
        gpu = {"name": facts.name, "memory_gib": round(facts.total_memory / 2**30, 1), "cuda": torch.version.cuda}
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: version for name in PACKAGES if (version := _version(name)) is not None},
        "device": str(device),
        "gpu": gpu,
        "threads": torch.get_num_threads(),
        "processes": distributed.world_size(),
        "command": sys.argv,
        "code": code_version(),
    }


def code_version() -> dict[str, Any] | None:
    """Commit of the checkout this package runs from and whether it was changed since; ``None`` if it is installed."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    commit, status = _git(root, "rev-parse", "HEAD"), _git(root, "status", "--porcelain", "--untracked-files=no")
    return None if commit is None else {"commit": commit, "changed": bool(status)}


def _git(root: Path, *arguments: str) -> str | None:
    try:
        result = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout.strip() if result.returncode == 0 else None


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None

"""A file imports only from its own floor or a lower one (docs/architecture.md)."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "lavis"

FLOORS = {
    "common": 0,
    "scoring": 1,
    "structures": 1,
    "layers": 2,
    "processors": 3,
    "datasets": 4,
    "models": 5,
    "metrics": 6,
    "tasks": 7,
    "runners": 8,
    "preparation": 8,
    "actions": 9,
    "api": 9,
    "cli": 9,
    "evaluating": 9,
    "convert": 9,
    "report": 9,
    "demo": 9,
    "feature_jobs": 9,
    "localize_command": 9,
    "scoring_commands": 9,
}
STRANGERS = {
    ("scoring", "structures"),
    ("structures", "scoring"),
    ("models", "datasets"),
    ("runners", "preparation"),
    ("preparation", "runners"),
}
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE or path.stem in FLOORS)


def part_of(path: Path) -> str:
    """The part of the package a file belongs to: its folder, or its own name directly below ``lavis``."""
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def imported_parts(path: Path) -> set[str]:
    """Parts of the package that a file imports anywhere, functions included."""
    modules = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            modules.add(node.module)
            if node.module == "lavis":
                modules |= {f"lavis.{alias.name}" for alias in node.names}
    return {name.split(".")[1] for name in modules if name.startswith("lavis.")} & set(FLOORS)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_imports_only_from_lower_floors(path: Path) -> None:
    part = part_of(path)
    assert part in FLOORS, f"{part} has no floor; give it one in docs/architecture.md and here"
    for other in imported_parts(path):
        assert FLOORS[other] <= FLOORS[part], f"{part} (floor {FLOORS[part]}) imports {other} (floor {FLOORS[other]})"
        assert (part, other) not in STRANGERS, f"{part} and {other} know nothing of each other"


DEVICE_WORDS = ("torch.cuda.set_device", "init_process_group", "SummaryWriter(")


@pytest.mark.parametrize("word", DEVICE_WORDS)
def test_devices_and_logging_are_chosen_by_the_runners(word: str) -> None:
    """Below floor 8 nothing chooses a device or a logging backend; only ``common/distributed.py`` knows processes."""
    users = [
        path.relative_to(ROOT).as_posix()
        for path in MODULES
        if FLOORS.get(part_of(path), 9) < 8
        and path.name != "distributed.py"
        and word in path.read_text(encoding="utf-8")
    ]
    assert not users, f"{word} belongs into runners or common/distributed.py: {users}"

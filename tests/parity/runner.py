"""Finds and runs comparisons with recorded outputs of the original systems.

A module ``tests/parity_cases/<system>_<topic>.py`` offers ``cases(golden)``, which yields pairs of a name and a
callable. ``golden`` is the folder of that one system. The callable returns the largest difference it found; it raises
``AssertionError`` with an explanation where that is too large, and ``unittest.SkipTest`` (or ``pytest.skip``) where
something that the comparison needs is absent. ``SYSTEM = "calce"`` in the module overrides the name of the file;
``TOLERANCE = 1e-5`` is the largest difference that any of its cases may return.
"""

from __future__ import annotations

import importlib
import math
import random
import time
import unittest
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

SYSTEMS = ("calce", "meco", "mmduet", "grounded_videollm", "hawkeye")
CASES = Path(__file__).resolve().parent.parent / "parity_cases"

Status = Literal["ok", "FAIL", "skip"]


@dataclass(frozen=True, slots=True)
class Case:
    """One comparison, not yet run; it fails where it returns more than ``tolerance``."""

    system: str
    name: str
    compare: Callable[[], float]
    tolerance: float = math.inf


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one comparison; ``difference`` is the largest one, ``None`` where nothing was compared."""

    system: str
    name: str
    status: Status
    seconds: float
    difference: float | None = None
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def system_of(module_name: str) -> str:
    """The system a case file belongs to, by its name: the longest known system it starts with, or the first word."""
    known = [s for s in SYSTEMS if module_name == s or module_name.startswith(s + "_")]
    return max(known, key=len) if known else module_name.partition("_")[0]


def modules(folder: Path = CASES) -> Iterator[tuple[str, str]]:
    """``(system, module name)`` of every case file; imports nothing."""
    for path in sorted(folder.glob("*.py")):
        if not path.name.startswith("_"):
            yield declared_system(path) or system_of(path.stem), path.stem


def declared_system(path: Path) -> str | None:
    """The value of a line ``SYSTEM = "..."``, read without importing the file."""
    for line in path.read_text(encoding="utf-8").splitlines():
        name, equals, value = line.partition("=")
        if equals and name.strip() == "SYSTEM":
            return value.strip().strip("\"'")
    return None


def system_folder(golden: Path, system: str, asked_for: bool) -> Path | None:
    """Where the system's recorded outputs are: below the root, or ``golden`` itself; ``None`` if not there.

    Args:
        golden: the root with one folder a system, or the folder of one system.
        system: whose outputs.
        asked_for: whether the user named this system; then any other folder is taken to be its own.
    """
    if (golden / system).is_dir():
        return golden / system
    if golden.name == system:
        return golden
    is_root = any((golden / other).is_dir() for other in SYSTEMS)
    return golden if asked_for and not is_root else None


def load(module_name: str) -> ModuleType:
    """A module of ``tests/parity_cases``."""
    return importlib.import_module(f"tests.parity_cases.{module_name}")


def cases_of(module_name: str, system: str, folder: Path) -> Iterator[Case]:
    """The cases of one module; what goes wrong while it lists them is a failing case of its own."""
    try:
        module = load(module_name)
        tolerance = getattr(module, "TOLERANCE", math.inf)
        for name, compare in module.cases(folder):
            yield Case(system, name, compare, tolerance)
    except Exception as error:
        problem = error

        def broken() -> float:
            raise problem

        yield Case(system, f"{module_name} (listing its cases)", broken)


def run(case: Case) -> Outcome:
    """Run one comparison, from fixed seeds; never raises."""
    seed()
    started = time.perf_counter()

    def outcome(status: Status, difference: float | None = None, reason: str = "") -> Outcome:
        return Outcome(case.system, case.name, status, time.perf_counter() - started, difference, reason)

    try:
        difference = float(case.compare())
    except AssertionError as error:
        return outcome("FAIL", reason=str(error) or "an assertion without a message")
    except Exception as error:
        if is_skip(error):
            return outcome("skip", reason=str(error))
        return outcome("FAIL", reason=f"{type(error).__name__}: {error}")
    except BaseException as error:
        if is_skip(error):
            return outcome("skip", reason=str(error))
        raise
    if not math.isfinite(difference):
        return outcome("FAIL", reason=f"the largest difference is {difference}")
    if difference > case.tolerance:
        return outcome(
            "FAIL", difference, f"the largest difference is {difference:.3g}, allowed is {case.tolerance:.0e}"
        )
    return outcome("ok", difference)


def is_skip(error: BaseException) -> bool:
    """Whether the exception says that the case cannot run here; pytest's is known by name, so pytest may be absent."""
    return isinstance(error, unittest.SkipTest) or type(error).__name__ == "Skipped"


def seed() -> None:
    """One thread, fixed seeds: a case gives the same figures whatever ran before it."""
    import numpy as np
    import torch

    torch.set_num_threads(1)
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)

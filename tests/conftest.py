"""What every test shares: one thread, no network, seeds and examples, and where reference data lies.

Reference data is not part of the repository. ``LAVIS_GOLDEN`` names the folder with outputs of the original systems
(one sub-folder each: ``calce/``, ``meco/`` ...) and ``LAVIS_TEST_DATA`` the one with real inputs (``qvhighlights/``,
``charades/``, ``video/``); without them, ``shared/golden`` and ``shared/data`` beside the checkout are tried. Tests
that want them skip, with the reason, where they are absent.
"""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parent.parent

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_NUM_THREADS", "1")

# The same examples every time, however slow the machine; ``--hypothesis-profile=default`` looks for more of them.
settings.register_profile(
    "same", deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("same")


def reference_folder(variable: str, beside: str) -> Path | None:
    """The folder that the environment variable names, or the one beside the checkout; ``None`` if there is neither.

    Raises:
        ValueError: if the variable names something that is no folder.
    """
    named = os.environ.get(variable)
    if named:
        if not Path(named).is_dir():
            raise ValueError(f"{variable} is {named!r}, which is no folder")
        return Path(named)
    folder = ROOT.parent / "shared" / beside
    return folder if folder.is_dir() else None


def _required(variable: str, beside: str) -> Path:
    folder = reference_folder(variable, beside)
    if folder is None:
        pytest.skip(f"no reference data: set {variable}, or put it into ../shared/{beside}")
    return folder


@pytest.fixture(scope="session")
def root() -> Path:
    """Root of the checkout."""
    return ROOT


@pytest.fixture(scope="session")
def golden_dir() -> Path:
    """Folder with the outputs of the original systems, one sub-folder each."""
    return _required("LAVIS_GOLDEN", "golden")


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder with real annotations and clips."""
    return _required("LAVIS_TEST_DATA", "data")


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def _one_meteor() -> None:
    from tests.kept_captions import keep

    keep()


@pytest.fixture(autouse=True)
def _seeds() -> None:
    """Every test starts from the same seeds, so none depends on which ran before it."""
    import numpy as np
    import torch

    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Each process takes an equal number of tests that follow each other; one that is done helps with the last ones.

    The default deals out tests in small heaps, so that several processes make what a file's tests share.
    """
    from xdist.scheduler import WorkStealingScheduling

    return WorkStealingScheduling(config, log) if config.getvalue("dist") == "load" else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests marked ``gpu`` run only when asked for by ``-m``."""
    if config.option.markexpr:
        return
    gpu = [item for item in items if item.get_closest_marker("gpu")]
    if gpu:
        config.hook.pytest_deselected(items=gpu)
        items[:] = [item for item in items if not item.get_closest_marker("gpu")]
    count = getattr(config, "workerinput", {}).get("workercount", 1)
    if count > 1:
        items[:] = dealt(items, count)


def dealt(items: list[pytest.Item], count: int) -> list[pytest.Item]:
    """``items`` as ``count`` parts of equal length, each with its share of the long files first.

    Then only short tests change hands at the end, and what the tests of a long file share is made once.
    """
    files: dict[Path, list[pytest.Item]] = {}
    for item in items:
        if item.path.is_relative_to(ROOT / "tests" / "end_to_end"):
            files.setdefault(item.path, []).append(item)
    groups, others = list(files.values()), [item for item in items if item.path not in files]
    found: list[pytest.Item] = []
    for number in range(count):
        part = [item for group in groups[number::count] for item in group]
        free = len(others) if number + 1 == count else max(0, len(items) // count - len(part))
        found += part + others[:free]
        others = others[free:]
    return found

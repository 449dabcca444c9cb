"""Recorded runs of HawkEye's recursive grounding are compared as a whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.parity_cases.hawkeye_metrics import cases

RUN = {
    "error": None,
    "max_turns": 2,
    "script": ["end", "middle"],
    "bound": [6.25, 8.75],
    "answers": ["end", "middle"],
    "duration": 10.0,
    "log": [{"reply": "(A) At the end of the video."}, {"reply": "(B) In the middle of the video."}],
}


def windows_of(folder: Path, run: dict[str, Any]) -> float:
    (folder / "runs.json").write_text(json.dumps([run]))
    return dict(cases(folder))["runs windows"]()


def test_a_run_as_it_was(tmp_path: Path) -> None:
    assert windows_of(tmp_path, RUN) == 0
    assert windows_of(tmp_path, {**RUN, "log": None}) == 0
    assert windows_of(tmp_path, {key: RUN[key] for key in RUN if key not in ("log", "max_turns")}) == 0


@pytest.mark.parametrize(
    "change", [{"max_turns": 1}, {"max_turns": 4}, {"log": RUN["log"][:1]}, {"bound": [6.25, 8.76]}, {"duration": 11.0}]
)
def test_a_changed_run_fails(tmp_path: Path, change: dict[str, Any]) -> None:
    with pytest.raises(AssertionError):
        windows_of(tmp_path, {**RUN, **change})

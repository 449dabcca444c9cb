"""Every parity case under pytest, one test each; ``python -m tests.parity`` runs the same."""

from __future__ import annotations

import pytest

from tests.conftest import reference_folder
from tests.parity import runner


def parameters() -> list[object]:
    """One parameter a case, or one that skips for each system without recorded outputs."""
    golden = reference_folder("LAVIS_GOLDEN", "golden")
    found: list[object] = []
    for system, module in runner.modules():
        folder = runner.system_folder(golden, system, asked_for=False) if golden else None
        if folder is None:
            found.append(pytest.param(None, id=f"{system}-{module}"))
            continue
        found += [pytest.param(case, id=f"{system}-{case.name}") for case in runner.cases_of(module, system, folder)]
    return found


@pytest.mark.parametrize("case", parameters())
def test_parity(case: runner.Case | None) -> None:
    if case is None:
        pytest.skip("no recorded outputs: set LAVIS_GOLDEN, or put them into ../shared/golden")
    outcome = runner.run(case)
    if outcome.status == "skip":
        pytest.skip(outcome.reason)
    assert outcome.status == "ok", outcome.reason

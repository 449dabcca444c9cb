"""Averages over sources and tasks."""

from __future__ import annotations

import numpy as np
import pytest

from lavis.scoring.etbench.table import derived, table, task_means

GROUNDING = {task: {"s": {"F1": 0.5}} for task in ("tvg", "epm", "tal", "evs", "vhd")}


def test_sources_weigh_the_same() -> None:
    collected = {"tal": {"a": {"F1": 0.1}, "b": {"F1": 0.2}, "c": {"F1": 0.25}}}
    assert task_means(collected) == {"TAL (F1)": 0.18333}
    assert table(collected)["TAL (F1)"] == 18.3


def test_merged_needs_all_its_tasks() -> None:
    assert table(GROUNDING)["F1 (gnd)"] == 50.0
    assert "F1 (gnd)" not in table({task: GROUNDING[task] for task in ("tvg", "epm")})


def test_logged_means_weigh_sources() -> None:
    collected = {**GROUNDING, "tvg": {"a": {"F1": 0.0}, "b": {"F1": 0.2}}}
    assert table(collected)["Mean F1 (gnd)"] == pytest.approx(2.2 / 6, abs=1e-5)
    assert table(collected)["F1 (gnd)"] == 42.0


def test_a_source_without_a_figure_leaves_its_column_out() -> None:
    collected = {"dvc": {"a": {"F1": 0.5, "SentSim": 0.3}, "b": {"F1": 0.5}}, "slc": {"a": {"F1": 0.1, "SentSim": 0.1}}}
    shown = table(collected)
    assert shown["F1 (cap)"] == 30.0
    assert "DVC (Sim)" not in shown
    assert "Mean SentSim (cap)" not in shown


def test_columns_follow_from_parts() -> None:
    found = derived({"tvg": {"a": {"F1": 0.1}, "b": {"F1": 0.3}}, "dvc": {"a": {"F1": 0.5}}})
    assert found["TVG (F1)"].parts == ("tvg/a/F1", "tvg/b/F1")
    assert found["TVG (F1)"].of(np.array([10.0, np.nan]), np.array([30.0, 30.0])).tolist() == [20.0, 30.0]
    values = [np.array([50.0]), np.array([100.0])] * 4
    assert found["DVC (F1)"].of(*values) == pytest.approx(100 * 2 / 3)

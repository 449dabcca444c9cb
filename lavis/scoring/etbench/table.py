"""From figures of sources to the columns of the benchmark's table, and to its merged figures.

Source to task is a plain mean, rounded to five decimals; the table shows percent with one. Where a task or a source
lacks a figure, the columns made of it are left out; MeCo's script stops instead. Columns of sentence similarity are
rounded by numpy, the others by Python, as in the script.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from lavis.scoring.base import Array, Derived
from lavis.scoring.etbench.grounding import THRESHOLDS, numpy_rounded
from lavis.scoring.etbench.records import CAPTIONING

Collected = Mapping[str, Mapping[str, Mapping[str, float]]]
"""Task to source to figures, as the official ``metrics.json``."""

COLUMNS: dict[str, tuple[str, str]] = {
    "RAR (Acc)": ("rar", "Acc"),
    "EVC (Acc)": ("eca", "Acc"),
    "RVQ (Acc)": ("rvq", "Acc"),
    "TVG (F1)": ("tvg", "F1"),
    "EPM (F1)": ("epm", "F1"),
    "TAL (F1)": ("tal", "F1"),
    "EVS (F1)": ("evs", "F1"),
    "VHD (F1)": ("vhd", "F1"),
    "DVC (F1)": ("dvc", "F1"),
    "DVC (Sim)": ("dvc", "SentSim"),
    "SLC (F1)": ("slc", "F1"),
    "SLC (Sim)": ("slc", "SentSim"),
    "TEM (Rec)": ("tem", "mRec"),
    "GVQ (Rec)": ("gvq", "mRec"),
}
"""Column of the table: task (EVC is ``eca``) and figure."""

MERGED: dict[str, tuple[str, ...]] = {
    "Acc (ref)": ("RAR (Acc)", "EVC (Acc)", "RVQ (Acc)"),
    "F1 (gnd)": ("TVG (F1)", "EPM (F1)", "TAL (F1)", "EVS (F1)", "VHD (F1)"),
    "F1 (cap)": ("DVC (F1)", "SLC (F1)"),
    "Sim (cap)": ("DVC (Sim)", "SLC (Sim)"),
    "Rec (com)": ("TEM (Rec)", "GVQ (Rec)"),
}

LOGGED: dict[str, str] = {
    "Mean Acc (ref)": "Acc (ref)",
    "Mean F1 (gnd)": "F1 (gnd)",
    "Mean F1 (cap)": "F1 (cap)",
    "Mean SentSim (cap)": "Sim (cap)",
}
"""Lines of the log that average the merged figure's columns over pairs of task and source, as fractions."""


def task_means(collected: Collected) -> dict[str, float]:
    """Columns as fractions, five decimals."""
    values = {column: _values(collected, column) for column in COLUMNS}
    return {column: _rounding(column)(sum(found) / len(found), 5) for column, found in values.items() if found}


def _rounding(column: str) -> Callable[[float, int], float]:
    return numpy_rounded if COLUMNS[column][1] == "SentSim" else round


def _values(collected: Collected, column: str) -> list[float]:
    """A column's figure of every source; empty if one lacks it."""
    task, key = COLUMNS[column]
    sources = collected.get(task, {})
    if any(key not in figures for figures in sources.values()):
        return []
    return [figures[key] for figures in sources.values()]


def table(collected: Collected) -> dict[str, float]:
    """Columns and merged figures in percent, one decimal, then the logged means."""
    means = task_means(collected)
    shown = {column: _rounding(column)(value * 100, 1) for column, value in means.items()}
    for name, columns in MERGED.items():
        if all(column in means for column in columns):
            total = sum(means[column] for column in columns)
            shown[name] = _rounding(columns[0])(total * 100 / len(columns), 1)
    for line, name in LOGGED.items():
        values = [value for column in MERGED[name] for value in _values(collected, column)]
        if values and all(column in means for column in MERGED[name] if COLUMNS[column][0] in collected):
            shown[line] = _rounding(MERGED[name][0])(sum(values) / len(values), 5)
    return shown


def derived(collected: Collected) -> dict[str, Derived]:
    """How columns and merged figures follow from the parts ``task/source/part``, which are in percent."""
    found = {}
    for column in task_means(collected):
        task, key = COLUMNS[column]
        found[column] = _column(task, key, list(collected[task]))
    for name, columns in MERGED.items():
        if all(column in found for column in columns):
            found[name] = _mean_of([found[column] for column in columns])
    return found


def _column(task: str, key: str, sources: Sequence[str]) -> Derived:
    if task not in CAPTIONING or key != "F1":
        return Derived(tuple(f"{task}/{source}/{key}" for source in sources), _plain_mean)
    kinds = [f"{kind}@{threshold}" for threshold in THRESHOLDS for kind in "PR"]
    return Derived(tuple(f"{task}/{source}/{kind}" for source in sources for kind in kinds), _mean_f1)


def _plain_mean(*values: Array) -> Array:
    """Mean ``[B]`` over sources; one that a resample draws no query of is left out."""
    stacked = np.stack(values)
    known = ~np.isnan(stacked)
    total = np.where(known, stacked, 0.0).sum(axis=0)
    result: Array = np.divide(total, known.sum(axis=0), out=np.full_like(total, np.nan), where=known.any(axis=0))
    return result


def _mean_f1(*values: Array) -> Array:
    """Mean over sources and thresholds of the F1 of precision and recall, which come in turn."""
    precision, recall = np.stack(values[0::2]), np.stack(values[1::2])
    total = precision + recall
    return _plain_mean(*np.where(total > 0, 2 * precision * recall / np.where(total > 0, total, 1.0), total))


def _mean_of(columns: Sequence[Derived]) -> Derived:
    bounds = np.cumsum([0, *(len(column.parts) for column in columns)])

    def mean(*values: Array) -> Array:
        slices = zip(columns, bounds[:-1], bounds[1:], strict=True)
        return _plain_mean(*(column.of(*values[start:end]) for column, start, end in slices))

    return Derived(tuple(part for column in columns for part in column.parts), mean)

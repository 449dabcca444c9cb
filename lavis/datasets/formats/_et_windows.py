"""Windows of E.T. Instruct's rows, whose times are flat lists that mean another thing in each task.

Source: MeCo (pangzss/MeCo), how its training set finds windows. Windows that this rule makes longer than the video are
cut here; the original cuts all of them, to the frames it sampled.
"""

from __future__ import annotations

from typing import Any

from lavis.datasets.formats._record import Record, is_finite

PAIRS = ("tvg", "tal", "evs", "gvq", "slc", "dvc", "epm")
"""Tasks whose answer is a list of windows."""
HIGHLIGHT, REGION, CAPTIONS = "vhd", "rvc", "tvc"
GROUNDED = (*PAIRS, HIGHLIGHT, REGION, CAPTIONS)
"""Tasks that have windows."""
HIGHLIGHT_SECONDS = 2


def raw_windows(record: Record, task: str, duration: float) -> tuple[str, list[list[float]]] | None:
    """The field that windows come from, and the windows as they stand; ``None`` if the row has none.

    Explicit ``windows`` go first. Otherwise ``tgt`` holds starts and ends; for ``vhd`` the start of two seconds each;
    for ``tvc`` where each caption begins, until the next, the last one until a second before the end. ``rvc`` asks
    about the windows in ``src``.

    Raises:
        AnnotationError: if times are no numbers, or an end is missing.
    """
    if "windows" in record.fields:
        return "windows", window_list(record, "windows")
    field = "src" if task == REGION else "tgt"
    if task not in GROUNDED or field not in record.fields:
        return None
    times = seconds_list(record, field)
    if task == HIGHLIGHT:
        return field, [[t, max(t, min(t + HIGHLIGHT_SECONDS, duration))] for t in times]
    if task == CAPTIONS:
        last = [max(times[-1], min(max(duration - 1, times[-1] + 1), duration))] if times else []
        return field, [list(pair) for pair in zip(times, [*times[1:], *last], strict=True)]
    if len(times) % 2:
        raise record.error(field, f"must hold a start and an end for each window, got {len(times)} times", "Correct it")
    return field, [times[i : i + 2] for i in range(0, len(times), 2)]


def seconds_list(record: Record, field: str) -> list[float]:
    """A flat list of finite numbers, possibly empty."""
    value = record.get(field)
    if not isinstance(value, list):
        raise record.error(field, f"must be a list of seconds, got {value!r:.80}", "Correct the row")
    return [Record({field: each}, record.path, record.row, record.id).number(field) for each in value]


def window_list(record: Record, field: str) -> list[list[float]]:
    """A list of ``[start, end]``, not yet judged against the video."""
    value: Any = record.get(field)
    if not isinstance(value, list):
        raise record.error(field, f"must be a list of [start, end], got {value!r:.80}", "Correct the row")
    return value


def transition_list(record: Record) -> list[list[float]]:
    """The ``tst_windows`` of a row: pairs of finite numbers, in either order, as MeCo puts them in order itself."""
    windows = window_list(record, "tst_windows")
    for window in windows:
        if not isinstance(window, list) or len(window) != 2 or not all(is_finite(bound) for bound in window):
            raise record.error("tst_windows", f"holds {window!r:.40}, which is no [start, end]", "Correct the row")
    return windows

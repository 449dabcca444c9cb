"""``lavis ceiling``: what a way to write time can at best reach on a data set.

Every true window is written as a codec writes its targets, the text is read back as an answer of a perfect model, and
what was read is scored against the truth as moment retrieval is. What is lost, no training brings back: whole seconds
cost Charades-STA 6 points of mIoU and 16 of recall at IoU 0.9.

A codec takes part by being registered; nothing but its ``encode`` and ``decode`` is used, and ``decode`` does not see
the truth. Beside codecs stand plain grids, to tell what the unit costs from what a codec's reading and writing adds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lavis.common.assets import resolve_asset
from lavis.common.construct import build_part
from lavis.common.registry import registry
from lavis.models.codecs.base import TimeCodec
from lavis.scoring.windows.overlap import top1_overlap
from lavis.scoring.windows.precision import average_precisions
from lavis.structures import ModelOutput, Moment, VideoSample

RECALL_AT = (0.3, 0.5, 0.7, 0.9)
EXACT_SECONDS = 1e-6

SHOWN: Mapping[str, Sequence[Mapping[str, Any]]] = {
    "seconds_text": (
        {"style": "seconds_integers"},
        {"style": "seconds_integers", "parser": "mr_blip"},
        {"style": "seconds_floats", "parser": "mr_blip"},
        {"style": "frame_indices", "num_indices": 30},
        {"style": "frame_indices", "num_indices": 75},
    ),
    "relative_text": (
        {"style": "relative_integers"},
        {"style": "relative_integers", "truncate": False},
        {"style": "relative_floats"},
    ),
}
"""Options of codecs that ``all`` shows; a codec that is not here is shown with its defaults."""

Windows = list[list[float]]
Rounding = Callable[[float, float], float]


class NoCeiling(ValueError):
    """A codec that does not write these samples' windows; the message says why."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: what was asked for, and its figures, or why there are none."""

    name: str
    options: Mapping[str, Any]
    figures: Mapping[str, float] | None
    problem: str = ""

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready mapping."""
        row: dict[str, Any] = {"codec": self.name, "options": dict(self.options)}
        return {**row, "figures": dict(self.figures)} if self.figures is not None else {**row, "problem": self.problem}


def codec_ceiling(samples: Sequence[VideoSample], codec: TimeCodec) -> dict[str, float]:
    """What ``codec`` can at best reach.

    Targets are taken whole: ``max_target_tokens`` is not applied.

    Args:
        samples: with truth; those without a window do not count.
        codec: bound to its tokenizer, if it needs one.

    Returns:
        see ``window_figures``; and ``unreadable``, the number of targets the codec itself cannot read back.

    Raises:
        NoCeiling: if the codec cannot write the samples, or its answers hold no windows.
    """
    known = _with_windows(samples)
    decoded: list[Windows] = []
    unreadable = 0
    for sample in known:
        try:
            text = "".join(segment.text for segment in codec.encode(sample))
        except ValueError as error:
            raise NoCeiling(f"it cannot write these samples: {error}") from error
        # Nothing of the truth may help to read it back.
        prediction = codec.decode(ModelOutput(text), replace(sample, moments=None, prior=None))
        decoded.append([moment.to_list() for moment in prediction.moments])
        unreadable += prediction.malformed
    if not any(decoded):
        raise NoCeiling("its answers hold no windows")
    return {**window_figures(_truth(known), decoded), "unreadable": unreadable}


def grid_ceiling(samples: Sequence[VideoSample], rounding: Rounding) -> dict[str, float]:
    """What times on a grid can at best reach, whoever writes them.

    Args:
        samples: with truth.
        rounding: a time and the duration of its video, in seconds, to the time on the grid.
    """
    known = _with_windows(samples)
    decoded = [[[rounding(bound, s.duration) for bound in m.to_list()] for m in s.moments or ()] for s in known]
    return {**window_figures(_truth(known), decoded), "unreadable": 0}


def every(seconds: float) -> Rounding:
    """Multiples of so many seconds, the nearest (halves to even)."""
    return lambda time, _: round(time / seconds) * seconds


def parts(count: int) -> Rounding:
    """So many equal parts of the video, the nearest."""
    return lambda time, duration: round(time * count / duration) * duration / count


GRIDS: Mapping[str, Rounding] = {
    "every 1 s": every(1), "every 0.1 s": every(0.1), "30 parts": parts(30), "100 parts": parts(100),
    "300 parts": parts(300),
}  # fmt: skip
"""Grids shown for comparison."""


def window_figures(truths: Sequence[Windows], decoded: Sequence[Windows]) -> dict[str, float]:
    """Decoded windows against true ones.

    Args:
        truths: windows of each query, at least one, in seconds.
        decoded: windows of each query.

    Returns:
        in percent ``mIoU`` and ``R1@`` (of each query's first window, as in moment retrieval), ``mAP`` (of all windows,
        over IoU 0.5 to 0.95), ``window_mIoU`` (each true window with the decoded one nearest to it), ``exact`` (windows
        kept to the microsecond); in seconds ``error`` and ``largest_error`` of a bound (windows that nothing was
        decoded for left out); numbers of ``queries`` and ``windows``.
    """
    ious = top1_overlap(decoded, truths)
    precisions = average_precisions(decoded, truths)
    pairs = [(true, _nearest(true, windows)) for own, windows in zip(truths, decoded, strict=True) for true in own]
    errors = np.array([[abs(a - b) for a, b in zip(true, near, strict=True)] for true, near in pairs if near])
    errors = errors.reshape(-1, 2)
    overlaps = [Moment(*true).iou(Moment(*sorted(near))) if near else 0.0 for true, near in pairs]
    return {
        "mIoU": _percent(ious),
        **{f"R1@{level}": _percent(ious >= level) for level in RECALL_AT},
        "mAP": _percent(precisions),
        "window_mIoU": _percent(overlaps),
        "exact": 100 * float((errors <= EXACT_SECONDS).all(axis=1).sum()) / len(pairs),
        "error": float(errors.mean()) if len(errors) else math.nan,
        "largest_error": float(errors.max()) if len(errors) else math.nan,
        "queries": len(truths),
        "windows": len(pairs),
    }


def _nearest(true: Sequence[float], windows: Windows) -> Sequence[float] | None:
    return min(windows, key=lambda each: abs(each[0] - true[0]) + abs(each[1] - true[1]), default=None)


def _percent(values: Any) -> float:
    return 100 * float(np.mean(values))


def _truth(samples: Sequence[VideoSample]) -> list[Windows]:
    return [[moment.to_list() for moment in sample.moments or ()] for sample in samples]


def _with_windows(samples: Sequence[VideoSample]) -> list[VideoSample]:
    known = [sample for sample in samples if sample.moments]
    if not known:
        raise ValueError("no sample has a true window; take a split with truth")
    return known


# --- Which codecs -----------------------------------------------------------------------------------------------------


class NoSplitting:
    """Stands for a tokenizer that has a token for every number and word, so that no codec has to avoid some."""

    def __call__(self, texts: Sequence[str], **_: Any) -> dict[str, list[list[int]]]:
        return {"input_ids": [[number] for number, _ in enumerate(texts)]}

    def convert_tokens_to_ids(self, token: str) -> int:
        """Any id will do: it is only compared."""
        return -1

    def get_vocab(self) -> dict[str, int]:
        """No token has a number that anybody could look up."""
        return {}


def load_tokenizer(folder: str | None) -> Any:
    """The tokenizer in a folder, or one that ships (``asset:toy/t5_tokenizer``); ``None`` without a name."""
    if folder is None:
        return None
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(resolve_asset(folder))


def ceilings(
    samples: Sequence[VideoSample], name: str, options: Mapping[str, Any] | None = None, tokenizer: Any = None
) -> list[Row]:
    """The table: one codec, or all of them, and plain grids.

    Args:
        samples: with truth.
        name: registered codec, or ``all``.
        options: its arguments; not with ``all``.
        tokenizer: of the language model, for codecs that avoid numbers it splits; ``None``: it splits none.

    Raises:
        ConfigError: if an option does not fit.
        UnknownEntryError: if there is no such codec.
        ValueError: if ``all`` is given options, or no sample has a window.
    """
    if name == "all" and options:
        raise ValueError("--codec-options need one codec, not all")
    asked = [(name, options or {})]
    if name == "all":
        asked = [(codec, chosen) for codec in registry.codecs.names() for chosen in SHOWN.get(codec, ({},))]
    rows = []
    for codec_name, chosen in asked:
        codec: TimeCodec = build_part(registry.codecs, {"name": codec_name, **chosen}, "codec")
        codec.bind(tokenizer if tokenizer is not None else NoSplitting())
        try:
            rows.append(Row(codec_name, chosen, codec_ceiling(samples, codec)))
        except NoCeiling as error:
            rows.append(Row(codec_name, chosen, None, str(error)))
    return rows + [Row("grid", {"nearest": label}, grid_ceiling(samples, grid)) for label, grid in GRIDS.items()]


_COLUMNS = ("mIoU", *(f"R1@{level}" for level in RECALL_AT), "mAP", "window_mIoU", "exact", "error", "largest_error")


def table(rows: Sequence[Row]) -> str:
    """Rows as text, with a legend."""
    labels = [f"{row.name} {_told(row.options)}".rstrip() for row in rows]
    width = max(map(len, [*labels, "codec"]))
    heads = [*(f"{name:>5}" for name in _COLUMNS), "unreadable"]
    lines = ["  ".join([f"{'codec':{width}}", *heads])]
    for label, row in zip(labels, rows, strict=True):
        if row.figures is None:
            lines.append(f"{label:{width}}  no ceiling: {row.problem}")
            continue
        cells = [f"{row.figures[name]:{max(len(name), 5)}.{3 if 'error' in name else 1}f}" for name in _COLUMNS]
        lines.append("  ".join([f"{label:{width}}", *cells, f"{row.figures['unreadable']:10.0f}"]))
    return "\n".join([*lines, "", _LEGEND])


def _told(options: Mapping[str, Any]) -> str:
    return " ".join(f"{key}={value}" for key, value in options.items())


_LEGEND = """\
mIoU, R1: percent, of each query's first window; mAP: of all windows, IoU 0.5 to 0.95; window_mIoU: mean over all true
windows; exact: percent of windows kept; error: seconds of a bound, mean and largest; unreadable: targets that the codec
cannot read back itself. grid: times rounded to the nearest multiple, without any codec."""

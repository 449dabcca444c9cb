"""Curves of one answer over the time axis of its video: how like each second is to what the model wrote.

A model that finds moments by comparing its words with the frames keeps the similarities it went by
(``Prediction.details``, MeCo's fields). They are drawn one curve a token, stretched to the height of the lane as they
are before windows are taken from them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from lavis.report.markup import element, percent, text
from lavis.structures import Prediction


@dataclass(frozen=True, slots=True)
class ScoreCurve:
    """One curve.

    Args:
        values: evenly spread over the video, the first at its start; finite.
        event: whether it stands for something asked for, else for what lies between.
    """

    values: Sequence[float]
    event: bool = True


def curves_of(prediction: Prediction) -> list[ScoreCurve]:
    """The similarities of an answer's tokens with the frames, in the order written; none for models that have none."""
    details = prediction.details
    events, rows = list(details.get("ent_inds") or []), list(details.get("vl_sims") or [])
    places = sorted([(place, True) for place in events] + [(place, False) for place in details.get("tst_inds") or []])
    if len(places) != len(rows):
        return []
    curves = [ScoreCurve(row, event) for row, (_, event) in zip(rows, places, strict=True)]
    return [curve for curve in curves if len(curve.values) > 1 and all(map(math.isfinite, curve.values))]


def score_lane(name: str, curves: Sequence[ScoreCurve], ink: str, bands: Sequence[tuple[float, float]] = ()) -> str:
    """The lane below an answer; empty without curves.

    Args:
        name: of the lane.
        curves: those of events are drawn in colour, over the others.
        ink: class of their colour.
        bands: true moments as shares of the video, to be seen behind them.
    """
    if not curves:
        return ""
    lines = [
        element(
            "polyline",
            points=_points(curve.values),
            class_=ink if curve.event else "between",
            fill="none",
            vector_effect="non-scaling-stroke",
        )
        for curve in sorted(curves, key=lambda curve: curve.event)
    ]
    events = sum(curve.event for curve in curves)
    said = f"{name}: {events} of what was asked for, {len(curves) - events} of what lies between"
    drawing = element(
        "svg", *lines, viewBox="0 0 1000 100", preserveAspectRatio="none", role="img", aria_label=said, class_="scores"
    )
    truth = [
        element("i", class_="band", style=f"left:{percent(start)};width:{percent(end - start)}") for start, end in bands
    ]
    return element(
        "div",
        element("span", text(name), class_="name"),
        element("div", *truth, drawing, class_="track"),
        element("span", "low to high", class_="value"),
        class_="lane tall",
    )


def _points(values: Sequence[float]) -> str:
    """Steps of equal width, from the lowest value at the bottom to the highest at the top."""
    low, high = min(values), max(values)
    height = high - low or 1.0
    step = 1000 / len(values)
    corners = []
    for number, value in enumerate(values):
        y = 94 - 88 * (value - low) / height
        corners += [f"{number * step:.1f},{y:.1f}", f"{(number + 1) * step:.1f},{y:.1f}"]
    return " ".join(corners)

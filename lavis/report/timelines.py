"""One card a query: its true moments, what each stage answered and the captions, on one time axis under the frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from lavis.report.curves import label, ticks
from lavis.report.film_strip import FilmStrip
from lavis.report.markup import element, joined, percent, seconds, span, text
from lavis.report.score_lane import ScoreCurve, score_lane
from lavis.structures import Moment, Subtitle

TrackRole = Literal["stage", "baseline"]


@dataclass(frozen=True, slots=True)
class Track:
    """The answer of one stage to one query.

    Args:
        name: of the stage.
        moments: best first; empty if it gave none.
        iou: of the first moment with the truth it overlaps most, in [0, 1]; ``None`` without truth.
        said: the model's own words.
        malformed: whether they could not be read as moments.
        curves: what it went by, over the video; empty for models that have no such thing.
    """

    name: str
    moments: Sequence[Moment]
    iou: float | None = None
    said: str = ""
    malformed: bool = False
    curves: Sequence[ScoreCurve] = ()


@dataclass(frozen=True, slots=True)
class CaseTimeline:
    """One query.

    Args:
        id: of the sample.
        query: the sentence.
        video: name of the video.
        duration: seconds, above 0.
        truth: annotated moments.
        tracks: answers, coarse to fine.
        captions: subtitle lines.
        kind: free label to filter by, such as ``seen``.
        strip: its frames.
        strip_problem: why there are none.
    """

    id: str
    query: str
    video: str
    duration: float
    truth: Sequence[Moment]
    tracks: Sequence[Track]
    captions: Sequence[Subtitle] = field(default_factory=list)
    kind: str | None = None
    strip: FilmStrip | None = None
    strip_problem: str = ""


def best_iou(moments: Sequence[Moment], truth: Sequence[Moment] | None) -> float | None:
    """IoU of the first moment with the true one it overlaps most; 0 without an answer, ``None`` without truth."""
    if not truth:
        return None
    return max(moments[0].iou(true) for true in truth) if moments else 0.0


def queries_section(cases: Sequence[CaseTimeline], note: str = "") -> str:
    """The cards with their controls; sorting and filtering are the page's script, without it all cards show."""
    strips = _strip_classes(cases)
    style = element(
        "style",
        joined(
            f".{name}{{background-image:url({strip.data});--frames:{len(strip.times)};"
            f"aspect-ratio:{len(strip.times) * strip.aspect:.4f}}}"
            for name, strip in strips.values()
        ),
    )
    cards = [_card(number, case, strips.get(case.video, (None, None))[0]) for number, case in enumerate(cases)]
    remark = element("p", text(note), class_="note") if note else ""
    empty = element(
        "p",
        "No query matches. ",
        element("button", "Show all", type="button", id="reset"),
        id="nothing",
        hidden=True,
        class_="empty",
    )
    more = element("button", "Show more", type="button", id="more", hidden=True)
    return joined(
        [style, remark, _controls(cases), element("ol", joined(cards), class_="cards", id="cards"), empty, more]
    )


def _strip_classes(cases: Sequence[CaseTimeline]) -> dict[str, tuple[str, FilmStrip]]:
    """Video to the CSS class with its frames: queries on one video share them."""
    strips: dict[str, tuple[str, FilmStrip]] = {}
    for case in cases:
        if case.strip is not None and case.video not in strips:
            strips[case.video] = (f"strip-{len(strips)}", case.strip)
    return strips


def _controls(cases: Sequence[CaseTimeline]) -> str:
    kinds = sorted({case.kind for case in cases if case.kind})
    stages = max((len(case.tracks) for case in cases), default=0)
    search = element(
        "label",
        element("span", "Search"),
        element(
            "input",
            type="search",
            id="search",
            placeholder="query or video …",
            autocomplete="off",
            aria_keyshortcuts="/",
        ),
    )
    orders = {"worst": "worst first", "best": "best first"}
    if stages > 1:
        orders |= {"gain": "most gained by the last stage", "loss": "most lost by the last stage"}
    orders["order"] = "as annotated"
    options = [element("option", text(shown), value=value) for value, shown in orders.items()]
    sort = element("label", element("span", "Sort"), element("select", *options, id="sort"))
    choice = ""
    if kinds:
        buttons = [
            element(
                "label",
                element("input", type="radio", name="kind", value=kind, checked=not kind),
                element("span", text(kind or "all")),
            )
            for kind in ("", *kinds)
        ]
        choice = element("fieldset", element("legend", "Kind"), *buttons, class_="segments")
    count = element("output", f"{len(cases):,} queries", id="count", aria_live="polite")
    keys = element(
        "p",
        element("kbd", "/"),
        " search ",
        element("kbd", "j"),
        " ",
        element("kbd", "k"),
        " next, previous ",
        element("kbd", "Enter"),
        " details",
        class_="keys",
        aria_hidden="true",
    )
    return element("form", search, choice, sort, count, keys, class_="controls", id="controls", role="search")


def _card(number: int, case: CaseTimeline, strip_class: str | None) -> str:
    last = case.tracks[-1].iou if case.tracks else None
    first = case.tracks[0].iou if case.tracks else None
    gain = last - first if last is not None and first is not None else None
    chip = element("span", text(case.kind), class_="chip") if case.kind else ""
    place = element("span", f"{text(case.video)} · {seconds(case.duration)}", class_="where")
    title = element("h3", f"“{text(case.query)}”", id=f"query-{number}")
    head = element("header", title, element("p", chip, place, class_="meta"), _verdict(case.tracks, gain))
    lanes = [_lane("Truth", case.truth, case, "truth", span_of(case.truth))]
    for index, track in enumerate(case.tracks):
        value = "no answer" if not track.moments else "" if track.iou is None else f"IoU {track.iou:.2f}"
        if track.malformed:
            value += " · unreadable"
        lanes.append(_lane(track.name, track.moments, case, f"stage-{min(index + 1, 4)}", value))
        bands = [(m.start / case.duration, m.end / case.duration) for m in case.truth]
        lanes.append(score_lane("Similarity", track.curves, f"ink-stage-{min(index + 1, 4)}", bands))
    if case.captions:
        lanes.append(_lane("Captions", [], case, "captions", f"{len(case.captions)} lines", case.captions))
    body = element(
        "div",
        _pictures(case, strip_class),
        *lanes,
        _axis(case.duration),
        element("i", class_="cursor"),
        class_="timeline",
        data_duration=f"{case.duration:g}",
    )
    return element(
        "li",
        element("article", head, body, _details(case), tabindex="0", aria_labelledby=f"query-{number}"),
        class_="case",
        data_kind=case.kind or "",
        data_order=number,
        data_text=" ".join([case.query, case.id, case.video]).lower(),
        data_iou=None if last is None else f"{last:.4f}",
        data_gain=None if gain is None else f"{gain:.4f}",
    )


def span_of(moments: Sequence[Moment]) -> str:
    """All moments in words: ``8–12.5 s``, or how many there are."""
    if len(moments) > 1:
        return f"{len(moments)} moments"
    return span(moments[0].start, moments[0].end) if moments else "unknown"


def _verdict(tracks: Sequence[Track], gain: float | None) -> str:
    shown = [
        element("b", f"{track.iou:.2f}", class_=f"ink-stage-{min(index + 1, 4)}", title=f"IoU of {track.name}")
        for index, track in enumerate(tracks)
        if track.iou is not None
    ]
    if not shown:
        return ""
    change = ""
    if len(shown) > 1 and gain is not None:
        direction = "up" if gain > 0.005 else "down" if gain < -0.005 else "same"
        change = element("span", f"{gain:+.2f}".replace("-", "−") if direction != "same" else "±0", class_=direction)
    arrow = element("span", " → ", aria_hidden="true")
    return element("p", element("span", "IoU ", class_="unit"), arrow.join(shown), change, class_="verdict")


def _pictures(case: CaseTimeline, strip_class: str | None) -> str:
    if strip_class is None:
        reason = case.strip_problem or "no frames were taken"
        return element("div", element("p", text(reason), class_="empty"), class_="frames missing")
    bands = [element("i", class_="band", style=_place(m.start, m.end, case.duration)) for m in case.truth]
    shown = element("div", *bands, class_=f"strip {strip_class}", role="img", aria_label=f"Frames of {case.video}")
    return element("div", shown, class_="frames")


def _lane(
    name: str, moments: Sequence[Moment], case: CaseTimeline, colour: str, value: str, captions: Sequence[Subtitle] = ()
) -> str:
    bands = [element("i", class_="band", style=_place(m.start, m.end, case.duration)) for m in case.truth]
    bars = [
        element(
            "i",
            class_=f"bar fill-{colour}" + (" later" if rank and colour != "truth" else ""),
            title=f"{name}: {span(m.start, m.end)}",
            style=_place(m.start, m.end, case.duration),
        )
        for rank, m in enumerate(moments)
    ]
    bars += [
        element(
            "i",
            class_="bar fill-captions",
            title=f"{span(line.start, line.end)}: {line.text}",
            style=_place(line.start, line.end, case.duration),
        )
        for line in captions
    ]
    said = (
        ""
        if captions
        else element("span", text(", ".join(span(m.start, m.end) for m in moments) or "no moment"), class_="spoken")
    )
    return element(
        "div",
        element("span", text(name), class_="name"),
        element("div", *bands, *bars, said, class_="track"),
        element("span", text(value), class_="value"),
        class_="lane",
    )


def _axis(duration: float) -> str:
    marks = [
        element("span", label(value), style=f"left:{percent(value / duration)}") for value in ticks(0.0, duration, 8)
    ]
    track = element("div", *marks, class_="track")
    return element(
        "div",
        element("span", "seconds", class_="name"),
        track,
        element("span", class_="value"),
        class_="lane axis",
        aria_hidden="true",
    )


def _place(start: float, end: float, duration: float) -> str:
    left, right = (min(max(value / duration, 0.0), 1.0) for value in (start, end))
    return f"left:{percent(left)};width:{percent(right - left)}"


def _details(case: CaseTimeline) -> str:
    rows = [
        element("dt", "Sample") + element("dd", text(case.id)),
        element("dt", "Truth") + element("dd", text(_windows(case.truth))),
    ]
    for track in case.tracks:
        answer = text(_windows(track.moments))
        words = element("q", text(track.said)) if track.said else ""
        rows.append(element("dt", text(track.name)) + element("dd", answer, " " if words else "", words))
    content = element("dl", joined(rows))
    if case.captions:
        lines = [
            element("li", element("span", text(span(line.start, line.end))), " ", text(line.text))
            for line in case.captions
        ]
        content += element("ol", joined(lines), class_="captions")
    return element("details", element("summary", "Answers and captions" if case.captions else "Answers"), content)


def _windows(moments: Sequence[Moment]) -> str:
    return ", ".join(span(m.start, m.end) for m in moments) or "none"

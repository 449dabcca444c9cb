"""Annotations of scripts in the layouts of the field, and subtitles."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from lavis.preparation.moving_shapes.script import COLOURS, SHAPES, SPLITS, Script, SpokenLine, seed_of


def query_number(script: Script, position: int) -> int:
    """A number for a query that no other query of any split has, whatever the number of videos."""
    return (SPLITS.index(script.split) * 100_000 + script.index) * 4 + position


def calce_rows(script: Script) -> list[dict[str, Any]]:
    """CALCE's annotation rows, with ``kind`` added."""
    return [
        {
            "video": script.video,
            "qid": f"Sample_{query_number(script, i)}",
            "query": query.text,
            "duration": script.duration,
            "items": list(query.items),
            "relevant_windows": [list(w) for w in query.windows],
            "kind": query.kind,
        }
        for i, query in enumerate(script.queries)
    ]


def qvhighlights_rows(script: Script) -> list[dict[str, Any]]:
    """Rows of the QVHighlights release: three annotators score the 2-s clips of the windows from 0 to 4."""
    rows = []
    for i, query in enumerate(script.queries):
        rng = random.Random(seed_of("saliency", script.content(), i))
        clips, scores = [], []
        for clip in range(script.duration // 2):
            centre = 2 * clip + 1
            window = next((w for w in query.windows if w[0] <= centre < w[1]), None)
            if window is None:
                continue
            # The middle of a window is the highlight.
            depth = 1 - abs(2 * (centre - window[0]) / (window[1] - window[0]) - 1)
            clips.append(clip)
            scores.append([max(0, min(4, round(1.6 + 2.4 * depth + rng.uniform(-0.9, 0.9)))) for _ in range(3)])
        rows.append(
            {
                "qid": query_number(script, i),
                "query": query.text,
                "duration": script.duration,
                "vid": script.video,
                "relevant_windows": [list(w) for w in query.windows],
                "relevant_clip_ids": clips,
                "saliency_scores": scores,
            }
        )
    return rows


def dense_captions(script: Script) -> dict[str, Any]:
    """All events of a video with their captions, as in ActivityNet Captions."""
    return {
        "duration": script.duration,
        "timestamps": [[e.start, e.end] for e in script.events],
        "sentences": [e.caption for e in script.events],
    }


def questions(script: Script) -> list[dict[str, Any]]:
    """A multiple-choice question on the event in the middle, with the window that answers it."""
    rng = random.Random(seed_of("question", script.content()))
    event = script.events[len(script.events) // 2]
    if sum((e.shape, e.motion) == (event.shape, event.motion) for e in script.events) == 1:
        question = f"Which colour has the {event.shape} that {event.motion}?"
        answer, others = event.colour, list(COLOURS)
    else:
        question = f"What is on the screen at second {(event.start + event.end) // 2}?"
        answer = f"a {event.colour} {event.shape}"
        others = [f"a {colour} {shape}" for colour in COLOURS for shape in SHAPES]
    options = [answer, *rng.sample([o for o in others if o != answer], 4)]
    rng.shuffle(options)
    return [
        {
            "video": script.video,
            "qid": f"Sample_{query_number(script, 3)}",
            "question": question,
            "options": options,
            "answer": options.index(answer),
            "duration": script.duration,
            "relevant_windows": [[event.start, event.end]],
        }
    ]


def event_order(script: Script) -> list[dict[str, Any]]:
    """Captions in random order; ``order`` lists their positions by time. Only looks that occur once take part."""
    counts: dict[str, int] = {}
    for event in script.events:
        counts[event.caption] = counts.get(event.caption, 0) + 1
    events = [e for e in script.events if counts[e.caption] == 1]
    if len(events) < 2:
        return []
    shuffled = list(range(len(events)))
    random.Random(seed_of("order", script.content())).shuffle(shuffled)
    return [
        {
            "video": script.video,
            "qid": f"Sample_{query_number(script, 3)}",
            "duration": script.duration,
            "events": [events[i].caption for i in shuffled],
            "order": [shuffled.index(i) for i in range(len(events))],
            "relevant_windows": [[events[i].start, events[i].end] for i in shuffled],
        }
    ]


def to_srt(lines: Sequence[SpokenLine]) -> str:
    """The text of an ``.srt`` file."""

    def clock(seconds: float) -> str:
        ms = round(seconds * 1000)
        return f"{ms // 3600000:02d}:{ms // 60000 % 60:02d}:{ms // 1000 % 60:02d},{ms % 1000:03d}"

    return "".join(
        f"{i}\n{clock(line.start)} --> {clock(line.end)}\n{line.text}\n\n" for i, line in enumerate(lines, 1)
    )

"""Conversations about pictures and videos of scripts, as chat models learn them before they learn to find moments.

Rows are in LLaVA's form, like the files that E.T. Chat and MeCo train their first two stages on
(``lavis/datasets/formats/conversations.py``): captions of pictures, then questions about pictures and videos.
"""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lavis.preparation.moving_shapes.scene import SceneRenderer
from lavis.preparation.moving_shapes.script import COLOURS, SHAPES, Event, Script, seed_of

NOTHING = "an empty background"
CAPTION, SHOWN, LIKE, STORY = "", "What is there?", "Is there {look}?", "What is there from start to end?"
YES, NO = "yes", "no"

Shown = tuple[str, float, Event | None]
"""A picture: its name, the second of the video, and what it shows."""


def pictures(script: Script) -> list[Shown]:
    """Two pictures of each event of a video, and one of a moment without any if there is one."""
    shown: list[Shown] = []
    for number, event in enumerate(script.events):
        for part in (1, 3):
            time = event.start + part * (event.end - event.start) / 4
            shown.append((f"{script.video}_{number}{'ab'[part // 2]}.jpg", time, event))
    busy = {second for event in script.events for second in range(event.start, event.end)}
    empty = [second for second in range(script.duration) if second not in busy]
    if empty:
        shown.append((f"{script.video}_empty.jpg", empty[len(empty) // 2] + 0.5, None))
    return shown


def write_pictures(script: Script, folder: Path) -> None:
    """Draws the pictures of a video that are not there yet."""
    from PIL import Image

    renderer = SceneRenderer(script)
    for name, time, _ in pictures(script):
        path = folder / name
        if not path.exists():
            temporary = path.with_name(f".{path.stem}.{os.getpid()}.jpg")
            Image.fromarray(renderer.frame(time)).save(temporary, quality=90)
            os.replace(temporary, path)


def picture_captions(script: Script) -> list[dict[str, Any]]:
    """What each picture shows, in two turns of which the first holds the picture alone."""
    return [_row(name, CAPTION, _look(event)) for name, _, event in pictures(script)]


def instructions(script: Script) -> list[dict[str, Any]]:
    """A question on each picture, and one on the video.

    Of the two pictures of an event one is asked about what it shows, the other whether it shows a look, which it does
    as often as not. A look that is not there shares its colour or its shape with what is. Empty pictures show none.
    """
    rng = random.Random(seed_of("instructions", script.content()))
    rows = []
    for number, (name, _, event) in enumerate(pictures(script)):
        if event is not None and number % 2 == 0:
            rows.append(_row(name, SHOWN, _look(event)))
            continue
        there = event is not None and rng.random() < 0.5
        asked = _look(event) if there else _other(rng, event)
        rows.append(_row(name, LIKE.format(look=asked), YES if there else NO))
    story = ", ".join(event.caption for event in sorted(script.events, key=lambda event: event.start))
    rows.append({"video": f"{script.video}.mp4", "duration": script.duration, **_said(STORY, story)})
    return rows


def _row(picture: str, *texts: str) -> dict[str, Any]:
    return {"image": picture, **_said(*texts)}


def _said(*texts: str) -> dict[str, Any]:
    """Turns, the user's first; each of the user's holds the place for frames."""
    turns = []
    for number, said in enumerate(texts):
        if number % 2:
            turns.append({"from": "gpt", "value": said})
        else:
            turns.append({"from": "human", "value": f"<image>\n{said}" if said else "<image>"})
    return {"conversations": turns}


def _look(event: Event | None) -> str:
    return NOTHING if event is None else f"a {event.colour} {event.shape}"


def _other(rng: random.Random, event: Event | None) -> str:
    """A look that a picture does not show."""
    colours, shapes = list(COLOURS), list(SHAPES)
    if event is None:
        return f"a {rng.choice(colours)} {rng.choice(shapes)}"
    if rng.random() < 0.5:
        return f"a {_except(rng, colours, event.colour)} {event.shape}"
    return f"a {event.colour} {_except(rng, shapes, event.shape)}"


def _except(rng: random.Random, words: Sequence[str], word: str) -> str:
    return rng.choice([other for other in words if other != word])

"""Pictures and sound of a script, and the H.264 file made of them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lavis.preparation.moving_shapes.script import COLOURS, SHAPES, Event, Script, Shot

Picture = NDArray[np.uint8]


def _shape_mask(shape: str, u: NDArray[np.float32], v: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Inside of a unit shape at coordinates ``u`` to the right and ``v`` downwards."""
    r = np.hypot(u, v)
    if shape == "circle":
        return r <= 1
    if shape == "square":
        return np.maximum(np.abs(u), np.abs(v)) <= 0.86
    if shape == "triangle":
        return (v <= 0.8) & (np.abs(u) <= (v + 1.0) * 0.58)
    if shape == "star":
        turn = np.mod(np.arctan2(u, -v) * (5 / (2 * np.pi)), 1.0)
        return r <= 0.38 + 0.72 * np.abs(turn - 0.5) * 2
    if shape == "cross":
        return (np.minimum(np.abs(u), np.abs(v)) <= 0.3) & (np.maximum(np.abs(u), np.abs(v)) <= 1)
    if shape == "ring":
        return (r <= 1) & (r >= 0.58)
    raise ValueError(f"unknown shape {shape!r}; known: {', '.join(SHAPES)}")


def _placement(event: Event, time: float) -> tuple[float, float, float]:
    """Centre ``x, y`` and radius of an event's shape at ``time`` seconds, as fractions of the frame."""
    phase = (time - event.start) / (event.end - event.start)
    x, y, radius = event.x, event.y, event.radius
    match event.motion:
        case "moves left":
            x = 0.74 - 0.48 * phase
        case "moves right":
            x = 0.26 + 0.48 * phase
        case "moves up":
            y = 0.74 - 0.48 * phase
        case "moves down":
            y = 0.26 + 0.48 * phase
        case "bounces":
            y = 0.7 - 0.4 * abs(np.sin(np.pi * (time - event.start) / 1.5))
        case "shakes":
            x += 0.08 * np.sin(2 * np.pi * (time - event.start) / 0.6)
        case "grows":
            radius *= 0.75 + 0.5 * phase
        case "shrinks":
            radius *= 1.25 - 0.5 * phase
    return float(x), float(y), float(radius)


def _background(shot: Shot, size: tuple[int, int]) -> Picture:
    """The empty scene of a shot, ``[H, W, 3]``."""
    width, height = size
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    x, y = x / width, y / height
    if shot.pattern == "gradient":
        blend = y
    elif shot.pattern == "stripes":
        blend = (np.mod(x * 6, 1.0) < 0.5).astype(np.float32)
    elif shot.pattern == "checks":
        blend = np.mod(np.floor(x * 5) + np.floor(y * 5), 2.0)
    elif shot.pattern == "horizon":
        blend = (y > 0.62).astype(np.float32)
    else:
        blend = np.zeros_like(x)
    image = np.array(shot.colour, np.float32) * (1 - blend[..., None])
    image += np.array(shot.second, np.float32) * blend[..., None]
    image += np.random.default_rng(shot.seed).normal(0, 4, (height, width, 1)).astype(np.float32)
    picture: Picture = np.clip(image, 0, 255).astype(np.uint8)
    return picture


class SceneRenderer:
    """Frames of a script; backgrounds are drawn once per shot.

    Args:
        script: what to draw.
        size: width and height in pixels; that of the script by default.
    """

    def __init__(self, script: Script, size: tuple[int, int] | None = None) -> None:
        self.script = script
        self.size = size or script.size
        self._backgrounds: dict[int, Picture] = {}

    def frame(self, time: float) -> Picture:
        """The picture at ``time`` seconds, ``[H, W, 3]`` RGB."""
        shot = max(i for i, s in enumerate(self.script.shots) if s.start <= time or i == 0)
        if shot not in self._backgrounds:
            self._backgrounds[shot] = _background(self.script.shots[shot], self.size)
        image = self._backgrounds[shot].copy()
        for event in self.script.events:
            if event.start <= time < event.end:
                self._draw(image, event, time)
        return image

    def _draw(self, image: Picture, event: Event, time: float) -> None:
        height, width = image.shape[:2]
        x, y, radius = _placement(event, time)
        # The radius follows both sides so that a shape keeps its form once the frame is squeezed to a square.
        cx, cy, rx, ry = x * width, y * height, radius * width, radius * height
        x0, x1 = max(0, int(cx - rx) - 1), min(width, int(cx + rx) + 2)
        y0, y1 = max(0, int(cy - ry) - 1), min(height, int(cy + ry) + 2)
        if x0 >= x1 or y0 >= y1:
            return
        u = ((np.arange(2 * x0, 2 * x1, dtype=np.float32) + 0.5) / 2 - cx) / rx
        v = ((np.arange(2 * y0, 2 * y1, dtype=np.float32) + 0.5) / 2 - cy) / ry
        uu, vv = np.meshgrid(u, v)
        inside = _shape_mask(event.shape, uu, vv).astype(np.float32)
        alpha = inside.reshape(y1 - y0, 2, x1 - x0, 2).mean((1, 3))[..., None]
        patch = image[y0:y1, x0:x1].astype(np.float32)
        colour = np.array(COLOURS[event.colour], np.float32)
        image[y0:y1, x0:x1] = (patch + (colour - patch) * alpha).astype(np.uint8)


def write_video(script: Script, path: Path) -> None:
    """Render and encode a script as H.264 in MP4; the file appears under its name only when finished."""
    import av

    temporary = path.with_name(f".{path.stem}.{os.getpid()}.mp4")
    renderer = SceneRenderer(script)
    times = script.frame_times()
    base = Fraction(1, 1000) if script.rate is None else 1 / Fraction(script.rate)
    try:
        with av.open(str(temporary), "w") as container:
            rate = Fraction(script.rate) if script.rate is not None else Fraction(len(times), script.duration)
            stream = container.add_stream(
                "libx264",
                rate=rate,
                options={"preset": "ultrafast", "crf": "28", "threads": "1", "g": str(max(10, int(4 * rate)))},
            )
            stream.width, stream.height = script.size
            stream.pix_fmt = "yuv420p"
            stream.time_base = base
            stream.codec_context.time_base = base
            audio = container.add_stream("aac", rate=16000, layout="mono") if script.audio else None
            for time in times:
                frame = av.VideoFrame.from_ndarray(renderer.frame(float(time)), format="rgb24")
                frame.pts = round(time / base)
                frame.time_base = base
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
            if audio is not None:
                for sound in _speech_like_sound(script):
                    container.mux(audio.encode(sound))
                container.mux(audio.encode(None))
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _speech_like_sound(script: Script) -> Iterator[Any]:
    """A hum while a line is spoken, as audio frames of 1024 samples at 16 kHz."""
    import av

    rate = 16000
    now = np.arange(script.duration * rate) / rate
    level = np.zeros_like(now)
    for line in script.lines:
        level[int(line.start * rate) : int(line.end * rate)] = 1
    wave = level * 0.2 * np.sin(2 * np.pi * 160 * now) * (1 + np.sin(2 * np.pi * 4 * now)) / 2
    samples = (wave * 32767).astype(np.int16)
    for start in range(0, len(samples) - 1023, 1024):
        frame = av.AudioFrame.from_ndarray(samples[None, start : start + 1024], format="s16", layout="mono")
        frame.sample_rate = rate
        frame.pts = start
        frame.time_base = Fraction(1, rate)
        yield frame

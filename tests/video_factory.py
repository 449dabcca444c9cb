"""Small videos for tests: each frame carries its number, so a test can tell which one it was given.

What ``benchmarks.timestamps`` makes too comes from there.
"""

from __future__ import annotations

from pathlib import Path

from benchmarks._numbered import number_of, numbered_frame, trim, truncate, write_images, write_tone, write_video

__all__ = [
    "damage",
    "number_of",
    "numbered_frame",
    "trim",
    "truncate",
    "write_audio",
    "write_images",
    "write_video",
]


def write_audio(path: Path, seconds: float = 1.0) -> Path:
    """A file with sound and no picture."""
    import av

    with av.open(str(path), "w") as output:
        write_tone(output, output.add_stream("aac", rate=16000, layout="mono"), seconds)
    return path


def damage(path: Path, target: Path, start: float = 0.4, stop: float = 0.6) -> Path:
    """A copy whose bytes from ``start`` to ``stop`` (fractions of its length) are overwritten."""
    data = bytearray(path.read_bytes())
    first, last = int(len(data) * start), int(len(data) * stop)
    data[first:last] = bytes((7 * i) % 251 for i in range(last - first))
    target.write_bytes(data)
    return target

"""A row of small frames of one video as a single picture, for the timelines of a report."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

from lavis.common.registry import registry


@dataclass(frozen=True, slots=True)
class FilmStrip:
    """Frames side by side.

    Args:
        data: JPEG as a ``data:`` address.
        times: seconds of each frame.
        aspect: width of one frame over its height.
    """

    data: str
    times: Sequence[float]
    aspect: float


def film_strip(path: str, *, shape: float = 16.0, height: int = 54, quality: int = 62) -> FilmStrip:
    """Frames from the middle of equal parts of the video.

    Args:
        path: video file.
        shape: width of the whole strip over its height, above 0: it decides how many frames there are, so that the
            strips of upright and of wide videos are equally high on the page.
        height: of the picture, in pixels.
        quality: of the JPEG, 1 to 95.

    Raises:
        VideoDecodeError: if the video cannot be read.
    """
    import numpy as np
    from PIL import Image

    if not shape > 0:
        raise ValueError(f"shape must be above 0, got {shape}")
    reader = registry.readers.get("pyav")()
    info = reader.probe(path)
    aspect = info.width / info.height
    num_frames = max(1, round(shape / aspect))
    part = info.duration_s / num_frames
    wanted = [(i + 0.5) * part for i in range(num_frames)]
    size = (height, max(1, round(height * aspect)))
    pixels, times = reader.read(path, times=wanted, size=size, info=info)  # [T, 3, H, W]
    strip = np.concatenate(list(pixels.permute(0, 2, 3, 1).numpy()), axis=1)
    buffer = io.BytesIO()
    Image.fromarray(strip).save(buffer, "JPEG", quality=quality, optimize=True)
    data = "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
    return FilmStrip(data, times, aspect)

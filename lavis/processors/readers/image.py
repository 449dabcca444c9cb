"""A picture as a video of one frame that lasts a second: LLaVA's and VideoChat2's training data mix both.

Source: the image loading of E.T. Chat (PolyU-ChenLab/ETBench) and MeCo (pangzss/MeCo), which go back to LLaVA's: RGB,
padded to a square with the mean colour of CLIP if asked. Unlike theirs, a picture is turned as its EXIF data say, a cut
one is an error and not grey below the cut, 16 bits keep their upper eight, and one of absurd size is refused before it
takes the memory of the machine. Of an animation the first picture is taken.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lavis.common.registry import registry
from lavis.processors.readers.base import Pixels, Size, VideoDecodeError, VideoInfo, VideoReader, check_file, positive
from lavis.processors.transforms import CLIP_MEAN

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"})
"""Of files that are pictures where an annotation does not say so; ``.gif`` is a video there, as in TGIF."""

PAD_COLOUR = tuple(int(255 * level) for level in CLIP_MEAN)
"""(122, 116, 104)."""

_LARGEST = 178.0
"""Megapixels above which Pillow itself refuses."""

_ORIENTATION = 0x0112
_CURE = "fetch it again, or leave it out with on_decode_error: skip"


@registry.readers.register("image")
@dataclass(frozen=True)
class ImageReader(VideoReader):
    """Reads PNG, JPEG, WebP and whatever else Pillow knows.

    Args:
        pad_to_square: pad with CLIP's mean colour to a square, the picture in its middle; otherwise it stays as it is.
        max_megapixels: largest picture that is read, padding included, above 0 and at most 178: a file of a few
            kilobytes may hold gigabytes of one colour.

    Raises:
        ValueError: if ``max_megapixels`` is out of range.
    """

    pad_to_square: bool = False
    max_megapixels: float = 89.0

    def __post_init__(self) -> None:
        positive("image.max_megapixels", self.max_megapixels)
        if self.max_megapixels > _LARGEST:
            raise ValueError(f"image.max_megapixels must be at most {_LARGEST:g}, got {self.max_megapixels:g}")
        if not isinstance(self.pad_to_square, bool):
            raise ValueError(f"image.pad_to_square must be true or false, got {self.pad_to_square!r}")

    def probe(self, path: str | Path) -> VideoInfo:
        check_file(path)
        with _Explained(path):
            from PIL import Image

            with Image.open(path) as picture:
                width, height = self._shown(picture, path)
        return VideoInfo(num_frames=1, fps=1.0, duration_s=1.0, width=width, height=height, times=[0.0])

    def _decode(self, path: str, wanted: list[int], size: Size | None, info: VideoInfo) -> tuple[Pixels, Sequence[int]]:
        check_file(path)
        with _Explained(path):
            from PIL import Image

            with Image.open(path) as picture:
                self._shown(picture, path)
                turn = _turn_of(picture)
                shown = _rgb(picture)
            if turn is not None:
                shown = shown.transpose(turn)
            if self.pad_to_square:
                shown = _padded(shown)
            if size is not None:
                shown = shown.resize((size[1], size[0]), Image.Resampling.BICUBIC)
            pixels = np.array(shown, dtype=np.uint8)
        return pixels[None], wanted

    def _shown(self, picture: Any, path: str | Path) -> tuple[int, int]:
        """Width and height as shown; from the header, before any pixel is decoded."""
        width, height = picture.size
        if _turn_of(picture) in _sideways():
            width, height = height, width
        if self.pad_to_square:
            width = height = max(width, height)
        if width * height > self.max_megapixels * 1e6:
            padded = ", padded," if self.pad_to_square else ""
            cause = f"has {width} x {height} pixels{padded} and {self.max_megapixels:g} million are allowed"
            raise VideoDecodeError(path, cause, "make it smaller, or set image_max_megapixels of the view")
        return width, height


def is_image(path: str | os.PathLike[str]) -> bool:
    """Whether a path is that of a picture, by its suffix."""
    return os.path.splitext(path)[1].lower() in SUFFIXES


class _Explained:
    """Whatever Pillow makes of a broken file becomes one kind of error."""

    def __init__(self, path: str | Path) -> None:
        self.path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        # Pillow raises errors of a dozen kinds at broken files, SyntaxError and struct.error among them.
        if isinstance(error, (VideoDecodeError, MemoryError, ImportError)) or not isinstance(error, Exception):
            return
        said = str(error).split(" '")[0].split(" <")[0] or type(error).__name__
        raise VideoDecodeError(self.path, f"not a readable image ({said})", _CURE) from error


def _turn_of(picture: Any) -> Any:
    """How the picture is to be turned to stand upright; ``None`` if it does, or its EXIF data cannot be read."""
    from PIL import Image

    turns = Image.Transpose
    try:
        told = picture.getexif().get(_ORIENTATION)
    except Exception:  # as many kinds as above; broken notes on a picture do not make it unreadable
        return None
    return {
        2: turns.FLIP_LEFT_RIGHT, 3: turns.ROTATE_180, 4: turns.FLIP_TOP_BOTTOM, 5: turns.TRANSPOSE,
        6: turns.ROTATE_270, 7: turns.TRANSVERSE, 8: turns.ROTATE_90,
    }.get(told)  # fmt: skip


def _sideways() -> tuple[Any, ...]:
    from PIL import Image

    turns = Image.Transpose
    return turns.TRANSPOSE, turns.ROTATE_270, turns.TRANSVERSE, turns.ROTATE_90


def _rgb(picture: Any) -> Any:
    """In RGB; what is transparent shows the colour it has, as in the originals."""
    from PIL import Image

    if picture.mode.startswith("I"):  # 16 bits of grey; Pillow would cut them off at 255 in some modes
        grey = np.asarray(picture).astype(np.int64)
        return Image.fromarray((grey.clip(0, 65535) >> 8).astype(np.uint8)).convert("RGB")
    return picture.convert("RGB")


def _padded(picture: Any) -> Any:
    from PIL import Image

    width, height = picture.size
    side = max(width, height)
    square = Image.new("RGB", (side, side), PAD_COLOUR)
    square.paste(picture, ((side - width) // 2, (side - height) // 2))
    return square

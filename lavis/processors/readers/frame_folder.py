"""Folders of extracted frames: some data sets (TVQA, ActivityNet in HawkEye) are shared that way.

Unlike the originals, frames are sorted by the numbers in their names, so ``10.jpg`` follows ``9.jpg``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lavis.common.content import WHOLE, content_digest
from lavis.common.provenance import digest
from lavis.common.registry import registry
from lavis.processors.readers.base import (
    Pixels,
    Size,
    VideoDecodeError,
    VideoInfo,
    VideoReader,
    missing_file,
    positive,
)

IMAGE_EXTENSIONS = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp"})


@registry.readers.register("frame_folder")
@dataclass(frozen=True)
class FrameFolderReader(VideoReader):
    """Reads the images of a folder as a video.

    Args:
        fps: frames a second that the images were taken at, above 0.
    """

    fps: float = 3.0

    def __post_init__(self) -> None:
        positive("frame_folder.fps", self.fps)

    def probe(self, path: str | Path) -> VideoInfo:
        names = _image_names(path)
        first = _load(path, names[0], None)
        regular = VideoInfo.regular(len(names), self.fps, first.shape[1], first.shape[0])
        return VideoInfo(**{**vars(regular), "index": names})

    def _decode(self, path: str, wanted: list[int], size: Size | None, info: VideoInfo) -> tuple[Pixels, Sequence[int]]:
        names: list[str] = info.index
        images = [_load(path, names[i], size) for i in wanted]
        odd = next((i for i, image in zip(wanted, images, strict=True) if image.shape != images[0].shape), None)
        if odd is not None:
            raise VideoDecodeError(path, f"{names[odd]} differs in size from the others", "give a size to read at")
        return np.stack(images), wanted

    def fingerprint(self, path: str | Path) -> str:
        names = _image_names(path)
        files = [os.path.join(path, name) for name in names]
        stats = [os.stat(file) for file in files]
        if sum(s.st_size for s in stats) <= WHOLE:
            return digest(names, [content_digest(file) for file in files])
        # Too much to read: what the folder says about its files, which a copy may say differently.
        return digest(os.path.realpath(path), names, [(s.st_size, s.st_mtime_ns, s.st_ctime_ns) for s in stats])


def _image_names(path: str | Path) -> list[str]:
    try:
        entries = os.listdir(path)
    except NotADirectoryError as error:
        raise VideoDecodeError(path, "is a file, not a folder of frames", "for video files use reader pyav") from error
    except OSError as error:
        raise missing_file(path, error) from error
    names = [name for name in entries if os.path.splitext(name)[1].lower() in IMAGE_EXTENSIONS and name[0] != "."]
    if not names:
        known = ", ".join(sorted(IMAGE_EXTENSIONS))
        raise VideoDecodeError(path, "there are no images in the folder", f"images end in {known}")
    return sorted(names, key=lambda name: ([int(digits) for digits in re.findall(r"\d+", name)], name))


def _load(folder: str | Path, name: str, size: Size | None) -> Pixels:
    from PIL import Image, UnidentifiedImageError

    path = os.path.join(folder, name)
    try:
        with Image.open(path) as image:
            picture = image.convert("RGB")
    except (OSError, UnidentifiedImageError) as error:
        raise VideoDecodeError(path, f"not a readable image ({error})", "extract the frame again") from error
    if size is not None:
        picture = picture.resize((size[1], size[0]), Image.Resampling.BICUBIC)
    return np.asarray(picture, dtype=np.uint8)

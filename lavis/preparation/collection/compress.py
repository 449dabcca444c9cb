"""Smaller copies of a folder of videos: few frames a second, a short side of few pixels.

MeCo trains from such copies (3 frames a second, 224 pixels). Its tool squashes portrait videos (a factor is multiplied
where it should divide; ``Target(shape="meco")`` brings that back), skips whatever exists under the name of a copy, and
keeps copies that were cut short. Here portrait videos keep their shape, a copy is made again when its original or an
option changes, and it gets its name only once it has been read back.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lavis.common.io import explained, sync_folder
from lavis.preparation.collection.copy_plan import Target, check_copy
from lavis.preparation.collection.encoders import Encoder, chosen_encoder, encode_with_ffmpeg, encode_with_pyav
from lavis.preparation.collection.items import Item, find_videos
from lavis.preparation.collection.run import Running, run_collection
from lavis.preparation.collection.summary import Summary
from lavis.processors.readers.base import Damage

if TYPE_CHECKING:
    from typing import Unpack  # since Python 3.11; only type checkers read it


@dataclass(frozen=True, slots=True)
class Compress:
    """Work for one video: writes its copy, reads it back, and puts it in its place.

    Args:
        out: folder of the copies.
        target: what they are to be.
        encoder: ``ffmpeg``, ``pyav``, or ``auto``: the program where there is one.
        on_damage: refuse a video that ends too early or has packets that cannot be decoded, or copy what is there.
    """

    out: Path
    target: Target
    encoder: Encoder = "auto"
    on_damage: Damage = "raise"

    def __call__(self, item: Item, scratch: Path) -> dict[str, Any]:
        from lavis.processors.readers.pyav import PyAVReader

        info = PyAVReader(on_truncated=self.on_damage).probe(item.path)
        encoder = chosen_encoder(self.encoder)
        encode = encode_with_ffmpeg if encoder == "ffmpeg" else encode_with_pyav
        place = self.out / copy_name(item.name)
        unfinished = scratch / f"{hashlib.blake2b(os.fsencode(item.name), digest_size=12).hexdigest()}.mp4"
        try:
            with explained(place):
                encode(item.path, unfinished, info, self.target, self.on_damage)
                made = check_copy(unfinished, item.path, info, self.target)
                size = _put(unfinished, place)
        finally:
            unfinished.unlink(missing_ok=True)
        return {
            "duration_s": info.duration_s, "copy": copy_name(item.name), "encoder": encoder, "frames": made.num_frames,
            "width": made.width, "height": made.height, "bytes": size, "bytes_before": item.path.stat().st_size,
        }  # fmt: skip


def compress_videos(
    videos: str | Path,
    out: str | Path,
    target: Target | None = None,
    *,
    encoder: Encoder = "auto",
    on_damage: Damage = "raise",
    **running: Unpack[Running],
) -> Summary:
    """Makes a smaller copy of every video in a folder and the folders in it.

    Args:
        videos: the folder.
        out: folder for the copies, at the same paths with the suffix ``.mp4``.
        target: what they are to be.
        encoder, on_damage: see ``Compress``.
        running: see ``run_collection``.

    Returns:
        what was done.

    Raises:
        FileNotFoundError: if there is no such folder.
        ValueError: as ``run_collection``; or if ``out`` is in ``videos``, or two videos would have the same copy.
    """
    root, place = Path(videos).expanduser(), Path(out).expanduser()
    if place.resolve().is_relative_to(root.resolve()):
        raise ValueError(f"the copies cannot go into the folder of the originals: {place} is in {root}")
    items = find_videos(root)
    _check_names(items)
    chosen_encoder(encoder)  # a program that is missing is no fault of the first hundred videos
    target = target or Target()
    work = Compress(place, target, encoder, on_damage)
    options = {**target.to_options(), "on_damage": on_damage}

    def is_done(item: Item, result: Mapping[str, Any]) -> bool:
        copy = place / copy_name(item.name)
        return copy.is_file() and copy.stat().st_size == result.get("bytes")

    return run_collection(items, work, place, name="compress_videos", options=options, is_done=is_done, **running)


def copy_name(name: str) -> str:
    """The path of the copy, from that of the original."""
    return f"{name[: -len(Path(name).suffix)]}.mp4"


def _check_names(items: Sequence[Item]) -> None:
    first: dict[str, Item] = {}
    for item in items:
        other = first.setdefault(copy_name(item.name), item)
        if other is not item:
            raise ValueError(
                f"{other.name} and {item.name} would both become {copy_name(item.name)}; rename one, or leave it out"
            )


def _put(unfinished: Path, place: Path) -> int:
    """Moves a file to its place such that neither a crash nor a power cut leaves half of it there; its bytes."""
    with unfinished.open("rb") as stream:
        os.fsync(stream.fileno())
        size = os.fstat(stream.fileno()).st_size
    place.parent.mkdir(parents=True, exist_ok=True)
    os.replace(unfinished, place)
    sync_folder(place.parent)
    return size

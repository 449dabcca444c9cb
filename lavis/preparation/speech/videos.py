"""Which videos of a folder are meant: all, or those of a list."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from lavis.common.io import read_text
from lavis.preparation.collection.items import Item, find_videos


def listed_videos(folder: str | Path, names: str | Path | None = None) -> list[Item]:
    """The videos below a folder, or those that a file lists.

    Args:
        folder: of the videos.
        names: file with a name a line: a path below the folder, with its ending or without; ``None`` means all videos.

    Returns:
        videos by name; one that is listed and not there is among them, and fails when its turn comes.

    Raises:
        ValueError: for an empty list, or a name that leads out of the folder; names file and line.
        FileNotFoundError: if there is no such folder.
    """
    if names is None:
        return find_videos(folder)
    root = Path(folder).expanduser()
    if not root.is_dir():
        raise FileNotFoundError(f"there is no folder of videos {root}")
    present: dict[str, list[Item]] = {}
    found: dict[str, Item] = {}
    for number, line in enumerate(read_text(Path(names).expanduser()).splitlines(), start=1):
        name = line.strip()
        if not name:
            continue
        pure = PurePosixPath(name)
        if pure.is_absolute() or ".." in pure.parts:
            raise ValueError(f"{names}, line {number}: {name!r} leads out of {root}; names are paths below it")
        if not (root / pure).is_file():
            present = present or _by_stem(find_videos(root))
            same = present.get(pure.as_posix(), [])
            if len(same) == 1:
                found[same[0].name] = same[0]
                continue
        found[pure.as_posix()] = Item(pure.as_posix(), root / pure)
    if not found:
        raise ValueError(f"{names}: there is no name in it")
    return list(found.values())


def _by_stem(items: list[Item]) -> dict[str, list[Item]]:
    stems: dict[str, list[Item]] = {}
    for item in items:
        stems.setdefault(PurePosixPath(item.name).with_suffix("").as_posix(), []).append(item)
    return stems

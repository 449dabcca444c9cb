"""Which data sets a folder holds, in our layout or in that of an original project, and what is missing of each.

    for found in survey("data"):
        print(found.to_text())

The paths are those that the configurations (``configs/datasets``) resolve to in this folder, so what is said to be
there is what a run would read.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lavis.common.config import list_configs, load_config
from lavis.common.layouts import FOLDER_VARIABLE, LAYOUT_VARIABLE, LAYOUTS, OURS, looking_in, recognised

_SIDE_FILES = ("durations", "spans", "video_map", "items", "subset_file")
_NOTES = "_metadata.json"


@dataclass(frozen=True, slots=True)
class Part:
    """One file or folder of a data set: its key in the configuration, where it is looked for, whether it is there."""

    key: str
    path: Path
    there: bool


@dataclass(frozen=True, slots=True)
class FoundSet:
    """A configured data set and its parts; ``parts`` is never empty."""

    name: str
    parts: tuple[Part, ...]

    @property
    def missing(self) -> list[Part]:
        """What is not there."""
        return [part for part in self.parts if not part.there]

    @property
    def usable(self) -> bool:
        """Whether annotations of at least one split are there."""
        return any(part.there and "annotations." in part.key for part in self.parts)


@dataclass(frozen=True, slots=True)
class FoundLayout:
    """A layout that a folder has.

    Args:
        folder: looked in.
        layout: key of ``LAYOUTS``, or ``ours``.
        sets: the data sets that can be read from this layout.
    """

    folder: Path
    layout: str
    sets: tuple[FoundSet, ...]

    def to_text(self) -> str:
        """What was found and what is missing, and how to use it as it is."""
        title = LAYOUTS[self.layout].title if self.layout in LAYOUTS else "our own (docs/data.md)"
        lines = [f"{self.folder}: layout {self.layout}, {title}"]
        for each in self.sets:
            lines.append(f"  {each.name}: {len(each.parts) - len(each.missing)} of {len(each.parts)} there")
            lines += [f"    {part.key}: {part.path}" for part in each.parts if part.there]
            lines += [f"    NOT THERE {part.key}: {part.path}{_hint(part.path)}" for part in each.missing]
        usable = [each.name for each in self.sets if each.usable]
        if usable:
            lines.append("  to use it as it is:")
            lines.append(f"    export {FOLDER_VARIABLE}={self.folder} {LAYOUT_VARIABLE}={self.layout}")
            lines += [f"    python process_data/check_data.py {name}" for name in usable]
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """The same as plain values."""
        return {
            "folder": str(self.folder),
            "layout": self.layout,
            "sets": [
                {
                    "name": each.name,
                    "there": {part.key: str(part.path) for part in each.parts if part.there},
                    "missing": {part.key: str(part.path) for part in each.missing},
                }
                for each in self.sets
            ],
        }


def survey(folder: str | Path) -> list[FoundLayout]:
    """The layouts that a folder has, in the order of ``LAYOUTS``, ours first; of ours only sets with something there.

    Raises:
        FileNotFoundError: if there is no such folder.
        ValueError: if it has none of the layouts; names what was looked for.
    """
    place = Path(folder).expanduser()
    if not place.is_dir():
        raise FileNotFoundError(f"there is no folder {place}")
    with looking_in(str(place), OURS):
        sets = [_found(name) for name in list_configs("datasets") if _below(name, place)]
    ours = tuple(each for each in sets if each.usable)
    found = [FoundLayout(place, OURS, ours)] if ours else []
    for layout in recognised(str(place)):
        with looking_in(str(place), layout):
            found.append(FoundLayout(place, layout, tuple(_found(name) for name in LAYOUTS[layout].sets)))
    if not found:
        marks = "; ".join(f"{name}: {', '.join(layout.marks[:3])}" for name, layout in LAYOUTS.items())
        raise ValueError(f"{place} has no layout that is known. One of these would be in it: {marks}; see docs/data.md")
    return found


def _below(name: str, folder: Path) -> bool:
    """Whether a configuration reads from the data folder at all; the sample corpus does not."""
    return any(part.path.is_relative_to(folder) for part in _found(name).parts)


def _found(name: str) -> FoundSet:
    parts = []
    for key, path in _paths(load_config(f"datasets/{name}")["datasets"], ""):
        there = bool(glob.glob(path.replace("{split}", "*"))) if "{split}" in path else os.path.exists(path)
        parts.append(Part(key, Path(os.path.normpath(path)), there))
    return FoundSet(name, tuple(parts))


def _paths(nodes: Mapping[str, Any], above: str) -> Iterator[tuple[str, str]]:
    """Keys and paths of all parts of data sets; those of a mixture are told apart by their names."""
    for label, node in nodes.items():
        if "parts" in node:
            yield from _paths(node["parts"], f"{above}{label}.")
            continue
        start = f"{above}{label}." if above else ""
        for split, path in (node.get("annotations") or {}).items():
            yield f"{start}annotations.{split}", path
        for key in ("videos", "subtitles"):
            if node.get(key):
                yield f"{start}{key}", node[key]
        form = node.get("format")
        for key in _SIDE_FILES if isinstance(form, Mapping) else ():
            if form.get(key):
                yield f"{start}format.{key}", form[key]


def _hint(path: Path) -> str:
    """How a file that the project makes itself comes about."""
    if not path.name.endswith(_NOTES):
        return ""
    return f" (python process_data/videos_metadata.py {path.with_name(path.name.removesuffix(_NOTES))})"

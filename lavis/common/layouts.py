"""Where data lie: one folder (``LAVIS_DATA``), in our layout or as one of the original projects lays it out.

Configurations write ``${data:charades/videos}``, a path of our layout (docs/data.md). A folder that was arranged after
the README of MeCo, HawkEye, MMDuet, Grounded-VideoLLM, CALCE or MR.BLIP is used as it is: where our path does not
exist, the one path that a recognised layout has in its place is taken, and said once. Two such paths are an error.
``LAVIS_LAYOUT`` names a layout (or ``ours``), whose paths alone are taken then.

Source: the READMEs, scripts and configuration files of the projects in ``LAYOUTS``; only names of files and folders.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from lavis.common.yaml_tree import ConfigError

log = logging.getLogger(__name__)

OURS = "ours"
AUTO = "auto"
FOLDER_VARIABLE = "LAVIS_DATA"
LAYOUT_VARIABLE = "LAVIS_LAYOUT"


@dataclass(frozen=True, slots=True)
class Layout:
    """How a project arranges its data.

    Args:
        title: of the project, with its repository.
        folder: which folder of the project ``LAVIS_DATA`` names.
        marks: paths of which at least one is there wherever this layout is.
        moves: paths of ours, of files or folders, to where the project has them, likeliest first; ``{folder}`` stands
            for the name of the data folder. What is not listed lies where we have it.
        sets: configured data sets that can be read from it.
    """

    title: str
    folder: str
    marks: tuple[str, ...]
    moves: Mapping[str, tuple[str, ...]]
    sets: tuple[str, ...]

    def places(self, path: str, folder: str) -> list[str]:
        """Where a path of ours may be, below ``folder``; the longest key of ``moves`` that it begins with counts."""
        keys = [key for key in self.moves if path == key or path.startswith(f"{key}/")]
        if not keys:
            return [path]
        key = max(keys, key=len)
        name = os.path.basename(os.path.realpath(folder))
        return [os.path.normpath(f"{move}{path[len(key) :]}".format(folder=name)) for move in self.moves[key]]

    def is_in(self, folder: str) -> bool:
        """Whether ``folder`` has this layout, or a part of it."""
        return any(os.path.exists(os.path.join(folder, mark)) for mark in self.marks)


_ANNOTATIONS = ("lavis/datasets/annotations", "CALCE/lavis/datasets/annotations")

LAYOUTS: dict[str, Layout] = {
    "calce": Layout(
        "CALCE (tjhd1475/CALCE)",
        "the repository, with `QVHighlights/` and `Charades-STA/` in it; or the folder that holds these and `CALCE/`",
        (
            *(f"{folder}/{name}" for folder in _ANNOTATIONS for name in ("qvh", "charades")),
            "QVHighlights/srts",
            "qvhighlights/annotations/lavis",
            "Charades-STA/annotations/lavis",
        ),
        {
            "qvhighlights/annotations": (*(f"{a}/qvh" for a in _ANNOTATIONS), "qvhighlights/annotations/lavis"),
            "qvhighlights/videos": ("QVHighlights/videos",),
            "qvhighlights/srts": ("QVHighlights/srts",),
            "charades/annotations": (*(f"{a}/charades" for a in _ANNOTATIONS), "Charades-STA/annotations/lavis"),
            "charades/videos": ("Charades-STA/videos",),
        },
        ("calce/qvhighlights", "calce/charades_sta"),
    ),
    "mr_blip": Layout(
        "MR.BLIP (sudo-Boris/mr-Blip)",
        "the folder of `QVHighlights/`, `Charades_STA/`, `ActivityNet/`, `NExT_QA/` (annotations) and `raw/` (videos)",
        ("QVHighlights/lavis", "Charades_STA/lavis", "ActivityNet/lavis", "NExT_QA/lavis"),
        {
            "qvhighlights/annotations_mr_blip": ("QVHighlights/lavis",),
            "qvhighlights/videos": ("raw/QVHighlights",),
            "charades/annotations_mr_blip": ("Charades_STA/lavis",),
            "charades/videos": ("raw/Charades",),
            "activitynet/annotations_mr_blip": ("ActivityNet/lavis",),
            "activitynet/videos": ("raw/ANet/Anet_videos_15fps_short256",),
            "nextqa/annotations_mr_blip": ("NExT_QA/lavis",),
            "nextgqa/annotations_mr_blip": ("NExT_QA/lavis/nextgqa",),
            "nextqa/videos": ("raw/NExT",),
        },
        (
            "mr_blip/qvhighlights",
            "mr_blip/charades_sta",
            "mr_blip/activitynet_captions",
            "mr_blip/nextqa",
            "mr_blip/nextgqa",
        ),
    ),
    "meco": Layout(
        "MeCo (pangzss/MeCo), E.T. Chat (PolyU-ChenLab/ETBench)",
        "the folder `data` of the repository",
        (
            "llamavid",
            "ET-Instruct-164K",
            "ETBench",
            "Charades/annotations/r2-tuning",
            "QVhighlights/annotations/r2-tuning",
        ),
        {
            "et_instruct_164k": ("ET-Instruct-164K",),
            "etbench": ("ETBench",),
            "etbench/videos": ("ETBench/videos", "ETBench/videos_compressed"),
            "charades/release/charades_sta_train.txt": ("Charades/annotations/r2-tuning/charades_train.jsonl",),
            "charades/release/charades_sta_test.txt": ("Charades/annotations/r2-tuning/charades_test.jsonl",),
            "charades/videos": ("Charades/videos",),
            **{
                f"qvhighlights/release/highlight_{split}_release.jsonl": (
                    f"QVhighlights/annotations/r2-tuning/qvhighlights_{split}.jsonl",
                )
                for split in ("train", "val", "test")
            },
            "qvhighlights/videos": ("QVhighlights/videos",),
        },
        (
            "llava_558k_webvid",
            "llava_665k_video_chatgpt",
            "et_instruct",
            "meco/et_instruct",
            "et_bench",
            "charades_sta",
            "qvhighlights",
        ),
    ),
    "hawkeye": Layout(
        "HawkEye (yellow-binary-tree/HawkEye)",
        "the folder `data` of the repository",
        ("HawkEye-IT", "test-anno", "MVBench"),
        {
            "hawkeye_it/video": ("HawkEye-IT/video",),
            "hawkeye_it/videos": ("videos",),
            "hawkeye": ("test-anno",),
            "mvbench": ("MVBench",),
            "charades/videos": ("videos/charades",),
            "charades/videos_metadata.json": ("videos/charades_metadata.json",),
            "activitynet/frames": ("videos/activitynet",),
            "nextqa/videos": ("videos/nextqa",),
            "nextqa/videos_metadata.json": ("videos/nextqa_metadata.json",),
            "tvqa/frames": ("videos/tvqa",),
        },
        (
            "hawkeye/hawkeye_it",
            "hawkeye/charades_sta",
            "hawkeye/activitynet_captions",
            "hawkeye/nextgqa",
            "hawkeye/nextqa",
            "hawkeye/star",
            "hawkeye/tvqa",
            "mvbench",
            "mvbench_episodic_reasoning",
        ),
    ),
    "mmduet": Layout(
        "MMDuet (yellow-binary-tree/MMDuet)",
        "the folder `datasets` of the repository",
        (
            "qvh",
            "charades/annotations/test-random_prompt.json",
            "youcook2/annotations/val-random_prompt.json",
            *(f"{name}/annotations" for name in ("shot2story", "coin", "didemo", "hirest_grounding", "queryd")),
        ),
        {
            "qvhighlights": ("qvh",),
            "qvhighlights/annotations_mmduet": ("qvh/annotations",),
            "qvhighlights/release": ("qvh/annotations",),
            "charades/annotations_mmduet": ("charades/annotations",),
            "youcook2/annotations_mmduet": ("youcook2/annotations",),
        },
        (
            "mmduet/training",
            "mmduet/youcook2",
            "mmduet/shot2story_magqa",
            "mmduet/charades_sta",
            "mmduet/qvhighlights",
        ),
    ),
    "grounded_videollm": Layout(
        "Grounded-VideoLLM (WHB139426/Grounded-Video-LLM)",
        "the folder that its download scripts call `data_path`, its training scripts `data_dir`",
        ("mix_pretrain", "mix_grounded", "mix_sft"),
        {
            "grounded_videollm": (".",),
            "grounded_videollm_metadata.json": ("../{folder}_metadata.json", "grounded_videollm_metadata.json"),
        },
        ("grounded_videollm/pretrain", "grounded_videollm/grounded", "grounded_videollm/sft"),
    ),
}

_CHOSEN: ContextVar[tuple[str, str] | None] = ContextVar("chosen", default=None)
_SAID: set[tuple[str, str]] = set()


@contextmanager
def looking_in(folder: str, layout: str = AUTO) -> Iterator[None]:
    """Configurations loaded within look for data in ``folder``, whatever the environment says."""
    token = _CHOSEN.set((folder, layout))
    try:
        yield
    finally:
        _CHOSEN.reset(token)


def data_path(path: str) -> str:
    """The file or folder that a path of our layout means; ours where there is none. ``.`` is the folder itself.

    Raises:
        ConfigError: if two layouts have a path for it, or ``LAVIS_LAYOUT`` names no layout.
    """
    folder, layout = _CHOSEN.get() or (
        os.environ.get(FOLDER_VARIABLE, "data"),
        os.environ.get(LAYOUT_VARIABLE, AUTO),
    )
    if layout not in (AUTO, OURS, *LAYOUTS):
        known = ", ".join((AUTO, OURS, *LAYOUTS))
        raise ConfigError(f"{LAYOUT_VARIABLE}: there is no layout {layout!r}; there are {known}")
    if path == ".":
        return folder
    ours = os.path.join(folder, path)
    if layout in LAYOUTS:
        places = [os.path.join(folder, place) for place in LAYOUTS[layout].places(path, folder)]
        return next((place for place in places if os.path.exists(place)), places[0])
    if layout == OURS or os.path.exists(ours):
        return ours
    found: dict[str, tuple[str, str]] = {}
    for name in recognised(folder):
        for place in (os.path.join(folder, each) for each in LAYOUTS[name].places(path, folder)):
            if os.path.exists(place):
                found.setdefault(os.path.realpath(place), (name, place))
                break
    if len(found) > 1:
        listed = ", ".join(f"{place} ({name})" for name, place in found.values())
        raise ConfigError(f"{path} may be {listed}: set {LAYOUT_VARIABLE} to the layout you mean, or move it to {ours}")
    for name, place in found.values():
        _say(name, folder, path, place)
        return place
    return ours


def recognised(folder: str) -> list[str]:
    """Layouts of which at least one mark is in ``folder``."""
    return [name for name, layout in LAYOUTS.items() if layout.is_in(folder)]


def _say(name: str, folder: str, path: str, place: str) -> None:
    # As a warning: configurations are read before a run sets up its log, and nobody should have to guess the files.
    if (name, folder) not in _SAID:
        _SAID.add((name, folder))
        log.warning(
            "%s has the layout of %s: read from there, such as %s for %s; %s=%s takes our own paths only",
            folder, LAYOUTS[name].title, place, path, LAYOUT_VARIABLE, OURS,
        )  # fmt: skip

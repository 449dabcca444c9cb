"""Annotations of temporal action localisation in MR.BLIP's form, made from ActivityNet's release.

Source: MR.BLIP (sudo-Boris/mr-Blip) has a configuration for this task but neither annotations nor a conversion, so this
one is ours: one row a video, without a query, and the classes in a file of their own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from lavis.common.io import read_text, write_text
from lavis.datasets.formats._record import AnnotationError, Record, load_json
from lavis.preparation.annotations import Prepared, Row, write_rows

RELEASE = "activity_net.v1-3.min.json"
CLASSES = "action_classes.txt"
SUBSETS = {"train": "training", "val": "validation"}


def prepare_activitynet_actions(
    release: str | Path, out: str | Path, splits: Sequence[str] = ("train", "val")
) -> list[Prepared]:
    """``actions_train.json`` (whole seconds), ``actions_val_float.json`` and ``action_classes.txt``, one name a line.

    Args:
        release: folder of ``activity_net.v1-3.min.json``.
        out: folder to write to.
        splits: which; the truth of ActivityNet's test split is not public.

    Raises:
        AnnotationError: if the file is absent or of another form, or a row does not fit; names file and video.
    """
    unknown = [split for split in splits if split not in SUBSETS]
    if unknown:
        raise AnnotationError(f"ActivityNet has no split {', '.join(unknown)} with truth; choose of train, val")
    videos = list(_videos(Path(release) / RELEASE))
    done = []
    for split in splits:
        rows = list(action_rows([v for v in videos if v.text("subset") == SUBSETS[split]], split == "train"))
        name = "actions_train.json" if split == "train" else f"actions_{split}_float.json"
        done.append(Prepared(write_rows(Path(out) / name, rows), len(rows)))
    named = [v for v in videos if v.text("subset") in SUBSETS.values()]
    classes = sorted({action.text("label") for video in named for action in _actions(video)})
    done.append(Prepared(write_text(Path(out) / CLASSES, "".join(f"{name}\n" for name in classes)), len(classes)))
    return done


def action_rows(videos: Sequence[Record], round_windows: bool = True) -> Iterator[Row]:
    """Rows of videos with their actions by start, ids ``ActivityNetActions_v_<video>``; without any, a video has none.

    Args:
        videos: entries of the release.
        round_windows: whole seconds, or as annotated.
    """
    for video in videos:
        actions = []
        for action in _actions(video):
            segment = action.get("segment")
            if not isinstance(segment, list) or len(segment) != 2:
                raise action.error("segment", f"must be [start, end], got {segment!r:.80}", "Correct the entry")
            bounds = [Record({"segment": bound}, video.path, action.row).number("segment") for bound in segment]
            actions.append(([round(b) for b in bounds] if round_windows else bounds, action.text("label")))
        actions.sort(key=lambda action: action[0])
        if actions:
            yield {
                "video": video.text("video"),
                "qid": f"ActivityNetActions_{video.text('video')}",
                "query": "",
                "duration": video.positive("duration"),
                "relevant_windows": [window for window, _ in actions],
                "labels": [label for _, label in actions],
            }


def _videos(path: Path) -> Iterator[Record]:
    try:
        text = read_text(path)
    except FileNotFoundError:
        raise AnnotationError(f"there is no annotation file {path}. Correct the path") from None
    release = load_json(text, str(path))
    videos = release.get("database") if isinstance(release, dict) else None
    if not isinstance(videos, dict) or not all(isinstance(entry, dict) for entry in videos.values()):
        raise AnnotationError(f"{path}: must map 'database' to videos. Take ActivityNet's release 1.3")
    for name, entry in videos.items():
        yield Record({**entry, "video": f"v_{name}"}, path, f"video {name!r}")


def _actions(video: Record) -> list[Record]:
    actions = video.get("annotations")
    if not isinstance(actions, list) or not all(isinstance(action, dict) for action in actions):
        raise video.error("annotations", f"must be a list of actions, got {actions!r:.80}", "Correct the entry")
    return [Record(action, video.path, f"{video.row}, action {i + 1}") for i, action in enumerate(actions)]

"""ActivityNet's actions in MR.BLIP's form."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lavis.common.registry import registry
from lavis.datasets.formats._record import AnnotationError
from lavis.preparation.annotations_actions import RELEASE, prepare_activitynet_actions


def release(folder: Path, **entries: Any) -> Path:
    (folder / RELEASE).write_text(json.dumps({"version": "VERSION 1.3", "database": entries, "taxonomy": []}))
    return folder


def video(subset: str, *actions: tuple[list[float], str], duration: float = 55.5) -> dict[str, Any]:
    return {
        "duration": duration,
        "subset": subset,
        "annotations": [{"segment": segment, "label": label} for segment, label in actions],
    }


def test_rows_and_classes(tmp_path: Path) -> None:
    release(
        tmp_path,
        a=video("training", ([30.4, 41.6], "Surfing"), ([2.5, 9.5], "Ballet")),
        b=video("training"),
        c=video("validation", ([0.25, 8.75], "Archery")),
        d=video("testing"),
    )
    train, val, classes = prepare_activitynet_actions(tmp_path, tmp_path / "out")
    assert [p.rows for p in (train, val, classes)] == [1, 1, 3]
    assert classes.path.read_text().splitlines() == ["Archery", "Ballet", "Surfing"]
    (sample,) = registry.formats.get("mr_blip")().read(train.path).samples
    assert (sample.id, sample.video, sample.query) == ("ActivityNetActions_v_a", "v_a", "")
    assert [m.to_list() for m in sample.moments or []] == [[2, 10], [30, 42]]
    assert sample.extra["labels"] == ["Ballet", "Surfing"]
    (sample,) = registry.formats.get("mr_blip")().read(val.path).samples
    assert [m.to_list() for m in sample.moments or []] == [[0.25, 8.75]]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"duration": 5, "subset": "training"}, "video 'a'.*'annotations': is missing"),
        (video("training", ([1.0], "Surfing")), r"video 'a', action 1.*must be \[start, end\]"),
        (video("training", (["x", 2], "Surfing")), "finite number"),  # type: ignore[list-item]
        (video("training", ([1.0, 2.0], " ")), "'label': must be a text"),
        (video("training", ([1.0, 2.0], "Surfing"), duration=0), "'duration': must be above 0"),
    ],
)
def test_bad_entries(tmp_path: Path, entry: dict[str, Any], message: str) -> None:
    with pytest.raises(AnnotationError, match=message):
        prepare_activitynet_actions(release(tmp_path, a=entry), tmp_path / "out")


def test_bad_files(tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match="there is no annotation file"):
        prepare_activitynet_actions(tmp_path, tmp_path)
    (tmp_path / RELEASE).write_text("[]")
    with pytest.raises(AnnotationError, match="must map 'database' to videos"):
        prepare_activitynet_actions(tmp_path, tmp_path)
    with pytest.raises(AnnotationError, match="no split test"):
        prepare_activitynet_actions(release(tmp_path), tmp_path, ("test",))

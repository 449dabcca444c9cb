"""Names of videos in annotations never lead out of the folder of the videos, whatever the format."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lavis.datasets.build import build_dataset
from lavis.datasets.formats._record import leads_outside
from lavis.structures import VideoSample, Views

OUTSIDE = ["../../etc/passwd", "/etc/passwd", "a/../../b", "..", "..\\..\\b", "C:\\b", "C:b", "\\\\host\\b", "a\0b"]
WINDOW = [[0, 1]]
ROWS = {
    "calce": lambda name: [
        {"video": name, "qid": "a", "query": "q", "duration": 9, "items": [], "relevant_windows": WINDOW}
    ],
    "mr_blip": lambda name: [{"video": name, "qid": "a", "query": "q", "duration": 9, "relevant_windows": WINDOW}],
    "activitynet_captions": lambda name: {name: {"duration": 9, "timestamps": WINDOW, "sentences": ["q"]}},
    "dense_captions": lambda name: {name: {"duration": 9, "timestamps": WINDOW, "sentences": ["q"]}},
    "tacos": lambda name: {
        name: {"timestamps": WINDOW, "sentences": ["q"], "fps": 1.0, "num_frames": 9},
    },
    "conversations": lambda name: [
        {
            "video": name,
            "duration": 9,
            "conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}],
        }
    ],
}


def no_frames(sample: VideoSample, train: bool) -> Views:
    raise AssertionError(f"{sample.video} was looked for")


def build(tmp_path: Path, format: str, name: str, **options: Any) -> Any:
    (tmp_path / "videos").mkdir()
    file = tmp_path / "val.json"
    file.write_text(json.dumps(ROWS[format](name)))
    node = {
        "name": "grounding",
        "format": {"name": format},
        "annotations": {"val": str(file)},
        "videos": str(tmp_path / "videos"),
        **options,
    }
    return build_dataset("toy", node, "val", no_frames, False)


@pytest.mark.parametrize("name", OUTSIDE)
def test_names_that_lead_outside(name: str) -> None:
    assert leads_outside(name)


@pytest.mark.parametrize("name", ["v_ab", "a..b", "sub/folder/v.mp4", "...", "a b;c", "./v", "~v", "-v"])
def test_names_that_do_not(name: str) -> None:
    assert not leads_outside(name)


@pytest.mark.parametrize("format", sorted(ROWS))
@pytest.mark.parametrize("name", ["../secret", "/etc/passwd"])
@pytest.mark.parametrize("skip", ["raise", "skip"])
def test_a_row_that_leads_outside_is_refused(tmp_path: Path, format: str, name: str, skip: str) -> None:
    """Whether the file is there is not even looked for; so leaving out missing videos does not let it pass."""
    (tmp_path / "secret.mp4").touch()
    with pytest.raises(ValueError, match=r"val.json, (row 1|video '.*').*leads outside the folder of the videos"):
        build(tmp_path, format, name, on_missing_video=skip, check_files=skip == "raise")


def test_subtitles_share_the_name(tmp_path: Path) -> None:
    (tmp_path / "srts").mkdir()
    (tmp_path / "secret.srt").write_text("1\n")
    with pytest.raises(ValueError, match=r"val.json, row 1 \(id a\)"):
        build(tmp_path, "calce", "../secret", subtitles=str(tmp_path / "srts"), check_files=False)

"""Pictures of the sample corpus and what is said about them: true, balanced, and read as conversations."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lavis.datasets.formats.conversations import Conversations
from lavis.preparation.generators.synthetic_moments import SyntheticMoments
from lavis.preparation.moving_shapes.conversations import (
    NO,
    NOTHING,
    SHOWN,
    STORY,
    YES,
    instructions,
    picture_captions,
    pictures,
    write_pictures,
)
from lavis.preparation.moving_shapes.script import COLOURS, Script

SCRIPTS = [SyntheticMoments(seed=3).script("train", index) for index in range(40)]


def shows(script: Script) -> dict[str, str]:
    return {
        name: NOTHING if event is None else f"a {event.colour} {event.shape}" for name, _, event in pictures(script)
    }


@pytest.mark.parametrize("script", SCRIPTS[:8], ids=lambda script: script.video)
def test_pictures_show_what_is_there_at_their_time(script: Script) -> None:
    found = pictures(script)
    assert len({name for name, _, _ in found}) == len(found) >= 2 * len(script.events)
    for _, time, event in found:
        on_screen = [e for e in script.events if e.start <= time < e.end]
        assert on_screen == ([] if event is None else [event])
        assert 0 <= time < script.duration


def test_captions_say_what_pictures_show() -> None:
    for script in SCRIPTS:
        rows = picture_captions(script)
        assert {row["image"]: row["conversations"][1]["value"] for row in rows} == shows(script)
        assert {row["conversations"][0]["value"] for row in rows} == {"<image>"}


def test_answers_are_true_and_yes_is_as_frequent_as_no_where_something_is_shown() -> None:
    answers: Counter[str] = Counter()
    for script in SCRIPTS:
        seen = shows(script)
        *rows, video = instructions(script)
        assert {row["image"] for row in rows} == set(seen)
        for row in rows:
            asked, answer = (turn["value"].removeprefix("<image>\n") for turn in row["conversations"])
            shown = seen[row["image"]]
            if asked == SHOWN:
                assert answer == shown
                continue
            look = asked.removeprefix("Is there ").removesuffix("?")
            assert answer == (YES if look == shown else NO)
            if shown != NOTHING:
                answers[answer] += 1
                assert set(look.split()[1:]) & set(shown.split()[1:])  # never wholly another look
        assert (video["video"], video["duration"]) == (f"{script.video}.mp4", script.duration)
        asked, story = (turn["value"] for turn in video["conversations"])
        assert asked == f"<image>\n{STORY}"
        assert story.split(", ") == [event.caption for event in script.events]
    assert 0.4 < answers[YES] / answers.total() < 0.6


def test_files_are_read_as_conversations_and_made_once(tmp_path: Path) -> None:
    generator = SyntheticMoments(seed=3, compact=True)
    generator.generate(tmp_path, {"train": 2, "test": 1})
    made = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "pictures").iterdir()}
    assert all(name.startswith("sample_train_") for name in made)
    generator.generate(tmp_path, {"train": 2, "test": 1})
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "pictures").iterdir()} == made
    for name in ("picture_captions", "instructions"):
        file = tmp_path / "annotations" / f"{name}_train.json"
        samples = Conversations(image_folder="pictures", video_folder="videos").read(file, "train").samples
        assert len(samples) == len(json.loads(file.read_text()))
        assert all((tmp_path / sample.video).is_file() for sample in samples)


def test_a_lost_picture_is_drawn_again_as_it_was(tmp_path: Path) -> None:
    script = SCRIPTS[0]
    write_pictures(script, tmp_path)
    name, _, event = pictures(script)[0]
    before = (tmp_path / name).read_bytes()
    (tmp_path / name).unlink()
    write_pictures(script, tmp_path)
    assert (tmp_path / name).read_bytes() == before
    assert not list(tmp_path.glob(".*"))
    assert event is not None
    colours = np.asarray(Image.open(tmp_path / name)).reshape(-1, 3).astype(int)
    assert np.abs(colours - COLOURS[event.colour]).sum(axis=1).min() < 60

"""Questions of HawkEye's temporal rows, asked of the part of the video that is shown."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from lavis.datasets._shown import ask_of_part
from lavis.datasets.build import build_dataset
from lavis.processors.samplers import WindowChoice
from lavis.runners.data import SeededDataset
from lavis.structures import Moment, Turn, VideoSample, Views

OPTIONS = ["In the middle.", "At the end.", "Throughout.", "At the beginning."]
KEYS = ["middle", "end", "throughout", "beginning"]
TIMES = "From second %.1f to second %.1f."
SPAN = {"start_sec": 10.0, "end_sec": 14.0, "neg_start_sec": 2.0, "neg_end_sec": 60.0}
LETTERED = [[key, f"({'ABCD'[i]}) {OPTIONS[i]}"] for i, key in enumerate(KEYS)]
ROWS: list[dict[str, Any]] = [
    {"i": "Pick.", "q": "Question: when?\nOptions: ...", "a": LETTERED, **SPAN},
    {"i": "", "q": [[key, OPTIONS[i]] for i, key in enumerate(KEYS)], "a": "A man skis.", **SPAN},
    {"i": "Tell.", "q": "When does a man ski?", "a": TIMES, **SPAN},
    {"i": "", "q": "From frame %d to frame %d, 100% sure.", "a": "A man skis.", **SPAN},
    {"i": "", "q": "What?", "a": "Snow."},
]


def no_frames(sample: VideoSample, train: bool) -> Views:
    return {}


def data(folder: Path, train: bool, **options: Any) -> Any:
    rows = [{"video": "a", "QA": [{k: v for k, v in row.items() if v != ""}]} for row in ROWS[:4]]
    rows.append({"video": "a", "QA": [{"q": "What?", "a": "Snow."}]})
    (folder / "train.json").write_text(json.dumps(rows))
    (folder / "lengths.json").write_text('{"a": 60.0}')
    (folder / "a.mp4").touch()
    node = {
        "name": "grounding",
        "format": {"name": "hawkeye_it", "durations": str(folder / "lengths.json")},
        "annotations": {"train": str(folder / "train.json")},
        "videos": str(folder),
        **options,
    }
    return build_dataset("it", node, "train", no_frames, train)


def samples(dataset: Any) -> list[VideoSample]:
    return [dataset[i][0] for i in range(len(dataset))]


def test_evaluation_shows_all_that_may_be_shown(tmp_path: Path) -> None:
    choice, caption, time, said, plain = samples(data(tmp_path, False, shown_window={"num_frames": 12}))
    for sample in (choice, caption, time, said):
        assert (sample.clip, sample.moments) == (Moment(2.0, 60.0), [Moment(10.0, 14.0)])
    assert (choice.answer, choice.extra["answer_index"]) == ("At the beginning.", 3)
    assert choice.turns == [
        Turn("system", "Pick."),
        Turn("user", ROWS[0]["q"]),
        Turn("assistant", "(D) At the beginning.", learned=True),
    ]
    assert (caption.query, caption.answer) == ("At the beginning.", "A man skis.")
    assert caption.turns == [Turn("user", "At the beginning."), Turn("assistant", "A man skis.", learned=True)]
    assert (time.answer, time.turns[-1].text) == ("From second 8.0 to second 12.0.",) * 2
    assert (said.query, said.answer) == ("From frame 1 to frame 2, 100% sure.", "A man skis.")
    assert (plain.clip, plain.answer) == (None, "Snow.")


def test_training_draws_anew_in_each_epoch_and_the_answer_is_right(tmp_path: Path) -> None:
    seeded = SeededDataset([data(tmp_path, True, shown_window={})], seed=4)
    drawn = {}
    for epoch in range(40):
        sample = seeded[epoch, 0][0]
        window, (segment,) = sample.clip, sample.moments
        assert 2 <= window.start <= segment.start < segment.end <= window.end <= 60
        key = KEYS[sample.extra["answer_index"]]
        middle = (window.start + window.end) / 2
        if key != "throughout":
            assert (segment.end <= middle, segment.start >= middle) == (key == "beginning", key == "end")
        drawn[key] = window
        assert seeded[epoch, 0][0] == sample, "the same whenever it is read"
    assert len(drawn) > 2


def test_without_the_option_nothing_is_asked(tmp_path: Path) -> None:
    for sample in samples(data(tmp_path, True))[:4]:
        assert (sample.clip, sample.turns) == (None, [])


def test_a_segment_outside_is_named() -> None:
    extra = {"shown_window": [20.0, 30.0], "template": TIMES}
    sample = VideoSample("row 7", "a", "When?", 60, [Moment(10, 14)], kind="grounding_time", extra=extra)
    with pytest.raises(ValueError, match=r"sample row 7: the segment .* does not lie"):
        ask_of_part(sample, WindowChoice(), random.Random(0))


def test_a_segment_without_length_is_refused_when_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ROWS[0], "end_sec", 10.0)
    with pytest.raises(ValueError, match=r"row 1, QA 1 .*start_sec.*has no length"):
        data(tmp_path, True)
    skipping = {"name": "hawkeye_it", "durations": str(tmp_path / "lengths.json"), "on_bad_window": "skip"}
    left = data(tmp_path, True, format=skipping)
    assert (len(left), left.counts["skipped_rows"]) == (4, 1)

"""HawkEye's files: instruction data, temporal rows, and test files of recursive grounding."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lavis.common.registry import registry
from lavis.datasets.formats._record import AnnotationError
from lavis.datasets.formats.base import Annotations
from lavis.structures import Moment, Turn

Read = Callable[..., Annotations]

ORDINARY = {"video": "a.mp4", "QA": [{"i": "Watch.", "q": "Who?", "a": "A man."}, {"q": "Why?", "a": "Fun."}]}
SENTENCES = {
    "throughout": "Throughout the entire video.",
    "end": "At the end of the video.",
    "middle": "In the middle of the video.",
    "beginning": "At the beginning of the video.",
}
LETTERED = [[key, f"({letter}) {text}"] for letter, (key, text) in zip("ABCD", SENTENCES.items(), strict=True)]
SEGMENT = {"start_sec": 3.0, "end_sec": 7.5, "neg_start_sec": 0, "neg_end_sec": 30.0}
CHOICE = {"i": "Pick one.", "q": "Question: When?\nOptions:\n(A) ...", "a": LETTERED, **SEGMENT}
CAPTION = {"i": "", "q": [list(pair) for pair in SENTENCES.items()], "a": "A man skis.", **SEGMENT}
TIMED = {"q": "When is 'a dog' shown?", "a": "From second %.1f to second %.1f.", **SEGMENT}


@pytest.fixture
def read(tmp_path: Path) -> Read:
    lengths = tmp_path / "lengths.json"
    lengths.write_text(json.dumps({"a.mp4": 40, "1164/111": 21, "v_1": 82.73, "AO8RW": 33.67, "Y6R7T": 30.96}))

    def read_as(name: str, value: Any, **options: Any) -> Annotations:
        file = tmp_path / "train.json"
        file.write_text(json.dumps(value))
        options.setdefault("durations", str(lengths))
        return registry.formats.get(name)(**options).read(file)

    return read_as


def windows(sample: Any) -> list[list[float]]:
    return [m.to_list() for m in sample.moments or []]


def changed(row: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in {**row, **changes}.items() if value is not ...}


def test_ordinary_rows(read: Read) -> None:
    image = {"image": "b/c.jpg", "QA": [{"i": "", "q": "", "a": "A cup."}]}
    talk, caption = read("hawkeye_it", [{**ORDINARY, "start": 1, "end": 2.5}, image]).samples
    assert (talk.id, talk.video, talk.duration, talk.clip) == ("HawkEyeIT_0", "a.mp4", 40, Moment(1, 2.5))
    assert talk.turns == [
        Turn("system", "Watch."),
        Turn("user", "Who?"),
        Turn("assistant", "A man.", learned=True),
        Turn("user", "Why?"),
        Turn("assistant", "Fun.", learned=True),
    ]
    assert (talk.query, talk.answer) == ("Who?", None)
    assert talk.extra == {"media": "video", "instructions": ["Watch.", ""]}
    assert caption.turns == [Turn("assistant", "A cup.", learned=True)]
    assert (caption.video, caption.duration, caption.query, caption.answer) == ("b/c.jpg", 1, "", "A cup.")
    assert caption.extra == {"media": "image", "instructions": [""]}


def test_temporal_rows(read: Read) -> None:
    back = {**TIMED, "q": TIMED["a"], "a": "A dog."}
    rows = [{"video": "a.mp4", "QA": [item]} for item in (CHOICE, CAPTION, TIMED, back)]
    choice, caption, time, said = read("hawkeye_it", rows).samples
    assert [s.kind for s in (choice, caption, time, said)] == [
        "grounding_choice", "caption_choice", "grounding_time", "caption_time",
    ]  # fmt: skip
    for sample in (choice, caption, time, said):
        assert windows(sample) == [[3.0, 7.5]]
        assert (sample.extra["shown_window"], sample.clip, sample.turns) == ([0, 30.0], None, [])
    assert (choice.query, choice.answer) == (CHOICE["q"], None)
    assert choice.options == caption.options == list(SENTENCES.values())
    assert choice.extra["option_keys"] == caption.extra["option_keys"] == list(SENTENCES)
    assert (choice.extra["instructions"], caption.extra["instructions"]) == (["Pick one."], [""])
    assert (caption.query, caption.answer) == ("", "A man skis.")
    assert (time.query, time.answer, time.extra["template"]) == (TIMED["q"], None, TIMED["a"])
    assert (said.query, said.answer, said.extra["template"]) == ("", "A dog.", TIMED["a"])


@pytest.mark.parametrize(
    ("names", "name", "expected"),
    [
        ("as_is", "x/v_ab.mp4", "x/v_ab.mp4"),
        ("stem", "x/v_ab.mp4", "v_ab"),
        ("webvid", "x/1012345.mp4", "101/1012345"),
        ("clevrer", "x/video_02238.mp4", "video_02000-03000/video_02238.mp4"),
        ("clevrer", "video_10000.mp4", "video_10000-11000/video_10000.mp4"),
    ],
)
def test_names_become_files(read: Read, tmp_path: Path, names: str, name: str, expected: str) -> None:
    (tmp_path / "d.json").write_text(json.dumps({expected: 9}))
    row = {**ORDINARY, "video": name}
    assert read("hawkeye_it", [row], names=names, durations=str(tmp_path / "d.json")).samples[0].video == expected


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"QA": ...}, r"'QA': is missing"),
        ({"QA": []}, r"'QA': must be a list of questions and answers"),
        ({"QA": [3]}, r"QA 1 must be an object"),
        ({"QA": [{"q": "Who?"}]}, r"QA 1.*'a': is missing"),
        ({"QA": [{"q": "Who?", "a": " "}]}, r"'a': must be a text that is not blank"),
        ({"QA": [{"q": "Who?", "a": "x", "instruction": "y"}]}, r"'instruction': is not a field"),
        ({"QA": [{"q": 3, "a": "x"}]}, r"'q': must be a text"),
        ({"vidoe": "b"}, r"'vidoe': is not a field.*Did you mean 'video'"),
        ({"image": "b.jpg"}, r"'video': a row has either a video or an image"),
        ({"video": ...}, r"a row has either a video or an image"),
        ({"video": "/a.mp4"}, r"leads outside"),
        ({"video": "b.mp4"}, r"lengths.json has no video 'b.mp4'"),
        ({"start": 3}, r"'end': is missing"),
        ({"start": 3, "end": 1}, r"ends before it starts"),
        ({"start": 41, "end": 42}, r"lies outside the video"),
        ({"QA": [CHOICE, CHOICE]}, r"temporal rows have one item"),
        ({"QA": [changed(CHOICE, {"neg_end_sec": ...})]}, r"QA 1.*'neg_end_sec': is missing"),
        ({"QA": [{**CHOICE, "end_sec": "7"}]}, r"'start_sec': the window \[3.0, '7'\] holds"),
        ({"QA": [{**CHOICE, "end_sec": 31.0}]}, r"the window \[0, 30.0\] does not hold the segment \[3.0, 31.0\]"),
        ({"QA": [{**CHOICE, "a": LETTERED[:3]}]}, r"'a': must have each of beginning, end, middle, throughout once"),
        ({"QA": [{**CHOICE, "a": LETTERED[::-1]}]}, r"'a': must be lettered \(A\) to \(D\) in order"),
        ({"QA": [{**CHOICE, "a": [["end"]]}]}, r"'a': must be a list of \[key, sentence\]"),
        ({"QA": [{**CAPTION, "q": LETTERED + LETTERED}]}, r"'q': must have each of"),
        ({"QA": [{**TIMED, "a": "A dog."}]}, r"'a': one of q and a must hold two places for times"),
        ({"QA": [{**TIMED, "gold": 1}]}, r"'gold': is not a field"),
    ],
)
def test_bad_instruction_rows(read: Read, tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(AnnotationError, match=message) as raised:
        read("hawkeye_it", [ORDINARY, changed(ORDINARY, changes)])
    assert f"{tmp_path / 'train.json'}, row 2" in str(raised.value)


def test_other_faults_of_instruction_rows(read: Read) -> None:
    with pytest.raises(AnnotationError, match=r"'video': must end with a number"):
        read("hawkeye_it", [ORDINARY], names="clevrer")
    with pytest.raises(ValueError, match=r"format.names must be one of 'as_is'"):
        registry.formats.get("hawkeye_it")(names="none")
    with pytest.raises(AnnotationError, match=r"'duration'.*Set format.durations"):
        read("hawkeye_it", [ORDINARY], durations=None)


def test_a_segment_past_the_shown_window(read: Read) -> None:
    rows = [{"video": "a.mp4", "QA": [item]} for item in ({**CHOICE, "end_sec": 31.0}, CHOICE)]
    skipped = read("hawkeye_it", rows, on_bad_window="skip")
    assert ([s.id for s in skipped.samples], skipped.counts["skipped_windows"]) == (["HawkEyeIT_1"], 1)
    widened = read("hawkeye_it", rows, on_bad_window="clamp")
    assert (widened.samples[0].extra["shown_window"], widened.counts["clamped_windows"]) == ([0, 31.0], 1)
    past = read("hawkeye_it", [{"video": "a.mp4", "QA": [{**CHOICE, "neg_end_sec": 50}]}])
    assert past.samples[0].extra["shown_window"] == [0, 40]


def test_recursive_grounding(read: Read) -> None:
    rows = [
        {"video": "AO8RW.mp4", "question": "a person is putting a book on a shelf", "answer": [0.0, 6.9]},
        {"video": "Y6R7T.mp4", "question": "person begins to play", "span": [[20.8, 31.5]]},
    ]
    first, second = read("recursive_grounding", rows).samples
    assert (first.id, first.video, first.duration) == ("RecursiveGrounding_0", "AO8RW.mp4", 33.67)
    assert (first.query, windows(first)) == (rows[0]["question"], [[0.0, 6.9]])
    assert windows(second) == [[20.8, 31.5]]  # past the video, kept
    several = {"video": "1164/111.mp4", "question": "what?", "duration": 21, "qid": 3, "answer": [[3, 4], [6.0, 7.5]]}
    (sample,) = read("recursive_grounding", [several], durations=None).samples
    assert (sample.id, sample.duration, windows(sample)) == ("111_3", 21, [[3, 4], [6.0, 7.5]])
    assert sample.extra == {"qid": 3}
    (untold,) = read("recursive_grounding", [changed(several, {"answer": ...})]).samples
    assert untold.moments is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"question": ...}, r"'question': is missing"),
        ({"query": "x"}, r"'query': is not a field"),
        ({"answer": [8, 2]}, r"'answer': the window \[8, 2\] ends before it starts"),
        ({"answer": [8]}, r"\[8\] is not \[start, end\]"),
        ({"answer": []}, r"'answer': must be a list of \[start, end\]"),
        ({"answer": "8-9"}, r"'answer': must be a list of \[start, end\]"),
        ({"answer": [["a", 9]]}, r"no finite number"),
        ({"answer": [90, 99]}, r"lies outside the video"),
        ({"span": [8, 9]}, r"'span': says the same as 'answer'"),
        ({"qid": 1.5}, r"'qid': must be a whole number"),
        ({"duration": 0}, r"'duration': must be above 0"),
        ({"video": "../x.mp4"}, r"leads outside"),
    ],
)
def test_bad_recursive_grounding(read: Read, tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    row = {"video": "v.mp4", "question": "q", "answer": [1, 2], "duration": 9}
    with pytest.raises(AnnotationError, match=message) as raised:
        read("recursive_grounding", [row, changed(row, changes)])
    assert f"{tmp_path / 'train.json'}, row 2" in str(raised.value)


def test_what_the_original_conversions_write_is_read(read: Read, golden_dir: Path, tmp_path: Path) -> None:
    made = json.loads((golden_dir / "hawkeye" / "data_preparing.json").read_text())
    lengths = {"abc": 60, "abd": 80, "house_frames/house_s01e01_seg02_clip_01": 60, "friends_frames/friends_s01": 60}
    lengths |= {"1164/111": 21, "v_1": 82.73, "v_2": 10, "v_3": 11, "AO8RW": 33.67, "Y6R7T": 30.96, "6H78U": 30}
    lengths |= {"AAAAA": 30}
    (tmp_path / "d.json").write_text(json.dumps(lengths))
    kinds = {"grounding": "grounding_time", "caption": "caption_time", "choice_caption": "caption_choice"}
    for name, rows in made.items():
        script, _, function = name.partition(".")
        if script == "videoqa" and not function.endswith("output"):
            samples = read("candidates", rows, durations=str(tmp_path / "d.json")).samples
            assert [s.options for s in samples] == [row["candidates"] for row in rows], name
        elif function.startswith("test_grounding"):
            samples = read("recursive_grounding", rows, durations=str(tmp_path / "d.json")).samples
            assert [s.query for s in samples] == [row["question"] for row in rows], name
        elif script in ("internvid", "charades", "anetc"):
            samples = read("hawkeye_it", rows, durations=str(tmp_path / "d.json")).samples
            assert {s.kind for s in samples} == {kinds.get(function, "grounding_choice")}, name

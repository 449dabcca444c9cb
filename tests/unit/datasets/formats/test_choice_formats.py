"""Multiple-choice sets in the forms of their own releases: good rows, and what bad ones are told."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lavis.common.registry import registry
from lavis.datasets.formats._record import AnnotationError
from lavis.datasets.formats.base import Annotations
from lavis.datasets.formats.mvbench import TASKS, snake
from lavis.structures import Moment

Read = Callable[..., Annotations]

HEADER = "frame_count,width,height,question,answer,qid,type,a0,a1,a2,a3,a4"
LENGTHS = {
    "1164/111": 21,
    "6H78U": 30.5,
    "clip": 60,
    "house_frames/h1": 61.5,
    "zT": 900,
    "bbt_frames/s01e02_clip_03": 62,
}
STAR = {
    "question_id": "Interaction_T1_13",
    "question": "Which object was tidied up?",
    "video_id": "6H78U",
    "start": 11.1,
    "end": 19.6,
    "answer": "The box.",
    "question_program": [{"function": "Situations", "value_input": []}],
    "choices": [
        {"choice_id": 1, "choice": "The box.", "choice_program": []},
        {"choice_id": 0, "choice": "The clothes."},
    ],
    "situations": {"000010": {"bbox": []}},
}
TVQA = {
    "qid": 7,
    "q": "What is on the desk?",
    **{f"a{i}": f"answer {i}" for i in range(5)},
    "vid_name": "h1",
    "show_name": "House M.D.",
    "ts": "10.5-20.25",
    "answer_idx": 1,
}
CANDIDATE = {"video": "a/clip.mp4", "question": "Why?", "candidates": ["x.", "y.", "z."], "answer": "y"}
MVBENCH = {"video": "clip.mp4", "question": "What is next?", "candidates": ["Sit.", "Run."], "answer": "Run."}
QUESTION = {
    "question_id": "001-1",
    "task_type": "Counting Problem",
    "question": "How many?",
    "options": ["A. One.", "B. Two: both.", "C. Three.", "D. Four."],
    "answer": "B",
}
VIDEO = {"video_id": "001", "videoID": "zT", "url": "u", "duration": "short", "domain": "Art", "sub_category": "Dance"}


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Reads a value in a format; a text becomes a table, a list of lists a folder of files for MVBench."""
    lengths = tmp_path / "lengths.json"
    lengths.write_text(json.dumps(LENGTHS))
    (tmp_path / "map.json").write_text(json.dumps({"111": "1164/111"}))

    def read_as(name: str, value: Any, file: str = "val.json", **options: Any) -> Annotations:
        path = tmp_path / file
        path.parent.mkdir(exist_ok=True)
        if file.endswith(".jsonl"):
            path.write_text("\n".join(map(json.dumps, value)))
        else:
            path.write_text(value if isinstance(value, str) else json.dumps(value))
        options.setdefault("durations", str(lengths))
        return registry.formats.get(name)(**options).read(path, "val")

    return read_as


def windows(sample: Any) -> list[list[float]]:
    return [m.to_list() for m in sample.moments or []]


def changed(row: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in {**row, **changes}.items() if value is not ...}


def next_table(first: str, *lines: str) -> str:
    return "\n".join([f"{first},{HEADER}", *lines]) + "\n"


GOOD_NEXT = '111,100,640,480,"why did the boy, in red, run",2,0,CW,aa,bb,cc,dd,ee'


def test_nextqa(read: Read, tmp_path: Path) -> None:
    table = next_table("video", GOOD_NEXT, "111,100,640,480,what,0,3,TN,aa,bb,cc,dd,ee")
    result = read("nextqa", table, "val.csv", video_map=str(tmp_path / "map.json"))
    first, second = result.samples
    assert (first.id, first.video, first.duration, first.kind) == ("111_0", "1164/111", 21, "CW")
    assert first.query == "why did the boy, in red, run"
    assert (first.options, first.answer) == (["aa", "bb", "cc", "dd", "ee"], "cc")
    assert first.extra == {
        "frame_count": 100, "width": 640, "height": 480, "source_video": "111", "answer_index": 2,
    }  # fmt: skip
    assert (second.id, second.answer, second.moments, second.clip) == ("111_3", "aa", None, None)
    (asked,) = read(
        "nextqa", next_table("video", GOOD_NEXT), "val.csv", video_map=str(tmp_path / "map.json"), question_mark=True
    ).samples
    assert asked.query == "why did the boy, in red, run?"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("111,1,1,1,why,9,0,CW,aa,bb,cc,dd,ee", r"line 3 \(id 111_0\), field 'answer': must be the index of one of 5"),
        ("111,1,1,1,why,cc,0,CW,aa,bb,cc,dd,ee", r"'answer': must be a whole number of 0 or more, got 'cc'"),
        ("111,1,1,1,why,2,0,XX,aa,bb,cc,dd,ee", r"'type': must be one of CW, CH"),
        ("111,1,1,1,why,2,0,CW,aa,bb,cc,dd,", r"'a4': must be a text that is not blank"),
        ("111,1,1,1,why,2,0,CW,aa,bb,cc,dd", r"line 3: has 12 values for 13 columns"),
        ("111,1,1,1,why, not,2,0,CW,aa,bb,cc,dd,ee", r"line 3: has 14 values for 13 columns"),
        ("111,x,1,1,why,2,0,CW,aa,bb,cc,dd,ee", r"'frame_count': must be a whole number"),
        ("222,1,1,1,why,2,0,CW,aa,bb,cc,dd,ee", r"'video': .*map.json has no file for '222'"),
        ("111,1,1,1,,2,0,CW,aa,bb,cc,dd,ee", r"'question': must be a text that is not blank"),
        (GOOD_NEXT.replace(",0,CW", ",1,CW"), r"this id was used before, in line 2"),
        ('111,1,1,1,"why,2,0,CW,aa,bb,cc,dd,ee', r"val.csv, line 3: no valid CSV"),
    ],
)
def test_bad_nextqa(read: Read, tmp_path: Path, line: str, message: str) -> None:
    table = next_table("video", GOOD_NEXT.replace(",0,CW", ",1,CW"), line)
    with pytest.raises(AnnotationError, match=message) as raised:
        read("nextqa", table, "val.csv", video_map=str(tmp_path / "map.json"))
    assert str(tmp_path / "val.csv") in str(raised.value)


def test_bad_tables(read: Read, tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match=r"line 1: has two columns 'qid'"):
        read("nextqa", "video,qid,qid\n1,2,3\n", "val.csv")
    with pytest.raises(AnnotationError, match=r"line 2.*'question': is missing.*did you mean its field 'qestion'"):
        read("nextqa", next_table("video", GOOD_NEXT).replace("question", "qestion"), "val.csv")
    with pytest.raises(AnnotationError, match=r"'video_id': is not a field.*Did you mean 'video'"):
        read("nextqa", "video_id,video,qid,type,question,a0,a1,a2,a3,a4\n1,1,0,CW,q,a,b,c,d,e\n", "val.csv")
    with pytest.raises(AnnotationError, match=r"there is no annotation file .*LAVIS_DATA"):
        registry.formats.get("nextqa")().read(tmp_path / "none.csv")
    with pytest.raises(AnnotationError, match=r"holds no annotations"):
        read("nextqa", next_table("video"), "val.csv")
    with pytest.raises(AnnotationError, match=r"there is no file .*none.json. Correct format.video_map"):
        read("nextqa", next_table("video", GOOD_NEXT), "val.csv", video_map=str(tmp_path / "none.json"))


def test_a_line_is_where_its_row_begins(read: Read) -> None:
    table = next_table("video", GOOD_NEXT.replace("boy, in", "boy\nin"), "", "111,1,1,1,why,9,1,CW,a,b,c,d,e")
    with pytest.raises(AnnotationError, match=r"line 5 \(id 1164/111_1\), field 'answer'"):
        read("nextqa", table.replace("\n111", "\n1164/111"), "val.csv")


def test_lengths_are_needed_and_may_be_named_differently(read: Read, tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match=r"line 2 \(id 111_0\), field 'duration'.*Set format.durations"):
        read("nextqa", next_table("video", GOOD_NEXT), "val.csv", durations=None)
    with pytest.raises(AnnotationError, match=r"lengths.json has no video '111'"):
        read("nextqa", next_table("video", GOOD_NEXT), "val.csv")
    (tmp_path / "val_lengths.csv").write_text("id,length\n111.mp4,12.5\n")
    options = {"durations": str(tmp_path / "{split}_lengths.csv")}
    (sample,) = read("nextqa", next_table("video", GOOD_NEXT), "val.csv", **options).samples
    assert (sample.video, sample.duration) == ("111", 12.5)


def test_lengths_of_folders_of_frames_are_counted(read: Read, tmp_path: Path) -> None:
    folder = tmp_path / "frames" / "house_frames" / "h1"
    folder.mkdir(parents=True)
    for number in range(1, 78):
        (folder / f"{number:05d}.jpg").touch()
    (folder / "notes.txt").touch()
    rows = [TVQA, {**TVQA, "qid": 8}]
    first, second = read("tvqa", rows, "val.jsonl", durations=str(tmp_path / "frames")).samples
    assert first.duration == second.duration == 77 / 3
    with pytest.raises(AnnotationError, match=r"line 1 \(id 7\), field 'duration': .*h2 is no folder of frames"):
        read("tvqa", [{**TVQA, "vid_name": "h2"}], "val.jsonl", durations=str(tmp_path / "frames"))
    with pytest.raises(AnnotationError, match=r"leads outside"):
        read("tvqa", [{**TVQA, "vid_name": "../../h2"}], "val.jsonl", durations=str(tmp_path / "frames"))


GSUB = {"111": {"duration": 21, "location": {"0": [[1.0, 2.5], [3, 25]]}, "fps": 30}}


def test_nextgqa(read: Read, tmp_path: Path) -> None:
    (tmp_path / "gsub_val.json").write_text(json.dumps(GSUB))
    table = next_table("video_id", GOOD_NEXT.replace(",2,0,", ",cc,0,"))
    options = {"spans": str(tmp_path / "gsub_{split}.json"), "durations": None}
    (sample,) = read("nextgqa", table, "val.csv", **options).samples
    assert (sample.id, sample.duration, sample.answer, windows(sample)) == (
        "111_0", 21, "cc", [[1.0, 2.5], [3, 25]],
    )  # fmt: skip
    assert (sample.extra["answer_index"], sample.extra["fps"]) == (2, 30)
    (sample,) = read("nextgqa", table, "val.csv", **options, beyond_end="clamp").samples
    assert windows(sample) == [[1.0, 2.5], [3, 21]]
    (sample,) = read("nextgqa", table, "val.csv", video_map=str(tmp_path / "map.json")).samples
    assert (sample.moments, sample.duration) == (None, 21)


@pytest.mark.parametrize(
    ("answer", "spans", "message"),
    [
        ("2", GSUB, r"line 2 \(id 111_0\), field 'answer': '2' is none of the 5 options"),
        ("ccc", GSUB, r"'ccc' is none of the 5 options. Did you mean 'cc'"),
        ("cc", {}, r"'video_id': .*gsub.json has no video '111'"),
        ("cc", {"111": 3}, r"gsub.json has 3 for it"),
        ("cc", {"111": {**GSUB["111"], "location": {}}}, r"'qid': .*gsub.json has no spans for this question"),
        ("cc", {"111": {**GSUB["111"], "location": 3}}, r"video '111' \(id 111_0\), field 'location'"),
        ("cc", {"111": {**GSUB["111"], "duration": "21"}}, r"gsub.json, video '111'.*'duration': must be a finite"),
        (
            "cc",
            {"111": {**GSUB["111"], "location": {"0": [[3, 1]]}}},
            r"'location.0': the window \[3, 1\] ends before it starts",
        ),
    ],
)
def test_bad_nextgqa(read: Read, tmp_path: Path, answer: str, spans: Any, message: str) -> None:
    (tmp_path / "gsub.json").write_text(json.dumps(spans))
    table = next_table("video_id", GOOD_NEXT.replace(",2,0,", f",{answer},0,"))
    with pytest.raises(AnnotationError, match=message):
        read("nextgqa", table, "val.csv", spans=str(tmp_path / "gsub.json"))


def test_star(read: Read) -> None:
    hidden = changed(STAR, {"answer": ..., "question_id": "Sequence_T2_1"})
    first, second = read("star", [STAR, hidden]).samples
    assert (first.id, first.video, first.kind, first.duration) == ("Interaction_T1_13", "6H78U", "Interaction", 30.5)
    assert (first.options, first.answer, first.extra) == (["The clothes.", "The box."], "The box.", {"answer_index": 1})
    assert first.clip == Moment(11.1, 19.6)
    assert (second.answer, second.extra, second.kind) == (None, {}, "Sequence")


def test_what_a_window_is_for(read: Read) -> None:
    (grounded,) = read("star", [STAR], window="moments").samples
    assert (windows(grounded), grounded.clip) == ([[11.1, 19.6]], None)
    (whole,) = read("star", [STAR], window="ignore").samples
    assert (whole.moments, whole.clip, whole.extra["window"]) == (None, None, [11.1, 19.6])
    with pytest.raises(ValueError, match=r"format.window must be one of 'clip', 'moments', 'ignore'"):
        registry.formats.get("star")(window="cut")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"answer": "A box"}, r"'answer': 'A box' is none of the 2 options. Did you mean 'The box.'"),
        ({"answer": 1}, r"'answer': must be a text"),
        ({"choices": "x"}, r"'choices': must be a list of objects"),
        ({"choices": [{"choice_id": 0, "choice": "a"}]}, r"'choices': must hold 2 to 26 options, got 1"),
        ({"choices": [{"choice_id": i, "choice": "a"} for i in (0, 2)]}, r"must be numbered 0 to 1, got \[0, 2\]"),
        ({"choices": [{"choice_id": "0", "choice": "a"}]}, r"choice 1.*'choice_id': must be a whole number"),
        ({"choices": [{"choice_id": 0, "choise": "a"}]}, r"choice 1.*'choice': is missing.*mean its field 'choise'"),
        ({"question_id": "Other_1"}, r"'question_id': must begin with one of Interaction"),
        ({"question_id": 3}, r"row 2, field 'question_id': must be a text"),
        ({"start": ...}, r"'start': is missing"),
        ({"start": "11"}, r"'start': the window \['11', 19.6\] holds something that is no finite number"),
        ({"start": 20}, r"\[20, 19.6\] ends before it starts"),
        ({"start": 19.6}, r"\[19.6, 19.6\] has no length"),
        ({"start": 31, "end": 40}, r"lies outside the video \(duration 30.5 s\)"),
        ({"video": "v"}, r"'video': is not a field.*Did you mean 'video_id'"),
        ({"video_id": "AAAAA"}, r"lengths.json has no video 'AAAAA'"),
    ],
)
def test_bad_star(read: Read, tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    bad = changed({**STAR, "question_id": "Sequence_T1_2"}, changes)
    with pytest.raises(AnnotationError, match=message) as raised:
        read("star", [STAR, bad])
    assert f"{tmp_path / 'val.json'}, row 2" in str(raised.value)


def test_bad_windows_may_be_left_out(read: Read) -> None:
    rows = [STAR, *({**STAR, "question_id": f"Sequence_{i}", "start": s} for i, s in enumerate([25, 19.6]))]
    result = read("star", rows, on_bad_window="skip")
    assert [s.id for s in result.samples] == ["Interaction_T1_13"]
    assert result.counts == {"rows": 3, "skipped_windows": 2, "skipped_rows": 2}


def test_tvqa(read: Read) -> None:
    whole = changed({**TVQA, "qid": 8, "ts": "NaN-NaN"}, {"answer_idx": ...})
    plus = changed({**TVQA, "qid": 9, "vid_name": "s01e02_clip_03", "ts": [0, 5.4]}, {"show_name": ...})
    plus |= {"answer_idx": "4", "bbox": {"3": []}}
    result = read("tvqa", [TVQA, whole], "val.jsonl")
    first, second = result.samples
    assert (first.id, first.video, first.duration, first.kind) == ("7", "house_frames/h1", 61.5, "House M.D.")
    assert (first.query, first.answer, first.extra) == ("What is on the desk?", "answer 1", {"answer_index": 1})
    assert first.clip == Moment(10.5, 20.25)
    assert (second.clip, second.answer, second.extra) == (None, None, {})
    (third,) = read("tvqa", [plus]).samples
    assert (third.video, third.clip) == ("bbt_frames/s01e02_clip_03", Moment(0, 5.4))
    assert (third.answer, third.kind) == ("answer 4", "The Big Bang Theory")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"qid": "7"}, r"line 2, field 'qid': must be a whole number"),
        ({"show_name": "Dallas"}, r"'show_name': must be one of The Big Bang Theory, Castle"),
        ({"answer_idx": 5}, r"'answer_idx': must be the index of one of 5 options, got 5"),
        ({"answer_idx": "a1"}, r"'answer_idx': must be a whole number"),
        ({"answer_idx": True}, r"'answer_idx': must be a whole number"),
        ({"a3": ...}, r"'a3': is missing"),
        ({"a3": " "}, r"'a3': must be a text that is not blank"),
        ({"ts": "10.5"}, r"'ts': must be 'start-end'"),
        ({"ts": "a-b"}, r"'ts': must be 'start-end'"),
        ({"ts": "1.2.3-4"}, r"'ts': must be 'start-end'"),
        ({"ts": 3}, r"'ts': must be 'start-end'"),
        ({"ts": "20-10"}, r"the window \[20.0, 10.0\] ends before it starts"),
        ({"ts": [1, 2, 3]}, r"is not \[start, end\]"),
        ({"question": "x"}, r"'question': is not a field"),
    ],
)
def test_bad_tvqa(read: Read, tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(AnnotationError, match=message) as raised:
        read("tvqa", [TVQA, changed({**TVQA, "qid": 8}, changes)], "val.jsonl")
    assert f"{tmp_path / 'val.jsonl'}, line 2" in str(raised.value)


def test_candidates(read: Read) -> None:
    rows = [
        {**CANDIDATE, "qid": 3, "type": "CW", "duration": 9, "start": 1, "end": 2.5},
        {**changed(CANDIDATE, {"answer": ...}), "qid": "Interaction_T1_1", "duration": 9},
        {**CANDIDATE, "qid": "12", "duration": 9, "answer": 0},
    ]
    first, second, third = read("candidates", rows).samples
    assert (first.id, first.video, first.kind, first.answer) == ("clip_3", "a/clip.mp4", "CW", "y.")
    assert (first.extra, first.clip) == ({"qid": 3, "answer_index": 1}, Moment(1, 2.5))
    assert (second.id, second.answer, second.clip) == ("Interaction_T1_1", None, None)
    assert (third.id, third.answer) == ("clip_12", "x.")
    assert read("candidates", [{**CANDIDATE, "duration": 9}]).samples[0].id == "Candidates_0"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"answer": "w"}, r"'answer': 'w' is none of the 3 options"),
        ({"answer": 3}, r"'answer': must be the index of one of 3 options, got 3"),
        ({"answer": True}, r"'answer': must be a text"),
        ({"candidates": ["x"]}, r"'candidates': must hold 2 to 26 options, got 1"),
        ({"candidates": ["x", ""]}, r"'candidates': holds a blank option"),
        ({"candidates": ["x", 3]}, r"'candidates': must be a list of texts"),
        ({"candidates": "xy"}, r"'candidates': must be a list of texts"),
        ({"candidates": ...}, r"'candidates': is missing"),
        ({"options": []}, r"'options': is not a field"),
        ({"qid": 1.5}, r"row 2, field 'qid': must be a whole number"),
        ({"end": 3}, r"'start': is missing"),
        ({"video": "../clip.mp4"}, r"'video': the file name '../clip.mp4' leads outside"),
    ],
)
def test_bad_candidates(read: Read, changes: dict[str, Any], message: str) -> None:
    rows = [{**CANDIDATE, "qid": i, "duration": 9} for i in range(2)]
    with pytest.raises(AnnotationError, match=message):
        read("candidates", [rows[0], changed(rows[1], changes)])


def test_mvbench_has_20_tasks_of_which_five_have_windows() -> None:
    assert len(TASKS) == len({snake(name) for name in TASKS}) == 20
    assert {name for name, task in TASKS.items() if task.windowed} == {
        "Action Sequence", "Action Prediction", "Action Localization", "Object Interaction", "Episodic Reasoning",
    }  # fmt: skip
    assert snake("Fine-grained Pose") == "fine_grained_pose"


def test_mvbench_folder(tmp_path: Path) -> None:
    lengths = {}
    for name, task in TASKS.items():
        row = {**MVBENCH, **({"start": 1, "end": 2.5, "fps": 3} if task.windowed else {"start": 9, "end": 8})}
        (tmp_path / f"{snake(name)}.json").write_text(json.dumps([row, row]))
        lengths[f"{task.folder}/clip"] = 60
    (tmp_path / "lengths").mkdir()
    (tmp_path / "lengths" / "d.json").write_text(json.dumps(lengths))
    options = {"durations": str(tmp_path / "lengths" / "d.json")}
    samples = registry.formats.get("mvbench")(**options).read(tmp_path).samples
    assert len(samples) == 40
    assert (samples[0].id, samples[1].id, samples[0].kind) == (
        "action_sequence_0", "action_sequence_1", "Action Sequence",
    )  # fmt: skip
    by_kind = {s.kind: s for s in samples}
    assert by_kind["Moving Count"].video == "clevrer/video_validation/clip.mp4"
    assert by_kind["Moving Count"].extra == {"start": 9, "end": 8, "answer_index": 1}
    assert (by_kind["Moving Count"].clip, by_kind["Episodic Reasoning"].clip) == (None, Moment(1, 2.5))
    assert by_kind["Episodic Reasoning"].extra == {"fps": 3, "answer_index": 1}
    some = registry.formats.get("mvbench")(tasks=["State Change"], **options).read(tmp_path).samples
    assert [s.id for s in some] == ["state_change_0", "state_change_1"]
    (tmp_path / "state_change.json").unlink()
    with pytest.raises(AnnotationError, match=r"there is no annotation file .*state_change.json"):
        registry.formats.get("mvbench")(**options).read(tmp_path)


def test_mvbench_file(read: Read) -> None:
    (sample,) = read(
        "mvbench", [{**MVBENCH, "duration": 9}], "action_count.json", folders={"Action Count": "p"}
    ).samples
    assert (sample.id, sample.video, sample.answer) == ("action_count_0", "p/clip.mp4", "Run.")
    with pytest.raises(AnnotationError, match=r"action_cuont.json: the name of a file.*Did you mean 'action_count'"):
        read("mvbench", [MVBENCH], "action_cuont.json")
    with pytest.raises(AnnotationError, match=r"row 1 \(id action_sequence_0\), field 'start': is missing"):
        read("mvbench", [{**MVBENCH, "duration": 9}], "action_sequence.json")
    with pytest.raises(AnnotationError, match=r"'answer': is missing"):
        read("mvbench", [changed(MVBENCH, {"answer": ...})], "action_count.json")
    with pytest.raises(AnnotationError, match=r"'answer': 'Sleep.' is none of the 2 options"):
        read("mvbench", [{**MVBENCH, "duration": 9, "answer": "Sleep."}], "action_count.json")
    with pytest.raises(ValueError, match=r"MVBench has no task 'Action Cont'. Did you mean 'Action Count'"):
        registry.formats.get("mvbench")(tasks=["Action Cont"])


@pytest.mark.parametrize("flat", [False, True])
def test_video_mme(read: Read, flat: bool) -> None:
    second = {**changed(QUESTION, {"answer": ...}), "question_id": "001-2", "options": ["a", "b", "c", "d"]}
    second["response"] = "B"
    questions = [QUESTION, second]
    value = [{**VIDEO, **q} for q in questions] if flat else [{**VIDEO, "questions": questions}]
    one, two = read("video_mme", value).samples
    assert (one.id, one.video, one.duration, one.kind) == ("001-1", "zT", 900, "Counting Problem")
    assert (one.options, one.answer) == (["One.", "Two: both.", "Three.", "Four."], "Two: both.")
    assert one.extra == {
        "duration_category": "short", "domain": "Art", "sub_category": "Dance", "video_id": "001", "answer_index": 1,
    }  # fmt: skip
    assert (two.id, two.answer, two.options) == ("001-2", None, ["a", "b", "c", "d"])


@pytest.mark.parametrize(
    ("of_video", "of_question", "message"),
    [
        ({"duration": 61.2}, {}, r"'duration': must be a text"),
        ({"duration": "shrot"}, {}, r"'duration': must be one of short, medium, long, got 'shrot'"),
        ({"domain": ...}, {}, r"'domain': is missing"),
        ({"videoId": "x"}, {}, r"'videoId': is not a field.*Did you mean 'videoID'"),
        ({"videoID": "other"}, {}, r"lengths.json has no video 'other'"),
        ({}, {"answer": "E"}, r"row 1, question 1 \(id 001-1\), field 'answer': must be a letter from A to D, got 'E'"),
        ({}, {"answer": "Two"}, r"must be a letter from A to D"),
        ({}, {"answer": 1}, r"'answer': must be a text"),
        ({}, {"options": ["A. x", "C. y"]}, r"'options': must be lettered in order from A, got AC"),
        ({}, {"options": ["A. x", "B. "]}, r"nothing follows the letter B"),
        ({}, {"task_type": ...}, r"'task_type': is missing"),
        ({}, {"task": "x"}, r"'task': is not a field"),
        ({}, {"question_id": 1}, r"row 1, question 1, field 'question_id': must be a text"),
        ({}, {"domain": "x"}, r"'domain': question 1 repeats a field of its video"),
        ({"questions": []}, {}, r"'questions': must be a list of questions"),
        ({"questions": [3]}, {}, r"question 1 must be an object with named fields"),
    ],
)
def test_bad_video_mme(read: Read, of_video: dict[str, Any], of_question: dict[str, Any], message: str) -> None:
    row = changed({**VIDEO, "questions": [changed(QUESTION, of_question)]}, of_video)
    with pytest.raises(AnnotationError, match=message):
        read("video_mme", [row])


def test_scoring_reads_the_same_from_the_same_files(read: Read, tmp_path: Path) -> None:
    """Ids, options and answers agree, so that predictions of a data set can be scored against its release."""
    from lavis.scoring.questions.rows import truth_forms
    from lavis.scoring.reading import chosen_form, open_rows

    star = {**STAR, "choices": STAR["choices"][::-1]}
    files = [
        ("nextqa", next_table("video", GOOD_NEXT), "nextqa.csv", {}),
        ("nextgqa", next_table("video_id", GOOD_NEXT.replace(",2,0,", ",cc,0,")), "nextgqa.csv", {}),
        ("star", [star], "star.json", {}),
        ("tvqa", [TVQA], "tvqa.jsonl", {}),
        ("video_mme", [{**VIDEO, "questions": [QUESTION]}], "mme.json", {}),
        ("candidates", [{**CANDIDATE, "qid": "Interaction_T1_1", "duration": 9}], "candidates.json", {}),
    ]
    (tmp_path / "all.json").write_text(json.dumps({**LENGTHS, "111": 21}))
    for name, value, file, options in files:
        (sample,) = read(name, value, file, durations=str(tmp_path / "all.json"), **options).samples
        source = open_rows(tmp_path / file, "truth")
        form = chosen_form(source, truth_forms(), "truth")
        (question,) = [found for row in source.rows for found in form.records(row)]
        assert (question.id, question.options) == (sample.id, tuple(sample.options)), name
        assert question.right == sample.extra["answer_index"], name


def test_a_folder_of_tasks_makes_a_data_set(tmp_path: Path) -> None:
    from lavis.datasets.build import build_dataset
    from lavis.structures import VideoSample, Views

    def no_frames(sample: VideoSample, train: bool) -> Views:
        raise AssertionError("nothing is decoded here")

    row = {**MVBENCH, "duration": 9}
    for name, folder in (("action_count", "perception/videos"), ("moving_count", "clevrer/video_validation")):
        (tmp_path / "json").mkdir(exist_ok=True)
        (tmp_path / "json" / f"{name}.json").write_text(json.dumps([row]))
        (tmp_path / "video" / folder).mkdir(parents=True)
        (tmp_path / "video" / folder / "clip.mp4").touch()
    node = {
        "name": "grounding",
        "format": {"name": "mvbench", "tasks": ["Action Count", "Moving Count"]},
        "annotations": {"test": str(tmp_path / "json")},
        "videos": str(tmp_path / "video"),
        "video_suffix": "",
    }
    dataset = build_dataset("mvbench", node, "test", no_frames, False)
    assert [s.id for s in dataset.samples] == ["action_count_0", "moving_count_0"]
    assert dataset.samples[1].video == str(tmp_path / "video" / "clevrer" / "video_validation" / "clip.mp4")
    assert dataset.counts["missing_videos"] == 0

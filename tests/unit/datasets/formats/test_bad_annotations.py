"""Every way an annotation file can be wrong, and what the error says: file, row, id, field and cure."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lavis.common.registry import registry
from lavis.common.signatures import parameters
from lavis.datasets.formats._charades_text import read_durations
from lavis.datasets.formats._record import AnnotationError
from lavis.datasets.formats.base import Annotations

CALCE = {
    "video": "v1",
    "qid": "QVHighlight_1",
    "query": "a dog runs",
    "duration": 20,
    "items": ["dog"],
    "relevant_windows": [[2, 8]],
}
RELEASE = {"qid": 1, "query": "a dog runs", "duration": 20, "vid": "v1", "relevant_windows": [[2, 8]]}
ACTIVITYNET = {"duration": 20.5, "timestamps": [[0, 5.5]], "sentences": ["a dog runs"]}
TACOS = {"timestamps": [[10, 40]], "sentences": ["a dog runs"], "fps": 10.0, "num_frames": 100}
ACTIONS = {"video": "v", "qid": "q", "duration": 9, "relevant_windows": [[0, 2], [3, 4]]}

Read = Callable[..., Annotations]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Writes a value as JSON (lists of release rows as JSON lines) and reads it in a format."""

    def read_as(name: str, value: Any, **options: Any) -> Annotations:
        lines = name == "qvhighlights"
        file = tmp_path / ("val.jsonl" if lines else "val.json")
        file.write_text("\n".join(map(json.dumps, value)) if lines else json.dumps(value))
        return registry.formats.get(name)(**options).read(file)

    return read_as


def calce(**changes: Any) -> dict[str, Any]:
    row = {**CALCE, **changes}
    return {key: value for key, value in row.items() if value is not ...}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"video": ...}, r"'video': is missing.*Add the field"),
        ({"video": ..., "vido": "v1"}, r"did you mean its field 'vido'"),
        ({"quary": "x"}, r"'quary': is not a field.*Did you mean 'query'.*on_unknown_field"),
        ({"query": "  "}, r"'query': must be a text that is not blank"),
        ({"query": 7}, r"'query': must be a text"),
        ({"duration": "20"}, r"'duration': must be a finite number, got '20'"),
        ({"duration": 0}, r"'duration': must be above 0"),
        ({"duration": float("nan")}, r"'duration': must be a finite number, got nan"),
        ({"duration": 10**400}, r"'duration': must be a finite number, got 1000"),
        ({"relevant_windows": [[0, 10**400]]}, r"no finite number"),
        ({"duration": True}, r"'duration': must be a finite number"),
        ({"items": "dog"}, r"'items': must be a list of texts"),
        ({"items": [1]}, r"'items': must be a list of texts"),
        ({"relevant_windows": []}, r"'relevant_windows': must be a list of \[start, end\]"),
        ({"relevant_windows": [2, 8]}, r"the window 2 is not \[start, end\]"),
        ({"relevant_windows": [[2, 8, 9]]}, r"the window \[2, 8, 9\] is not \[start, end\]"),
        ({"relevant_windows": [[8, 2]]}, r"\[8, 2\] ends before it starts \(duration 20 s\).*on_bad_window to 'skip'$"),
        ({"relevant_windows": [[-1, 2]]}, r"starts before 0.*'skip' or 'clamp'"),
        ({"relevant_windows": [[float("nan"), 2]]}, r"no finite number"),
        ({"relevant_windows": [[0, float("inf")]]}, r"no finite number"),
        ({"relevant_windows": [["0", 2]]}, r"no finite number"),
        ({"relevant_windows": [[21, 22]]}, r"lies outside the video"),
        ({"start": 3}, r"'end': is missing"),
        ({"start": 5, "end": 4}, r"the clip \[5, 4\] is no stretch"),
        ({"rewrite": "x"}, r"'rewrite': must be a list of texts"),
        ({"stage1_result": [[5, 4]]}, r"'stage1_result': the window \[5, 4\] ends before it starts"),
        ({"saliency_scores": [[1]]}, r"'relevant_clip_ids': is missing"),
        ({"saliency_scores": [[1]], "relevant_clip_ids": [1, 2]}, r"one entry for each of relevant_clip_ids"),
        ({"saliency_scores": [[1]], "relevant_clip_ids": [10]}, r"10 is none of the 10 clips of 20 s"),
        ({"saliency_scores": [[5]], "relevant_clip_ids": [1]}, r"\[5\] must be 1 whole scores from 0 to 4"),
        ({"saliency_scores": [[1], [1, 2]], "relevant_clip_ids": [1, 2]}, r"\[1, 2\] must be 1 whole scores"),
    ],
)
def test_bad_row(read: Read, tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    good = calce(qid="QVHighlight_0")
    with pytest.raises(AnnotationError, match=message) as raised:
        read("calce", [good, calce(**changes)])
    text = str(raised.value)
    assert str(tmp_path / "val.json") in text
    assert "row 2 (id QVHighlight_1)" in text


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"qid": ...}, r"row 1, field 'qid': is missing"), ({"qid": 3}, r"row 1, field 'qid': must be a text")],
)
def test_bad_id(read: Read, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(AnnotationError, match=message):
        read("calce", [calce(**changes)])


def test_repeated_id(read: Read) -> None:
    with pytest.raises(AnnotationError, match=r"row 3 \(id QVHighlight_1\): this id was used before, in row 1"):
        read("calce", [CALCE, calce(qid="QVHighlight_2"), CALCE])


def test_truth_of_all_rows_or_of_none(read: Read) -> None:
    test_split = [calce(relevant_windows=..., qid=f"QVHighlight_{i}") for i in range(2)]
    assert [s.moments for s in read("calce", test_split).samples] == [None, None]
    with pytest.raises(AnnotationError, match=r"1 of 2 rows have no windows, the first with id QVHighlight_2"):
        read("calce", [CALCE, calce(relevant_windows=..., qid="QVHighlight_2")])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[{]", r"no valid JSON"),
        ("{}", r"must hold a list of rows, got dict"),
        ("[]", r"holds no annotations"),
        ("[1]", r"row 1: must be an object"),
        ('[{"qid": "a", "qid": "b"}]', r"the key 'qid' occurs twice"),
    ],
)
def test_bad_file(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "val.json"
    file.write_text(text)
    with pytest.raises(AnnotationError, match=message):
        registry.formats.get("calce")().read(file)


def test_bad_rows_may_be_left_out_and_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = [
        calce(),
        calce(qid="a_2", query=" "),
        calce(qid="a_3", video="../../etc/passwd"),
        calce(qid="a_4", duration=...),
        calce(query="again"),
        calce(qid="a_6", relevant_windows=[[8, 2]]),
        calce(qid="a_7", items=3),
        calce(qid="a_8"),
    ]
    path = tmp_path / "val.json"
    path.write_text(json.dumps(rows))
    reader = registry.formats.get("calce")()
    with pytest.raises(AnnotationError, match=r"row 2 \(id a_2\)"):
        reader.read(path)
    result = reader.read(path, "val", "skip")
    assert [sample.id for sample in result.samples] == ["QVHighlight_1", "a_8"]
    assert result.counts == {"rows": 8, "bad_rows": 6, "skipped_rows": 6}
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 6
    assert all(f"row {number}" in text for number, text in zip(range(2, 7), told, strict=False))
    assert told[-1].endswith("6 of 8 rows left out")
    path.write_text(json.dumps(rows[1:4]))
    with pytest.raises(AnnotationError, match=r"not one of 3 rows can be used; the first: .*val.json, row 1"):
        reader.read(path, "val", "skip")
    path.write_text(json.dumps([{"video": "v"}, *rows[:1], calce(qid=3)]))
    with pytest.raises(AnnotationError, match=r"row 1, field 'qid'"):
        reader.read(path)
    assert reader.read(path, "val", "skip").counts == {"rows": 3, "bad_rows": 2, "skipped_rows": 2}
    path.write_text(json.dumps([*rows[:1], 3]))
    with pytest.raises(AnnotationError, match=r"row 2: must be an object"):
        reader.read(path, "val", "skip")


def test_bad_rows_of_conversations_and_benchmarks(read: Read, tmp_path: Path) -> None:
    talk = [{"from": "human", "value": "What?"}, {"from": "gpt", "value": "That."}]
    record = {
        "version": 1.0,
        "idx": 0,
        "source": "s",
        "video": "a",
        "duration": 9.0,
        "q": "?",
        "task": "tvg",
        "tgt": [1, 2],
    }
    for name, good, bad in (
        ("conversations", {"conversations": talk}, {"conversations": talk, "image": 3}),
        ("et_bench", record, {**record, "idx": 1, "duration": -1}),
    ):
        (tmp_path / "val.json").write_text(json.dumps([bad, good]))
        result = registry.formats.get(name)().read(tmp_path / "val.json", "val", "skip")
        assert (len(result.samples), result.counts["bad_rows"]) == (1, 1)


HUGE = 10**30


@pytest.mark.parametrize(
    ("name", "rows", "message"),
    [
        ("calce", [calce(duration=1e19, relevant_clip_ids=[1], saliency_scores=[[1]])], "more than any video has"),
        ("mr_blip", [{"video": "v", "qid": "a_1", "query": "q", "duration": 1e12}], "more than any video has"),
        ("calce", [calce(relevant_windows=[[2, HUGE]])], "reaches further than any video"),
        (
            "tacos",
            {"a.avi": {"timestamps": [[1, 10**400]], "sentences": ["x"], "fps": 9.5, "num_frames": 99}},
            "no finite number",
        ),
        (
            "recursive_grounding",
            [{"video": "a", "question": "x", "answer": [1, 2], "duration": 9, "qid": "\ud800"}],
            "half a character",
        ),
        (
            "grounded_videoqa",
            [
                {
                    "video": "a",
                    "question": "x",
                    "answer": "y",
                    "temporal_span": [1, 2],
                    "duration": 9,
                    "question_id": " ",
                }
            ],
            "not blank",
        ),
        ("calce", [calce(query=[["x"] * 10**5])], "must be a text"),
    ],
)
def test_sizes_and_characters_that_cannot_be(read: Read, name: str, rows: Any, message: str) -> None:
    with pytest.raises(AnnotationError, match=message) as raised:
        read(name, rows)
    assert len(str(raised.value)) < 1000


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,length\na,3\na,4\n", "two lengths of one video"),
        (f"id,length\na,{'9' * 200_000}\n", "no valid CSV"),
        ("id,length\na,1_0\n", "finite number"),
        ('{"a": true}', "finite number"),
        (f'{{"a": {10**400}}}', "finite number"),
        ("", "empty|columns"),
    ],
)
def test_tables_of_lengths_that_cannot_be(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / f"lengths.{'json' if text.startswith('{') else 'csv'}"
    path.write_text(text)
    with pytest.raises(AnnotationError, match=message):
        read_durations(path)


def test_empty_files_and_folders(tmp_path: Path) -> None:
    (tmp_path / "empty.json").write_text("\n")
    with pytest.raises(AnnotationError, match=r"empty.json: is empty"):
        registry.formats.get("calce")().read(tmp_path / "empty.json")
    with pytest.raises(AnnotationError, match=r"this is a folder: .*Correct the path"):
        registry.formats.get("calce")().read(tmp_path)


def test_missing_file_and_other_encodings(tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match=r"there is no annotation file .*LAVIS_DATA"):
        registry.formats.get("calce")().read(tmp_path / "none.json")
    file = tmp_path / "latin.json"
    file.write_bytes(json.dumps([calce(query="caf\xe9")], ensure_ascii=False).encode("latin-1"))
    with pytest.raises(ValueError, match=r"latin.json, line 1: not UTF-8"):
        registry.formats.get("calce")().read(file)


def test_jsonl_names_lines_and_passes_blank_ones_over(tmp_path: Path) -> None:
    file = tmp_path / "val.jsonl"
    # U+2028 is a line end to str.splitlines, but not to JSON lines.
    second = {**RELEASE, "qid": 2, "query": "a\u2028b"}
    file.write_text(json.dumps(RELEASE) + "\n\n" + json.dumps(second, ensure_ascii=False) + "\n", encoding="utf-8")
    assert [s.query for s in registry.formats.get("qvhighlights")().read(file).samples] == ["a dog runs", "a\u2028b"]
    file.write_text(json.dumps(RELEASE) + "\n\n{")
    with pytest.raises(AnnotationError, match=r"val.jsonl, line 3: no valid JSON"):
        registry.formats.get("qvhighlights")().read(file)


def test_skipping_bad_windows_is_counted(read: Read) -> None:
    rows = [
        CALCE,
        calce(qid="b", relevant_windows=[[8, 2], [3, 4]]),
        calce(qid="c", relevant_windows=[[float("nan"), 2]]),
    ]
    result = read("calce", rows, on_bad_window="skip")
    assert [(s.id, [m.to_list() for m in s.moments or []]) for s in result.samples] == [
        ("QVHighlight_1", [[2, 8]]),
        ("b", [[3, 4]]),
    ]
    assert result.counts == {"rows": 3, "skipped_windows": 2, "skipped_rows": 1}


def test_clamping_cuts_what_can_be_cut(read: Read) -> None:
    rows = [calce(relevant_windows=[[-3, 2], [15, 30], [-1, 99]])]
    result = read("calce", rows, on_bad_window="clamp", beyond_end="bad")
    assert [m.to_list() for m in result.samples[0].moments or []] == [[0, 2], [15, 20], [0, 20]]
    assert result.counts["clamped_windows"] == 3
    with pytest.raises(AnnotationError, match=r"ends before it starts"):
        read("calce", [calce(relevant_windows=[[8, 2]])], on_bad_window="clamp")


@pytest.mark.parametrize(("policy", "expected"), [("keep", [15, 21]), ("clamp", [15, 20]), ("bad", None)])
def test_ends_past_the_video(read: Read, policy: str, expected: list[int] | None) -> None:
    rows = [calce(relevant_windows=[[15, 21]])]
    if expected is None:
        with pytest.raises(AnnotationError, match=r"\[15, 21\] ends past the video"):
            read("calce", rows, beyond_end=policy)
    else:
        assert [m.to_list() for m in read("calce", rows, beyond_end=policy).samples[0].moments or []] == [expected]


def test_unknown_fields_may_be_kept_or_ignored(read: Read) -> None:
    rows = [calce(source="web")]
    assert read("calce", rows, on_unknown_field="keep").samples[0].extra == {"source": "web"}
    assert read("calce", rows, on_unknown_field="ignore").samples[0].extra == {}
    with pytest.raises(AnnotationError, match=r"'video': is missing"):
        read("calce", [calce(video=...)], on_unknown_field="ignore")


@pytest.mark.parametrize("name", sorted(registry.formats))
@pytest.mark.parametrize("option", ["on_bad_window", "beyond_end", "on_unknown_field"])
def test_options_are_checked(name: str, option: str) -> None:
    entry = registry.formats.get(name)
    if option not in parameters(entry):
        pytest.skip(f"rows of {name} have no windows")
    needed = {"mmduet": {"form": "grounding", "durations": "none.json"}}.get(name, {})
    with pytest.raises(ValueError, match=rf"format.{option} must be one of .*, got 'ignor'"):
        entry(**needed, **{option: "ignor"})


def test_windows_in_is_checked() -> None:
    for name in ("calce", "mr_blip"):
        with pytest.raises(ValueError, match=r"format.windows_in must be one of 'seconds'"):
            registry.formats.get(name)(windows_in="minutes")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("qvhighlights", [{**RELEASE, "qid": "QVHighlight_1"}], r"line 1, field 'qid': must be a whole number"),
        ("qvhighlights", [{**RELEASE, "relevant_windows": [[2, 21]]}], r"\[2, 21\] ends past the video"),
        ("activitynet_captions", [], r"must map videos to their sentences, got list"),
        ("activitynet_captions", {"v1": 3}, r"video 'v1': must be an object"),
        ("activitynet_captions", {"v1": {**ACTIVITYNET, "sentences": []}}, r"one window for each of 'sentences'"),
        (
            "activitynet_captions",
            {"v1": {**ACTIVITYNET, "timestamps": [[5, 1]]}},
            r"video 'v1', sentence 1 \(id ActivityNet_v1_0\).*ends before it starts",
        ),
        ("activitynet_captions", {"v1": {**ACTIVITYNET, "fps": 3}}, r"'fps': is not a field"),
        ("tacos", {"s1.avi": {**TACOS, "fps": 0}}, r"'fps': must be above 0"),
        ("tacos", {"s1.avi": {**TACOS, "timestamps": [["a", 3]]}}, r"no finite number"),
        ("tacos", {"s1.avi": {**TACOS, "timestamps": [3]}}, r"is not \[start, end\]"),
        ("mr_blip", [{"video": "v", "qid": "q", "duration": 5}], r"'query': is missing"),
        (
            "mr_blip",
            [{"video": "v", "qid": "q", "duration": 5, "question": "why?", "num_option": 6}],
            r"must be a whole number from 2 to 5",
        ),
        (
            "mr_blip",
            [{"video": "v", "qid": "q", "duration": 5, "question": "why?", "num_option": 2, "a0": "a"}],
            r"'a1': is missing",
        ),
        (
            "mr_blip",
            [{"video": "v", "qid": "q", "duration": 5, "question": "why?", "answer": 0}],
            r"index of one of 0 options",
        ),
        ("mr_blip", [{**ACTIONS, "labels": ["Run"]}], r"'labels': must have one label for each.*got 1 for 2"),
        ("mr_blip", [{**ACTIONS, "labels": ["Run", 3]}], r"'labels': must be a list of texts"),
        ("mr_blip", [{**ACTIONS, "labels": ["Run", " "]}], r"'labels': holds a blank label"),
        ("mr_blip", [{**ACTIONS, "relevant_windows": [], "labels": []}], r"'relevant_windows': must be a list of"),
        ("mr_blip", [{"video": "v", "qid": "q", "duration": 9, "labels": ["a"]}], r"'relevant_windows': is missing"),
    ],
)
def test_bad_rows_of_other_formats(read: Read, name: str, value: Any, message: str) -> None:
    with pytest.raises(AnnotationError, match=message):
        read(name, value)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("3MSZA 24.3 30.4 person turn a light on.", r"line 1: must be 'video start end##query'"),
        ("3MSZA 24.3 x##person", r"no finite number"),
        ("3MSZA 8.0 7.0##person", r"id CharadesSTA_3MSZA_0.*ends before it starts"),
        ("3MSZA 1.0 7.0##", r"must be a text that is not blank"),
        ("OTHER 1.0 7.0##person", r"has no video 'OTHER'"),
        ("3MSZA nan 7.0##person", r"no finite number"),
    ],
)
def test_bad_charades_line(tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / "lengths.csv").write_text("id,subject,length\n3MSZA,HR43,30.96\n")
    (tmp_path / "test.txt").write_text(line + "\n")
    reader = registry.formats.get("charades_sta")(durations=str(tmp_path / "lengths.csv"))
    with pytest.raises(AnnotationError, match=message):
        reader.read(tmp_path / "test.txt")


def test_charades_text_needs_durations(tmp_path: Path) -> None:
    (tmp_path / "test.txt").write_text("3MSZA 1.0 7.0##person\n")
    with pytest.raises(AnnotationError, match=r"Set format.durations"):
        registry.formats.get("charades_sta")().read(tmp_path / "test.txt")
    cases = [
        ("a.csv", "name\nx\n", "must have the columns"),
        ("a.json", "[]", "must map videos"),
        ("b.csv", None, "no file"),
    ]
    for name, text, message in cases:
        if text is not None:
            (tmp_path / name).write_text(text)
        with pytest.raises(AnnotationError, match=message):
            registry.formats.get("charades_sta")(durations=str(tmp_path / name)).read(tmp_path / "test.txt")
    (tmp_path / "c.json").write_text('{"3MSZA": "long"}')
    with pytest.raises(AnnotationError, match=r"video '3MSZA', field 'length': must be a finite number"):
        registry.formats.get("charades_sta")(durations=str(tmp_path / "c.json")).read(tmp_path / "test.txt")


def test_items_must_have_every_query(tmp_path: Path) -> None:
    (tmp_path / "val.jsonl").write_text(json.dumps(RELEASE))
    (tmp_path / "items_val.json").write_text(json.dumps({"QVHighlight_2": {"query": "x", "items": ["x"]}}))
    with pytest.raises(AnnotationError, match=r"id QVHighlight_1.*items_val.json has no entry"):
        registry.formats.get("qvhighlights")(items=str(tmp_path / "items_{split}.json")).read(
            tmp_path / "val.jsonl", "val"
        )
    with pytest.raises(AnnotationError, match=r"there is no items file"):
        registry.formats.get("qvhighlights")(items=str(tmp_path / "none.json")).read(tmp_path / "val.jsonl")

"""HawkEye's instruction and test files from the releases; that rows equal the original's is a parity case."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lavis.common.io import write_json, write_jsonl
from lavis.common.registry import registry
from lavis.datasets.formats._record import AnnotationError
from lavis.preparation import hawkeye_conversions as conversions
from lavis.preparation import hawkeye_questions as questions

WORDING = conversions.Wording(["Look."], ["When is '%s'?"])
SEGMENT = {"video": "a.mp4", "start_sec": 3, "end_sec": 7.5, "neg_start_sec": 0, "neg_end_sec": 30, "caption": "a man."}


@pytest.fixture
def hawkeye_data(root: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(root))
    return runpy.run_path(str(root / "process_data" / "hawkeye_data.py"))["main"]


@pytest.mark.parametrize("form", conversions.FORMS)
def test_every_form_is_read_back(tmp_path: Path, form: conversions.Form) -> None:
    file = write_jsonl(tmp_path / "segments.jsonl", [SEGMENT])
    rows = conversions.training_rows(conversions.internvid_segments([file]), form, WORDING)
    conversions.write_file(tmp_path / "train.json", rows)
    durations = write_json(tmp_path / "durations.json", {"a.mp4": 40.0})
    reader = registry.formats.get("hawkeye_it")(durations=str(durations))
    (sample,) = reader.read(tmp_path / "train.json").samples
    assert sample.moments[0].to_list() == [3, 7.5]
    assert sample.extra["shown_window"] == [0, 30]
    assert "A man" in (sample.query if form in ("choice", "grounding") else sample.answer)


def test_draws_belong_to_the_seed(tmp_path: Path) -> None:
    file = write_jsonl(tmp_path / "segments.jsonl", [SEGMENT] * 8)

    def rows(seed: int) -> list[conversions.Row]:
        return list(conversions.training_rows(conversions.internvid_segments([file]), "choice", WORDING, seed))

    assert rows(1) == rows(1) != rows(2)
    assert conversions.sampled(rows(1), 0.5, 3) == conversions.sampled(rows(1), 0.5, 3)
    assert len(conversions.sampled(rows(1), 0.5)) == 4
    with pytest.raises(ValueError, match="above 0 and at most 1, got 1.5"):
        conversions.sampled(rows(1), 1.5)


def test_wordings(tmp_path: Path) -> None:
    assert conversions.read_wordings("When is '%s'?") == ["When is '%s'?"]
    with pytest.raises(AnnotationError, match="words.json: must be a list of texts"):
        conversions.read_wordings(str(write_json(tmp_path / "words.json", {"a": 1})))
    with pytest.raises(FileNotFoundError):
        conversions.read_wordings(str(tmp_path / "absent.json"))
    for question in ("When?", "%s and %s", "%d %s"):
        with pytest.raises(ValueError, match="must have one %s"):
            conversions.Wording(["Look."], [question])
    with pytest.raises(ValueError, match="there is no instruction"):
        conversions.Wording([])
    with pytest.raises(ValueError, match="rows of the form choice ask questions"):
        list(conversions.training_rows([], "choice", conversions.Wording(["Look."])))
    with pytest.raises(ValueError, match="there is no form 'x'"):
        list(conversions.training_rows([], "x", WORDING))  # type: ignore[arg-type]


def test_windows_that_go_backwards(tmp_path: Path) -> None:
    file = write_jsonl(tmp_path / "segments.jsonl", [SEGMENT, {**SEGMENT, "end_sec": 3}])
    with pytest.raises(
        AnnotationError, match=r"segments.jsonl, line 2, field 'end_sec': the window goes from 3 to 3 s"
    ):
        list(conversions.internvid_segments([file]))
    notes: dict[str, Any] = {}
    assert len(list(conversions.internvid_segments([file], "skip", notes))) == 1 and notes == {"left_out": 1}
    assert len(list(conversions.internvid_segments([file], "keep"))) == 2


def test_charades(tmp_path: Path) -> None:
    file = tmp_path / "charades.txt"
    file.write_text("AAAAA 0.0 6.9##a. b.\n")
    lengths = write_json(tmp_path / "lengths.json", {"AAAAA": 33.5})
    (segment,) = conversions.charades_segments(file, lengths)
    assert segment == conversions.Segment("AAAAA.mp4", "a b", 0.0, 6.9, (0, 33.5))
    (bare,) = conversions.charades_segments(file)
    with pytest.raises(ValueError, match="AAAAA.mp4: its length is not known"):
        list(conversions.training_rows([bare], "choice", WORDING))
    for line, message in (
        ("BBBBB 0.0 6.9##a", "line 2, field 'video': .*has no video 'BBBBB'"),
        ("AAAAA 0.0##a", "line 2: must be 'video start end##query'"),
        ("AAAAA x 6.9##a", "line 2, field 'start': must be a finite number"),
        ("../AAAAA 0 6.9##a", "line 2, field 'video': .*leads outside"),
        ("AAAAA 7.0 6.9##a", "line 2, field 'end': the window goes from 7.0 to 6.9"),
    ):
        file.write_text(f"AAAAA 0.0 6.9##a\n{line}\n")
        with pytest.raises(AnnotationError, match=f"charades.txt, {message}"):
            list(conversions.charades_segments(file, lengths))


def test_activitynet(tmp_path: Path) -> None:
    first = {"v_1": {"duration": 9.0, "timestamps": [[0, 2]], "sentences": [" A. "]}}
    second = {"v_2": {"duration": 8.0, "timestamps": [[0, 1]], "sentences": ["C."]}}
    more = {**second, "v_1": {"duration": 9.0, "timestamps": [[3, 4]], "sentences": ["B."]}}
    files = write_json(tmp_path / "a.json", first), write_json(tmp_path / "b.json", more)
    found = [(each.video, each.caption, each.shown) for each in conversions.activitynet_segments(*files)]
    assert found == [("v_1", " A. ", (0, 9.0)), ("v_1", "B", (0, 9.0)), ("v_2", "C", (0, 8.0))]
    rows = conversions.grounding_test_rows(conversions.activitynet_segments(files[0]))
    assert list(rows) == [{"video": "v_1", "question": "A", "answer": [0, 2]}]
    write_json(files[0], {"v_1": {**first["v_1"], "timestamps": [[0]]}})
    with pytest.raises(AnnotationError, match=r"a.json, video 'v_1', sentence 1 .*must be \[start, end\]"):
        list(conversions.activitynet_segments(files[0]))


def test_questions_that_cannot_be_used(tmp_path: Path) -> None:
    head = "video,question,answer,qid,a0,a1,a2,a3,a4\n"
    table, names = tmp_path / "test.csv", write_json(tmp_path / "map.json", {"1": "x/1", "2": "../2"})
    for line, message in (
        ("1,why,5,0,a,b,c,d,e", "line 2 .*field 'answer': must be an index below 5, got '5'"),
        ("3,why,1,0,a,b,c,d,e", "line 2 .*field 'video': .*has no video '3'"),
        ("2,why,1,0,a,b,c,d,e", "line 2 .*leads outside"),
        ("1,why,1,0,a,b,c,d,", "line 2 .*field 'a4': must be a text"),
    ):
        table.write_text(f"{head}{line}\n")
        with pytest.raises(AnnotationError, match=f"test.csv, {message}"):
            list(questions.nextqa_rows(table, names))
    table.write_text("video_id,question,qid\n1,why,0\n")
    spans = write_json(tmp_path / "spans.json", {"1": {"location": {}, "duration": 3}})
    with pytest.raises(AnnotationError, match=r"test.csv, line 2 .*has no moments for this question"):
        list(questions.nextgqa_rows(table, spans, names))
    tvqa = {"show_name": "Friends", "vid_name": "f", "ts": "1-2", "q": "Who?", "qid": 1, **dict.fromkeys("abcde", "x")}
    tvqa |= {f"a{i}": "x" for i in range(5)}
    for change, message in (
        ({"show_name": "Enemies"}, "field 'show_name': 'Enemies' is none of the shows"),
        ({"ts": "soon"}, "field 'ts': must be start-end"),
        ({"ts": "3-2"}, "field 'ts': goes from 3.0 to 2.0 s"),
        ({"answer_idx": 5}, "field 'answer_idx': must be an index below 5"),
    ):
        file = write_jsonl(tmp_path / "tvqa.jsonl", [{**tvqa, **change}])
        with pytest.raises(AnnotationError, match=f"tvqa.jsonl, line 1, {message}"):
            list(questions.tvqa_rows(file))
    star: dict[str, Any] = {"question_id": "q", "question": "?", "video_id": "v", "choices": [{"choice": "a"}]}
    for change, message in (
        ({"choices": ["a"]}, "field 'choices': must be {choice_id, choice} each"),
        ({"choices": []}, "field 'choices': must be a list"),
        ({"answer": "b"}, "field 'answer': 'b' is none of the choices"),
    ):
        file = write_json(tmp_path / "star.json", [{**star, **change}])
        with pytest.raises(AnnotationError, match=f"star.json, row 1, {message}"):
            list(questions.star_rows(file))


def test_the_script(tmp_path: Path, hawkeye_data: Any, capsys: pytest.CaptureFixture[str]) -> None:
    file, out = write_jsonl(tmp_path / "segments.jsonl", [SEGMENT]), tmp_path / "train.json"
    words = ["--instruction", "Look.", "--question", "When is '%s'?"]
    assert hawkeye_data(["internvid", "choice", str(file), "--out", str(out), *words]) == 0
    assert f"{out}: 1 rows" in capsys.readouterr().out
    assert json.loads(out.read_text())[0]["QA"][0]["i"] == "Look."
    for arguments, message in (
        (["internvid", "choice", str(file)], "internvid choice needs --instruction"),
        (["charades", "choice", str(file), *words], "charades choice needs --durations"),
        (["nextqa", "choice", str(file)], "of nextqa there is only the form test"),
        (["nextqa", "test", str(file)], "nextqa test needs --video-map"),
        (["star", "test", str(file), str(file)], "star takes one file, got 2"),
        (["internvid", "test", str(tmp_path / "absent.jsonl")], "there is no annotation file"),
    ):
        assert hawkeye_data([*arguments, "--out", str(tmp_path / "other.json")]) == 1
        assert message in capsys.readouterr().err
    assert not (tmp_path / "other.json").exists()


@pytest.mark.parametrize("script", ["hawkeye_data", "internvid_g"])
def test_help_has_examples(root: Path, script: str) -> None:
    command = [sys.executable, "-X", "importtime", f"process_data/{script}.py", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=root, env={"PYTHONPATH": str(root), "PATH": ""})
    assert done.returncode == 0 and "Examples:" in done.stdout, done.stderr[-500:]
    assert " torch\n" not in done.stderr and " av\n" not in done.stderr

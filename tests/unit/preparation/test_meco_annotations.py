"""MeCo's training file from E.T. Instruct: captions from texts, files and models; read back, its truth is MeCo's."""

from __future__ import annotations

import json
import runpy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from lavis.common.config import load_config
from lavis.common.io import write_json, write_jsonl
from lavis.common.registry import registry
from lavis.datasets.build import build_dataset
from lavis.datasets.formats._record import AnnotationError
from lavis.models.codecs.structural_tokens import StructuralTokens
from lavis.preparation.internvid_g.models import Captioner, TransformersCaptioner
from lavis.preparation.meco_annotations import Style, make_annotations, read_captions
from lavis.preparation.meco_captions import caption_events
from lavis.preparation.meco_texts import NoCaption, conclusion, own_captions, rewritten, sought
from lavis.structures import FrameRef, TimedTokens, VideoSample
from tests.video_factory import write_video

TVG = (
    "<image>\nYou are given a video about daily activities. Watch the video carefully and find a visual event "
    "described by the sentence: 'a man's dog barks.'. The format of your response should be: 'It ...'."
)
GVQ = (
    "<image>\nWatch the video carefully. Now I give you the question: What did I open?. The options are: (A) a door "
    "(B) a box. The format of your response should be: ..."
)


def row(task: str, human: str, gpt: str, **fields: Any) -> dict[str, Any]:
    said = [{"from": "human", "value": human}, {"from": "gpt", "value": gpt}]
    return {"task": task, "source": "s", "video": "v.mp4", "duration": 20.0, **fields, "conversations": said}


REVERSED = 8
"""Of MeCo's rows, the one with a window whose end comes first."""
ROWS = [
    row("tvg", TVG, "The event happens in <vid> - <vid>.", tgt=[3.4, 7.8]),
    row("dvc", "<image>\nYou are given a video about cooking. Watch the video carefully and describe it.",
        "<vid> - <vid> seconds, add 2 - 3 eggs. <vid> - <vid> seconds, serve.", tgt=[2, 9, 11, 18]),
    row("slc", "<image>\nSteps?", "Cut (<vid> to <vid>), stir <vid> - <vid>.", tgt=[2, 3, 5, 9]),
    row("tvc", "<image>\nCaption.", "<vid>, a man. <vid>, a dog.", tgt=[2, 8]),
    row("rvc", "<image>\nDescribe the moment from <vid> to <vid>.", "a person picks up a cup", src=[5, 9]),
    row("gvq", GVQ, "(B) a box, <vid> - <vid>.", tgt=[2, 4]),
    row("vhd", "<image>\nFind the highlight: a goal.", "It is at <vid>.", tgt=[19]),
    row("tal", "<image>\nWhen does he jump?", "<vid> - <vid>, <vid> - <vid>", tgt=[1, 2, 8, 9]),
    row("evs", "<image>\nYou are given a video about dogs. Watch the video carefully.", "<vid>-<vid>", tgt=[1, 4]),
]  # fmt: skip


def source(folder: Path, rows: Sequence[Any] = ROWS) -> Path:
    return write_json(folder / "et_instruct_164k_vid.json", list(rows))


def read_back(file: Path) -> list[VideoSample]:
    samples: list[VideoSample] = (
        registry.formats.get("et_instruct")(style="meco", on_reversed="swap").read(file).samples
    )
    return samples


def learned(sample: VideoSample, frames: int) -> dict[str, list[tuple[float, float]]]:
    """What each kind of token of the answer stands for."""
    tokens = TimedTokens(torch.zeros(frames, 1), [1] * frames, [(t, t) for t in range(frames)], list(range(frames)))
    said = StructuralTokens().turns(sample, tokens, answer=True)
    refs = [part for part in said[-1] if isinstance(part, FrameRef)]
    return {mark: [ref.target for ref in refs if ref.token == mark and ref.target] for mark in ("<ent>", "<tst>")}


def test_captions_come_from_the_texts(tmp_path: Path) -> None:
    made = make_annotations(source(tmp_path), tmp_path / "meco.json")
    rows = json.loads((tmp_path / "meco.json").read_text())
    answers = {each["task"]: each["conversations"][1]["value"] for each in rows}
    assert answers == {
        "tvg": "a man's dog barks.<ent>",
        "dvc": "add 2 - 3 eggs.<ent>\nserve.<ent>",
        "slc": "Cut (<ent>\n), stir<ent>",
        "tvc": "a man.<ent>\na dog.<ent>",
        "rvc": "a person picks up a cup<ent>",
        "gvq": "What did I open? a box<ent> Therefore, the answer is (B).",
        "vhd": "a goal.<ent>",
        "tal": "When does he jump?<ent>\nWhen does he jump?<ent>",
        "evs": "dogs<ent>",
    } | {"slc": answers["slc"]}
    windows = {each["task"]: each["windows"] for each in rows}
    assert windows["dvc"] == [[2, 9], [11, 18]] and windows["rvc"] == [[5, 9]]
    assert windows["vhd"] == [[19, 20]] and windows["tvc"] == [[2, 8], [8, 19]]
    assert all("tst_windows" not in each for each in rows)
    assert {name: ROWS[0][name] for name in ("source", "video", "duration", "tgt")}.items() <= rows[0].items()
    assert made.rows == dict.fromkeys(answers, 1) and made.events["dvc"] == 2
    assert "tal        1 rows       2 events" in str(made) and "captions from own text: 9" in str(made)
    assert [sample.kind for sample in read_back(tmp_path / "meco.json")] == list(answers)


def test_questions_are_reworded_unless_kept(tmp_path: Path) -> None:
    make_annotations(source(tmp_path), tmp_path / "meco.json")
    asked = [each["conversations"][0]["value"] for each in json.loads((tmp_path / "meco.json").read_text())]
    assert asked[0].endswith(
        "find a clip described by the sentence: 'a man's dog barks.'. Provide a detailed description of the clip."
    )
    assert asked[1].startswith("<image>\nYou are given a video about cooking. Densely summarize the video by")
    assert asked[5].startswith("<image>\nWatch the video carefully with the question What did I open? in mind")
    assert asked[5].endswith("options:\n(A) a door (B) a box")
    assert asked[4] == ROWS[4]["conversations"][0]["value"]
    make_annotations(source(tmp_path), tmp_path / "kept.json", style=Style(questions="kept"))
    kept = [each["conversations"][0]["value"] for each in json.loads((tmp_path / "kept.json").read_text())]
    assert kept == [each["conversations"][0]["value"] for each in ROWS]
    assert rewritten("gvq", "s", "What?") == "What?"


@pytest.mark.parametrize(
    ("task", "question", "answer", "count", "message"),
    [
        ("dvc", "q", "<vid> - <vid>, add salt.", 2, "1 times for 2 events"),
        ("dvc", "q", "<vid> - <vid>, a. <vid> - <vid>", 2, "no words with one of its times"),
        ("rvc", "q", "<vid> - <vid>", 1, "should describe one moment"),
        ("tvg", "Find it.", "a", 1, "neither quotes"),
        ("gvq", GVQ, "a box", 1, "names no option"),
        ("gvq", GVQ, "(C) a bag", 1, "names no option"),
    ],
)
def test_texts_of_another_form(task: str, question: str, answer: str, count: int, message: str) -> None:
    with pytest.raises(NoCaption, match=message):
        own_captions(task, question, answer, count)


def test_a_question_about_a_time_is_no_description() -> None:
    with pytest.raises(NoCaption, match="speaks of a time"):
        sought("tal", "You are given a video. What happens after <vid>?")


def test_numbers_are_times_in_the_form_for_text_models() -> None:
    answer = "2.0 - 9.0 seconds, add salt. 11.5 to 18 s, serve the dish."
    assert own_captions("dvc", "q", answer, 2) == ["add salt.", "serve the dish."]
    assert own_captions("slc", "q", "cut 2.0 - 9.0; stir 10 - 12", 2) == ["cut", "stir"]
    assert sought("epm", "I saw it. Now I give you the question: Where is it?. The options are (A)") == "Where is it?"
    assert conclusion("tvg", "(A)") == conclusion("gvq", "none") == ""


def test_transitions_in_the_text(tmp_path: Path) -> None:
    make_annotations(source(tmp_path, ROWS[:2]), tmp_path / "text.json", style=Style(structure="text"))
    make_annotations(source(tmp_path, ROWS[:2]), tmp_path / "windows.json")
    rows = json.loads((tmp_path / "text.json").read_text())
    assert rows[0]["conversations"][1]["value"] == "<tst>\na man's dog barks.<ent>\n<tst>"
    assert rows[0]["tst_windows"] == [[0, 3.4], [7.8, 20]]
    for ours, theirs in zip(read_back(tmp_path / "text.json"), read_back(tmp_path / "windows.json"), strict=True):
        assert learned(ours, 20) == learned(theirs, 20)


@pytest.mark.parametrize(("form", "structure"), [("jsonl", "windows"), ("json", "windows"), ("jsonl", "text")])
def test_the_truth_is_that_of_meco(tmp_path: Path, golden_dir: Path, form: str, structure: Any) -> None:
    """Rows as MeCo was run on, made anew from E.T. Instruct's form and MeCo's captions."""
    data = golden_dir / "meco" / "data"
    theirs = [each for each in json.loads((data / "train_annos.json").read_text()) if "windows" not in each]
    captions, rows = {}, []
    for number, each in enumerate(theirs):
        said = each["conversations"][1]["value"]
        captions[f"ETInstruct_{number}"] = [part for part in said.split("<ent>") if part.strip()][
            : max(1, said.count("<ent>"))
        ]
        rows.append({**each, "conversations": [each["conversations"][0], {"from": "gpt", "value": "(A)"}]})
    file = tmp_path / f"captions.{form}"
    if form == "json":
        write_json(file, captions)
    else:
        write_jsonl(file, [{"id": name, "captions": own} for name, own in captions.items()])
    made = make_annotations(source(tmp_path, rows), tmp_path / "meco.json", file, Style(structure=structure))
    assert made.described == {"file": len(theirs)} and not made.left_out
    samples = read_back(tmp_path / "meco.json")
    for item in json.loads((data / "dataset_items.json").read_text()):
        if item["kind"] == "phi3" and item["index"] < len(theirs):
            found = learned(samples[item["index"]], item["num_frames"])
            for mark, name in (("<ent>", "windows"), ("<tst>", "tst_windows")):
                if mark == "<tst>" and item["index"] == REVERSED:
                    continue  # MeCo finds gaps before it puts the bounds of a window in order
                assert [list(window) for window in found[mark]] == [
                    pytest.approx(window, abs=1e-5) for window in item[name]
                ], (item["index"], mark)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (row("rar", "<image>\nWhich?", "(A)"), r"row 2 \(id ETInstruct_1\), field 'task': 'rar' has no times"),
        (row("tvg", TVG, "<vid>", tgt=[3]), "field 'tgt': must hold a start and an end"),
        (row("tvg", TVG, "x<ent>", tgt=[3, 4]), "in MeCo's form already"),
        (row("tvg", "<image>\nFind.", "<vid> - <vid>", tgt=[3, 4]), "neither quotes"),
        (row("tvg", TVG, "x", windows=[[1, None]]), "is no .start, end."),
        ({**row("tvg", TVG, "x", tgt=[3, 4]), "video": "../v.mp4"}, "leads outside"),
        ({**row("tvg", TVG, "x", tgt=[3, 4]), "duration": 0}, "must be above 0"),
        ({**row("tvg", TVG, "x", tgt=[3, 4]), "conversations": ROWS[0]["conversations"] * 2}, "has 4 messages"),
    ],
)
def test_bad_rows(tmp_path: Path, bad: dict[str, Any], message: str) -> None:
    file = source(tmp_path, [ROWS[0], bad])
    with pytest.raises(AnnotationError, match=message) as caught:
        make_annotations(file, tmp_path / "meco.json")
    assert str(file) in str(caught.value) and not (tmp_path / "meco.json").exists()
    made = make_annotations(file, tmp_path / "meco.json", style=Style(on_bad_row="skip"))
    assert made.left_out.total() == 1 and "1 left out" in str(made) and "left out: " in str(made)
    with pytest.raises(ValueError, match="there is no row to write"):
        make_annotations(source(tmp_path, [bad]), tmp_path / "none.json", style=Style(on_bad_row="skip"))


@pytest.mark.parametrize(
    ("captions", "message"),
    [
        ([{"id": "ETInstruct_0", "captions": ["a", "b"]}], "has 1 events, the file 2 captions"),
        ([{"id": "ETInstruct_0", "captions": [" "]}], "is blank or holds a mark"),
        ([{"id": "ETInstruct_0", "captions": ["a<tst>"]}], "is blank or holds a mark"),
        ([{"id": "ETInstruct_9", "captions": ["a"]}], "captions of 'ETInstruct_9', but no such row"),
        ([{"id": "ETInstruct_0", "captions": ["a"]}] * 2, "line 2.*is there twice"),
        ([{"id": "ETInstruct_0", "captions": "a"}], "must be a list of texts"),
    ],
)
def test_bad_captions(tmp_path: Path, captions: list[Any], message: str) -> None:
    file = write_jsonl(tmp_path / "captions.jsonl", captions)
    with pytest.raises(AnnotationError, match=message):
        make_annotations(source(tmp_path, ROWS[:1]), tmp_path / "meco.json", file)


@dataclass(frozen=True)
class Numbered(Captioner):
    """Says what it was asked and how bright the picture is; logs calls."""

    prompt: str = "about {query}"
    log: str = ""

    def captions(self, frames: Tensor) -> list[str]:
        with open(self.log, "a", encoding="utf-8") as file:
            file.write("asked\n")
        return [f"{self.prompt}: {tuple(frame.shape)}" for frame in frames]

    def identity(self) -> str:
        return self.prompt


def test_a_model_describes_events(tmp_path: Path) -> None:
    videos = tmp_path / "videos"
    videos.mkdir()
    write_video(videos / "v.mp4", num_frames=160, fps=8)
    file, out, log = source(tmp_path, ROWS), tmp_path / "captions.jsonl", tmp_path / "log"
    model = Numbered(log=str(log))
    summary = caption_events(file, videos, out, model, executor="serial")
    assert not summary.failed
    found = read_captions(out)
    assert found["ETInstruct_0"] == ["about a man's dog barks.: (3, 64, 96)"]
    assert [len(found[f"ETInstruct_{k}"]) for k in range(len(ROWS))] == [1, 2, 2, 2, 1, 1, 1, 2, 1]
    asked = len(log.read_text().splitlines())
    caption_events(file, videos, out, model, executor="serial")
    assert len(log.read_text().splitlines()) == asked  # nothing is done twice
    made = make_annotations(file, tmp_path / "meco.json", out)
    assert made.described == {"file": len(ROWS)}
    bad = source(tmp_path, [*ROWS, row("rar", "q", "(A)")])
    with pytest.raises(AnnotationError, match="has no times"):
        caption_events(bad, videos, out, model, executor="serial")
    caption_events(bad, videos, out, model, executor="serial", on_bad_row="skip")


def test_a_model_that_cannot_be_loaded_ends_the_job_and_blames_no_video(tmp_path: Path) -> None:
    videos, out = tmp_path / "videos", tmp_path / "captions.jsonl"
    videos.mkdir()
    write_video(videos / "v.mp4", num_frames=160, fps=8)
    model = TransformersCaptioner(str(tmp_path / "absent"))
    with pytest.raises(ValueError, match=r"^there is no folder of a model .*absent; give one"):
        caption_events(source(tmp_path, ROWS), videos, out, model, executor="serial", budget=5)
    assert not list((tmp_path / ".collection").rglob("*.jsonl"))


def test_script(
    tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(root))
    main = runpy.run_path(str(root / "process_data" / "meco_annotations.py"))["main"]
    file, out = source(tmp_path), tmp_path / "meco.json"
    assert main([str(file), "--out", str(out)]) == 0
    assert "9 rows, 13 events" in capsys.readouterr().out
    assert main([str(file), "--out", str(out), "--captioner", "x"]) == 1
    assert "--captioner needs --videos" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "Examples:" in capsys.readouterr().out


@pytest.mark.parametrize("folder", ["ET-Instruct-164K", "et_instruct_164k"])
def test_the_file_is_found_in_folders_of_meco_and_etchat(
    tmp_path: Path, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "llamavid").mkdir()
    (tmp_path / folder / "videos").mkdir(parents=True)
    (tmp_path / folder / "videos" / "v.mp4").touch()
    monkeypatch.setenv("LAVIS_DATA", str(tmp_path))
    made = make_annotations(source(tmp_path), tmp_path / folder / "et_instruct_164k_meco.json")
    node = load_config("datasets/meco/et_instruct")["datasets"]["et_instruct"]
    assert Path(node["annotations"]["train"]).samefile(made.path)
    samples = build_dataset("et_instruct", node, "train", lambda sample, train: {}, True).samples
    assert len(samples) == len(ROWS)


def test_script_with_a_model(
    tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(root))
    main = runpy.run_path(str(root / "process_data" / "meco_annotations.py"))["main"]
    (tmp_path / "videos").mkdir()
    write_video(tmp_path / "videos" / "v.mp4", num_frames=160, fps=8)

    def captioner(name: str, prompt: str, device: str, dtype: str) -> Numbered:
        return Numbered(f"{name} {prompt} {device} {dtype}", str(tmp_path / "log"))

    monkeypatch.setattr("lavis.preparation.internvid_g.models.TransformersCaptioner", captioner)
    arguments = [str(source(tmp_path)), "--out", str(tmp_path / "meco.json"), "--videos", str(tmp_path / "videos")]
    arguments += ["--captioner", "blip", "--prompt", "Tell of {query}", "--executor", "serial"]
    assert main([*arguments, "--shard", "1/2"]) == 0
    assert not (tmp_path / "meco.json").exists()
    assert main(arguments) == 0
    assert "captions from file: 9" in capsys.readouterr().out
    rows = json.loads((tmp_path / "meco.json").read_text())
    said = [each["conversations"][1]["value"] for each in rows]
    assert said[0] == "blip Tell of a man's dog barks. cpu float32: (3, 64, 96)<ent>"
    assert said[4].startswith("blip Tell of Describe the moment from 5 s to 9 s. cpu")
    assert said[5].endswith("<ent> Therefore, the answer is (B).")

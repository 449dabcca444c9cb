"""One video alone: every task with toy flavours of MeCo and E.T. Chat, in Python and on the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import lavis
from lavis import api, cli, localize_command
from lavis.common.config import ConfigError
from lavis.models.one_video import KINDS, question_text
from lavis.models.video_llm import VideoLLM
from lavis.structures import FrameRef, ModelOutput, Moment, Prediction, VideoSample
from tests.video_factory import write_video

MECO, ETCHAT = "tiny/meco", "tiny/etchat"
SHORT = ["model.generation.max_new_tokens=4"]
SECONDS = 12


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_video(tmp_path_factory.mktemp("video") / "v.mp4", num_frames=3 * SECONDS, fps=3))


@pytest.fixture(scope="module")
def models() -> dict[str, VideoLLM]:
    torch.manual_seed(0)
    return {name: lavis.load_model(name, is_eval=True, options=SHORT) for name in (MECO, ETCHAT, "tiny/mr_blip")}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def spoken(model: VideoLLM, monkeypatch: pytest.MonkeyPatch, text: str, peaks: list[int] | None = None) -> None:
    """Has a model answer with a text; the k-th token in it is most like the second ``peaks[k]``, of -1 none."""
    tokenizer = model.language_model.tokenizer

    def outputs(batch: Any, generation: Any = None) -> list[ModelOutput]:
        model.pack(batch)  # as real asking does: what cannot be asked must fail
        count = len(batch.views["frames"][0])
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        marks = {tokenizer.convert_tokens_to_ids(mark) for mark in ("<ent>", "<tst>", "<vid>")}
        rows, left = torch.zeros(len(ids), count), list(peaks or [])
        for number, token in enumerate(ids):
            if token in marks:
                peak = left.pop(0)
                rows[number, max(peak, 0)] = float(peak >= 0)
        hidden = {"similarities": rows, "scale": torch.tensor(14.0), "frames": rows.argmax(1)}
        return [ModelOutput(text, ids, hidden=hidden)]

    monkeypatch.setattr(model, "outputs", outputs)


@pytest.mark.parametrize("name", [MECO, ETCHAT])
@pytest.mark.parametrize("kind", KINDS)
def test_every_task_is_answered(models: dict[str, VideoLLM], name: str, kind: str, video: str) -> None:
    choices = ["the oven", "a drawer"] if kind == "grounded_qa" else []
    prediction = models[name].ask(video, "a man talks", kind, choices)
    assert prediction.id == f"{video}::a man talks"
    assert all(0 <= m.start < m.end <= SECONDS + 1 for m in prediction.moments)
    if kind == "question":
        assert not prediction.malformed
    if KINDS[kind].optional:
        assert models[name].ask(video, kind=kind).id == f"{video}::"


def test_tasks_differ_in_what_is_asked() -> None:
    texts = {kind: question_text(kind, "a cup", described=True) for kind in KINDS}
    assert len(set(texts.values())) == len(KINDS) - 1  # a query is put into the configured sentence elsewhere
    assert all("a cup" in text for text in texts.values())
    assert texts["highlights"].endswith(
        "find the highlight moment described by the sentence: 'a cup'. Provide a detailed description of the moment."
    )
    assert "daily activities" in question_text("dense_captioning", "")
    grounded = question_text("grounded_qa", "What?", ["{query} a", "b"])
    assert grounded.endswith("'Therefore, the answer is ...'. Here are the options:\n(A) {query} a (B) b")
    chosen = question_text("question", "What?", ["a", "b"], described=False)
    assert chosen == "What?\n(A) a (B) b\nOnly give the best option."
    assert tuple(KINDS) == localize_command.TASKS


def test_what_the_model_is_asked(models: dict[str, VideoLLM], video: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[VideoSample] = []
    for name in (MECO, ETCHAT):
        model = models[name]
        monkeypatch.setattr(model, "answer", lambda batch, generation=None: asked.extend(batch.samples) or [
            Prediction(sample.id, []) for sample in batch.samples
        ])  # fmt: skip
        model.localize(video, "a cup.")
        model.ask(video, "a cup", "dense_captioning")
    texts = [
        models[name].prompt.questions(sample)[0] for name, sample in zip([MECO] * 2 + [ETCHAT] * 2, asked, strict=True)
    ]
    assert texts[0] == "a cup." and texts[2] == "Localize the video moment according to the query 'a cup'."
    assert "start with action verbs" in texts[1] and "You must represent start and end times" in texts[3]
    model = models[MECO]
    monkeypatch.setattr(model.prompt, "question_of_kind", {"dense_captioning": "Tell of {query}."})
    model.ask(video, "a cup", "dense_captioning")
    assert model.prompt.questions(asked[-1]) == ["Tell of a cup."]


def test_times_of_a_question_are_frames(
    models: dict[str, VideoLLM], video: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (MECO, ETCHAT):
        refs: list[FrameRef] = []
        pack = models[name].language_model.pack

        def seen(prompts: Any, *rest: Any, pack: Any = pack, refs: list[FrameRef] = refs, **named: Any) -> Any:
            packed = pack(prompts, *rest, **named)
            refs.extend(ref for _, ref in packed.refs[0])
            return packed

        monkeypatch.setattr(models[name].language_model, "pack", seen)
        models[name].ask(video, "What is between <vid> and <vid>?", "question", times=[3.2, 8.7])
        models[name].ask(video, "what is like <vid>", times=[5])
        assert [(ref.token, ref.frame) for ref in refs] == [("<vid>", 3), ("<vid>", 9), ("<vid>", 5)]


def test_captions_come_in_the_order_of_time(
    models: dict[str, VideoLLM], video: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(api, "load_model", lambda name, **named: models[MECO])
    spoken(models[MECO], monkeypatch, "serve<ent>\nthen <tst>\nstir<ent>", [8, 0, 2])
    assert cli.main(["localize", video, "--task", "dense_captioning", "--model", MECO]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[-1] for line in lines] == ["stir", "serve"]
    assert not any("<tst>" in line for line in lines)
    assert lines[0].startswith("    1.00 s  to     3.00 s   score 1.000")
    prediction = models[MECO].ask(video, kind="dense_captioning")
    assert {c: m.start for c, m in zip(prediction.captions, prediction.moments, strict=True)} == {
        "serve": 7, "then <tst>\nstir": 1,
    }  # fmt: skip


def test_highlights_have_a_peak_and_a_curve(
    models: dict[str, VideoLLM], video: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(api, "load_model", lambda name, **named: models[MECO])
    spoken(models[MECO], monkeypatch, "<tst>\na goal<ent>", [0, 7])
    assert cli.main(["localize", video, "a goal", "--task", "highlights", "--model", MECO]) == 0
    out = capsys.readouterr().out
    assert "highlight at 7.00 s" in out and "▁▁▁▁▁▁▁█▁▁▁▁" in out and out.rstrip().endswith("11 s")
    assert cli.main(["localize", video, "a goal", "--task", "highlights", "--model", MECO, "--json"]) == 0
    row = json.loads(capsys.readouterr().out)
    assert row["scores"] == {"highlight_s": 7.0}
    assert [time for time, _ in row["details"]["saliency"]] == list(range(SECONDS))
    assert sum(share for _, share in row["details"]["saliency"]) == pytest.approx(1, abs=1e-5)
    monkeypatch.setattr(api, "load_model", lambda name, **named: models[ETCHAT])
    spoken(models[ETCHAT], monkeypatch, "It is at <vid> - <vid>.", [4, 6])
    assert models[ETCHAT].ask(video, "a goal", "highlights").scores == {"highlight_s": 5.0}


def test_grounded_questions_and_answers(
    models: dict[str, VideoLLM], video: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(api, "load_model", lambda name, **named: models[MECO])
    spoken(models[MECO], monkeypatch, "he opens it<ent> Therefore, the answer is (B).", [5])
    choices = ["--option", "the oven", "--option", "a drawer"]
    assert cli.main(["ask", video, "What?", "--task", "grounded_qa", *choices, "--model", MECO]) == 0
    out = capsys.readouterr().out
    assert "he opens it" in out.splitlines()[0]
    assert out.endswith("answer: he opens it Therefore, the answer is (B).\n")
    assert cli.main(["ask", video, "What?", "--model", MECO]) == 0
    assert capsys.readouterr().out == "he opens it Therefore, the answer is (B).\n"


def test_no_token_and_equal_similarities_are_told(
    models: dict[str, VideoLLM], video: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(api, "load_model", lambda name, **named: models[MECO])
    arguments = ["localize", video, "a man", "--task", "highlights", "--model", MECO]
    spoken(models[MECO], monkeypatch, "a man<ent>", [-1])
    assert cli.main(arguments) == 0
    assert "could not be read as moments: 'a man<ent>'; no frame stands out" in capsys.readouterr().err
    spoken(models[MECO], monkeypatch, "a man")
    assert cli.main(arguments) == 0
    captured = capsys.readouterr()
    assert captured.out == "" and "could not be read as moments: 'a man'; it closes no event" in captured.err
    assert cli.main([*arguments, "--json"]) == 0
    row = json.loads(capsys.readouterr().out)
    assert row["malformed"] and row["moments"][0][::2] == [0, 0.0] and "scores" not in row


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["  "], "the query is empty; give a sentence"),
        (["", "--task", "question"], "the query is empty; give a question"),
        (["a <ent> b"], "holds <ent>, which stands for a part of the video"),
        (["<tst>", "--task", "actions"], "holds <tst>"),
        (["<image> b", "--task", "summary"], "holds <image>"),
        (["a<|end|>b", "--task", "question"], "which marks the turns of a conversation"),
        (["at <vid>", "--task", "question", "--time", "99"], "the time 99 s is not in the video, which lasts 11.9"),
        (["at <vid>", "--task", "question", "--time=-1"], "the time -1 s is not in the video"),
        (["at <vid>", "--task", "question"], "the question has 1 <vid> for 0 times"),
        (["now", "--task", "question", "--time", "1"], "the question has 0 <vid> for 1 times"),
        (["a", "--task", "dense_caption"], "there is no task 'dense_caption'. Did you mean 'dense_captioning'?"),
        (["a", "--option", "b", "--option", "c"], "options belong to question and grounded_qa, not to localize"),
        (["a", "--task", "question", "--option", "b"], "there must be 2 to 26 options"),
        (["a", "--task", "question", "--option", "b", "--option", " "], "none of them blank"),
        (["a", "--task", "question", "--option", "b", "--option", "<vid>"], "an option holds <vid>"),
    ],
)
def test_bad_questions(
    models: dict[str, VideoLLM],
    video: str,
    arguments: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(api, "load_model", lambda name, **named: models[MECO])
    assert cli.main(["localize", video, *arguments, "--model", MECO]) == cli.USER_ERROR
    assert message in capsys.readouterr().err


def test_questions_that_a_model_does_not_take(models: dict[str, VideoLLM], video: str) -> None:
    model = models["tiny/mr_blip"]
    with pytest.raises(ValueError, match="one form of question, so that it cannot be asked for summary"):
        model.ask(video, "a", "summary")
    with pytest.raises(ValueError, match="knows no <vid>"):
        model.ask(video, "at <vid>", times=[1])
    assert model.ask(video, "what?", "question", ["a", "b"]).text is not None
    with pytest.raises(ValueError, match="no UTF-8"):
        models[MECO].ask(video, "a", "question", ["\ud800", "b"])
    with pytest.raises(ValueError, match="Known: localize"):
        models[MECO].ask(video, "a", "xyz")


def test_a_long_video_is_counted_in_its_own_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where frames are spread over the video, an answer is in seconds all the same, and a time finds its frame."""
    file = str(write_video(tmp_path / "long.mp4", num_frames=400, fps=1, size=(16, 16)))
    sampler = "model.processor.views.frames.sampler.max_frames=8"
    for name, text in ((MECO, "a cup<ent>"), (ETCHAT, "<vid> - <vid>")):
        model = lavis.load_model(name, is_eval=True, options=[*SHORT, sampler])
        times = model.processor(VideoSample("x", file, "q", 400.0), train=False)["frames"].times  # type: ignore[misc]
        assert times == pytest.approx([0, 57, 114, 171, 228, 285, 342, 399])
        for frame, shown in enumerate(times):
            spoken(model, monkeypatch, text, [frame] * 2)
            (moment,) = model.localize(file, "a cup").moments
            assert moment.start == shown or moment.start <= shown <= moment.end, (name, shown)
            refs: list[FrameRef] = []
            pack = type(model.language_model).pack

            def seen(self: Any, *rest: Any, pack: Any = pack, refs: list[FrameRef] = refs, **named: Any) -> Any:
                packed = pack(self, *rest, **named)
                refs.extend(ref for _, ref in packed.refs[0])
                return packed

            with monkeypatch.context() as patch:
                patch.setattr(type(model.language_model), "pack", seen)
                model.ask(file, "What is at <vid>?", "question", times=[shown])
            assert [ref.frame for ref in refs] == [frame], (name, shown)


def test_a_video_longer_than_the_context(tmp_path: Path) -> None:
    file = str(write_video(tmp_path / "long.mp4", num_frames=150, fps=1, size=(16, 16)))
    positions = [f"model.language_model.config.{name}=64" for name in ("max_position_embeddings",)]
    model = lavis.load_model(ETCHAT, is_eval=True, options=[*SHORT, *positions])
    with pytest.raises(ValueError, match="more than the 64 that the language model can read.*max_frames"):
        model.localize(file, "a cup")


def test_systems_named_alone(tmp_path: Path) -> None:
    config, trained = api.find_model("meco")
    assert trained is None and config["model"]["head"]["name"] == "structure_contrast"
    assert api.find_model("etchat")[0].path == api.find_model("etchat/phi3_stage3")[0].path
    with pytest.raises(ConfigError, match=r"eva_vit_g.pth \(from the model zoo of LAVIS .*LAVIS_WEIGHTS"):
        api.load_model("meco")
    run = tmp_path / "results" / "meco" / "stage3_phi3"
    (run / "checkpoints").mkdir(parents=True)
    config.save(run / "config.yaml")
    (run / api.BEST).write_bytes(b"")
    assert api.find_model("meco")[1] == Path("results/meco/stage3_phi3") / api.BEST


def test_curves() -> None:
    assert localize_command.sparkline([0, 1, 0.5]) == "▁█▅"
    assert localize_command.sparkline([2.0] * 3) == "▁▁▁"
    assert len(localize_command.sparkline(list(range(1000)))) == localize_command.WIDTH
    assert Moment(0, 1).to_list() == [0, 1]

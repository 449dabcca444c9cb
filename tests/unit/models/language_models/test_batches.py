"""Answers, similarities and moments of questions asked together are those of one at a time, for both heads.

Videos have different lengths, several questions are about one video, and answers end at different steps.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch

from lavis.common.config import load_config
from lavis.models.build import build_model
from lavis.models.video_llm import VideoLLM
from lavis.structures import Batch, Frames, ModelOutput, VideoSample
from tests.toy_models import sample

PLAIN = {
    "name": "qformer_frames",
    "num_queries": 2,
    "qformer": {"vocab_size": 288, "width": 24, "layers": 2, "heads": 2, "hidden": 40, "max_positions": 64},
    "aggregate": "mean",
    "text": False,
}
"""A compressor that does not read questions: frames of a video are the same for all its questions."""

ASKED = [
    ("a", "man talks"), ("b", "a red dog runs through an open door"), ("a", "the dog"), ("c", "hello"),
    ("b", "camera"), ("a", "a man talks to the camera and then he opens the door"),
]  # fmt: skip
LENGTHS = {"a": 40, "b": 31, "c": 7}
MODELS = [
    (config, shared, drawn)
    for config in ("meco", "meco_qwen2", "etchat")
    for shared in (False, True)
    for drawn in (False, True)
    if not (drawn and config == "meco_qwen2")
]


@cache
def model_of(config: str, shared: bool, drawn: bool) -> VideoLLM:
    torch.manual_seed(0)
    node: dict[str, Any] = {**load_config(f"tiny/{config}")["model"]}
    node["trainable"] = ["head.*"]
    node["generation"] = {"num_beams": 1, "max_new_tokens": 14, "repetition_penalty_of_kind": {"short": 1.2}}
    if drawn:
        node["generation"] |= {"temperature": 0.7, "top_p": 0.9}
    if shared:
        node["compressor"] = PLAIN
    model = build_model(node).eval()
    tokens = model.language_model.token_ids([*model.codec.tokens, *model.prompt.stops])
    with torch.no_grad():
        # Random weights hardly look at their input; sharper ones answer differently to different questions.
        for name, parameter in model.language_model.named_parameters():
            parameter.mul_(1.0 if "norm" in name else 3.0)
            if "lora_B" in name:
                parameter.normal_(std=0.05)
    # Answers shall hold tokens that stand for something, and end.
    favoured = list(tokens.values())

    def favour(module: Any, args: Any, logits: torch.Tensor) -> torch.Tensor:
        more = torch.zeros_like(logits)
        more[..., favoured] = 1.9 * logits.std(dim=-1, keepdim=True)
        return logits + more

    model.language_model.model.get_output_embeddings().register_forward_hook(favour)
    return model


@cache
def frames(video: str) -> Frames:
    count = LENGTHS[video]
    pixels = torch.rand(count, 3, 28, 28, generator=torch.Generator().manual_seed(ord(video)))
    return Frames(pixels, [float(i) for i in range(count)], key=video)


def questions() -> list[VideoSample]:
    return [
        sample(f"q{i}", video=video, query=query, duration=LENGTHS[video], kind="short" if i % 2 else None)
        for i, (video, query) in enumerate(ASKED)
    ]


def batch(samples: list[VideoSample]) -> Batch:
    return Batch(samples, {"frames": [frames(str(own.video)) for own in samples]})


@cache
def alone(case: tuple[str, bool, bool]) -> list[tuple[ModelOutput, Any]]:
    model = model_of(*case)
    outputs = [model.outputs(batch([own]))[0] for own in questions()]
    return [(output, model.codec.decode(output, own)) for output, own in zip(outputs, questions(), strict=True)]


@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4, 5], [5, 3, 1, 4, 2, 0], [2, 0, 5], [3, 1]], ids=str)
@pytest.mark.parametrize("case", MODELS, ids=lambda case: "-".join(map(str, case)))
def test_asked_together_or_alone_is_the_same(case: tuple[str, bool, bool], order: list[int]) -> None:
    model, samples = model_of(*case), [questions()[i] for i in order]
    outputs = model.outputs(batch(samples))
    for output, own, i in zip(outputs, samples, order, strict=True):
        expected, moments = alone(case)[i]
        assert (output.token_ids, output.text) == (expected.token_ids, expected.text)
        assert output.sequence_score == pytest.approx(expected.sequence_score, abs=1e-4)
        assert set(output.hidden) == set(expected.hidden) >= {"similarities", "frames"}
        for name, value in expected.hidden.items():
            torch.testing.assert_close(output.hidden[name], value, atol=1e-5, rtol=0)
        found = model.codec.decode(output, own)
        assert [(m.start, m.end) for m in found.moments] == [(m.start, m.end) for m in moments.moments]
        assert found.text == moments.text


def test_the_questions_tell_mistakes_apart() -> None:
    for case in MODELS:
        assert len({output.text for output, _ in alone(case)}) >= 2
    everything = [(*found, case[0]) for case in MODELS for found in alone(case)]
    assert len({len(output.token_ids) for output, _, _ in everything}) > 5
    assert any("<ent>" in output.text and not found.malformed for output, found, _ in everything)


def positions_read(model: VideoLLM, samples: list[VideoSample]) -> list[tuple[int, int]]:
    read: list[tuple[int, int]] = []

    def note(module: Any, args: Any, kwargs: Any) -> None:
        read.append(tuple(kwargs["inputs_embeds"].shape[:2]))

    handle = model.language_model.model.base_model.register_forward_pre_hook(note, with_kwargs=True)
    model.outputs(batch(samples))
    handle.remove()
    return [shape for shape in read if shape[1] > 1]


@pytest.mark.parametrize("config", ["meco", "etchat"])
def test_frames_of_a_video_are_read_once_for_all_its_questions(config: str) -> None:
    model = model_of(config, True, False)
    own = [question for question in questions() if question.video == "a"]
    begin, rest = positions_read(model, own)
    assert begin[0] == 1
    assert rest[0] == len(own)
    assert begin[1] > LENGTHS["a"]
    begin, rest = positions_read(model, questions())
    assert begin[0] == 3
    apart = model_of(config, False, False)  # each question has frames of its own
    assert [shape[0] for shape in positions_read(apart, questions())] == [len(ASKED)]


def test_a_second_question_about_a_video_does_not_run_the_encoder_again() -> None:
    model = model_of("meco", False, False)
    assert model.compressor.reads_questions
    runs: list[int] = []
    handle = model.encoder.visual_encoder.register_forward_hook(lambda module, args, output: runs.append(len(args[0])))
    torch.manual_seed(7)
    pixels = torch.rand(9, 3, 28, 28)
    shown = Frames(pixels, [float(i) for i in range(9)], key="a video of its own")
    texts = []
    for name, query in (("first", "man talks"), ("second", "the red dog")):
        texts.append(model.outputs(Batch([sample(name, query=query, duration=9)], {"frames": [shown]}))[0].text)
    handle.remove()
    assert sum(runs) == 9
    assert len(set(texts)) == 2


def test_a_video_longer_than_the_context_is_refused_before_it_is_encoded(monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of("meco", False, False)
    monkeypatch.setattr(model.language_model.model.config, "max_position_embeddings", 60)
    monkeypatch.setattr(model.encoder, "encode", None)
    own = questions()[0]
    with pytest.raises(ValueError, match=r"sample q0: its prompt has \d+ positions, \d+ more than the 60 .*lower fps"):
        model.outputs(batch([own]))


def test_tokens_are_counted_as_they_are_laid_out() -> None:
    for shared in (False, True):
        model, own = model_of("meco", shared, False), questions()[0]
        length = int(model.pack(batch([own])).mask.sum())
        assert length - 1 <= model.count_tokens(own, {"frames": frames("a")}) <= length

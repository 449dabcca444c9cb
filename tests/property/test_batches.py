"""An answer does not depend on what it is asked together with: any grouping or order gives what it gets alone.

Texts and moments are compared, and scores up to rounding: sums of another length round differently in the last digits.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lavis.models.video_llm import VideoLLM
from lavis.runners.eval_data import fill
from lavis.structures import Batch, Moment, Prediction, Subtitle, VideoSample
from tests.toy_models import batch, sample, t5_tokenizer, toy_model, vocabulary_size

LLAMA = {
    "name": "causal",
    "tokenizer": t5_tokenizer(),
    "prepend_bos": False,
    "config": {
        "model_type": "llama", "vocab_size": vocabulary_size(), "hidden_size": 24, "num_hidden_layers": 2,
        "intermediate_size": 32, "num_attention_heads": 3, "num_key_value_heads": 1,
    },
}  # fmt: skip
OPTIONS = ["man", "red dog", "blue door runs"]
SAMPLES = [
    sample("a", options=OPTIONS),
    sample("b", query="red dog runs to open door", subtitles=[], options=OPTIONS[:2]),
    sample(
        "c", query="camera", subtitles=[Subtitle(1.0, 2.0, "red red man"), Subtitle(3.0, 9.0, "dog")], options=OPTIONS
    ),
    sample("d", query="a man talks and a dog runs", duration=120, options=OPTIONS),
    sample("e", query="dog", items=["dog", "camera", "door"], options=OPTIONS[1:]),
]
FRAMES = (8, 5, 9, 8, 3)
CASES = [
    (model, prompt, subtitles, beams)
    for model in ("t5", "causal")
    for prompt, subtitles in (("interleaved", True), ("interleaved", False), ("question_answer", False))
    for beams in (1, 3)
]


def prompt_node(prompt: str, subtitles: bool, layout: str) -> dict[str, Any]:
    node: dict[str, Any] = {"name": prompt, "eval_layout": layout}
    if prompt == "interleaved":
        # As MR.BLIP: attended padding is what depends on the batch most.
        node |= {"show_subtitles": subtitles, "attend_padding": True, "end_mark_in_video": False}
    return node


@cache
def model_of(language: str, prompt: str, subtitles: bool, beams: int, layout: str = "alone") -> VideoLLM:
    changes: dict[str, Any] = {
        "prompt": prompt_node(prompt, subtitles, layout),
        "generation": {"num_beams": beams, "max_new_tokens": 8},
    }
    if language == "causal":
        changes |= {"language_model": LLAMA, "trainable": ["compressor.t5_proj.*"]}
    model = toy_model(**changes)
    with torch.no_grad():
        # Random weights hardly look at their input; sharper ones answer differently to different questions.
        for name, parameter in model.language_model.named_parameters():
            if parameter.ndim == 2 and "embed" not in name and "shared" not in name:
                parameter.mul_(3.0)
    return model


def item(i: int) -> tuple[VideoSample, dict[str, Any]]:
    return SAMPLES[i], {"frames": batch(SAMPLES[i], num_frames=FRAMES[i]).views["frames"][0]}


def together(model: VideoLLM, chosen: list[int]) -> list[Prediction]:
    items = [item(i) for i in chosen]
    return model.generate(Batch([s for s, _ in items], {"frames": [v["frames"] for _, v in items]}))


@cache
def alone(*case: Any) -> list[Prediction]:
    return [together(model_of(*case), [i])[0] for i in range(len(SAMPLES))]


@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(map(str, case)))
@given(order=st.permutations(range(len(SAMPLES))), tokens=st.integers(1, 900), size=st.integers(1, 5))
@settings(max_examples=6, deadline=None)
def test_any_grouping_and_order_gives_the_same_answers(case: Any, order: list[int], tokens: int, size: int) -> None:
    model = model_of(*case)
    expected = {prediction.id: prediction for prediction in alone(*case)}
    found = [
        p for part in fill([[item(i) for i in order]], size, tokens, model.count_tokens) for p in model.generate(part)
    ]
    assert [p.id for p in found] == [SAMPLES[i].id for i in order]
    for prediction in found:
        other = expected[prediction.id]
        assert (prediction.text, prediction.moments) == (other.text, other.moments)
        assert prediction.scores == pytest.approx(other.scores, abs=1e-4)


def test_the_samples_tell_groupings_apart() -> None:
    case = ("t5", "interleaved", True, 1)
    assert len({prediction.text for prediction in alone(*case)}) > 1
    everything = list(range(len(SAMPLES)))
    padded = together(model_of("t5", "interleaved", True, 3, "batch"), everything)
    expected = alone("t5", "interleaved", True, 3)
    gaps = [abs(a.scores["sequence"] - b.scores["sequence"]) for a, b in zip(padded, expected, strict=True)]
    assert max(gaps) > 1e-3


def test_a_prior_that_is_still_to_be_found_is_counted() -> None:
    model = toy_model(prompt={"name": "interleaved", "show_prior": True})
    one, views = item(0)
    known = model.count_tokens(one.with_prior([Moment(2, 20)]), views)
    assert known < model.count_tokens(one, views) < known + 60


@pytest.mark.parametrize("case", [CASES[0], CASES[2], CASES[4], CASES[6]], ids=lambda case: "-".join(map(str, case)))
def test_prompts_are_no_longer_than_counted(case: Any) -> None:
    model = model_of(*case)
    for i in range(len(SAMPLES)):
        one, views = item(i)
        length = model.pack(Batch([one], {"frames": [views["frames"]]})).embeds.shape[1]
        assert length <= model.count_tokens(one, views) <= length + 40


@pytest.mark.parametrize("case", [CASES[0], CASES[6]], ids=lambda case: "-".join(map(str, case)))
def test_what_is_learned_is_no_longer_than_counted(case: Any) -> None:
    model = model_of(*case)
    for i in range(len(SAMPLES)):
        one, views = item(i)
        packed = model.pack(Batch([one], {"frames": [views["frames"]]}), answer=True)
        length = packed.embeds.shape[1]
        if model.language_model.encoder_decoder:
            assert packed.labels is not None
            length += packed.labels.shape[1]
        assert model.count_tokens(one, views) < model.count_tokens(one, views, answer=True)
        assert length <= model.count_tokens(one, views, answer=True) <= length + 40

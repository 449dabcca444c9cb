"""CALCE's stages, MR.BLIP and models in a row: no answer depends on what is asked beside it, nor on kept features."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lavis.models.localizers.coarse_to_fine import CoarseToFine
from lavis.models.localizers.locate_then_answer import LocateThenAnswer
from lavis.models.video_llm import VideoLLM
from lavis.runners.eval_data import fill
from lavis.structures import Batch, Moment, Prediction, Subtitle, VideoSample, Views
from tests.toy_models import batch, sample, toy_model

SECOND = {
    "prompt": {"name": "interleaved", "show_prior": True},
    "compressor": {
        "+": {
            "keyframes": {
                "features": "qformer", "num_clusters": 4, "dilation": 1, "prior_clusters": 2, "prior_dilation": 1,
                "budget": 0.5, "dilate_speech": True,
            }
        }
    },
}  # fmt: skip
QFORMER = {"vocab_size": 200, "width": 16, "layers": 2, "heads": 2, "hidden": 24, "max_positions": 64}
PRIORS = [Moment(2, 9), Moment(12, 20)]
OPTIONS = ["man", "red dog", "blue door runs"]
LONG = " ".join(["a red dog runs to open the blue door"] * 30)
ASKED: list[tuple[VideoSample, int]] = [
    (sample("a", prior=PRIORS, options=OPTIONS), 8),
    (sample("b", query="red dog runs", subtitles=[], prior=[], options=OPTIONS[:2]), 5),
    (sample("one frame", query="camera", prior=PRIORS[:1], options=OPTIONS), 1),
    (sample("c", query="a man talks", duration=120, speech=[Moment(5, 40)], prior=PRIORS, options=OPTIONS), 8),
    (sample("long", query=LONG, subtitles=[Subtitle(1.0, 2.0, LONG)], prior=PRIORS, options=OPTIONS), 3),
    (sample("a", prior=PRIORS, options=OPTIONS), 8),
]
"""Among them a video of one frame, one without subtitles, texts beyond every limit, and the first sample twice."""

KINDS = ("stage 1", "stage 2", "MR.BLIP", "coarse to fine", "answers", "locate then answer")


@cache
def model_of(kind: str) -> VideoLLM:
    if kind == "stage 1":
        return sharp(toy_model())
    if kind == "stage 2":
        return sharp(toy_model(**SECOND))
    if kind == "MR.BLIP":
        return sharp(
            toy_model(
                compressor={"name": "qformer_frames", "num_queries": 4, "qformer": QFORMER},
                subtitle_choice=None,
                prompt={"name": "interleaved", "attend_padding": True, "end_mark_in_video": False},
                trainable=["compressor.t5_proj.*"],
            )
        )
    if kind == "coarse to fine":
        model = sharp(toy_model(**SECOND))
        model.localizer = CoarseToFine(model_of("stage 1"))
        return model
    node = {"prompt": {"name": "question_answer"}, "codec": {"name": "option_letter"}, "subtitle_choice": None}
    model = sharp(toy_model(**node))
    if kind == "locate then answer":
        model.localizer = LocateThenAnswer(model_of("MR.BLIP"), num_frames=3)
    return model


@torch.no_grad()
def sharp(model: VideoLLM) -> VideoLLM:
    """Random weights hardly look at their input; sharper ones answer differently to different questions."""
    for name, parameter in model.language_model.named_parameters():
        if parameter.ndim == 2 and "embed" not in name and "shared" not in name:
            parameter.mul_(3.0)
    return model


def item(kind: str, number: int) -> tuple[VideoSample, Views]:
    asked, frames = ASKED[number]
    views = {"frames": batch(asked, num_frames=frames).views["frames"][0]}
    return (asked.with_prior(None) if kind == "coarse to fine" else asked), views


def answers(kind: str, order: list[int], size: int | None, tokens: int | None) -> list[Prediction]:
    model = model_of(kind)
    return [
        prediction
        for part in fill([[item(kind, i) for i in order]], size, tokens, model.count_tokens)
        for prediction in model.generate(Batch(part.samples, part.views))
    ]


@cache
def alone(kind: str) -> list[Prediction]:
    return answers(kind, list(range(len(ASKED))), 1, None)


@pytest.mark.parametrize("kind", KINDS)
@given(
    order=st.permutations(range(len(ASKED))),
    size=st.one_of(st.none(), st.integers(1, 6)),
    tokens=st.sampled_from([1, 300, 700, 2000]),
)
@settings(max_examples=8, deadline=None)
def test_answers_are_those_given_alone(kind: str, order: list[int], size: int | None, tokens: int) -> None:
    expected = alone(kind)
    for number, found in zip(order, answers(kind, order, size, tokens), strict=True):
        other = expected[number]
        assert (found.id, found.text, found.moments) == (other.id, other.text, other.moments)
        assert found.scores == pytest.approx(other.scores, abs=1e-4)

"""A batch laid out in one go equals one laid out segment by segment, whatever the prompts hold."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lavis.models.codecs.relative_text import RelativeText
from lavis.models.codecs.seconds_text import SecondsText
from lavis.models.language_models.base import LanguageModel
from lavis.models.language_models.causal import Causal
from lavis.models.language_models.t5 import T5
from lavis.models.prompts.interleaved import Interleaved
from lavis.structures import (
    Block,
    FrameRef,
    Moment,
    Packed,
    Sequence,
    Series,
    Subtitle,
    Text,
    Texts,
    TimedTokens,
    Visual,
    Visuals,
)
from tests.segment_by_segment import PlainInterleaved, SegmentBySegment
from tests.toy_models import WORDS, sample, t5_tokenizer, vocabulary_size

WIDTH, HELD = 8, 7


@cache
def causal() -> Causal:
    sizes = {"hidden_size": WIDTH, "word_embed_proj_dim": WIDTH, "ffn_dim": 8, "num_hidden_layers": 1}
    config = {"model_type": "opt", "vocab_size": vocabulary_size(), "num_attention_heads": 2, **sizes}
    return Causal(config=config, tokenizer=t5_tokenizer())


@cache
def t5() -> T5:
    sizes = {"d_model": WIDTH, "d_kv": 4, "d_ff": 8, "num_layers": 1, "num_heads": 2}
    return T5(tokenizer=t5_tokenizer(), overrides={"vocab_size": vocabulary_size(), **sizes})


@cache
def reference(name: str) -> SegmentBySegment:
    return SegmentBySegment({"t5": t5, "causal": causal}[name]())


phrases = st.lists(st.sampled_from([*WORDS, "12", "[[4, 12]]", ",", "67"]), max_size=4).map(" ".join)
limits = st.sampled_from([None, 1, 2, 5])
texts = st.builds(Text, phrases, st.booleans(), st.booleans(), st.booleans(), limits)
bounds = st.tuples(st.integers(0, HELD), st.integers(0, HELD)).map(sorted)
visuals = bounds.map(lambda pair: Visual(*pair))
references = st.builds(FrameRef, st.sampled_from(["<extra_id_5>", "</s>", "▁12"]), st.none(), st.booleans())


@st.composite
def series(draw: Any) -> Series:
    rows = draw(st.integers(0, 4))

    def column(kind: str) -> Visuals | Texts:
        if kind == "visual":
            pairs = draw(st.lists(bounds, min_size=rows, max_size=rows))
            return Visuals([a for a, _ in pairs], [b - a for a, b in pairs])
        listed = draw(st.lists(phrases, min_size=rows, max_size=rows))
        return Texts(listed, isolated=kind == "isolated", max_tokens=draw(limits))

    shapes = [["visual"], ["visual", "isolated"], ["isolated", "plain", "isolated"], ["visual", "plain", "visual"]]
    return Series(tuple(column(kind) for kind in draw(st.sampled_from(shapes))))


segments = st.one_of(texts, visuals, references, series())
answers = st.lists(
    st.builds(Text, phrases.filter(bool), st.just(True), st.just(False), st.just(True)), min_size=1, max_size=2
)


@st.composite
def batches(draw: Any) -> list[Sequence]:
    sides = draw(st.lists(st.tuples(st.sampled_from(["left", "right", "end"]), st.booleans()), min_size=1, max_size=3))
    return [
        Sequence(
            [Block(draw(st.lists(segments, max_size=5)), pad, attend) for pad, attend in sides],
            draw(answers),
        )
        for _ in range(draw(st.integers(1, 3)))
    ]


def assert_same(ours: Packed, expected: Packed) -> None:
    assert ours.block_lengths == expected.block_lengths
    for name in ("ids", "mask", "labels", "label_mask", "embeds"):
        left, right = getattr(ours, name), getattr(expected, name)
        assert (left is None) == (right is None), name
        if left is not None:
            assert left.dtype == right.dtype
            assert torch.equal(left, right), name
    for left, right in zip(ours.frame_positions, expected.frame_positions, strict=True):
        assert left.dtype == right.dtype
        assert torch.equal(left, right)


@settings(deadline=None, max_examples=100)
@given(batch=batches(), answer=st.booleans(), name=st.sampled_from(["t5", "causal"]))
def test_in_one_go_equals_segment_by_segment(batch: list[Sequence], answer: bool, name: str) -> None:
    plain = reference(name)
    visual = [TimedTokens(torch.randn(HELD, WIDTH), [HELD], [(0.0, 0.0)], [0]) for _ in batch]
    # Not Causal's own, which first makes one block of all.
    assert_same(LanguageModel.pack(plain.model, batch, visual, answer), plain.pack(batch, visual, answer))


@settings(deadline=None, max_examples=60)
@given(
    counts=st.lists(st.lists(st.integers(1, 3), max_size=6), min_size=1, max_size=3),
    lines=st.lists(st.tuples(st.floats(0, 30), phrases), max_size=3),
    style=st.sampled_from(["seconds_integers", "seconds_floats", "frame_indices", "relative"]),
    layout=st.sampled_from(["parts", "joined"]),
    interleave=st.booleans(),
    mr_blip=st.booleans(),
    answer=st.booleans(),
)
def test_interleaved_prompts_equal_plain_ones(
    counts: list[list[int]],
    lines: list[tuple[float, str]],
    style: Any,
    layout: Any,
    interleave: bool,
    mr_blip: bool,
    answer: bool,
) -> None:
    codec = RelativeText() if style == "relative" else SecondsText(style=style, parser="mr_blip")
    codec.bind(t5().tokenizer)
    options: Any = {"layout": layout, "interleave": interleave, "show_subtitles": not mr_blip, "max_tokens": 9}
    options |= {"attend_padding": mr_blip, "end_mark_in_video": not mr_blip, "show_duration_again": mr_blip}
    subtitles = [Subtitle(start, start + 1.5, text) for start, text in lines]
    visual = [
        TimedTokens(torch.randn(sum(c), WIDTH), c, [(i * 4.7, i * 4.7) for i in range(len(c))], list(range(len(c))))
        for c in counts
    ]

    def prompts(kind: type[Interleaved]) -> list[Sequence]:
        asked = [sample(str(i), moments=[Moment(4, 12)], duration=67.3) for i in range(len(counts))]
        return [kind(**options)(s, v, codec, subtitles, answer) for s, v in zip(asked, visual, strict=True)]

    ours, plain = prompts(Interleaved), prompts(PlainInterleaved)
    assert [s.text() for s in ours] == [s.text() for s in plain]
    assert_same(t5().pack(ours, visual, answer), reference("t5").pack(plain, visual, answer))


@settings(deadline=None, max_examples=100)
@given(
    times=st.lists(st.floats(0, 400), max_size=8),
    duration=st.one_of(st.integers(1, 400), st.floats(1, 400)),
    style=st.sampled_from(["seconds_integers", "seconds_floats", "frame_indices"]),
)
def test_times_are_written_together_as_alone(times: list[float], duration: float, style: Any) -> None:
    codec = SecondsText(style=style, parser="mr_blip")
    codec.bind(t5().tokenizer)
    video = sample(duration=duration)
    assert codec.time_texts(times, video) == [codec.format_time(t, video) for t in times]
    if style != "seconds_floats":
        unit = codec._unit(video) if style == "frame_indices" else round
        assert codec.time_texts(times, video) == [str(codec.replacements.get(unit(t), unit(t))) for t in times]


def test_visual_tokens_of_another_sample_cannot_be_shown() -> None:
    visual = [TimedTokens(torch.randn(2, WIDTH), [2], [(0.0, 0.0)], [0]) for _ in range(2)]
    rows = [Sequence([Block([Visual(0, stop)])]) for stop in (2, 3)]
    with pytest.raises(ValueError, match="sample 1 of the batch has 2 visual tokens"):
        t5().pack(rows, visual)


@pytest.mark.parametrize(
    "columns",
    [(), (Texts(["a"]), Texts([])), (Texts(["a"], isolated=False),), (Visuals([0], [1]), Texts(["a"], isolated=False))],
)
def test_series_that_mean_nothing_are_refused(columns: Any) -> None:
    with pytest.raises(ValueError, match="columns of one length|plain text"):
        Series(columns)

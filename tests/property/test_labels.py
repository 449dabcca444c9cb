"""Labels follow segments: what is learned is exactly what was marked so, whatever stands around it and in the batch."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lavis.models.language_models.base import IGNORE
from lavis.models.language_models.causal import Causal
from lavis.models.language_models.t5 import T5
from lavis.structures import Block, Segment, Sequence, Text, TimedTokens, Visual
from tests.toy_models import WORDS, t5_tokenizer, vocabulary_size

WIDTH = 8


@cache
def causal() -> Causal:
    sizes = {"hidden_size": WIDTH, "word_embed_proj_dim": WIDTH, "ffn_dim": 8, "num_hidden_layers": 1}
    config = {"model_type": "opt", "vocab_size": vocabulary_size(), "num_attention_heads": 2, **sizes}
    return Causal(config=config, tokenizer=t5_tokenizer())


@cache
def t5() -> T5:
    sizes = {"d_model": WIDTH, "d_kv": 4, "d_ff": 8, "num_layers": 1, "num_heads": 2}
    return T5(tokenizer=t5_tokenizer(), overrides={"vocab_size": vocabulary_size(), **sizes})


phrases = st.lists(st.sampled_from([*WORDS, "12", "[[4, 12]]", ","]), min_size=1, max_size=5).map(" ".join)
given_text = st.builds(Text, phrases, isolated=st.booleans())
learned_text = st.builds(Text, phrases, learned=st.just(True), eos=st.booleans())
visuals = st.just(Visual(0, 2))
prompts: Any = st.lists(st.one_of(given_text, visuals), min_size=1, max_size=6)
answers: Any = st.lists(learned_text, min_size=1, max_size=2)
batches = st.lists(st.tuples(prompts, answers), min_size=1, max_size=3)


def pack(model: Any, batch: list[tuple[list[Segment], list[Segment]]]) -> Any:
    rows = [Sequence([Block(prompt, pad="left")], answer) for prompt, answer in batch]
    tokens = [TimedTokens(torch.ones(2, WIDTH), [2], [(0.0, 0.0)], [0]) for _ in batch]
    return model.pack(rows, tokens, answer=True)


def ids_of(model: Any, answer: list[Segment]) -> list[int]:
    """Ids of an answer by itself, neighbouring texts joined up to an end token."""
    ids: list[int] = []
    text = ""
    for segment in answer:
        assert isinstance(segment, Text)
        text += segment.text
        if segment.eos:
            ids += [*model.tokenizer(text, add_special_tokens=False)["input_ids"], model.tokenizer.eos_token_id]
            text = ""
    return ids + (model.tokenizer(text, add_special_tokens=False)["input_ids"] if text else [])


@settings(deadline=None, max_examples=60)
@given(batches)
def test_decoders_learn_what_is_marked_where_it_stands(batch: list[tuple[list[Segment], list[Segment]]]) -> None:
    packed = pack(causal(), batch)
    for (prompt, answer), ids, labels, mask in zip(batch, packed.ids, packed.labels, packed.mask, strict=True):
        learned = labels != IGNORE
        assert ids[learned].tolist() == labels[learned].tolist() == ids_of(causal(), answer)
        assert bool(mask[learned].all())
        shown = sum(segment.stop - segment.start for segment in prompt if isinstance(segment, Visual))
        assert int(((ids == -1) & mask.bool()).sum()) == shown


@settings(deadline=None, max_examples=60)
@given(batches)
def test_encoder_decoders_have_targets_of_their_own(batch: list[tuple[list[Segment], list[Segment]]]) -> None:
    packed = pack(t5(), batch)
    for (_, answer), labels, mask in zip(batch, packed.labels, packed.label_mask, strict=True):
        assert labels[mask.bool()].tolist() == ids_of(t5(), answer)
        assert bool((labels[~mask.bool()] == IGNORE).all())

"""Packing: one tensor for a batch, with labels and positions that follow from the segments."""

from __future__ import annotations

import pytest
import torch

from lavis.models.language_models.base import IGNORE
from lavis.models.language_models.causal import Causal
from lavis.models.language_models.t5 import T5
from lavis.structures import Block, Sequence, Text, TimedTokens, Visual
from tests.toy_models import t5_tokenizer, vocabulary_size


@pytest.fixture(scope="module")
def t5() -> T5:
    sizes = {"vocab_size": vocabulary_size(), "d_model": 12, "d_kv": 4, "d_ff": 16, "num_layers": 1, "num_heads": 2}
    return T5(tokenizer=t5_tokenizer(), overrides=sizes)


@pytest.fixture(scope="module")
def opt() -> Causal:
    config = {
        "model_type": "opt", "vocab_size": vocabulary_size(), "hidden_size": 16, "ffn_dim": 24, "num_hidden_layers": 2,
        "num_attention_heads": 2, "word_embed_proj_dim": 16, "max_position_embeddings": 128, "pad_token_id": 0,
        "bos_token_id": 1, "eos_token_id": 1,
    }  # fmt: skip
    return Causal(config=config, tokenizer=t5_tokenizer()).eval()


def visual(count: int, width: int) -> TimedTokens:
    return TimedTokens(torch.randn(count, width), [count], [(0.0, 0.0)], [0])


def ids_of(model: T5 | Causal, text: str) -> list[int]:
    return list(model.tokenizer(text, add_special_tokens=False)["input_ids"])


def test_blocks_are_padded_each_on_its_side(t5: T5) -> None:
    rows = [
        Sequence([Block([Visual(0, 2), Text("4", isolated=True)], pad="left"), Block([Text("man", eos=True)])]),
        Sequence([Block([Visual(0, 1)], pad="left"), Block([Text("man talks", eos=True)])]),
    ]
    tokens = [visual(2, 12), visual(1, 12)]
    packed = t5.pack(rows, tokens)
    assert packed.block_lengths == [3, 3]
    assert packed.mask.tolist() == [[1, 1, 1, 1, 1, 0], [0, 0, 1, 1, 1, 1]]
    assert torch.equal(packed.embeds[0, :2], tokens[0].tokens)
    assert torch.equal(packed.embeds[1, 2], tokens[1].tokens[0])
    assert not packed.embeds[1, :2].any()
    assert [p.tolist() for p in packed.frame_positions] == [[[0, 2]], [[2, 3]]]


def test_padding_may_be_attended(t5: T5) -> None:
    rows = [
        Sequence([Block([Visual(0, count)], pad="left", attend_padding=True), Block([Text(text, eos=True)])])
        for count, text in ((2, "man"), (1, "man talks"))
    ]
    packed = t5.pack(rows, [visual(2, 12), visual(1, 12)])
    # MR.BLIP looks at the zero vectors before its frames, but not at the padding of the question.
    assert packed.mask.tolist() == [[1, 1, 1, 1, 0], [1, 1, 1, 1, 1]]
    assert not packed.embeds[1, 0].any()


def test_blocks_that_are_padded_at_the_end_are_joined(t5: T5) -> None:
    prompts = [(2, "4", "man"), (1, "dog", "man talks")]
    rows = [
        Sequence(
            [Block([Visual(0, n)], "end"), Block([Text(first)], "end"), Block([Text(then, eos=True)], "end")],
            [Text("[[4, 12]]", learned=True, eos=True)],
        )
        for n, first, then in prompts
    ]
    tokens = [visual(2, 12), visual(1, 12)]
    packed = t5.pack(rows, tokens, answer=True)
    own = [[-1] * n + ids_of(t5, first) + ids_of(t5, then) + [1] for n, first, then in prompts]
    length = max(map(len, own))
    assert packed.block_lengths == [length]
    assert packed.ids.tolist() == [ids + [0] * (length - len(ids)) for ids in own]
    assert packed.mask.sum(dim=1).tolist() == [len(ids) for ids in own]
    assert [p.tolist() for p in packed.frame_positions] == [[[0, 2]], [[0, 1]]]
    assert packed.labels is not None
    assert packed.labels.tolist() == [[*ids_of(t5, "[[4, 12]]"), 1]] * 2


def test_a_prompt_is_as_long_as_it_is_alone(t5: T5) -> None:
    parts = [
        Block([Visual(0, 9), Text("7", isolated=True)], "left"),
        Block([Text("man talks", eos=True, max_tokens=2)]),
    ]
    tokens = visual(9, 12)
    assert t5.length(Sequence(parts)) == 9 + 1 + 2 == t5.pack([Sequence(parts)], [tokens]).ids.shape[1]


def test_isolated_text_loses_its_word_boundary(t5: T5) -> None:
    (boundary,) = [t5.tokenizer.get_vocab()["▁"]]
    packed = t5.pack([Sequence([Block([Text("]", isolated=True), Text("7", isolated=True)])])], [visual(0, 12)])
    assert boundary not in packed.ids[0].tolist()


def test_neighbouring_texts_are_tokenised_as_one(t5: T5) -> None:
    packed = t5.pack([Sequence([Block([Text("ma"), Text("n talks")])])], [visual(0, 12)])
    assert packed.ids[0].tolist() == ids_of(t5, "man talks")


def test_a_limit_counts_the_end_token(t5: T5) -> None:
    packed = t5.pack([Sequence([Block([Text("man talks red dog", eos=True, max_tokens=3)])])], [visual(0, 12)])
    assert packed.ids.shape[1] == 3
    assert packed.ids[0, -1] == t5.tokenizer.eos_token_id


def test_t5_answers_are_targets_of_their_own(t5: T5) -> None:
    rows = [
        Sequence([Block([Text("man")])], [Text("[[4, 12]]", learned=True, eos=True)]),
        Sequence([Block([Text("man")])], [Text("[[4, 12], [14, 20]]", learned=True, eos=True)]),
    ]
    packed = t5.pack(rows, [visual(0, 12)] * 2, answer=True)
    assert packed.labels is not None
    assert packed.label_mask is not None
    first = [i for i in packed.labels[0].tolist() if i != IGNORE]
    assert first == [*ids_of(t5, "[[4, 12]]"), 1]
    assert torch.equal(packed.labels != IGNORE, packed.label_mask.bool())


def test_an_empty_answer_is_refused(t5: T5) -> None:
    with pytest.raises(ValueError, match="empty answer"):
        t5.pack([Sequence([Block([Text("man")])])], [visual(0, 12)], answer=True)


def test_prompts_must_agree_on_blocks(t5: T5) -> None:
    rows = [Sequence([Block([Text("man")])]), Sequence([Block([Text("man")]), Block([Text("dog")])])]
    with pytest.raises(ValueError, match="equally many blocks"):
        t5.pack(rows, [visual(0, 12)] * 2)


def test_decoders_learn_the_answer_at_the_end_of_one_sequence(opt: Causal) -> None:
    answer = [Text("[[4, 12]]", learned=True, eos=True)]
    rows = [
        Sequence([Block([Visual(0, 2)], pad="left"), Block([Text("man", eos=True)])], answer),
        Sequence([Block([Visual(0, 1)], pad="left"), Block([Text("man talks", eos=True)])], answer),
    ]
    packed = opt.pack(rows, [visual(2, 16), visual(1, 16)], answer=True)
    assert packed.labels is not None
    for labels, ids in zip(packed.labels, packed.ids, strict=True):
        learned = labels != IGNORE
        assert ids[learned].tolist() == [*ids_of(opt, "[[4, 12]]"), 1]
        assert torch.equal(labels[learned], ids[learned])
    assert [p.tolist() for p in packed.frame_positions] == [[[0, 2]], [[0, 1]]]


def test_own_decode_loop_equals_the_full_forward_pass(opt: Causal) -> None:
    rows = [Sequence([Block([Visual(0, 2), Text("man talks")])]), Sequence([Block([Visual(0, 1), Text("dog")])])]
    tokens = [visual(2, 16), visual(1, 16)]
    packed = opt.pack(rows, tokens)
    state, logits = opt.prefill(packed)
    token = logits.argmax(-1)
    stepped = opt.step(state, opt.embed(token.unsqueeze(1)))
    longer = opt.pack(rows, tokens)
    longer.embeds = torch.cat([longer.embeds, opt.embed(token.unsqueeze(1))], dim=1)
    longer.mask = torch.cat([longer.mask, torch.ones(2, 1, dtype=torch.long)], dim=1)
    whole = opt(longer).logits[:, -1]
    assert torch.allclose(stepped, whole, atol=1e-5)


def test_greedy_loop_equals_the_search_of_transformers(opt: Causal) -> None:
    from lavis.common.schema import GenerationConfig

    rows = [Sequence([Block([Visual(0, 2), Text("man talks")])]), Sequence([Block([Visual(0, 1), Text("dog")])])]
    packed = opt.pack(rows, [visual(2, 16), visual(1, 16)])
    ours = opt.generate(packed, GenerationConfig(num_beams=1, max_new_tokens=5))
    theirs = opt.model.generate(
        inputs_embeds=packed.embeds, attention_mask=packed.mask, max_new_tokens=5, do_sample=False, pad_token_id=1
    )
    for mine, row in zip(ours, theirs.tolist(), strict=True):
        assert mine.token_ids == row[: row.index(1)] if 1 in row else row

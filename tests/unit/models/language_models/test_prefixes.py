"""Beginnings that prompts have in common are read once, and nothing else changes."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch

from lavis.common.schema import GenerationConfig
from lavis.models.language_models import _prefixes
from lavis.models.language_models._prefixes import find_shared
from lavis.models.language_models.causal import Causal
from lavis.structures import Block, Packed, Passage, Text, TimedTokens, Visual
from lavis.structures import Sequence as Prompt
from tests.toy_models import t5_tokenizer, vocabulary_size

WIDTH = 16
TAPS = ("last", "below_last")


def build(family: str = "llama", two_way: bool = False, **changes: Any) -> Causal:
    torch.manual_seed(0)
    config = {
        "model_type": family, "vocab_size": vocabulary_size(), "hidden_size": WIDTH, "intermediate_size": 24,
        "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2, "pad_token_id": 0,
        "bos_token_id": 1, "eos_token_id": 1, **changes,
    }  # fmt: skip
    return Causal(config=config, tokenizer=t5_tokenizer(), prepend_bos=False, two_way_frames=two_way).eval()


def frames(count: int, seed: int) -> TimedTokens:
    generator = torch.Generator().manual_seed(seed)
    times = [(float(i), float(i)) for i in range(count)]
    return TimedTokens(torch.randn(count, WIDTH, generator=generator), [1] * count, times, list(range(count)))


ASKED = [("a", "man talks"), ("b", "dog"), ("a", "red camera runs"), ("a", "blue"), ("b", "hello man"), ("c", "door")]
VIDEOS = {"a": frames(20, 0), "b": frames(14, 1), "c": frames(9, 2)}


def batch(model: Causal, asked: list[tuple[str, str]] = ASKED) -> Packed:
    rows = [
        Prompt([Block([Text("Given the"), Visual(0, len(VIDEOS[video].tokens)), Passage((Text(question),))])])
        for video, question in asked
    ]
    return model.pack(rows, [VIDEOS[video] for video, _ in asked])


def test_rows_are_grouped_by_what_they_share_however_they_are_ordered() -> None:
    shared = find_shared(batch(build()), whole_spans=False)
    assert shared is not None
    assert len(shared.leaders) == 3
    group = shared.group.tolist()
    assert group[0] == group[2] == group[3] != group[1] == group[4]
    assert group[5] not in group[:5]
    assert int(shared.begin_mask[group[0]].sum()) == 22  # two words and 20 frames
    assert int(shared.rest_mask[0].sum()) == 2


@pytest.mark.parametrize("two_way", [False, True])
@pytest.mark.parametrize("family", ["llama", "phi3", "qwen2", "opt"])
def test_states_and_logits_are_those_of_reading_everything(
    family: str, two_way: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = {"ffn_dim": 24, "word_embed_proj_dim": WIDTH} if family == "opt" else {}
    model = build(family, two_way, **changes)
    taps = TAPS[1:] if family == "opt" else TAPS
    packed = batch(model)
    read: list[tuple[int, int]] = []
    handle = model.model.get_decoder().register_forward_pre_hook(
        lambda module, args, kwargs: read.append(tuple(kwargs["inputs_embeds"].shape[:2])), with_kwargs=True
    )
    with torch.no_grad():
        state, logits = model.prefill(packed, taps)
        monkeypatch.setattr(model, "_can_share", lambda packed: False)
        plain_state, plain = model.prefill(packed, taps)
        assert [len(read), read[0][0], read[1][0], read[2]] == [3, 3, 6, tuple(packed.mask.shape)]
        handle.remove()
        torch.testing.assert_close(logits, plain, atol=1e-5, rtol=1e-5)
        mask = packed.mask.bool()
        for tap in taps:
            torch.testing.assert_close(state.states[tap][mask], plain_state.states[tap][mask], atol=1e-5, rtol=1e-5)
        extra = model.embed(torch.tensor([[5], [6], [7], [8], [9], [10]]))
        for rows in (torch.arange(6), torch.tensor([1, 4, 5])):
            for own in (state, plain_state):
                own.keep(rows) if len(rows) < 6 else None
            stepped, expected = (model.step(own, extra[rows]) for own in (state, plain_state))
            torch.testing.assert_close(stepped, expected, atol=1e-5, rtol=1e-5)


def drawn(model: Causal, seed: int) -> Packed:
    """Rows that share words, frames, words behind frames, or nothing; some show frames twice."""
    draw = random.Random(seed)
    rows, tokens = [], []
    for _ in range(draw.randint(2, 7)):
        video = draw.choice("abc")
        count = len(VIDEOS[video].tokens)
        parts: list[Any] = [Text(draw.choice(["Given the", "Given", "Query: man"])), Visual(0, draw.choice([count, 6]))]
        parts.append(Passage((Text(draw.choice(["man talks", "dog", "man talks to camera"])),)))
        if draw.random() < 0.4:
            parts += [Visual(draw.choice([0, 2]), 5), Passage((Text(draw.choice(["blue", "red door"])),))]
        rows.append(Prompt([Block(parts)]))
        tokens.append(VIDEOS[video])
    return model.pack(rows, tokens)


@pytest.mark.parametrize("two_way", [False, True])
def test_drawn_batches_read_apart_are_read_alike(two_way: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    model = build("qwen2", two_way, num_hidden_layers=3)
    monkeypatch.setattr(_prefixes, "WORTH", 10.0)  # also where it saves nothing
    apart = 0
    for seed in range(25):
        packed = drawn(model, seed)
        shared = find_shared(packed, two_way)
        apart += shared is not None
        results = []
        for together in (True, False):
            monkeypatch.setattr(model, "_can_share", lambda packed, together=together: together)
            with torch.no_grad():
                state, logits = model.prefill(packed, TAPS)
                states = [state.states[tap][packed.mask.bool()] for tap in TAPS]
                results.append([*states, logits, model.step(state, model.embed(torch.full((len(logits), 1), 7)))])
        for ours, plain in zip(*results, strict=True):
            torch.testing.assert_close(ours, plain, atol=1e-5, rtol=1e-4)
    assert apart > 15


@pytest.mark.parametrize("family", ["llama", "qwen2"])
@pytest.mark.parametrize("two_way", [False, True])
def test_beams_share_beginnings_and_answer_alike(family: str, two_way: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Positions read before the search, and its answers: with shared beginnings, without, and one by one."""
    model = build(family, two_way)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3)
    settings = GenerationConfig(num_beams=3, max_new_tokens=8)
    read: list[int] = []
    model.model.get_decoder().register_forward_hook(
        lambda *call: read.append(call[2].last_hidden_state.shape[:2].numel())
    )
    asked = [(video, f"{question} to camera") for video, question in ASKED]
    found, costs = [], []
    for together in (True, False):
        monkeypatch.setattr(model, "_can_share", lambda packed, together=together: together)
        read.clear()
        found.append(model.generate(batch(model, asked), settings))
        costs.append(sum(read[: 2 if together else 1]))
    alone = [model.generate(batch(model, [own]), settings)[0] for own in asked]
    assert costs[0] < 0.8 * costs[1]
    assert len({tuple(output.token_ids) for output in found[0]}) > 2
    for together_, apart, single in zip(*found, alone, strict=True):
        assert together_.token_ids == apart.token_ids == single.token_ids
        assert together_.sequence_score == pytest.approx(apart.sequence_score, abs=1e-4)
        assert together_.sequence_score == pytest.approx(single.sequence_score, abs=1e-4)


def test_frames_that_see_each_other_are_not_torn_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    model = build(two_way=True)
    changed = frames(20, 0)
    changed.tokens[15:] += 1  # the same words and 15 frames, then others
    monkeypatch.setitem(VIDEOS, "d", changed)
    packed = batch(model, [("a", "man"), ("d", "man"), ("a", "man"), ("d", "dog")])
    causal, both = find_shared(packed, whole_spans=False), find_shared(packed, whole_spans=True)
    assert causal is not None
    assert both is not None
    assert len(both.leaders) == 2  # frames of "a" and of "d" are wholly in a beginning each
    packed = batch(model, [("a", "man"), ("d", "man")])
    assert find_shared(packed, whole_spans=False) is not None
    assert find_shared(packed, whole_spans=True) is None  # only the words before the frames are left


def test_nothing_is_shared_where_it_is_not_worthwhile() -> None:
    model = build()
    assert find_shared(batch(model, [("a", "man")]), False) is None
    assert find_shared(batch(model, [("a", "man"), ("b", "man"), ("c", "dog")]), False) is None
    packed = batch(model, [("a", "man"), ("a", "dog")])
    assert find_shared(packed, False) is not None
    packed.mask = packed.mask.flip(1)  # padded behind: these are no prompts to go on from
    packed.mask[:, -1] = 0
    assert find_shared(packed, False) is None


def test_equal_prompts_keep_their_last_position() -> None:
    model = build()
    packed = batch(model, [("a", "man")] * 3)
    shared = find_shared(packed, False)
    assert shared is not None
    assert len(shared.leaders) == 1
    assert shared.rest_mask.sum(dim=1).tolist() == [1, 1, 1]


@pytest.mark.parametrize(("window", "apart"), [(34, 1), (35, 2), (None, 2)])
def test_gaps_do_not_count_in_a_sliding_window(window: int | None, apart: int) -> None:
    model = build("phi3", sliding_window=window)
    packed = batch(model)
    shared = find_shared(packed, False)
    assert shared is not None
    read: list[int] = []
    model.model.get_decoder().register_forward_pre_hook(lambda *args: read.append(1))
    with torch.no_grad():
        model.prefill(packed, more=35 - shared.columns)
    assert len(read) == apart


def test_back_ends_without_masks_read_everything() -> None:
    model = build()
    packed = batch(model)
    assert model._can_share(packed)
    model.model.config._attn_implementation = "flash_attention_2"
    assert not model._can_share(packed)

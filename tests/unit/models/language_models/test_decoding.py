"""Answers of a decoder: where they end, what is in their text, rows that are done, prompts that are too long."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from lavis.common.random import SampleDraws
from lavis.common.schema import GenerationConfig
from lavis.models.language_models._decoding import Ends
from lavis.models.language_models.base import Asked
from lavis.models.language_models.causal import Causal
from lavis.models.language_models.t5 import T5
from lavis.structures import Block, ModelOutput, Packed, Passage, Text, TimedTokens, Visual
from lavis.structures import Sequence as Prompt
from tests.toy_models import t5_tokenizer, vocabulary_size

GREEDY = GenerationConfig(num_beams=1, max_new_tokens=12)
ADDED = ("<vid>", "<ent>", "<tst>")


def build(**changes: Any) -> Causal:
    torch.manual_seed(0)
    config = {
        "model_type": "llama", "vocab_size": vocabulary_size() + 3, "hidden_size": 24, "intermediate_size": 32,
        "num_hidden_layers": 2, "num_attention_heads": 2, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 1,
        "max_position_embeddings": 96, **changes,
    }  # fmt: skip
    model = Causal(config=config, tokenizer=t5_tokenizer(), prepend_bos=False, added_tokens=ADDED).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3)
    return model


def prompts(model: Causal, *questions: str, frames: int = 3) -> Packed:
    generator = torch.Generator().manual_seed(1)
    times = [(float(i), float(i)) for i in range(frames)]
    tokens = TimedTokens(torch.randn(frames, 24, generator=generator), [1] * frames, times, list(range(frames)))
    rows = [Prompt([Block([Text("Given"), Visual(0, frames), Passage((Text(q),))])]) for q in questions]
    return model.pack(rows, [tokens] * len(rows))


QUESTIONS = ("man talks", "dog", "red camera runs to open door", "blue")


def asked(count: int, penalty: float = 1.0) -> Asked:
    names = [f"q{i}" for i in range(count)]
    return Asked(names, [SampleDraws(name) for name in names], [penalty] * count)


def test_what_ends_an_answer() -> None:
    ends = Ends(1, ((7, 8), (9,)))
    assert ends.closing(torch.tensor([[5, 7, 8], [5, 8, 7], [1, 1, 9], [7, 8, 1], [7, 8, 5]])).tolist() == [
        2,
        0,
        1,
        1,
        0,
    ]
    assert ends.closing(torch.tensor([[8], [9]])).tolist() == [0, 1]


def test_stops_end_an_answer_and_are_in_neither_ids_nor_text() -> None:
    model = build()
    packed = prompts(model, *QUESTIONS)
    plain = model.generate(packed, GREEDY)
    whole = max(plain, key=lambda output: len(output.token_ids))
    row = plain.index(whole)
    stop = whole.token_ids[4:6]  # of several tokens
    model.answers.ends = lambda stops: Ends(1, (tuple(stop),))  # type: ignore[method-assign]
    stopped = model.generate(packed, GREEDY)
    places = [i for i in range(len(whole.token_ids)) if whole.token_ids[i : i + 2] == stop]
    assert stopped[row].token_ids == whole.token_ids[: places[0]]
    for before, after in zip(plain, stopped, strict=True):
        assert before.token_ids[: len(after.token_ids)] == after.token_ids


def test_a_stop_is_read_by_itself_and_behind_a_word() -> None:
    model = build()
    ends = model.answers.ends(["<ent>", "</s>", "]]"])
    event = model.token_ids(["<ent>"])["<ent>"]
    assert (event,) in ends.stops
    assert ends.eos == 1
    assert (1,) not in ends.stops  # the end token is one anyway
    behind = tuple(model.tokenizer("a]]", add_special_tokens=False)["input_ids"][1:])
    assert behind in ends.stops


def test_added_tokens_stay_in_the_text_and_other_special_tokens_do_not() -> None:
    model = build()
    event, match = model.token_ids(["<ent>", "<vid>"]).values()
    words = model.tokenizer("man talks", add_special_tokens=False)["input_ids"]
    other = model.token_ids(["<extra_id_5>"])["<extra_id_5>"]
    ids = [[*words, event, other, 1, match]]
    (text,) = model.answers.texts(ids)
    assert "man talks" in text
    assert text.count("<ent>") == text.count("<vid>") == 1
    assert "<extra_id_5>" not in text
    assert "</s>" not in text
    (everything,) = model.answers.texts(ids, "all")
    assert "<extra_id_5>" in everything
    assert "</s>" in everything
    (output,) = model.answers.outputs([[*words, event]], [0.0], ["q"], stops=["<ent>"])
    assert output.text == "man talks"


@pytest.mark.parametrize(
    "settings",
    [GREEDY, replace(GREEDY, repetition_penalty=1.3), replace(GREEDY, temperature=0.8, top_p=0.95)],
    ids=["greedy", "penalty", "drawn"],
)
def test_rows_that_are_done_leave_and_answers_are_those_of_one_at_a_time(settings: GenerationConfig) -> None:
    model = build()
    free = model.generate(prompts(model, *QUESTIONS), settings, asked=asked(4, settings.repetition_penalty))
    stops = (free[0].token_ids[2],), tuple(free[2].token_ids[5:7])  # so that answers end at different steps
    model.answers.ends = lambda texts: Ends(1, stops)  # type: ignore[method-assign]
    every = asked(len(QUESTIONS), settings.repetition_penalty)
    sizes: list[int] = []
    step = model.step

    def noted(state: Any, embeds: Any) -> Any:
        sizes.append(len(embeds))
        assert len(state.mask) == len(embeds) == state.cache.layers[0].keys.shape[0]
        return step(state, embeds)

    model.step = noted  # type: ignore[method-assign]
    together = model.generate(prompts(model, *QUESTIONS), settings, asked=every)
    lengths = [len(output.token_ids) for output in together]
    assert lengths[0] <= 2
    assert len(set(lengths)) > 1
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] > sizes[-1] > 0
    assert sum(sizes) <= sum(lengths) + len(lengths)  # no row is fed after its end
    for i, question in enumerate(QUESTIONS):
        own = Asked(every.names[i : i + 1], [SampleDraws(every.names[i])], every.penalties[i : i + 1])
        (alone,) = model.generate(prompts(model, question), settings, asked=own)
        same(together[i], alone)


def same(left: ModelOutput, right: ModelOutput) -> None:
    assert (left.token_ids, left.text) == (right.token_ids, right.text)
    assert left.sequence_score == pytest.approx(right.sequence_score, abs=1e-3)


@pytest.mark.parametrize("beams", [1, 2])
def test_an_answer_does_not_end_before_its_least_length(beams: int) -> None:
    model = build()
    packed = prompts(model, *QUESTIONS)
    settings = replace(GREEDY, num_beams=beams)
    tokens = {output.token_ids[0] for output in model.generate(packed, settings)}
    model.answers.ends = lambda stops: Ends(1, tuple((token,) for token in tokens))  # type: ignore[method-assign]
    if beams == 1:
        assert not any(output.token_ids for output in model.generate(packed, settings))
    for least in (2, 6):
        found = model.generate(packed, replace(settings, min_length=least))
        assert all(len(output.token_ids) >= least - 1 for output in found)
        assert all(not tokens & set(output.token_ids) for output in found)


def test_a_prompt_longer_than_the_context_is_refused_before_anything_is_read() -> None:
    model = build(max_position_embeddings=12)
    packed = prompts(model, "man", "red camera runs to open door and subtitle", frames=8)
    size = int(packed.mask.sum(dim=1).max())
    assert size > 12
    model.model = None  # type: ignore[assignment]
    model.__class__ = type("Limited", (Causal,), {"context": 12})
    with pytest.raises(ValueError, match=rf"sample q1: its prompt has {size} positions, {size - 12} more than the 12"):
        model.generate(packed, GREEDY, asked=asked(2))


def test_an_answer_ends_with_the_context_whatever_it_is_asked_with() -> None:
    model = build()
    alone = prompts(model, "man")
    size = int(alone.mask.sum())
    short = build(max_position_embeddings=size + 2)
    (own,) = short.generate(alone, GREEDY)
    (free,) = model.generate(alone, GREEDY)
    assert own.token_ids == free.token_ids[:3]
    assert len(own.token_ids) == 3
    together = short.generate(prompts(short, "man", ""), GREEDY)
    assert together[0].token_ids == own.token_ids


def test_scores_that_are_no_numbers_are_an_error_that_names_the_sample() -> None:
    model = build()
    packed = prompts(model, "man", "dog")
    packed.embeds[1] = float("nan")
    with pytest.raises(ValueError, match=r"sample q1: .*no numbers \(1 of 2.*checkpoint"):
        model.generate(packed, GREEDY, asked=asked(2))


def test_stops_cut_beams_too() -> None:
    model = build()
    packed = prompts(model, "man talks", "dog")
    settings = replace(GREEDY, num_beams=2)
    plain = model.generate(packed, settings)
    token = plain[0].token_ids[2]
    model.answers.ends = lambda stops: Ends(1, ((token,),))  # type: ignore[method-assign]
    assert all(token not in output.token_ids for output in model.generate(packed, settings))


def test_an_encoder_decoder_says_what_it_cannot_do() -> None:
    sizes = {"vocab_size": vocabulary_size(), "d_model": 24, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 3}
    model = T5(tokenizer=t5_tokenizer(), overrides=sizes).eval()
    packed = Packed(torch.randn(1, 4, 24), torch.ones(1, 4).long(), torch.full((1, 4), -1), None, None, [4], [])
    for settings in (replace(GREEDY, temperature=0.5), replace(GREEDY, repetition_penalty_of_kind={"rar": 1.2})):
        with pytest.raises(ValueError, match="choose causal"):
            model.generate(packed, settings, asked=asked(1))
    assert len(model.generate(packed, GREEDY, asked=asked(1))) == 1
    assert model.context is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": 0.0}, "temperature must be above 0"),
        ({"temperature": 0.5, "num_beams": 2}, "num_beams=1"),
        ({"repetition_penalty_of_kind": {"rar": 1.2}, "num_beams": 2}, "num_beams=1"),
        ({"repetition_penalty_of_kind": {"rar": 0.0}}, r"repetition_penalty_of_kind\['rar'\] must be above 0"),
        ({"top_k": 0}, "top_k must be at least 1"),
        ({"top_p": 0.0}, "top_p must be above 0 and at most 1"),
        ({"top_p": 1.5}, "top_p must be above 0 and at most 1"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GenerationConfig(**{"num_beams": 1, **settings})

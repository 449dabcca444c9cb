"""What heads need of a decoder: passages with marked tokens, states of inner layers, two-way attention, watchers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
import torch
from torch import Tensor

from lavis.common.schema import GenerationConfig
from lavis.models.language_models.base import IGNORE
from lavis.models.language_models.causal import Causal
from lavis.structures import Block, FrameRef, Packed, Passage, Text, TimedTokens, Visual
from lavis.structures import Sequence as Prompt
from tests.toy_models import t5_tokenizer, vocabulary_size

WIDTH = 16


@pytest.fixture(scope="module", params=["phi3", "qwen2", "llama"])
def decoder(request: pytest.FixtureRequest) -> Causal:
    return build(request.param)


def build(family: str = "llama", two_way_frames: bool = False) -> Causal:
    torch.manual_seed(0)
    config = {
        "model_type": family, "vocab_size": vocabulary_size(), "hidden_size": WIDTH, "intermediate_size": 24,
        "num_hidden_layers": 3, "num_attention_heads": 2, "num_key_value_heads": 2, "pad_token_id": 0,
        "bos_token_id": 1, "eos_token_id": 1,
    }  # fmt: skip
    tokenizer = t5_tokenizer()
    return Causal(config=config, tokenizer=tokenizer, prepend_bos=False, two_way_frames=two_way_frames).eval()


def frames(count: int) -> TimedTokens:
    generator = torch.Generator().manual_seed(count)
    times = [(float(i), float(i)) for i in range(count)]
    return TimedTokens(torch.randn(count, WIDTH, generator=generator), [1] * count, times, list(range(count)))


def prompt(count: int, question: str, answer: tuple[Text | FrameRef, ...] = ()) -> Prompt:
    return Prompt([Block([Text("Given"), Visual(0, count), Passage((Text(question), *answer))])])


def test_a_passage_is_tokenised_whole_and_split_where_learned_text_begins(decoder: Causal) -> None:
    passage = Passage((Text("Query: man"), Text(" talks ca", learned=True), Text("mera")))
    packed = decoder.pack([Prompt([Block([passage])])], [frames(0)], answer=True)
    encoded = decoder.tokenizer("Query: man talks camera", add_special_tokens=False, return_offsets_mapping=True)
    assert packed.ids[0].tolist() == encoded["input_ids"]
    assert packed.labels is not None
    expected = [
        token if len("Query: man") <= start < len("Query: man talks ca") else IGNORE
        for token, (start, _) in zip(encoded["input_ids"], encoded["offset_mapping"], strict=True)
    ]
    assert packed.labels[0].tolist() == expected
    assert sum(label != IGNORE for label in expected) == 2


def test_marked_tokens_have_positions_and_frames_are_added_to_them(decoder: Causal) -> None:
    ref, event = FrameRef("<extra_id_5>", frame=2), FrameRef("<extra_id_6>", learned=True, target=(1, 3))
    rows = [prompt(4, "Query: ", (ref, Text("man", learned=True), event)), prompt(2, "dog")]
    tokens = [frames(4), frames(2)]
    packed = decoder.pack(rows, tokens, answer=True)
    ids = packed.ids[0].tolist()
    number = decoder.token_ids(["<extra_id_5>", "<extra_id_6>"])
    places = [ids.index(number["<extra_id_5>"]), ids.index(number["<extra_id_6>"])]
    assert packed.refs == [[(places[0], ref), (places[1], event)], []]
    plain = decoder.embed(torch.tensor(list(number.values())))
    torch.testing.assert_close(packed.embeds[0, places[0]], plain[0] + tokens[0].tokens[2])
    torch.testing.assert_close(packed.embeds[0, places[1]], plain[1])
    assert packed.labels is not None
    assert packed.labels[0, places].tolist() == [IGNORE, number["<extra_id_6>"]]
    assert packed.spans()[0] == [(1, 5)]


def test_a_token_that_takes_several_ids_is_refused(decoder: Causal) -> None:
    with pytest.raises(ValueError, match="added_tokens"):
        decoder.pack([Prompt([Block([Passage((Text("man"), FrameRef("<ent>")))])])], [frames(0)])
    with pytest.raises(ValueError, match="<ent>.*added_tokens"):
        decoder.token_ids(["<ent>"])


def test_states_are_those_of_the_last_layers(decoder: Causal) -> None:
    packed = decoder.pack([prompt(3, "man talks"), prompt(1, "dog")], [frames(3), frames(1)], answer=True)
    output = decoder(packed, ("last", "below_last"))
    positions = (packed.mask.cumsum(-1) - 1).clamp(min=0)
    stock = decoder.model(
        inputs_embeds=packed.embeds, attention_mask=packed.mask, position_ids=positions, output_hidden_states=True
    )
    torch.testing.assert_close(output.states["below_last"], stock.hidden_states[-2])
    torch.testing.assert_close(decoder.model.model.norm(output.states["last"]), stock.hidden_states[-1])
    with pytest.raises(ValueError, match="has no state 'first'"):
        decoder(packed, ("first",))


def test_frames_see_each_other_both_ways_and_words_do_not() -> None:
    two_way, causal = build(two_way_frames=True), build()
    changed = frames(4)
    changed.tokens[3] += 1.0
    rows = [prompt(4, "man talks")]
    states = {}
    for name, model in (("two_way", two_way), ("causal", causal)):
        packed = [model.pack(rows, [tokens], answer=True) for tokens in (frames(4), changed)]
        states[name] = [model(one, ("last",)).states["last"] for one in packed]
    before, after = states["two_way"]
    assert not torch.allclose(before[0, 1], after[0, 1])  # the first frame sees the last one
    torch.testing.assert_close(before[0, 0], after[0, 0])  # the word before does not
    before, after = states["causal"]
    torch.testing.assert_close(before[0, :4], after[0, :4])


@pytest.mark.parametrize("two_way", [False, True])
def test_prefill_and_steps_equal_one_pass_whatever_the_padding(two_way: bool) -> None:
    decoder = build(two_way_frames=two_way)
    rows, tokens = [prompt(3, "man talks"), prompt(1, "dog")], [frames(3), frames(1)]
    state, logits = decoder.prefill(decoder.pack(rows, tokens), ("last",))
    extra = decoder.embed(torch.tensor([[5, 9], [7, 11]]))
    stepped = decoder.step(state, extra)
    assert state.states["last"].shape == (2, 2, WIDTH)
    for i in range(2):
        alone = decoder.pack(rows[i : i + 1], tokens[i : i + 1])
        torch.testing.assert_close(decoder(alone).logits[0, -1], logits[i], atol=1e-5, rtol=1e-4)
        whole = Packed(
            torch.cat([alone.embeds, extra[i : i + 1]], dim=1), torch.cat([alone.mask, torch.ones(1, 2).long()], dim=1),
            alone.ids, None, None, [], alone.frame_positions,
        )  # fmt: skip
        output = decoder(whole, ("last",))
        torch.testing.assert_close(output.logits[0, -1], stepped[i], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(output.states["last"][0, -2:], state.states["last"][i], atol=1e-5, rtol=1e-4)


class Recorder:
    """Adds nothing to what is fed, and notes it."""

    taps = ("below_last",)

    def __init__(self) -> None:
        self.tokens: list[list[int]] = []
        self.shapes: list[tuple[int, ...]] = []

    def begin(self, packed: Packed, states: Mapping[str, Tensor]) -> None:
        self.shapes.append(tuple(states["below_last"].shape))

    def fed(self, tokens: Tensor, embeds: Tensor) -> Tensor:
        self.tokens.append(tokens.tolist())
        return embeds

    def step(self, states: Mapping[str, Tensor]) -> None:
        self.shapes.append(tuple(states["below_last"].shape))

    def keep(self, rows: Tensor) -> None:
        self.kept = rows.tolist()

    def results(self, lengths: Sequence[int]) -> list[dict[str, Tensor]]:
        return [{"length": torch.tensor(length)} for length in lengths]


def test_a_watcher_sees_every_step_and_several_beams_are_refused(decoder: Causal) -> None:
    packed = decoder.pack([prompt(3, "man talks"), prompt(1, "dog")], [frames(3), frames(1)])
    watcher = Recorder()
    outputs = decoder.generate(packed, GenerationConfig(num_beams=1, max_new_tokens=4), watcher)
    assert watcher.shapes[0] == (2, packed.embeds.shape[1], WIDTH)
    assert watcher.shapes[1] == (2, 1, WIDTH)
    assert [int(o.hidden["length"]) for o in outputs] == [len(o.token_ids) for o in outputs]
    assert [o.token_ids[:1] for o in outputs] == [[tokens] for tokens in watcher.tokens[0]]
    with pytest.raises(ValueError, match="num_beams"):
        decoder.generate(packed, GenerationConfig(num_beams=2), Recorder())

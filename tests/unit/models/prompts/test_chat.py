"""Conversations: what is laid out, what is learned, what is refused."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lavis.models.codecs.seconds_text import SecondsText
from lavis.models.codecs.structural_tokens import StructuralTokens
from lavis.models.language_models.base import IGNORE
from lavis.models.language_models.causal import Causal
from lavis.models.prompts._templates import TEMPLATES
from lavis.models.prompts.chat import Chat
from lavis.structures import Moment, Packed, Passage, TimedTokens, Turn, VideoSample
from tests.toy_models import lasting_folder

MARKS = ("<|system|>", "<|user|>", "<|assistant|>", "<|end|>", "<|im_start|>", "<|im_end|>", "<s>", "</s>")


@cache
def tokenizer(begin: str | None = "<s>") -> str:
    """Folder of a tokenizer of bytes and a few longer pieces; Phi-3's marks swallow the blanks behind them."""
    from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers
    from tokenizers.models import BPE
    from transformers import PreTrainedTokenizerFast

    merges = [("t", "h"), ("th", "e"), ("Ġ", "the"), ("a", "n"), ("an", "d"), ("Ġ", "a"), ("e", "r"), ("Ċ", "Ċ")]
    pieces = [*sorted(pre_tokenizers.ByteLevel.alphabet()), *(a + b for a, b in merges)]
    built = Tokenizer(BPE({piece: i for i, piece in enumerate(pieces)}, merges))
    built.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    built.decoder = decoders.ByteLevel()
    swallowing = ("<|system|>", "<|user|>", "<|assistant|>", "<|end|>")
    built.add_special_tokens([AddedToken(mark, rstrip=mark in swallowing, normalized=False) for mark in MARKS])
    fast = PreTrainedTokenizerFast(tokenizer_object=built, bos_token=begin, eos_token="</s>", pad_token="</s>")
    folder = str(lasting_folder("chat_tokenizer_"))
    fast.save_pretrained(folder)
    return folder


@cache
def model(begin: str | None = "<s>", prepend: bool = True) -> Causal:
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    config = {"model_type": "llama", "vocab_size": 300, **sizes}
    return Causal(
        config=config, tokenizer=tokenizer(begin), prepend_bos=prepend, added_tokens=["<vid>", "<ent>", "<tst>"]
    )


def talk(*texts: str, video: str = "a.mp4", **fields: Any) -> VideoSample:
    turns = [Turn("assistant" if i % 2 else "user", text, learned=bool(i % 2)) for i, text in enumerate(texts)]
    return VideoSample("own", video, texts[0], 10.0, turns=turns, **fields)


def frames(count: int, questions: int = 1) -> TimedTokens:
    units = count * questions
    times = [(float(i), float(i)) for i in range(count)] * questions
    return TimedTokens(torch.arange(units * 8.0).view(units, 8), [1] * units, times, list(range(count)) * questions)


def packed(prompt: Chat, sample: VideoSample, tokens: TimedTokens, answer: bool = True, **given: Any) -> Packed:
    return model(**given).pack([prompt(sample, tokens, SecondsText(), [], answer)], [tokens], answer)


def learned(pack: Packed) -> str:
    assert pack.labels is not None
    text: str = model().tokenizer.decode(pack.labels[0][pack.labels[0] != IGNORE])
    return text


def text_of(prompt: Chat, sample: VideoSample, tokens: TimedTokens, answer: bool = False) -> str:
    return prompt(sample, tokens, SecondsText(), [], answer).text()


def test_answers_are_learned_with_what_closes_them() -> None:
    sample = talk("What is it?", "a cup", "And who?", "the man")
    for name in ("phi3", "qwen2", "vicuna_v1"):
        prompt = Chat(name, gather=True)
        end = TEMPLATES[name].answer_end
        blank = TEMPLATES[name].lead
        assert learned(packed(prompt, sample, frames(3))) == f"{blank}a cup{end}{blank}the man{end}"
        assert prompt.stops == (end,)


def test_frames_stand_where_the_text_says() -> None:
    begin, end = "<|im_start|>user\n", "<|im_end|>"
    for place, text, expected in (
        ("first", "Who?", "<v:2>\nWho?"),
        ("last", "Who?", "Who?\n<v:2>"),
        ("last", " <image>\nWho? ", "<v:2>\nWho?"),
        ("first", "Who?\n<video>", "Who?\n<v:2>"),
    ):
        shown = text_of(Chat("qwen2", place=place), talk(text, "He"), frames(2))  # type: ignore[arg-type]
        assert begin + expected.replace("<v:2>", "<v:1><v:1>") + end in shown


def test_places_are_drawn_for_each_sample_to_learn() -> None:
    prompt = Chat("qwen2", place="drawn")
    sides = set()
    for number in range(20):
        sample = VideoSample(str(number), "a.mp4", "Q", 5.0, turns=talk("Q", "A").turns)
        shown = text_of(prompt, sample, frames(1), answer=True)
        assert shown == text_of(prompt, sample, frames(1), answer=True)
        sides.add("<v:1>\nQ" in shown)
        assert "<v:1>\nQ" in text_of(prompt, sample, frames(1))
    assert sides == {True, False}


def test_every_turn_of_the_user_shows_the_frames_for_its_question() -> None:
    sample, tokens = talk("<image>\nOne?", "1", "Two?", "2"), frames(3, questions=2)
    prompt = Chat("qwen2")
    assert prompt.questions(sample) == ["One?", "Two?"]
    pack = packed(prompt, sample, tokens)
    (spans,) = pack.spans()
    assert [end - start for start, end in spans] == [3, 3]
    shown = torch.cat([pack.embeds[0, start:end] for start, end in spans])
    assert torch.equal(shown, tokens.tokens)
    # A compressor that reads no questions has the frames once.
    (spans,) = packed(prompt, sample, frames(3)).spans()
    assert [end - start for start, end in spans] == [3, 3]


def test_gathered_questions_share_the_frames() -> None:
    sample = talk("<image>\nOne?", "1", "Two?", "2")
    prompt = Chat("qwen2", gather=True)
    assert prompt.questions(sample) == ["One? Two?"]
    assert len(packed(prompt, sample, frames(3)).spans()[0]) == 1


def test_text_alone_has_no_place_for_frames() -> None:
    sample = talk("One?", "1", video="")
    assert packed(Chat("qwen2"), sample, frames(0)).spans() == [[]]
    with pytest.raises(ValueError, match="sample own: a turn shows frames"):
        text_of(Chat("qwen2"), talk("<image>\nOne?", "1", video=""), frames(0))


def test_a_query_is_asked_and_an_answer_begun() -> None:
    sample = VideoSample("own", "a.mp4", "a man runs. ", 5.0, kind="rar")
    prompt = Chat(
        "qwen2",
        question="Find '{query}'.",
        query_end=".",
        answer_start="It is",
        answer_start_of_kind={"rar": "Best Option: ("},
    )
    assert prompt.questions(sample) == ["Find 'a man runs'."]
    shown = text_of(prompt, sample, frames(1))
    assert shown.endswith("<v:1>\nFind 'a man runs'.<|im_end|>\n<|im_start|>assistant\nBest Option: (")
    # A word is not touched.
    prompt = Chat("vicuna_v1", answer_start="Best Option: (", question_of_kind={"rar": "Which of {query}"})
    assert text_of(prompt, sample, frames(1)).endswith("<v:1>\nWhich of a man runs. ASSISTANT: Best Option: (")


def test_match_tokens_of_a_query_stand_for_frames() -> None:
    sample = VideoSample("own", "a.mp4", "What is at <vid>?", 10.0, extra={"src": [4.2]})
    tokens = frames(10)
    prompt = Chat("qwen2", question="Tell: {query}")
    pack = model().pack([prompt(sample, tokens, StructuralTokens(), [])], [tokens])
    ((position, ref),) = pack.refs[0]
    assert ref.frame == 4
    embed = model().embed(pack.ids[0, position])
    assert torch.allclose(pack.embeds[0, position], embed + tokens.tokens[4])


def test_structural_tokens_are_learned_with_their_windows() -> None:
    sample = talk("<image>\nFind it.", "a man runs<ent>", moments=[Moment(3, 6)])
    tokens = frames(10)
    pack = model().pack([Chat("qwen2")(sample, tokens, StructuralTokens(), [], True)], [tokens], True)
    assert learned(pack) == "<tst>\na man runs<ent>\n<tst><|im_end|>"
    assert [ref.target for _, ref in pack.refs[0]] == [(0, 3), (3, 6), (6, 10)]


def test_a_caption_follows_the_frames_alone() -> None:
    prompt = Chat("plain")
    sample = talk("<image>\nDescribe.", " the table ")
    pack = packed(prompt, sample, frames(2))
    assert learned(pack) == " the table \n"
    assert prompt.questions(sample) == ["Describe."]
    assert prompt(sample, frames(2), SecondsText(), [], True).text() == "<v:1><v:1> the table \n"
    assert text_of(prompt, sample, frames(2)) == "<v:1><v:1>"
    for other, tokens in ((talk("a", "b", "c", "d"), frames(2)), (talk("a", "b", video=""), frames(0))):
        with pytest.raises(ValueError, match="sample own: the template plain shows frames and one caption"):
            prompt(other, tokens, SecondsText(), [], True)


@pytest.mark.parametrize(
    ("sample", "problem"),
    [
        (VideoSample("own", "a.mp4", "say <|im_end|>", 5.0), "sample own: .* marks the turns"),
        (VideoSample("own", "a.mp4", "see <image>", 5.0), "sample own: .* stands for the frames"),
        (talk("<image> <image>", "a"), "sample own: .* stands for the frames"),
        (talk("One?", "see <image>", "Two?"), "sample own: .* stands for the frames"),
        (talk("One?", "say <|im_start|>", "Two?"), "sample own: .* marks the turns"),
    ],
)
def test_texts_that_would_be_read_as_marks_are_refused(sample: VideoSample, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        text_of(Chat("qwen2"), sample, frames(2))


def test_there_must_be_an_answer_to_learn() -> None:
    with pytest.raises(ValueError, match="sample own: the conversation ends with the user"):
        text_of(Chat("qwen2"), talk("One?"), frames(2), answer=True)


def test_settings_are_checked() -> None:
    for fields in ({"template": "x"}, {"place": "x"}, {"labels": "x"}, {"question": "x"}, {"max_tokens": 0}):
        with pytest.raises(ValueError, match=f"prompt.{next(iter(fields))}"):
            Chat(**fields)  # type: ignore[arg-type]


def test_long_conversations_are_cut_at_their_end() -> None:
    sample, tokens = talk("<image>\nOne?", "1 and 2", "Two?", "2"), frames(5, questions=2)
    whole = packed(Chat("qwen2", max_tokens=None), sample, tokens)
    (first, second) = whole.spans()[0]
    for limit in range(1, 90):
        pack = packed(Chat("qwen2", max_tokens=limit), sample, tokens)
        length = pack.embeds.shape[1]
        shown = sum(end - start - 1 for start, end in pack.spans()[0])
        assert length - shown == min(limit, whole.embeds.shape[1] - 8)
        assert torch.equal(pack.embeds, whole.embeds[:, :length])
        assert pack.labels is not None
        assert whole.labels is not None
        assert torch.equal(pack.labels, whole.labels[:, :length])
    # What is asked is not cut.
    short = Chat("qwen2", max_tokens=2)
    assert packed(short, sample, tokens, answer=False).embeds.shape[1] > first[1] + second[1] - second[0]


def test_recounted_labels_drift_where_marks_swallow_blanks() -> None:
    """The labels of the originals, which count the line break between two rounds that the tokenizer does not see."""
    sample, tokens = talk("One?", "1 and", "Two?", "the 2"), frames(2)
    assert learned(packed(Chat("phi3", gather=True), sample, tokens)) == "1 and<|end|>the 2<|end|>"
    drifted = learned(packed(Chat("phi3", gather=True, labels="recounted"), sample, tokens))
    assert drifted.startswith("1 and<|end|>")
    assert drifted != "1 and<|end|>the 2<|end|>"
    single = talk("One?", "1 and")
    for name in ("phi3", "qwen2"):
        exact, counted = (
            packed(Chat(name, labels=labels), single, tokens).labels  # type: ignore[arg-type]
            for labels in ("exact", "recounted")
        )
        assert exact is not None
        assert counted is not None
        assert torch.equal(exact, counted)


def test_the_token_behind_frames_may_be_lost() -> None:
    sample, tokens = talk("<image>\nOne?", "1"), frames(2)
    given = {"begin": "<|im_start|>", "prepend": False}
    whole, lossy = (
        packed(Chat("qwen2", labels=labels, lose_token=lost), sample, tokens, **given)  # type: ignore[arg-type]
        for labels, lost in (("exact", False), ("recounted", True))
    )
    ((_, end),) = whole.spans()[0]
    stays = torch.arange(whole.ids.shape[1]) != end
    assert torch.equal(lossy.ids[0], whole.ids[0][stays])
    assert whole.labels is not None
    assert lossy.labels is not None
    assert torch.equal(lossy.labels[0], whole.labels[0][stays])


said = st.text(alphabet="thean d\n.(1Ä漢", min_size=1, max_size=12).filter(str.strip)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(said, said), min_size=1, max_size=3), st.booleans())
def test_what_is_learned_is_what_was_said(rounds: list[tuple[str, str]], shows: bool) -> None:
    sample = talk(*(text for pair in rounds for text in pair), video="a.mp4" if shows else "")
    tokens = frames(2) if shows else frames(0)
    sequence = Chat("qwen2", max_tokens=None)(sample, tokens, SecondsText(), [], True)
    pack = model().pack([sequence], [tokens], True)
    assert learned(pack) == "".join(f"{answer.strip()}<|im_end|>" for _, answer in rounds)
    own = model().tokenizer
    strings = [segment.text() for segment in sequence.blocks[0].segments if isinstance(segment, Passage)]
    ids = [own.bos_token_id, *(i for text in strings for i in own(text, add_special_tokens=False)["input_ids"])]
    assert [i for i in pack.ids[0].tolist() if i >= 0] == ids
    assert pack.labels is not None
    assert bool(((pack.labels == IGNORE) | (pack.labels == pack.ids)).all())

"""Match tokens: the frames that texts point to, seconds in place of tokens, and windows from the text."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import AutoTokenizer

from lavis.datasets.formats.et_instruct import ETInstruct
from lavis.models.codecs.match_tokens import MatchTokens, substituted
from lavis.models.prompts.chat import Chat
from lavis.scoring.scorer import score
from lavis.structures import FrameRef, ModelOutput, Moment, Passage, Text, TimedTokens, Turn, VideoSample

MATCH = 7


class Tokenizer:
    def get_vocab(self) -> dict[str, int]:
        return {"<vid>": MATCH}


def codec(**fields: Any) -> MatchTokens:
    own = MatchTokens(**fields)
    own.bind(Tokenizer())
    return own


def sample(**fields: Any) -> VideoSample:
    return VideoSample(**{"id": "q", "video": "v.mp4", "query": "a man cooks", "duration": 20.0, **fields})


def tokens(count: int = 20, rounds: int = 1) -> TimedTokens:
    times = [(float(i), float(i)) for i in range(count)] * rounds
    units = count * rounds
    return TimedTokens(torch.zeros(units, 4), [1] * units, times, list(range(count)) * rounds)


def written(parts: Sequence[Text | FrameRef]) -> str:
    return "".join(part.text if isinstance(part, Text) else part.token for part in parts)


def refs(parts: Sequence[Text | FrameRef]) -> list[FrameRef]:
    return [part for part in parts if isinstance(part, FrameRef)]


def talk(*texts: str, duration: float = 20.0, **extra: Any) -> VideoSample:
    turns = [Turn(("user", "assistant")[i % 2], text, learned=i % 2 == 1) for i, text in enumerate(texts)]  # type: ignore[arg-type]
    return sample(query=texts[0], turns=turns, duration=duration, extra=extra)


def output(text: str, frames: Sequence[int], count: int = 20) -> ModelOutput:
    """An answer whose match tokens were matched with ``frames``, and its end."""
    places, pieces = iter(frames), text.split("<vid>")
    ids = [token for piece in pieces[:-1] for token in [*[3] * len(piece.split()), MATCH]] + [3]
    rows = [next(places) if token == MATCH else 0 for token in ids] + [0]
    shares = torch.nn.functional.one_hot(torch.tensor(rows), count).float()
    return ModelOutput(text, ids, hidden={"similarities": shares, "frames": shares.argmax(dim=1)})


def windows(found: Any) -> list[list[float]]:
    return [moment.to_list() for moment in found.moments]


# What is learned


def test_times_of_questions_are_given_and_those_of_answers_learned() -> None:
    own = talk("What happens after <vid>?", "a door, from <vid> to <vid>", duration=9.0, src=[4.5], tgt=[2.6, 50.0])
    question, answer = codec().turns(own, tokens(9), answer=True)
    assert refs(question) == [FrameRef("<vid>", frame=4)]  # half to even
    assert [(ref.frame, ref.target, ref.learned) for ref in refs(answer)] == [
        (3, (2.6, 2.6), True),
        (8, (8.0, 8.0), True),
    ]
    assert written(answer) == "a door, from <vid> to <vid>"
    assert [part.learned for part in answer] == [True] * 4
    assert codec().turns(own, tokens(9), answer=False) == [question]


def test_a_sample_without_a_conversation_is_answered_with_its_windows() -> None:
    own = sample(moments=[Moment(3, 6.5), Moment(7, 9)])
    question, answer = codec().turns(own, tokens(), answer=True)
    assert written(question) == "a man cooks"
    assert written(answer) == "<vid> - <vid>, <vid> - <vid> seconds."
    assert [ref.target for ref in refs(answer)] == [(3, 3), (6.5, 6.5), (7, 7), (9, 9)]
    happens = codec(answer="The event happens in {windows}.").turns(sample(moments=[Moment(3, 6)]), tokens(), True)
    assert written(happens[1]) == "The event happens in <vid> - <vid>."
    own = sample(moments=[Moment(3, 6), Moment(7, 9)], extra={"captions": ["add salt.", "serve"]})
    told = codec().turns(own, tokens(), answer=True)[1]
    assert written(told) == "<vid> - <vid> seconds, add salt. <vid> - <vid> seconds, serve."


def test_what_is_written_of_a_plain_sample_is_read_back() -> None:
    own = sample(moments=[Moment(3, 6.4), Moment(7, 9)], extra={"captions": ["add salt.", "serve"]})
    answer = codec().turns(own, tokens(), answer=True)[1]
    said = output(written(answer), [ref.frame or 0 for ref in refs(answer)])
    found = codec().decode(said, own)
    assert windows(found) == [[3, 6], [7, 9]]
    assert found.captions == ["add salt", "serve"]
    bounds = [bound for moment in own.moments or [] for bound in moment.to_list()]
    read = [bound for window in windows(found) for bound in window]
    assert max(abs(a - b) for a, b in zip(bounds, read, strict=True)) <= codec().resolution(own)


def test_an_answer_may_be_given_as_text() -> None:
    own = sample(answer="At <vid> it ends.", moments=[Moment(3, 6)], extra={"tgt": [6]})
    assert [ref.frame for ref in refs(codec().turns(own, tokens(), answer=True)[1])] == [6]
    (_, answer) = codec().turns(sample(answer="(A) cup"), tokens(), answer=True)
    assert answer == [Text("(A) cup", learned=True)]


def test_windows_stand_in_for_times_that_are_not_given() -> None:
    own = talk("When?", "From <vid> to <vid>.")
    turns = codec().turns(sample(turns=own.turns, moments=[Moment(3, 6)]), tokens(), answer=True)
    assert [ref.frame for ref in refs(turns[1])] == [3, 6]


def test_rounds_of_a_conversation_point_to_their_own_frames() -> None:
    own = talk("At <vid>?", "yes, <vid>", "And at <vid>?", "no, <vid>", duration=10.0, src=[1, 2], tgt=[3, 4])
    shown = [ref.frame for turn in codec().turns(own, tokens(10, rounds=2), True) for ref in refs(turn)]
    assert shown == [1, 3, 12, 14]
    assert [ref.frame for turn in codec().turns(own, tokens(10), True) for ref in refs(turn)] == [1, 3, 2, 4]
    # To ask on, what was said so far is given and no longer learned.
    asked = codec().turns(own, tokens(10), answer=False)
    assert len(asked) == 3
    assert [ref.frame for turn in asked for ref in refs(turn)] == [1, 3, 2]


def test_a_long_video_is_counted_in_frames_of_its_own() -> None:
    own = talk("At <vid>?", "yes", src=[150.0])
    own = sample(turns=own.turns, duration=200.0, extra=own.extra)
    assert refs(codec().turns(own, tokens(), True)[0])[0].frame == 14  # shown at 147 s, the next at 157 s
    assert refs(codec(index_is_second=True).turns(own, tokens(), True)[0])[0].frame == 19
    said = output("<vid> - <vid> seconds", [5, 9])
    assert windows(codec().decode(said, own)) == [[52.37, 94.26]]
    assert windows(codec(index_is_second=True).decode(said, own)) == [[5, 9]]
    assert windows(codec().decode(said, sample(duration=90.0, clip=Moment(10.5, 30.5)))) == [[15.5, 19.5]]
    assert windows(codec(fps=2.0).decode(said, sample(duration=10.0))) == [[2.5, 4.5]]


@pytest.mark.parametrize(
    ("own", "problem"),
    [
        (talk("At <vid>?", "yes"), r"1 <vid> in what the user says .*extra\['src'\] has 0 times"),
        (talk("At?", "yes", src=[1.0]), r"0 <vid> in what the user says .*'src'\] has 1 times"),
        (talk("When?", "<vid> - <vid>", tgt=[1.0]), r"2 <vid> in what the assistant .*'tgt'\] has 1 times"),
        (talk("When?", "(A)", tgt=[1.0, 2.0]), r"0 <vid> in what the assistant .*has 2 times"),
        (talk("At <vid>?", "yes", src=["now"]), r"extra\['src'\] must be a list of seconds"),
        (talk("At <vid>?", "yes", src=[float("nan")]), r"extra\['src'\] must be a list of seconds"),
        (talk("At <vid>?", "yes", src=4.0), r"extra\['src'\] must be a list of seconds"),
        (talk("When?", "<vid>", tgt=[[1.0, 2.0]]), r"extra\['tgt'\] must be a list of seconds"),
        (sample(query="what is <vid>?", moments=[Moment(1, 2)]), r"<vid> stands for a time in the video: give one"),
        (sample(), "has no moments to learn"),
        (sample(moments=[]), "an empty list of moments"),
    ],
)
def test_times_that_do_not_fit_the_text_are_refused(own: VideoSample, problem: str) -> None:
    with pytest.raises(ValueError, match=f"sample q.*{problem}"):
        codec().turns(own, tokens(), answer=True)


def test_a_question_with_a_match_token_needs_its_time() -> None:
    with pytest.raises(ValueError, match=r"sample q: 1 <vid> .* give one for each, or write it otherwise"):
        codec().turns(sample(query="what is <vid>?"), tokens(), answer=False)
    assert codec().turns(sample(extra={"src": [3.0]}), tokens(), answer=False) == [[Text("a man cooks")]]


def test_times_without_frames_are_refused() -> None:
    own = talk("At <vid>?", "yes", src=[4.0])
    with pytest.raises(ValueError, match="sample q: .*there are no frames"):
        codec().turns(own, tokens(0), answer=True)


def test_settings_out_of_range_are_refused() -> None:
    for fields in ({"fps": 0}, {"time_template": "s"}, {"time_template": "{}{}"}, {"answer": "x"}):
        with pytest.raises(ValueError, match="codec"):
            codec(**fields)
    with pytest.raises(ValueError, match="sample q: match tokens need the frames"):
        codec().encode(sample())


def test_recorded_annotations_are_written(golden_dir: Path) -> None:
    samples = ETInstruct(style="vid").read(golden_dir / "meco" / "data" / "etchat_train_annos.json").samples
    learned = [refs(codec().turns(own, tokens(round(own.duration)), answer=True)[-1]) for own in samples]
    assert [[ref.target and ref.target[0] for ref in found] for found in learned] == [
        [3.4, 7.8], [2, 9, 11.5, 18], [], [2.6, 8], [],
    ]  # fmt: skip
    (block,) = Chat("phi3")(samples[2], tokens(9), codec(), [], answer=True).blocks
    asked = [ref for part in block.segments if isinstance(part, Passage) for ref in refs(part.parts)]
    assert [ref.frame for ref in asked] == [2, 6]  # 5.5 is rounded to even


# What is read


def test_seconds_stand_in_place_of_tokens() -> None:
    found = codec().decode(output("<vid> - <vid> seconds.", [18, 9]), sample())
    assert found.text == "18 - 9 seconds."
    assert windows(found) == [[9, 18]]
    assert not found.malformed
    assert found.details["frames"] == found.details["times"] == [18, 9]
    assert found.details["match_inds"] == [0, 2]
    assert [row.index(1.0) for row in found.details["similarities"]] == [18, 9]
    assert json.loads(json.dumps(found.to_json()))["details"] == found.details


def test_a_template_writes_times_and_windows_are_the_same() -> None:
    found = codec(time_template="{}s").decode(output("from <vid> to <vid>, {x} {}", [12, 15]), sample())
    assert found.text == "from 12s to 15s, {x} {}"
    assert windows(found) == [[12, 15]]


def test_captions_follow_their_windows() -> None:
    said = output("<vid> - <vid> seconds, Add salt. <vid> - <vid> s: Serve.", [2, 9, 11, 18])
    found = codec().decode(said, sample())
    assert (windows(found), found.captions) == ([[2, 9], [11, 18]], ["Add salt", "Serve"])


@pytest.mark.parametrize(
    ("text", "frames", "expected"),
    [
        ("between <vid> and <vid>", [3, 7], [[3, 7]]),
        ("<vid><vid>", [12, 4], [[4, 12]]),
        ("<vid><vid><vid>", [2, 4, 6], [[2, 4]]),
        ("The best moment is <vid>.", [5], [[5, 6]]),
        ("3 - 7 seconds", [], [[3, 7]]),
        ("step 1 - <vid>", [5], [[1, 5]]),
    ],
    ids=["no range", "tokens alone", "an odd one", "a lone one", "digits of its own", "as the parser reads"],
)
def test_windows_of_other_answers(text: str, frames: list[int], expected: list[list[float]]) -> None:
    found = codec().decode(output(text, frames), sample())
    assert windows(found) == expected
    assert not found.malformed


def test_an_answer_without_times_has_no_moments() -> None:
    found = codec().decode(output("(A) a cup", []), sample())
    assert (found.moments, found.malformed, found.text) == ([], True, "(A) a cup")
    assert found.details == {"match_inds": [], "frames": [], "times": [], "similarities": []}
    assert codec().decode(ModelOutput("", []), sample()).malformed


def test_equal_similarities_mean_the_frame_that_the_head_names() -> None:
    shares = torch.full((3, 20), 0.05)
    said = ModelOutput("<vid> - <vid>", [MATCH, MATCH], hidden={"similarities": shares, "frames": torch.tensor([0, 4])})
    assert windows(codec().decode(said, sample())) == [[0, 4]]


@pytest.mark.parametrize(
    "hidden",
    [
        {},
        {"frames": torch.zeros(0, dtype=torch.long)},
        {"similarities": torch.zeros(3, 0), "frames": torch.zeros(3, dtype=torch.long)},
        {"similarities": torch.full((3, 5), torch.nan), "frames": torch.zeros(3, dtype=torch.long)},
        {"similarities": torch.zeros(3, 5), "frames": torch.full((3,), 5)},
        {"similarities": torch.zeros(3, 5), "frames": torch.full((3,), -1)},
        {"similarities": torch.zeros(3, 5), "frames": torch.full((3,), torch.nan)},
    ],
    ids=["no head", "too short", "no frames", "no numbers", "past the end", "negative", "no number"],
)
def test_tokens_without_a_frame_stay_as_they_are(hidden: dict[str, Tensor]) -> None:
    found = codec().decode(ModelOutput("<vid> - <vid>", [MATCH, MATCH], hidden=hidden), sample())
    assert (found.text, found.moments, found.malformed) == ("<vid> - <vid>", [], True)
    assert found.details == {
        "match_inds": [0, 1], "frames": [None, None], "times": [None, None], "similarities": [None, None],
    }  # fmt: skip
    json.dumps(found.to_json(), allow_nan=False)


def test_one_token_without_a_frame() -> None:
    shares = torch.eye(20)[:3]
    shares[1] = torch.nan
    hidden = {"similarities": shares, "frames": torch.tensor([6, 0, 0])}
    found = codec().decode(ModelOutput("<vid> - <vid>", [MATCH, MATCH], hidden=hidden), sample())
    assert (found.text, found.details["frames"]) == ("6 - <vid>", [6, None])
    assert windows(found) == [[6, 7]]


def test_a_token_spelled_out_leaves_the_text_alone() -> None:
    said = output("<vid> - <vid>", [3, 7])
    found = codec().decode(ModelOutput("a <vid> is <vid> - <vid>", said.token_ids, hidden=said.hidden), sample())
    assert found.text == "a <vid> is <vid> - <vid>"
    assert windows(found) == [[3, 7]]


def test_without_a_tokenizer_nothing_is_matched() -> None:
    found = MatchTokens().decode(output("<vid> - <vid>", [3, 7]), sample())
    assert (found.text, found.malformed) == ("<vid> - <vid>", True)


@pytest.mark.parametrize(
    "text", ["1" * 200_000, "9" * 4_000 + " - 3", "1." * 50_000, "7" + " " * 50_000, "1 - " * 20_000]
)
def test_digits_without_end_cost_no_time(text: str) -> None:
    """Time of this thread alone, whatever else the machine does; read in steps by the square it would be minutes."""
    start = time.thread_time()
    codec().decode(ModelOutput(text, [3]), sample())
    assert time.thread_time() - start < 20


TEXTS = st.lists(
    st.sampled_from(["<vid>", " - ", " to ", "seconds", ".", "\n", "{}", "{0}", "start", "12", "99999", "٣", "-", "²"])
    | st.text(max_size=5)
).map("".join)
NUMBERS = st.floats(width=32) | st.sampled_from([0.0, 0.5, 1.0])


@st.composite
def tables(draw: st.DrawFn) -> Tensor:
    shape = draw(st.lists(st.integers(0, 4), max_size=3))
    size = int(torch.tensor(shape, dtype=torch.long).prod()) if shape else 1
    values = torch.tensor(draw(st.lists(NUMBERS, min_size=size, max_size=size)), dtype=torch.float32)
    return values.reshape(shape).to(draw(st.sampled_from([torch.float32, torch.bfloat16, torch.float16])))


@given(
    text=TEXTS,
    ids=st.lists(st.sampled_from([3, MATCH]), max_size=6),
    hidden=st.dictionaries(st.sampled_from(["similarities", "frames", "scale"]), tables()),
    duration=st.floats(0.1, 4000),
    spelled=st.booleans(),
)
@settings(max_examples=150, deadline=None)
def test_nothing_that_is_said_makes_reading_fail(
    text: str, ids: list[int], hidden: dict[str, Tensor], duration: float, spelled: bool
) -> None:
    if not spelled:
        ids = ids + [MATCH] * (text.count("<vid>") - ids.count(MATCH))
    found = codec(time_template="{}s").decode(ModelOutput(text, ids, hidden=hidden), sample(duration=duration))
    assert found.malformed == (not found.moments)
    row = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert len(row["details"]["frames"]) == ids.count(MATCH)


# The original's own way


def test_predictions_are_scored_as_the_originals() -> None:
    answers = [
        ("<vid> - <vid>", [2, 9]), ("<vid> - <vid>", [9, 2]), ("from <vid> to <vid>", [4, 7]), ("(A)", []),
        ("<vid>", [3]), ("<vid> <vid> <vid>", [1, 2, 3]), ("3 - 9", []),
    ]  # fmt: skip
    truth, ours, theirs = [], [], []
    for number, (text, frames) in enumerate(answers):
        asked = sample(id=str(number))
        truth.append({"qid": number, "vid": "v", "duration": 20, "relevant_windows": [[2.1, 9]]})
        ours.append(json.loads(json.dumps(codec().decode(output(text, frames), asked).to_json())))
        theirs.append({"vid": str(number), "query": "q", "response": text, "span": [2.1, 9], "pred": frames})
    found = score("etchat_charades", ours, truth).figures
    assert found == score("etchat_charades", theirs).figures
    assert (found["failed"], found["hit_3"], found["hit_7"]) == (4, 2, 1)


def test_the_original_asks_for_a_frame_for_each_token() -> None:
    assert substituted(" <vid> to <vid>. ", [MATCH, 3, MATCH], [4, 5, 6], MATCH, "{}s") == "4s to 6s."
    with pytest.raises(ValueError, match="got 2 frames for 3 tokens"):
        substituted("<vid> to <vid>", [MATCH, 3, MATCH], [4, 5], MATCH)
    with pytest.raises(ValueError, match="has 1 <vid>, but its ids have 2"):
        substituted("<vid>", [MATCH, MATCH], [4, 5], MATCH)


def test_recorded_texts(golden_dir: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(golden_dir / "meco" / "tokenizers" / "phi3")
    tokenizer.add_special_tokens({"additional_special_tokens": ["<vid>"]}, replace_extra_special_tokens=False)
    match = tokenizer.convert_tokens_to_ids("<vid>")
    for row in json.loads((golden_dir / "meco" / "data" / "detokenize.json").read_text()):
        text = tokenizer.decode(row["ids"])
        assert [i for i, token in enumerate(row["ids"]) if token == match] == row["match_inds"]
        assert substituted(text, row["ids"], row["tgt"], match) == row["out"]
        assert substituted(text, row["ids"], row["tgt"], match, "{}s") == row["out_template"]

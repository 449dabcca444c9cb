"""Structural tokens: what is learned, and windows from similarities."""

from __future__ import annotations

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lavis.models.codecs._segments import Grid
from lavis.models.codecs.structural_tokens import StructuralTokens
from lavis.structures import FrameRef, ModelOutput, Moment, Text, TimedTokens, Turn, VideoSample

IDS = {"<vid>": 7, "<ent>": 8, "<tst>": 9}


class Tokenizer:
    def get_vocab(self) -> dict[str, int]:
        return IDS


def codec(**fields: object) -> StructuralTokens:
    own = StructuralTokens(**fields)  # type: ignore[arg-type]
    own.bind(Tokenizer())
    return own


def sample(**fields: object) -> VideoSample:
    return VideoSample(**{"id": "q", "video": "v.mp4", "query": "a man cooks", "duration": 20.0, **fields})  # type: ignore[arg-type]


def tokens(count: int = 20) -> TimedTokens:
    times = [(float(i), float(i)) for i in range(count)]
    return TimedTokens(torch.zeros(count, 4), [1] * count, times, list(range(count)))


def written(parts: list[Text | FrameRef]) -> str:
    return "".join(part.text if isinstance(part, Text) else part.token for part in parts)


def test_events_are_closed_and_gaps_are_told() -> None:
    own = sample(moments=[Moment(3, 6), Moment(7, 9)])
    question, answer = codec(answer="he cooks").turns(own, tokens(), answer=True)
    assert written(question) == "a man cooks"
    assert written(answer) == "<tst>\nhe cooks<ent>\nhe cooks<ent>\n<tst>"
    refs = [part for part in answer if isinstance(part, FrameRef)]
    assert [(ref.token, ref.target) for ref in refs] == [
        ("<tst>", (0, 3)), ("<ent>", (3, 6)), ("<ent>", (7, 9)), ("<tst>", (9, 20)),
    ]  # fmt: skip
    assert all(part.learned for part in answer)
    assert codec().turns(own, tokens(), answer=False) == [[Text("a man cooks")]]


def test_a_question_may_point_to_seconds() -> None:
    turns = [Turn("user", "What happens from <vid> to <vid>?"), Turn("assistant", "he cooks<ent>", learned=True)]
    own = sample(turns=turns, moments=[Moment(4, 6)], extra={"src": [4.4, 90.0]})
    question, _ = codec().turns(own, tokens(), answer=True)
    assert [part.frame for part in question if isinstance(part, FrameRef)] == [4, 19]
    with pytest.raises(ValueError, match=r"sample q: .* has 2 <vid>, but 1 times"):
        codec().turns(sample(turns=turns, moments=[Moment(4, 6)], extra={"src": [4.4]}), tokens(), answer=True)


def test_a_long_video_is_measured_in_frames_of_its_own() -> None:
    grid = Grid.of(100, Moment(0, 1000), 1.0)
    assert grid.seconds(99) == pytest.approx(999)  # the last of the frames that would be looked at, were it all of them
    assert grid.seconds(100) == grid.end == 1000
    assert grid.frames([(0, 999), (500, 1000)])[:, 1].tolist() == pytest.approx([99, 99.1], abs=0.01)
    assert [grid.position(time) for time in (999, -5, 2000)] == pytest.approx([99, 0, 99])
    assert Grid.of(40, Moment(0, 20), 1.0).step == 0.5
    assert Grid.of(100, Moment(0, 1000), 1.0, index_is_second=True).step == 1


@pytest.mark.parametrize("query", ["find <ent> now", "a <tst>"])
def test_a_query_with_a_structural_token_is_refused(query: str) -> None:
    with pytest.raises(ValueError, match="sample q: .*leave it out"):
        codec().turns(sample(query=query), tokens(), answer=False)


def output(text: str, ids: list[int], rows: list[list[float]], frames: int = 20) -> ModelOutput:
    similarities = torch.zeros(len(ids) + 1, frames)
    places = [i for i, number in enumerate(ids) if number in (8, 9)]
    for place, row in zip(places, rows, strict=True):
        similarities[place] = torch.tensor(row)
    return ModelOutput(text, ids, hidden={"similarities": similarities, "scale": torch.tensor(14.3)})


def peak(first: int, last: int, frames: int = 20) -> list[float]:
    return [0.9 if first <= i <= last else 0.1 for i in range(frames)]


def test_windows_are_where_an_events_similarity_is_high() -> None:
    said = output("he cooks<ent>", [3, 4, 8], [peak(5, 9)])
    found = codec(compare=False).decode(said, sample())
    assert [m.to_list() for m in found.moments] == [[5, 9]]
    assert found.captions == ["he cooks"]
    assert not found.malformed
    assert found.details["ent_inds"] == [2]
    assert found.details["tst_inds"] == []
    assert len(found.details["vl_sims"][0]) == 20
    assert len(found.frame_scores) == 10
    assert found.to_json()["details"]["scale"] == pytest.approx(14.3)


def test_a_video_of_ten_times_the_frames_has_windows_in_seconds() -> None:
    said = output("he cooks<ent>", [3, 4, 8], [peak(5, 9)])
    found = codec(compare=False).decode(said, sample(duration=200.0))
    assert [m.to_list() for m in found.moments] == [pytest.approx([52.37, 94.26], abs=0.01)]


@pytest.mark.parametrize(
    ("ids", "rows"),
    [([3, 4], []), ([3, 8], [[0.5] * 20]), ([9], [peak(2, 4)]), ([8], [[float("nan")] * 20])],
    ids=["no token", "all equal", "transitions alone", "no numbers"],
)
def test_without_a_window_the_answer_is_the_whole_video(ids: list[int], rows: list[list[float]]) -> None:
    found = codec().decode(output("words", ids, rows), sample())
    assert found.malformed
    assert [m.to_list() for m in found.moments] == [[0, 20]]
    assert codec(whole_video=False).decode(output("words", ids, rows), sample()).moments == []


def test_suppressed_windows() -> None:
    said = output("one<ent>two<ent>", [3, 8, 4, 8], [peak(5, 9), peak(5, 9)])
    assert len(codec(compare=False).decode(said, sample()).moments) == 1
    kept = codec(compare=False, suppressed="zero").decode(said, sample()).moments
    assert sorted(m.score for m in kept if m.score is not None) == pytest.approx([0, 0.9])


def test_windows_are_ranked_by_cosine_or_by_probability() -> None:
    broad, narrow = peak(0, 14), [0.8 if 17 <= i <= 18 else -0.9 for i in range(20)]
    said = output("one<ent>two<ent>", [3, 8, 4, 8], [broad, narrow])
    cosines = codec(compare=False).decode(said, sample()).moments
    assert [(m.start, round(m.score or 0, 2)) for m in cosines] == [(0, 0.9), (17, 0.8)]
    probabilities = codec(compare=False, confidence="probability").decode(said, sample()).moments
    assert [m.start for m in probabilities] == [17, 0]
    assert probabilities[0].score == pytest.approx(0.5, abs=1e-3)


def test_settings_out_of_range_are_refused() -> None:
    for fields in (
        {"fps": 0}, {"threshold": 1.0}, {"nms": 0}, {"suppressed": "some"}, {"strip": "all"}, {"confidence": "high"},
    ):  # fmt: skip
        with pytest.raises(ValueError, match="codec"):
            codec(**fields)


def test_more_times_than_match_tokens_are_refused() -> None:
    asked = sample(query="What is at <vid>?", extra={"src": [4.0, 5.0]})
    with pytest.raises(ValueError, match=r"sample q: extra\['src'\] has 1 times too many"):
        codec().turns(asked, tokens(), answer=False)
    # Annotations of referred windows have their times without a token that needs them.
    assert codec().turns(sample(extra={"src": [4.0, 5.0]}), tokens(), answer=False) == [[Text("a man cooks")]]
    with pytest.raises(ValueError, match=r"sample q: extra\['src'\] must be a list of seconds"):
        codec().turns(sample(query="at <vid>", extra={"src": ["now"]}), tokens(), answer=False)
    with pytest.raises(ValueError, match="sample q: .* 1 <vid>, but 0 times"):
        codec().turns(sample(query="at <vid>"), tokens(), answer=False)


def test_an_answer_of_tokens_alone_has_windows_and_no_captions() -> None:
    rows = [peak(2, 4), peak(6, 9), peak(12, 15)]
    found = codec(compare=False).decode(output("<ent><tst><ent>", [8, 9, 8], rows), sample())
    assert sorted(m.to_list() for m in found.moments) == [[2, 4], [12, 15]]
    assert (found.captions, found.malformed) == ([], False)
    assert (found.details["ent_inds"], found.details["tst_inds"]) == ([0, 2], [1])
    found = codec().decode(output("<vid><vid>", [7, 7], []), sample())
    assert (found.malformed, [m.to_list() for m in found.moments]) == (True, [[0, 20]])
    assert (found.details["ent_inds"], found.details["vl_sims"]) == ([], [])


def test_a_row_of_equal_similarities_has_no_window_beside_others() -> None:
    said = output("one<ent>two<ent>", [3, 8, 4, 8], [[0.5] * 20, peak(5, 9)])
    assert [m.to_list() for m in codec(compare=False).decode(said, sample()).moments] == [[5, 9]]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e30])
def test_a_row_without_numbers_makes_the_whole_answer_unreadable(value: float) -> None:
    said = output("one<ent>two<ent>", [3, 8, 4, 8], [[value] * 20, peak(5, 9)])
    found = codec().decode(said, sample())
    assert (found.malformed, [m.to_list() for m in found.moments]) == (True, [[0, 20]])


@pytest.mark.parametrize(
    "hidden",
    [
        {},
        {"scale": torch.tensor(14.3)},
        {"similarities": torch.zeros(1, 20), "scale": torch.tensor(14.3)},
        {"similarities": torch.zeros(3, 0), "scale": torch.tensor(14.3)},
        {"similarities": torch.zeros(3, 20)},
        {"similarities": torch.eye(3, 20), "scale": torch.tensor(torch.nan)},
        {"similarities": torch.zeros(20), "scale": torch.tensor(14.3)},
        {"similarities": torch.eye(3, 20), "scale": torch.ones(2)},
    ],
    ids=["no head", "no table", "too short", "no frames", "no scale", "no number", "no table of two", "two scales"],
)
def test_what_a_head_did_not_see_is_no_window(hidden: dict[str, torch.Tensor]) -> None:
    found = codec().decode(ModelOutput("he cooks<ent>", [3, 8], hidden=hidden), sample())
    assert (found.malformed, [m.to_list() for m in found.moments]) == (True, [[0, 20]])


def test_frames_behind_the_end_of_the_video_are_its_end() -> None:
    # As many frames as seconds, but for two, count as one a second.
    said = output("he cooks<ent>", [8], [peak(101, 101, 102)], frames=102)
    found = codec(compare=False).decode(said, sample(duration=100.0))
    assert [m.to_list() for m in found.moments] == [[100, 100]]


@given(
    ids=st.lists(st.sampled_from([3, 7, 8, 9]), max_size=5),
    text=st.lists(st.sampled_from(["<ent>", "<tst>", "<vid>", ".", "a ", "\n"])).map("".join),
    shape=st.tuples(st.integers(0, 5), st.integers(0, 6)),
    values=st.lists(st.floats(width=32) | st.floats(-1, 1, width=32), min_size=1, max_size=6),
    scale=st.floats(width=32) | st.floats(1, 100, width=32),
    duration=st.floats(0.1, 4000),
    compare=st.booleans(),
)
@settings(max_examples=100, deadline=None)
def test_nothing_that_is_said_makes_reading_fail(
    ids: list[int],
    text: str,
    shape: tuple[int, int],
    values: list[float],
    scale: float,
    duration: float,
    compare: bool,
) -> None:
    rows = torch.tensor(values * 30, dtype=torch.float32)[: shape[0] * shape[1]].reshape(shape)
    said = ModelOutput(text, ids, hidden={"similarities": rows, "scale": torch.tensor(scale)})
    found = codec(compare=compare).decode(said, sample(duration=duration))
    assert all(m.start <= m.end <= duration for m in found.moments)
    json.dumps([found.frame_scores, [m.to_list() for m in found.moments]], allow_nan=False)

"""Structural tokens: what is learned, and windows from similarities."""

from __future__ import annotations

import pytest
import torch

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
    assert grid.step == 10
    assert grid.frames([(100, 205)]).tolist() == [[10, 20.5]]
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
    assert [m.to_list() for m in found.moments] == [[50, 90]]


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


def test_settings_out_of_range_are_refused() -> None:
    for fields in ({"fps": 0}, {"threshold": 1.0}, {"nms": 0}, {"suppressed": "some"}, {"strip": "all"}):
        with pytest.raises(ValueError, match="codec"):
            codec(**fields)

"""Choice of key frames: modes, speech, prior, budget, and what happens where the original fails."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from lavis.common.random import RecordedDraws, SampleDraws
from lavis.models.keyframes import (
    FrameChoice,
    KeyframeSettings,
    borders,
    choose_frames,
    dilate,
    fit_budget,
    is_about_talking,
    unlike_neighbours,
    with_speech,
)
from lavis.structures import Moment, VideoSample

STAGE_2 = KeyframeSettings(
    features="qformer", dilation=3, prior_clusters=8, prior_dilation=1, budget=0.5, dilate_speech=True
)


def sample(**fields: Any) -> VideoSample:
    return replace(VideoSample(id="s", video="v.mp4", query="a dog runs", duration=20), **fields)


def choose(
    settings: KeyframeSettings, features: Tensor, times: list[float] | None = None, **fields: Any
) -> FrameChoice:
    times = [float(t) for t in range(len(features))] if times is None else times
    (choice,) = choose_frames(settings, [features], [sample(**fields)], [times], [SampleDraws("s")])
    return choice


def mask(bits: str) -> Tensor:
    return torch.tensor([bit == "1" for bit in bits])


def bits(found: Tensor) -> str:
    return "".join("1" if value else "0" for value in found.tolist())


def scenes(*lengths: int) -> Tensor:
    """Features of a video with clear cuts."""
    return torch.cat([torch.full((n, 4), 10.0 * i) for i, n in enumerate(lengths)]) + 0.01 * torch.randn(
        sum(lengths), 4
    )


@pytest.mark.parametrize(("frames", "expected"), [(0, "0001000010"), (1, "0011100111"), (3, "1111111111")])
def test_dilate(frames: int, expected: str) -> None:
    assert bits(dilate(mask("0001000010"), frames)) == expected


@pytest.mark.parametrize(
    ("labels", "expected"), [([3, 3, 3, 1, 1, 1, 3, 3], "10110111"), ([5, 5, 5], "101"), ([5], "1"), ([1, 2], "11")]
)
def test_borders(labels: list[int], expected: str) -> None:
    assert bits(borders(torch.tensor(labels))) == expected


def test_information_takes_the_least_similar_neighbours() -> None:
    features = torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [0.0, 1.0], [0.3, 1.0], [0.3, 1.0]])
    assert bits(unlike_neighbours(features)) == "011110"
    assert bits(unlike_neighbours(features[:1])) == "0"


def test_modes() -> None:
    features = scenes(6, 6, 6, 6, 6)
    settings = KeyframeSettings(num_clusters=5, dilation=0)
    assert bits(choose(settings, features).key) == "100001" * 5
    assert bits(choose(replace(settings, dilation=1), features).key) == "110011" * 5
    assert bits(choose(replace(settings, mode="interval"), features).key) == "01" * 15
    assert bits(choose(replace(settings, mode="none"), features).key) == "0" * 30
    assert bool(choose(settings, features).kept.all())


@pytest.mark.parametrize(
    ("query", "expected"), [("a man talks", True), ("Talk to me", False), ("an essay", True), ("two dogs run", False)]
)
def test_talking_is_a_matter_of_letters(query: str, expected: bool) -> None:
    assert is_about_talking(query) is expected


def test_speech_frames() -> None:
    assert bits(with_speech(10, [Moment(2, 3.9), Moment(17.5, 99)], 20)) == "0100000011"
    assert bits(with_speech(4, [Moment(30, 40)], 20)) == "0000"


@pytest.mark.parametrize("mode", ["cluster", "information", "interval", "none"])
def test_speech_replaces_key_frames_of_any_mode(mode: Any) -> None:
    settings = KeyframeSettings(mode=mode)
    choice = choose(settings, torch.randn(10, 4), query="she says no", speech=[Moment(6, 7)])
    assert bits(choice.key) == "0001000000"
    dilated = replace(settings, dilate_speech=True)
    assert bits(choose(dilated, torch.randn(10, 4), query="she says no", speech=[Moment(6, 7)]).key) == "0011100000"


def test_speech_matters_to_queries_about_talking_only() -> None:
    settings = KeyframeSettings(mode="none")
    assert not choose(settings, torch.randn(10, 4), speech=[Moment(6, 7)]).key.any()
    assert not choose(replace(settings, mode="none"), torch.randn(10, 4), query="a man talks").key.any()
    shy = replace(settings, talk_keywords=("dog",))
    assert choose(shy, torch.randn(10, 4), speech=[Moment(6, 7)]).key.any()


def test_prior_keeps_its_clusters() -> None:
    settings = KeyframeSettings(num_clusters=4, dilation=0, prior_clusters=8, prior_dilation=0)
    choice = choose(settings, scenes(5, 5, 5, 5), prior=[Moment(6, 8)])
    assert bits(choice.kept) == "00000" + "11111" + "0" * 10
    assert bits(choose(replace(settings, prior_dilation=2), scenes(5, 5, 5, 5), prior=[Moment(6, 8)]).kept) == (
        "000" + "1" * 9 + "0" * 8
    )


def test_prior_keeps_the_clusters_it_covers_most() -> None:
    settings = KeyframeSettings(num_clusters=4, dilation=0, prior_clusters=1, prior_dilation=0)
    choice = choose(settings, scenes(5, 5, 5, 5), prior=[Moment(4, 9)])
    # Frame 4 lies in the window, its cluster is not among the most covered.
    assert bits(choice.kept) == "0000" + "1" * 6 + "0" * 10


def test_the_last_frame_of_a_window_does_not_belong_to_it() -> None:
    settings = KeyframeSettings(num_clusters=1.0, dilation=0, prior_clusters=20, prior_dilation=0)
    assert bits(choose(settings, torch.randn(10, 4), prior=[Moment(2, 5)]).kept) == "0011100000"


def test_times_are_rounded_before_they_meet_the_prior() -> None:
    settings = KeyframeSettings(num_clusters=1.0, dilation=0, prior_clusters=20, prior_dilation=0)
    times = [0.4, 1.5, 2.5, 3.5, 4.6]  # 0, 2, 2, 4, 5: halves go to the even second
    assert bits(choose(settings, torch.randn(5, 4), times, prior=[Moment(2, 4)]).kept) == "01100"


@pytest.mark.parametrize("prior", [[Moment(150, 160)], [Moment(20.2, 20.3)], [Moment(5, 5)]])
def test_prior_without_frames(prior: list[Moment]) -> None:
    settings = KeyframeSettings(num_clusters=1.0, dilation=0, prior_clusters=20, prior_dilation=1)
    features = torch.randn(20, 4)
    nearest = choose(settings, features, prior=prior).kept
    centre = 5 if prior[0].start == 5 else 19
    assert nearest.nonzero().flatten().tolist() == [i for i in range(centre - 1, centre + 2) if i < 20]
    assert choose(replace(settings, prior_without_frames="all"), features, prior=prior).kept.all()
    assert not choose(replace(settings, prior_without_frames="none"), features, prior=prior).kept.any()
    with pytest.raises(ValueError, match="sample s: no frame lies in the prior"):
        choose(replace(settings, prior_without_frames="raise"), features, prior=prior)


def test_windows_without_frames_beside_others_add_nothing() -> None:
    settings = KeyframeSettings(num_clusters=1.0, dilation=0, prior_clusters=20, prior_dilation=0)
    features = torch.randn(20, 4)
    alone = choose(settings, features, prior=[Moment(2, 5)])
    assert torch.equal(choose(settings, features, prior=[Moment(2, 5), Moment(150, 160)]).kept, alone.kept)


def test_empty_prior_keeps_all_frames_and_missing_one_is_refused() -> None:
    settings = KeyframeSettings(prior_clusters=8)
    assert choose(settings, torch.randn(20, 4), prior=[]).kept.all()
    with pytest.raises(ValueError, match="sample s has no prior"):
        choose(settings, torch.randn(20, 4))


@pytest.mark.parametrize("length", [1, 2, 3, 5, 11])
@pytest.mark.parametrize("settings", [KeyframeSettings(), STAGE_2, KeyframeSettings(mode="information")])
def test_short_videos(length: int, settings: KeyframeSettings) -> None:
    choice = choose(settings, torch.randn(length, 4), prior=[Moment(0, 20)])
    assert choice.kept.any() or settings.mode == "information"
    if settings.budget is not None:
        assert 1 <= int(choice.kept.sum()) <= max(length // 2, 1)


def test_second_stage_keeps_half_of_the_frames_at_most() -> None:
    for seed in range(5):
        torch.manual_seed(seed)
        choice = choose(STAGE_2, torch.randn(40, 6).cumsum(0), prior=[Moment(3, 30)])
        assert int(choice.kept.sum()) <= 20
        assert not (choice.key & choice.other).any()


def test_a_sample_does_not_depend_on_its_batch() -> None:
    features = [torch.randn(n, 6).cumsum(0) for n in (40, 24, 40)]
    samples = [sample(id=str(i), prior=[Moment(2, 15)]) for i in range(3)]
    times = [[20 * i / len(f) for i in range(len(f))] for f in features]
    together = choose_frames(STAGE_2, features, samples, times, [SampleDraws(s.id) for s in samples])
    for i in range(3):
        (alone,) = choose_frames(
            STAGE_2, features[i : i + 1], samples[i : i + 1], times[i : i + 1], [SampleDraws(str(i))]
        )
        assert torch.equal(alone.key, together[i].key)
        assert torch.equal(alone.other, together[i].other)


def test_budget_thins_runs_in_turns() -> None:
    key, other = fit_budget(mask("11110000"), mask("00001111"), 4, RecordedDraws([]))
    assert bits(key) == "10100000"
    assert bits(other) == "00001010"


def test_budget_stops_as_soon_as_it_is_met() -> None:
    key, other = fit_budget(mask("11110000"), mask("00001111"), 6, RecordedDraws([]))
    assert bits(key) == "11110000"
    assert bits(other) == "00001010"


def test_budget_takes_the_first_of_the_longest_runs() -> None:
    key, _ = fit_budget(mask("11011101110"), mask("00000000000"), 7, RecordedDraws([]))
    assert bits(key) == "11010101110"


def test_budget_drops_at_random_where_runs_are_single() -> None:
    draws = RecordedDraws([1, 0.69, 0, 0.29, 0, 0.71, 1, 0.0])
    key, other = fit_budget(mask("10101000"), mask("00000101"), 2, draws)
    assert bits(key) == "00100000"
    assert bits(other) == "00000100"
    with pytest.raises(ValueError, match="no recorded draw is left"):
        draws.coin()


def test_budget_without_key_frames_drops_other_frames_only() -> None:
    key, other = fit_budget(mask("0000000"), mask("1111111"), 3, SampleDraws("s"))
    assert not key.any()
    assert int(other.sum()) == 3


def test_budget_leaves_its_arguments_alone() -> None:
    key, other = mask("1111"), mask("0000")
    fit_budget(key, other, 1, SampleDraws("s"))
    assert bits(key) == "1111"


@pytest.mark.parametrize(
    "wrong",
    [
        {"features": "vit"},
        {"mode": "event"},
        {"dilation": -1},
        {"num_clusters": 0},
        {"budget": 1.5},
        {"budget": 0.0},
        {"prior_without_frames": "last"},
        {"talk_keywords": "talk"},
    ],
)
def test_impossible_settings_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"keyframes.{next(iter(wrong))}"):
        KeyframeSettings(**wrong)


def test_keywords_may_be_a_list() -> None:
    assert KeyframeSettings(talk_keywords=["sing"]).talk_keywords == ("sing",)  # type: ignore[arg-type]

"""Draws that belong to a sample, and recorded ones."""

from __future__ import annotations

import pytest
import torch

from lavis.common.random import RecordedDraws, SampleDraws


def test_same_sample_same_numbers() -> None:
    a, b = SampleDraws("QVHighlight_1", 7), SampleDraws("QVHighlight_1", 7)
    assert torch.equal(a.rand(5), b.rand(5))
    assert (a.coin(), a.randint(9)) == (b.coin(), b.randint(9))


def test_numbers_stay_the_same_from_version_to_version() -> None:
    draws = SampleDraws("QVHighlight_1")
    assert draws.rand(2).tolist() == pytest.approx([0.421639025, 0.896717012])
    assert draws.randint(1000) == 601
    assert draws.coin() == pytest.approx(0.154846311)


@pytest.mark.parametrize("other", [SampleDraws("QVHighlight_2", 7), SampleDraws("QVHighlight_1", 8)])
def test_other_sample_or_seed_other_numbers(other: SampleDraws) -> None:
    assert not torch.equal(SampleDraws("QVHighlight_1", 7).rand(5), other.rand(5))


def test_global_generator_is_left_alone() -> None:
    state = torch.get_rng_state()
    SampleDraws("a").rand(3)
    assert torch.equal(state, torch.get_rng_state())


def test_ranges() -> None:
    draws = SampleDraws("a")
    assert all(0 <= draws.coin() < 1 for _ in range(50))
    assert {draws.randint(3) for _ in range(50)} == {0, 1, 2}


def test_recorded_draws_come_in_order() -> None:
    draws = RecordedDraws([torch.tensor([0.1, 0.2]), 4, 0.5])
    assert draws.rand(2).tolist() == pytest.approx([0.1, 0.2])
    assert draws.randint(5) == 4
    assert draws.coin() == 0.5


def test_tables_are_split_and_the_rest_is_shared() -> None:
    table = torch.tensor([[0.1, 0.2], [0.3, 0.4]])
    first, second = RecordedDraws.for_batch([table, 3, 0.5, 1], batch_size=2)
    assert second.rand(2).tolist() == pytest.approx([0.3, 0.4])
    assert first.rand(2).tolist() == pytest.approx([0.1, 0.2])
    assert (first.randint(9), first.coin(), second.randint(9)) == (3, 0.5, 1)


def test_differences_from_the_record_are_told() -> None:
    with pytest.raises(ValueError, match="no recorded draw is left"):
        RecordedDraws([]).coin()
    with pytest.raises(ValueError, match="order of draws differs"):
        RecordedDraws([0.5]).randint(3)
    with pytest.raises(ValueError, match="recorded draw is 7"):
        RecordedDraws([7]).randint(3)
    with pytest.raises(ValueError, match="shape"):
        RecordedDraws([torch.zeros(3)]).rand(2)

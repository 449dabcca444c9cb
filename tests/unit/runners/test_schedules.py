"""Learning rates: CALCE's exactly (recorded ones are in the parity cases), LAVIS's names, and faulty settings."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from lavis.common.registry import registry
from lavis.runners.schedules import Constant, Cosine, LinearWarmupCosine, LinearWarmupStep, build_schedule
from tests.parity_cases.calce_optim import cases


def test_recorded_rates(golden_dir: Path) -> None:
    compared = [compare() for name, compare in cases(golden_dir / "calce") if "lr_schedule" in name]
    assert compared == [0.0, 0.0, 0.0]


def test_calce_counter_repeats_at_epochs() -> None:
    schedule = LinearWarmupCosine(1.0, warmup_steps=100, warmup_learning_rate=0.0, epochs=3, steps_per_epoch=4)
    rates = [schedule.rate(epoch, step) for epoch in range(2) for step in range(4)]
    assert rates == pytest.approx([0, 0.01, 0.02, 0.03, 0.03, 0.04, 0.05, 0.06])


def test_global_counter_does_not() -> None:
    schedule = LinearWarmupCosine(
        1.0, warmup_steps=100, warmup_learning_rate=0.0, counter="global", epochs=3, steps_per_epoch=4
    )
    assert [schedule.rate(1, step) for step in range(4)] == pytest.approx([0.04, 0.05, 0.06, 0.07])


def test_first_epoch_counter_ends_with_the_epoch() -> None:
    schedule = LinearWarmupStep(
        1.0, warmup_steps=100, warmup_learning_rate=0.0, counter="first_epoch", decay_rate=0.5, steps_per_epoch=4
    )
    assert schedule.rate(0, 3) == pytest.approx(0.03)
    assert schedule.rate(1, 0) == 0.5


def test_cosine_can_move_every_step() -> None:
    schedule = LinearWarmupCosine(1.0, epochs=2, steps_per_epoch=4, decay="step")
    assert schedule.rate(0, 0) == 1.0
    assert schedule.rate(1, 0) == pytest.approx(0.5)
    assert schedule.rate(1, 2) == pytest.approx(0.5 * (1 + math.cos(math.pi * 0.75)))


def test_step_and_constant() -> None:
    step = LinearWarmupStep(1.0, min_learning_rate=0.2, decay_rate=0.5, epochs=4, steps_per_epoch=1)
    assert [step.rate(epoch, 0) for epoch in range(4)] == [1.0, 0.5, 0.25, 0.2]
    constant = Constant(1.0, warmup_steps=2, warmup_learning_rate=0.0, epochs=2, steps_per_epoch=2)
    assert [constant.rate(epoch, i) for epoch in range(2) for i in range(2)] == [0.0, 0.5, 1.0, 1.0]


def test_cosine_counts_optimizer_steps() -> None:
    schedule = Cosine(1.0, warmup_ratio=0.25, epochs=2, steps_per_epoch=8, accumulate=2)
    rates = [schedule.rate(epoch, step) for epoch in range(2) for step in range(8)]
    expected = [0.0, 0.5, *(0.5 * (1 + math.cos(math.pi * i / 6)) for i in range(6))]
    assert rates == pytest.approx([rate for rate in expected for _ in range(2)])


def test_state_goes_on() -> None:
    one = LinearWarmupCosine(1.0, warmup_steps=9, warmup_learning_rate=0.0, epochs=3, steps_per_epoch=4)
    for step in range(4):
        one.rate(0, step)
    two = LinearWarmupCosine(1.0, warmup_steps=9, warmup_learning_rate=0.0, epochs=3, steps_per_epoch=4)
    two.load_state_dict(one.state_dict())
    assert two.rate(1, 1) == one.rate(1, 1) == pytest.approx(4 / 9)


@pytest.mark.parametrize("name", ["linear_warmup_cosine_lr", "linear_warmup_step_lr", "constant_lr"])
def test_names_of_lavis(name: str) -> None:
    assert registry.schedules.get(name) is registry.schedules.get(name.removesuffix("_lr"))


def test_built_from_a_node() -> None:
    schedule = build_schedule(
        {"name": "linear_warmup_cosine", "counter": "global"},
        learning_rate=1.0,
        warmup_steps=2,
        epochs=1,
        steps_per_epoch=4,
    )
    assert schedule.counter == "global"
    assert schedule.warmup_learning_rate == 1.0
    assert isinstance(build_schedule("cosine", learning_rate=1.0, epochs=1, steps_per_epoch=4, accumulate=4), Cosine)


def test_faulty_settings_say_what_is_allowed() -> None:
    with pytest.raises(ValueError, match="counter must be one of calce, global, first_epoch"):
        LinearWarmupCosine(1.0, counter="lavis")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="must be above 0"):
        Constant(0.0)
    with pytest.raises(ValueError, match="no parameter decay_rate"):
        build_schedule({"name": "constant", "decay_rate": 2}, learning_rate=1.0, epochs=1, steps_per_epoch=1)
    with pytest.raises(ValueError, match="Did you mean 'cosine'"):
        build_schedule("cosin", learning_rate=1.0, epochs=1, steps_per_epoch=1)
    with pytest.raises(ValueError, match="decay must be"):
        LinearWarmupCosine(1.0, decay="month")  # type: ignore[arg-type]

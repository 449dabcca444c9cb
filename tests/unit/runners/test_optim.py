"""Parameter groups, rates by pattern, and accumulation."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from lavis.runners.batching import accumulation_for
from lavis.runners.optim import Accumulation, build_optimizer, describe_groups, parameter_groups, set_rate
from tests.parity_cases.calce_optim import cases
from tests.parity_cases.meco_training import cases as recipes


class Parts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.proj = nn.Linear(2, 3)
        self.ln_vision = nn.Linear(2, 2)
        self.norm = nn.LayerNorm(3)
        self.frozen = nn.Linear(2, 2).requires_grad_(False)


def test_recorded_groups(golden_dir: Path) -> None:
    compared = [compare() for name, compare in cases(golden_dir / "calce") if "weight decay" in name]
    assert compared == [0.0, 0.0]


def test_matrices_decay_unless_named_otherwise() -> None:
    groups = parameter_groups(Parts().named_parameters(), learning_rate=1.0, weight_decay=0.1)
    by_decay = {group["weight_decay"]: group["names"] for group in groups}
    assert by_decay == {
        0.1: ["proj.weight"],
        0.0: ["proj.bias", "ln_vision.weight", "ln_vision.bias", "norm.weight", "norm.bias"],
    }


def test_names_without_decay_are_a_parameter() -> None:
    groups = parameter_groups(Parts().named_parameters(), learning_rate=1.0, weight_decay=0.1, no_decay=["bias"])
    decaying = next(group["names"] for group in groups if group["weight_decay"])
    assert decaying == ["proj.weight", "ln_vision.weight"]


def test_rates_by_pattern_follow_the_schedule() -> None:
    optimizer = build_optimizer(
        Parts().named_parameters(), learning_rate=1e-3, lr_groups={"*": 2e-3, "proj.*": 1e-4}, weight_decay=0.1
    )
    set_rate(optimizer, 5e-4)
    rates = {name: group["lr"] for group in optimizer.param_groups for name in group["names"]}
    assert rates["proj.weight"] == rates["proj.bias"] == pytest.approx(5e-5)
    assert rates["norm.weight"] == pytest.approx(1e-3)
    assert "6 weights in 1 tensors (rate x0.1, decay 0.1)" in describe_groups(optimizer)


def test_a_pattern_that_matches_nothing_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"'frozen\.\*' matches no parameter that learns; they begin"):
        parameter_groups(Parts().named_parameters(), learning_rate=1.0, weight_decay=0.0, lr_groups={"frozen.*": 1.0})


def test_nothing_that_learns_is_an_error() -> None:
    with pytest.raises(ValueError, match="no parameter learns"):
        parameter_groups(Parts().requires_grad_(False).named_parameters(), learning_rate=1.0, weight_decay=0.0)


def test_settings_reach_adamw() -> None:
    optimizer = build_optimizer(Parts().named_parameters(), learning_rate=1.0, betas=(0.5, 0.6), eps=1e-3)
    assert isinstance(optimizer, torch.optim.AdamW)
    assert optimizer.defaults["betas"] == (0.5, 0.6)
    assert optimizer.defaults["eps"] == 1e-3


def test_accumulation_averages_and_steps_with_what_is_left() -> None:
    accumulation = Accumulation(size=2, batches=5)
    assert [accumulation.weight(i, 4) for i in range(5)] == [0.5, 0.5, 0.5, 0.5, 1.0]
    assert [accumulation.ends_step(i) for i in range(5)] == [False, True, False, True, True]


def test_accumulation_of_calce_adds_and_carries_over() -> None:
    accumulation = Accumulation(size=2, batches=5, mode="sum", leftover="carry")
    assert [accumulation.weight(i, 4) for i in range(5)] == [1.0] * 5
    assert [accumulation.ends_step(i) for i in range(5)] == [False, True, False, True, False]


def test_vectors_decay_where_asked_for() -> None:
    groups = parameter_groups(
        Parts().named_parameters(), learning_rate=1.0, weight_decay=0.1, no_decay=["bias", "norm."], decay_vectors=True
    )
    decaying = next(group["names"] for group in groups if group["weight_decay"])
    assert decaying == ["proj.weight", "ln_vision.weight"]
    groups = parameter_groups(
        Parts().named_parameters(), learning_rate=1.0, weight_decay=0.1, no_decay=["bias"], decay_vectors=True
    )
    assert "norm.weight" in next(group["names"] for group in groups if group["weight_decay"])


@pytest.mark.parametrize(("wanted", "size", "world", "count"), [(256, 4, 8, 8), (256, 8, 1, 32), (32, 2, 4, 4)])
def test_the_samples_of_a_step_are_kept_on_any_number_of_processes(
    wanted: int, size: int, world: int, count: int
) -> None:
    assert accumulation_for(wanted, size, world) == count


def test_a_step_of_no_whole_iterations_is_an_error() -> None:
    message = r"global_batch_size 32 is no multiple of run.batch_size 3 times 2 processes; set .* to 1, 2, 4, 8, 16"
    with pytest.raises(ValueError, match=message):
        accumulation_for(32, 3, 2)
    with pytest.raises(ValueError, match="start a number that divides it"):
        accumulation_for(32, 1, 3)


def test_recorded_recipes(golden_dir: Path) -> None:
    """Of MeCo: what learns in each stage at which rate, and five steps."""
    compared = {name: compare() for name, compare in recipes(golden_dir / "meco") if name.startswith("training/")}
    assert len(compared) >= 9
    assert max(compared.values()) < 1e-5 * 2

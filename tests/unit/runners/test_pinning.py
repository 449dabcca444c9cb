"""Pixels go into page-locked memory, whatever holds them, and what is not decoded yet stays so."""

from __future__ import annotations

import pytest
import torch
from torch.utils.data._utils.pin_memory import pin_memory

from lavis.runners.data import Feeding
from lavis.runners.devices import pinned as choose
from lavis.runners.eval_data import LoaderSettings, _Unit, read_units
from lavis.structures import Batch, Frames, VideoSample
from tests.fake_run import FakeData

SAMPLES = [VideoSample(name, "v", "q", 9.0) for name in "abc"]


@pytest.fixture
def pinned(monkeypatch: pytest.MonkeyPatch) -> list[torch.Tensor]:
    """What was pinned; without a GPU a copy stands in for page-locked memory."""
    seen: list[torch.Tensor] = []

    def pin(tensor: torch.Tensor) -> torch.Tensor:
        seen.append(tensor.clone())
        return seen[-1]

    monkeypatch.setattr(torch.Tensor, "pin_memory", pin)
    return seen


def frames(value: float) -> Frames:
    return Frames(torch.full((2, 3, 1, 1), value), [0.0, 1.0], key=f"k{value}")


def forbidden() -> torch.Tensor:
    raise AssertionError("nobody looked")


def test_a_batch_is_pinned_by_the_loader_of_torch(pinned: list[torch.Tensor]) -> None:
    shared, later = frames(1.0), Frames(forbidden, [0.0])
    batch = Batch(SAMPLES, {"frames": [shared, shared, later], "fast": [frames(2.0), frames(3.0), later]})
    result = pin_memory(batch)
    assert isinstance(result, Batch)
    assert [float(tensor.mean()) for tensor in pinned] == [1.0, 2.0, 3.0]
    one, two, three = result.views["frames"]
    assert one is two
    assert one.pixels.data_ptr() == pinned[0].data_ptr()
    assert (one.times, one.key) == (shared.times, shared.key)
    assert three is later
    assert three.deferred
    assert result.samples is batch.samples


def test_items_of_an_evaluation_are_pinned_too(pinned: list[torch.Tensor]) -> None:
    shared = frames(1.0)
    unit = _Unit([(SAMPLES[0], {"frames": shared}), None, (SAMPLES[1], {"frames": shared})])
    first, missing, last = pin_memory(unit).items
    assert missing is None
    assert first is not None
    assert last is not None
    assert first[1]["frames"] is last[1]["frames"]
    assert len(pinned) == 1


def test_frames_on_their_way_to_a_device_are_pinned_before(pinned: list[torch.Tensor]) -> None:
    moved = frames(1.0).pin_memory().to("cpu")
    assert torch.equal(moved.pixels, frames(1.0).pixels)
    assert len(pinned) == 1


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU: page-locked memory belongs to one")
def test_memory_is_page_locked() -> None:
    batch = Batch(SAMPLES[:1], {"frames": [frames(1.0)]}).pin_memory()
    assert batch.views["frames"][0].pixels.is_pinned()
    assert torch.equal(batch.to("cuda").views["frames"][0].pixels.cpu(), frames(1.0).pixels)


def test_loaders_pin_where_it_helps() -> None:
    cpu, gpu = torch.device("cpu"), torch.device("cuda", 1)
    assert [choose("auto", cpu), choose("auto", gpu), choose(False, gpu), choose(True, gpu)] == [
        False,
        True,
        False,
        True,
    ]
    with pytest.raises(ValueError, match="run.pin_memory=true is for GPUs"):
        choose(True, cpu)
    assert (Feeding(pin=True).arguments()["pin_memory"], Feeding().arguments()["pin_memory"]) == (True, False)


def test_an_evaluation_that_reads_by_itself_pins_ahead(pinned: list[torch.Tensor]) -> None:
    units = [[0, 1], [2]]
    read = list(read_units(FakeData(3, "val"), units, LoaderSettings(pin=True)))
    assert [len(unit) for unit in read] == [2, 1]
    assert len(pinned) == 3

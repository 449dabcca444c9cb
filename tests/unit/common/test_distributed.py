"""Without a launcher there is one rank, and messages reach their sender; with several see the end-to-end tests."""

from __future__ import annotations

import pytest
import torch

from lavis.common import distributed


def test_one_process() -> None:
    assert (distributed.rank(), distributed.world_size(), distributed.is_main()) == (0, 1, True)
    assert distributed.gather_objects({"a": 1}) == [{"a": 1}]
    assert distributed.broadcast_object("x") == "x"
    assert distributed.any_rank(True)
    assert not distributed.any_rank(False)
    assert distributed.mean_over_ranks({"loss": 2.0}) == {"loss": 2.0}
    distributed.barrier()
    distributed.shutdown()


def test_rank_is_known_before_the_group_exists(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "3")
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert distributed.rank() == 3
    assert distributed.launched()
    assert not distributed.is_main()


def test_plain_tensors_pass_through() -> None:
    tensor = torch.arange(3.0)
    assert distributed.whole(tensor) is tensor
    assert distributed.local_part(tensor) is tensor
    assert distributed.shard_like(tensor, torch.zeros(3)) is tensor
    assert torch.equal(distributed.local_like(tensor, torch.zeros(3)), tensor)
    with distributed.gathered(torch.nn.Linear(1, 1)):
        pass

"""Without a launcher there is one rank, and messages reach their sender; with several see the end-to-end tests."""

from __future__ import annotations

import sys
from collections import Counter

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


def test_messages_without_a_process_group(monkeypatch: pytest.MonkeyPatch) -> None:
    with distributed.Relay("alone") as relay:
        relay.send({"nobody": "hears"})

    store = torch.distributed.HashStore()
    # By name, since torch.distributed has a function that is called like its module.
    module = sys.modules["torch.distributed.rendezvous"]
    monkeypatch.setattr(module, "rendezvous", lambda url: iter([(store, 0, 2)]))
    monkeypatch.setattr(distributed.Relay, "_made", Counter())
    monkeypatch.setenv("WORLD_SIZE", "2")
    main, later, other = (distributed.Relay(name) for name in ("both", "both", "others"))
    later.send({"of": "the second"})
    other.send({"of": "others"})
    for number in range(2):
        main.send({"number": number, "names": ["a"]})
    monkeypatch.setenv("RANK", "1")
    distributed.Relay._made.clear()
    with distributed.Relay("both") as heard:
        assert [heard.receive() for _ in range(2)] == [{"number": n, "names": ["a"]} for n in range(2)]
    assert distributed.Relay("both").receive() == {"of": "the second"}
    monkeypatch.setenv("RANK", "0")
    with main:
        pass  # which waits until the other has left

"""Digests of weights, structure, code and files."""

from __future__ import annotations

import os
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from lavis.common import content, provenance
from lavis.common.content import content_digest
from lavis.common.provenance import (
    TensorDigests,
    arithmetic,
    chance_in,
    clean_name,
    code_version,
    modules_of,
    structure,
)
from lavis.layers.qformer import QFormer
from lavis.layers.vit import VisionTransformer


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[torch.Tensor]:
    seen: list[torch.Tensor] = []
    original = provenance._bytes_digest
    monkeypatch.setattr(provenance, "_bytes_digest", lambda tensor: seen.append(tensor) or original(tensor))
    return seen


def test_bytes_type_and_shape_count() -> None:
    digests = TensorDigests()
    tensor = torch.arange(6.0)
    others = [tensor + 1, tensor.reshape(2, 3), tensor.double(), tensor.to(torch.bfloat16), torch.tensor(0.0)]
    assert digests.of(tensor) == digests.of(tensor.clone()) == TensorDigests().of(torch.arange(6.0))
    assert len({digests.of(t) for t in [tensor, *others]}) == 6
    assert digests.of(torch.arange(12.0)[::2]) != digests.of(torch.arange(6.0))


def test_each_state_is_read_once(read: list[torch.Tensor]) -> None:
    digests, weight = TensorDigests(), nn.Parameter(torch.ones(3))
    first = digests.of(weight)
    assert digests.of(weight) == first
    assert len(read) == 1
    with torch.no_grad():
        weight.add_(1)
    assert digests.of(weight) != first
    assert len(read) == 2


def test_writing_past_the_version_is_seen_at_the_next_change_of_mode() -> None:
    digests, weight = TensorDigests(), nn.Parameter(torch.ones(3))
    first = digests.of(weight)
    weight.data.add_(1)
    digests.forget_learning()
    assert digests.of(weight) != first


def test_structure_is_what_the_tensors_do_not_say() -> None:
    def of(**changes: object) -> str:
        return structure(VisionTransformer(**{"image_size": 28, "width": 16, "depth": 1, "heads": 2, **changes}))  # type: ignore[arg-type]

    assert of() == of()
    assert of() != of(heads=4)
    assert of() == of(use_checkpoint=True)
    assert structure(nn.LayerNorm(4)) != structure(nn.LayerNorm(4, eps=1e-3))
    assert structure(nn.Sequential(nn.ReLU())) != structure(nn.Sequential(nn.GELU()))


def test_wrappers_have_no_name() -> None:
    assert clean_name("blocks.0._checkpoint_wrapped_module.attn") == "blocks.0.attn"
    assert clean_name("_orig_mod.blocks.0") == "blocks.0"
    assert clean_name("module") == ""


def test_chance_is_found_where_it_is_active() -> None:
    former = QFormer(8, vocab_size=10, width=8, layers=1, heads=2, hidden=8, dropout=0.1)
    assert chance_in(former.train()) is not None
    assert chance_in(former.eval()) is None
    assert chance_in(QFormer(8, vocab_size=10, width=8, layers=1, heads=2, hidden=8, dropout=0.0).train()) is None
    vit = VisionTransformer(28, 14, 16, 2, 2, 4.0, 0.1, False)
    assert str(chance_in(vit.train())).startswith("blocks.1")
    assert chance_in(nn.Sequential(nn.BatchNorm1d(3))) == "0"


def test_arithmetic_names_what_decides_the_last_bits() -> None:
    cpu = torch.device("cpu")
    plain = arithmetic(cpu)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert arithmetic(cpu) != plain
    assert f"threads={torch.get_num_threads()}" in plain


def test_code_counts_with_the_modules_it_uses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "made_up_encoder.py"
    monkeypatch.syspath_prepend(str(tmp_path))

    def version(text: str) -> str:
        file.write_text(text)
        code_version.cache_clear()
        return code_version(("made_up_encoder",))

    first = version("import math\n")
    assert version("import math\n") == first
    assert version("import math \n") != first
    assert version("import numpy\n") != version("import math\n")
    with_layers = version("from lavis.layers.vit import Block\n")
    monkeypatch.setattr(provenance, "FOLLOWED", ())
    assert version("from lavis.layers.vit import Block\n") != with_layers
    code_version.cache_clear()


def test_modules_of_a_network() -> None:
    names = modules_of([VisionTransformer(28, 14, 16, 1, 2, 4.0, 0.0, False)])
    assert "lavis.layers.vit" in names
    assert not any(name.startswith("torch") for name in names)


def test_content_of_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content, "TICK", -1.0)
    path, copy = tmp_path / "a", tmp_path / "b"
    data = bytearray(os.urandom(3000))
    path.write_bytes(data)
    copy.write_bytes(data)
    first = content_digest(path)
    assert content_digest(copy) == first
    data[1500] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(1, 1))
    assert content_digest(path) != first
    monkeypatch.setattr(content, "_digest", lambda *_: pytest.fail("read twice"))
    content_digest(path)


def test_long_files_are_sampled_from_end_to_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("WHOLE", 100), ("BLOCKS", 5), ("BLOCK", 10)):
        monkeypatch.setattr(content, name, value)
    parts = list(content._parts(1000))
    assert parts[0] == (0, 10)
    assert parts[-1] == (990, 10)
    assert len(parts) == 5
    path = tmp_path / "long"
    path.write_bytes(bytes(1000))
    first = content_digest(path)
    for place in (0, 999):
        changed = bytearray(1000)
        changed[place] = 1
        path.write_bytes(changed)
        os.utime(path, ns=(place + 1, place + 1))
        assert content_digest(path) != first


def test_a_file_that_is_written_twice_at_the_same_time_is_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"first")
    facts = path.stat()
    monkeypatch.setattr(content.os, "stat", lambda name: facts)  # a clock that has not gone on
    monkeypatch.setattr(content, "TICK", 1e9)
    first = content_digest(path)
    path.write_bytes(b"other")
    assert content_digest(path) != first


def test_a_file_that_is_written_while_it_is_read_is_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"first")
    facts = path.stat()
    monkeypatch.setattr(content, "os", SimpleNamespace(**{**vars(os), "stat": lambda name: facts}))
    clock, plain = [facts.st_ctime], content._digest

    def slow(name: str, size: int) -> str:
        found = plain(name, size)
        clock[0] += 10.0
        return found

    monkeypatch.setattr(content, "time", SimpleNamespace(time=lambda: clock[0]))
    monkeypatch.setattr(content, "_digest", slow)
    first = content_digest(path)
    path.write_bytes(b"other")
    assert content_digest(path) != first


def test_a_file_that_takes_the_place_and_the_time_of_another_is_told_apart(tmp_path: Path) -> None:
    path, other = tmp_path / "a.mp4", tmp_path / "b.mp4"
    path.write_bytes(b"first")
    first, at = content_digest(path), path.stat().st_mtime_ns
    path.write_bytes(b"other")
    os.utime(path, ns=(at, at))
    second = content_digest(path)
    assert second != first
    other.write_bytes(b"third")
    os.utime(other, ns=(at, at))
    os.replace(other, path)
    assert content_digest(path) not in (first, second)


def test_weights_in_other_memory_are_read_anew() -> None:
    digests, layer = TensorDigests(), nn.Linear(64, 64).requires_grad_(False)
    first = digests.of(layer.weight)
    layer.half().float()
    assert digests.of(layer.weight) != first, "rounded on the way"
    second = digests.of(layer.weight)
    layer.weight.data = layer.weight.data + 1
    assert digests.of(layer.weight) != second


def test_frozen_weights_written_to_behind_the_back_of_torch_are_found_by_their_sum(read: list[torch.Tensor]) -> None:
    digests = TensorDigests()
    changed, untouched = (nn.Parameter(torch.ones(3), requires_grad=False) for _ in range(2))
    first = digests.of(changed), digests.of(untouched)
    changed.data.copy_(torch.tensor([3.0, 2.0, 1.0]))
    digests.forget_changed()
    assert digests.of(changed) != first[0]
    assert digests.of(untouched) == first[1]
    assert len(read) == 3


def test_functions_lists_and_types_are_structure() -> None:
    class Gate(nn.Module):
        def __init__(self, **settings: object) -> None:
            super().__init__()
            self.__dict__.update(settings)

    cases = [
        {"act": torch.nn.functional.gelu},
        {"act": torch.nn.functional.relu},
        {"act": partial(torch.nn.functional.gelu, approximate="tanh")},
        {"act": partial(torch.nn.functional.gelu, approximate="none")},
        {"scales": [1, 2]},
        {"scales": [1, 3]},
        {"kind": torch.float16},
        {"kind": torch.bfloat16},
    ]
    assert len({structure(Gate(**case)) for case in cases}) == len(cases)
    assert structure(Gate(**cases[2])) == structure(Gate(act=partial(torch.nn.functional.gelu, approximate="tanh")))
    assert structure(Gate(forward=torch.nn.functional.gelu)) == structure(Gate())


def test_the_version_of_a_package_does_not_depend_on_who_has_imported_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """PIL comes in a distribution of another name, so its own version was told only once it had been imported."""
    reader = ("lavis.processors.readers.image",)
    code_version.cache_clear()
    known = code_version(reader)
    monkeypatch.delitem(sys.modules, "PIL", raising=False)
    code_version.cache_clear()
    assert code_version(reader) == known

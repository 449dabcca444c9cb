"""Weights on disk: round trips, strict loading, and files that must be refused."""

from __future__ import annotations

import argparse
import os
import resource
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from lavis.common.checkpoint import (
    CheckpointError,
    load_archive,
    load_weights,
    read_checkpoint,
    save_archive,
    save_checkpoint,
    trainable_state,
)
from lavis.common.io import WriteError


class Part(nn.Module):
    def __init__(self, width: int = 3) -> None:
        super().__init__()
        self.body = nn.Linear(2, width).requires_grad_(False)
        self.norm = nn.BatchNorm1d(width)
        self.head = nn.Linear(width, 1)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    state = trainable_state(Part())
    return save_checkpoint(tmp_path / "best.safetensors", state, config={"name": "x"}, metadata={"epoch": 3})


def test_only_what_learns_is_saved(saved: Path) -> None:
    names = set(read_checkpoint(saved).state)
    assert names == {
        *("norm.weight", "norm.bias", "norm.running_mean", "norm.running_var", "norm.num_batches_tracked"),
        *("head.weight", "head.bias"),
    }


def test_configuration_and_facts_come_back(saved: Path) -> None:
    checkpoint = read_checkpoint(saved)
    assert checkpoint.config == {"name": "x"}
    assert checkpoint.metadata["epoch"] == "3"


def test_round_trip(saved: Path) -> None:
    torch.manual_seed(5)
    model, other = Part(), Part()
    path = save_checkpoint(saved, trainable_state(model))
    report = load_weights(other, path)
    assert torch.equal(other.head.weight, model.head.weight)
    assert not torch.equal(other.body.weight, model.body.weight)
    assert len(report.loaded) == 7


def test_tied_and_sliced_tensors_can_be_saved(tmp_path: Path) -> None:
    table = torch.arange(6.0).reshape(2, 3)
    path = save_checkpoint(tmp_path / "a.safetensors", {"a": table, "b": table, "row": table[1], "t": table.T})
    state = read_checkpoint(path).state
    assert torch.equal(state["a"], state["b"])
    assert torch.equal(state["t"], table.T)
    assert torch.equal(state["row"], table[1])


def test_other_model_is_named_with_what_is_near(saved: Path) -> None:
    class Renamed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.header = nn.Linear(3, 1)

    model = Renamed()
    before = model.header.weight.clone()
    with pytest.raises(CheckpointError) as caught:
        load_weights(model, saved)
    message = str(caught.value)
    assert "best.safetensors does not fit this model" in message
    assert "2 needed by the model but not in the file: header.weight; header.bias" in message
    assert "7 in the file but unknown to the model" in message
    assert "nearest to header.weight in the file: head.weight" in message
    assert torch.equal(model.header.weight, before)


def test_other_shape_is_named(saved: Path) -> None:
    with pytest.raises(CheckpointError, match=r"head.weight: file \[1, 3\], model \[1, 4\]"):
        load_weights(Part(width=4), saved)


def test_frozen_weights_may_be_absent_but_not_those_that_learn(saved: Path) -> None:
    with pytest.raises(CheckpointError, match=r"2 needed by the model but not in the file: body.weight; body.bias"):
        load_weights(Part(), saved, require="all")
    state = {name: tensor for name, tensor in read_checkpoint(saved).state.items() if name != "head.bias"}
    partial = save_checkpoint(saved, state)
    with pytest.raises(CheckpointError, match=r"head\.bias"):
        load_weights(Part(), partial)
    assert load_weights(Part(), partial, require="none").missing == []


def test_unknown_names_can_be_left_out_by_pattern(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path / "a.safetensors", {**Part().state_dict(), "old.position_ids": torch.zeros(2)})
    report = load_weights(Part(), path, ignore=["*.position_ids"])
    assert report.ignored == ["old.position_ids"]


def test_of_several_files_the_last_counts(tmp_path: Path) -> None:
    one = save_checkpoint(
        tmp_path / "one.safetensors", {n: torch.zeros_like(t) for n, t in Part().state_dict().items()}
    )
    two = save_checkpoint(tmp_path / "two.safetensors", {"head.bias": torch.ones(1)})
    model = Part()
    load_weights(model, [one, two])
    assert float(model.head.bias.detach()) == 1
    assert float(model.head.weight.detach().abs().sum()) == 0


@pytest.mark.parametrize("key", ["model", "state_dict", None])
def test_archives_of_others(tmp_path: Path, key: str | None) -> None:
    content: Any = {"w": torch.ones(2), "epoch": 3} if key is None else {key: {"w": torch.ones(2)}, "epoch": 3}
    torch.save(content, tmp_path / "a.pth")
    assert list(read_checkpoint(tmp_path / "a.pth").state) == ["w"]


def test_archive_without_weights(tmp_path: Path) -> None:
    torch.save({"optimizer": {"lr": 1.0}}, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match="holds no weights: at its top are optimizer"):
        read_checkpoint(tmp_path / "a.pth")
    torch.save([1, 2], tmp_path / "b.pth")
    with pytest.raises(CheckpointError, match="holds a list"):
        read_checkpoint(tmp_path / "b.pth")


class RunsCode:
    def __reduce__(self) -> Any:
        return os.system, ("touch pwned",)


@pytest.mark.parametrize("new_format", [True, False])
def test_code_is_refused_and_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, new_format: bool) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"model": {"w": torch.ones(1)}, "x": RunsCode()}, "a.pth", _use_new_zipfile_serialization=new_format)
    with pytest.raises(CheckpointError, match=r"a\.pth was refused: .*\((posix|nt)\.system\).*keep only the tensors"):
        read_checkpoint(Path("a.pth"))
    assert not Path("pwned").exists()


def test_other_objects_are_refused_by_name(tmp_path: Path) -> None:
    torch.save({"model": {"w": torch.ones(1)}, "args": argparse.Namespace(lr=1)}, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=r"argparse\.Namespace"):
        read_checkpoint(tmp_path / "a.pth")


@pytest.mark.parametrize("content", [b"", b"<!DOCTYPE html><html>", os.urandom(300), b"\x80\x02}q\x00"])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_what_is_no_weights_file(tmp_path: Path, content: bytes, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"a\{suffix} \(\d+ bytes\) cannot be read: it is cut off, damaged"):
        read_checkpoint(path)


def test_the_folder_of_a_run_stands_for_its_best_weights(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "checkpoints" / "best.safetensors", {"w": torch.ones(2)}, metadata={"stage": "2"})
    checkpoint = read_checkpoint(tmp_path)
    assert checkpoint.state.keys() == {"w"} and checkpoint.metadata["stage"] == "2"


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_torn_file(saved: Path, tmp_path: Path, suffix: str) -> None:
    whole = saved
    if suffix == ".pth":
        whole = tmp_path / "whole.pth"
        torch.save(Part().state_dict(), whole)
    torn = tmp_path / f"torn{suffix}"
    torn.write_bytes(whole.read_bytes()[:-200])
    with pytest.raises(CheckpointError, match="cut off"):
        read_checkpoint(torn)


def test_absent_file_names_its_neighbours(saved: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no weights at .*last\.safetensors; the folder has best\.safetensors"):
        read_checkpoint(saved.with_name("last.safetensors"))
    with pytest.raises(CheckpointError, match=r"the folder .* does not exist"):
        read_checkpoint(saved.parent / "no" / "best.safetensors")
    saved.with_suffix(".txt").write_text("x")
    with pytest.raises(CheckpointError, match="known endings"):
        read_checkpoint(saved.with_suffix(".txt"))


def test_an_interrupted_save_leaves_the_old_file(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = saved.read_bytes()

    def fail(*_: object, **__: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", fail)
    with pytest.raises(OSError, match="no space"):
        save_checkpoint(saved, {"w": torch.ones(1)})
    assert saved.read_bytes() == before
    assert [p.name for p in saved.parent.iterdir()] == [saved.name]


def test_only_safetensors_are_written(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"saved as \.safetensors"):
        save_checkpoint(tmp_path / "a.pth", {})


def test_the_same_archive_has_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.pt", "b.pt"):
        save_archive(tmp_path / name, {"weights": torch.arange(3), "step": 2})
    assert (tmp_path / "a.pt").read_bytes() == (tmp_path / "b.pt").read_bytes()
    assert torch.equal(load_archive(tmp_path / "a.pt")["weights"], torch.arange(3))


@pytest.mark.parametrize("kind", ["safetensors", "archive"])
def test_a_disk_that_takes_no_more(tmp_path: Path, kind: str) -> None:
    save = {
        "safetensors": lambda path, content: save_checkpoint(path, content),
        "archive": lambda path, content: save_archive(path, content),
    }[kind]
    path = tmp_path / ("a.safetensors" if kind == "safetensors" else "a.pt")
    save(path, {"weights": torch.zeros(3)})
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(WriteError, match=rf"cannot write {path}: .*\(\d[\d,]* MiB free on its disk\)"):
            save(path, {"weights": torch.zeros(30_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == [path.name]

"""Reduced precision on a GPU: learns, scales its loss, and resumes with the scaler where it was."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from lavis.runners.runner import Runner
from tests.fake_run import fake_runner

pytestmark = pytest.mark.gpu


def trained(folder: Path, **settings: Any) -> Runner:
    runner = fake_runner(folder, device="cuda", **settings)
    runner.train()
    return runner


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_learning(tmp_path: Path, precision: str) -> None:
    runner = trained(tmp_path, precision=precision, epochs=8, clip_grad_norm=1.0)
    assert (runner.engine.scaler is not None) == (precision == "fp16")
    runner.engine.close()
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    losses = [row["loss"] for row in rows if "loss" in row]
    assert sum(losses[-4:]) < sum(losses[:4])
    assert rows[0]["peak_gib"] > 0


def test_resuming_with_a_scaler(tmp_path: Path) -> None:
    settings = {"precision": "fp16", "accumulate": 2, "valid_splits": []}
    whole = trained(tmp_path / "whole", **settings)
    expected, scale = whole.engine.weights(), whole.engine.scaler.state_dict()
    whole.engine.close()
    trained(tmp_path / "parts", max_steps=3, **settings).engine.close()
    parts = trained(tmp_path / "parts", **settings)
    assert all(torch.equal(tensor, expected[name]) for name, tensor in parts.engine.weights().items())
    assert parts.engine.scaler.state_dict() == scale
    parts.engine.close()

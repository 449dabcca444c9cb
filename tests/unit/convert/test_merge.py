"""What cannot be merged says so; merging itself is tested on whole trainings."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lavis.cli import USER_ERROR, main
from lavis.common.checkpoint import CheckpointError, save_checkpoint
from lavis.convert.merge import by_itself, merge


def test_a_file_without_a_configuration_is_refused(tmp_path: Path) -> None:
    file = save_checkpoint(tmp_path / "published.safetensors", {"a": torch.zeros(1)})
    with pytest.raises(CheckpointError, match="does not say which model it belongs to; --merge is for what a training"):
        merge(file, tmp_path / "out")


def test_a_merged_file_names_nothing_but_tokenizers() -> None:
    node = {
        "language_model": {"name": "causal", "architecture": "phi3_mini_4k", "pretrained": "phi", "lora": {"rank": 8}},
        "weights": ["a.pth"], "fold_adapters": True, "trainable": ["*"], "seed": 1,
    }  # fmt: skip
    language = {"name": "causal", "architecture": "phi3_mini_4k", "pretrained": None, "tokenizer": "phi"}
    assert by_itself(node) == {"language_model": language, "seed": 1}
    assert "lora" in node["language_model"]  # type: ignore[operator]


def test_merging_takes_no_family(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["convert", "--merge", "a", str(tmp_path), "--family", "meco"]) == USER_ERROR
    assert "--merge takes the model from the checkpoint itself" in capsys.readouterr().err

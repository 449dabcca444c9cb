"""Which tokenizer a recorded model has, whose kind may have none of its own."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoTokenizer

from lavis.common.assets import resolve_asset
from tests.parity_cases._meco_models import tokenizer_of


@pytest.fixture
def golden(tmp_path: Path) -> Path:
    for name, asset in (("phi3", "asset:toy/chat_tokenizer"), ("qwen2", "asset:toy/bert_tokenizer")):
        shutil.copytree(resolve_asset(asset), tmp_path / "tokenizers" / name)
    return tmp_path


def recorded(golden: Path, kind: str, rows: int) -> Path:
    folder = golden / "models" / f"{kind}_{rows}"
    folder.mkdir(parents=True)
    save_file({"model.embed_tokens.weight": torch.zeros(rows, 2)}, folder / "state_dict.safetensors")
    (folder / "config.json").write_text(json.dumps({"localization": False, "bos_token_id": None}))
    (folder / "meta.json").write_text(json.dumps({"kind": kind}))
    return folder


@pytest.mark.parametrize("name", ["phi3", "qwen2"])
def test_a_kind_without_a_tokenizer_has_that_which_fills_its_embeddings(golden: Path, name: str) -> None:
    size = len(AutoTokenizer.from_pretrained(golden / "tokenizers" / name))
    found = tokenizer_of(golden, recorded(golden, "llama", size + 1))
    assert found == str(golden / "tokenizers" / name)


def test_a_kind_with_a_tokenizer_has_it_whatever_its_size(golden: Path) -> None:
    assert tokenizer_of(golden, recorded(golden, "phi3", 5000)) == str(golden / "tokenizers" / "phi3")


def test_where_none_has_that_size_the_beginning_of_answers_tells(golden: Path) -> None:
    begun = AutoTokenizer.from_pretrained(golden / "tokenizers" / "phi3").bos_token_id
    folder = recorded(golden, "llama", 5000)
    (folder / "config.json").write_text(json.dumps({"localization": False, "bos_token_id": begun}))
    assert tokenizer_of(golden, folder) == str(golden / "tokenizers" / "phi3")

"""A judge that runs here: a toy chat model with random weights."""

from __future__ import annotations

from pathlib import Path

import pytest

from lavis.scoring.base import ScoringError
from lavis.scoring.judges.base import Pair
from lavis.scoring.judges.local import LocalJudge
from tests.toy_models import t5_tokenizer

TEMPLATE = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }} {% endfor %}a:"
PAIRS = [Pair(str(n), "What?", "a man " * n, "he runs", (0,), (0,)) for n in range(1, 4)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(t5_tokenizer())
    tokenizer.chat_template = TEMPLATE
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = LlamaConfig(
        vocab_size=len(tokenizer), max_position_embeddings=4096, eos_token_id=1, pad_token_id=0, **sizes
    )
    path = tmp_path_factory.mktemp("judge")
    LlamaForCausalLM(config).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


def test_a_batch_says_what_each_alone_says(folder: Path) -> None:
    def replies(batch_size: int) -> list[object]:
        asked = LocalJudge(
            str(folder), cache=None, batch_size=batch_size, max_new_tokens=4, dtype="float32", device="cpu"
        )
        return list(asked.replies(PAIRS))

    alone = replies(1)
    assert len(alone) == 3
    assert all(isinstance(text, str) for text in alone)
    assert replies(3) == alone


def test_replies_are_kept(folder: Path, tmp_path: Path) -> None:
    cache = tmp_path / "kept.jsonl"
    first = LocalJudge(str(folder), cache=str(cache), max_new_tokens=2, device="cpu").replies(PAIRS)
    again = LocalJudge(str(folder), cache=str(cache), max_new_tokens=2, device="cpu")
    assert again.replies(PAIRS) == first
    assert again._loaded is None


def test_what_cannot_be_loaded_is_told(tmp_path: Path) -> None:
    with pytest.raises(ScoringError, match="cannot be loaded"):
        LocalJudge(str(tmp_path), cache=None).replies(PAIRS)
    with pytest.raises(ValueError, match="at least 1"):
        LocalJudge("m", batch_size=0)


def test_a_model_without_a_template_is_told(folder: Path, tmp_path: Path) -> None:
    import shutil

    plain = tmp_path / "plain"
    shutil.copytree(folder, plain, ignore=shutil.ignore_patterns("chat_template*"))
    with pytest.raises(ScoringError, match="no chat template"):
        LocalJudge(str(plain), cache=None, device="cpu").replies(PAIRS)

"""The toy backbone: tokenizers laid out like T5's and BERT's, exercises that are not CALCE's task, shipped weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer

from lavis.common.assets import resolve_asset
from lavis.preparation import pretrain_toy
from lavis.preparation.generators.synthetic_moments import SyntheticMoments
from lavis.preparation.toy_backbone import vision
from lavis.preparation.toy_backbone.backbone import NUM_QUERIES, QFORMER, T5, ToyBackbone, start_language_model
from lavis.preparation.toy_backbone.lines import line_quality
from lavis.preparation.toy_backbone.pictures import COLOURS, SHAPES, draw_pictures
from lavis.preparation.toy_backbone.reading import ReadingBatch, ReadingExercises, read_times, write_times
from lavis.preparation.toy_backbone.tokenizers import (
    SPLIT_INTEGERS,
    build_bert_tokenizer,
    build_chat_tokenizer,
    build_t5_tokenizer,
)


@pytest.fixture(scope="module")
def t5_tokenizer() -> Any:
    return AutoTokenizer.from_pretrained(resolve_asset("asset:toy/t5_tokenizer"))


@pytest.fixture(scope="module")
def reader(t5_tokenizer: Any) -> ReadingExercises:
    return ReadingExercises(t5_tokenizer, SyntheticMoments(0, 20, 40), NUM_QUERIES)


def _tokens(tokenizer: Any, text: str) -> list[str]:
    tokens: list[str] = tokenizer.convert_ids_to_tokens(tokenizer(text, add_special_tokens=False).input_ids)
    return tokens


def test_shipped_tokenizers_are_the_built_ones(t5_tokenizer: Any) -> None:
    assert t5_tokenizer.get_vocab() == build_t5_tokenizer().get_vocab()
    bert = AutoTokenizer.from_pretrained(resolve_asset("asset:toy/bert_tokenizer"))
    assert bert.get_vocab() == build_bert_tokenizer().get_vocab()
    words = Path(resolve_asset("asset:toy/bert_tokenizer"), "vocab.txt").read_text().split("\n")[:-1]
    assert words == sorted(bert.get_vocab(), key=bert.get_vocab().__getitem__)
    assert len(t5_tokenizer) == T5["vocab_size"]
    assert len(bert) + 1 <= QFORMER["vocab_size"]


def test_chat_tokenizer_is_the_built_one_and_reads_any_text() -> None:
    folder = Path(resolve_asset("asset:toy/chat_tokenizer"))
    built = build_chat_tokenizer()
    assert json.loads((folder / "tokenizer.json").read_text()) == json.loads(built.backend_tokenizer.to_str())
    chat = AutoTokenizer.from_pretrained(folder)
    assert (chat.bos_token, chat.eos_token, chat.pad_token) == ("<s>", "<|endoftext|>", "<|endoftext|>")
    for text in ("<|user|>\nWo läuft 猫 from 2.5 to 139 seconds?<|end|>\n", "a red circle"):
        ids = chat(text).input_ids
        assert chat.decode(ids) == text
    assert len(ids) == 3
    assert chat("<|end|>").input_ids == [6]


def test_t5_layout(t5_tokenizer: Any) -> None:
    assert t5_tokenizer.convert_tokens_to_ids(["<pad>", "</s>", "<unk>", "▁"]) == [0, 1, 2, 3]
    assert t5_tokenizer.convert_tokens_to_ids("<extra_id_0>") == len(t5_tokenizer) - 1
    assert _tokens(t5_tokenizer, "[[12, 20], [30, 44]]") == [
        "▁[[", "12", ",", "▁20", "],", "▁[", "30", ",", "▁44", "]]",
    ]  # fmt: skip
    for number in range(201):
        pieces = _tokens(t5_tokenizer, str(number))
        assert (pieces == [f"▁{number}"]) is (number not in SPLIT_INTEGERS)
    ids = t5_tokenizer("[[0, 7], [120, 150]]").input_ids
    assert t5_tokenizer.decode(ids, skip_special_tokens=True) == "[[0, 7], [120, 150]]"


def test_no_corpus_text_is_unknown(t5_tokenizer: Any) -> None:
    bert = build_bert_tokenizer()
    for index in range(30):
        script = SyntheticMoments().script("train", index)
        for text in (*(q.text for q in script.queries), *(line.text for line in script.lines)):
            assert t5_tokenizer.unk_token_id not in t5_tokenizer(text).input_ids
            assert bert.unk_token_id not in bert(text).input_ids


def test_times_round_trip() -> None:
    windows = [(3, 12), (20, 31)]
    for form in range(3):
        assert read_times(write_times(windows, form)) == windows


def test_exercises_are_told_and_tagged(reader: ReadingExercises) -> None:
    rng = np.random.default_rng(0)
    exercises = [reader.locating(i, rng, (6, 12)) for i in range(40)] + [reader.captioning(rng)]
    for exercise in exercises[:-1]:
        assert exercise.query is not None
        answer = reader.tokenizer.decode(exercise.answer, skip_special_tokens=True)
        assert read_times(answer) == list(exercise.query.windows)
        prompt = reader.tokenizer.decode([words[0] for words in exercise.words])
        assert "[[" not in prompt + answer
        assert "relevant windows" not in prompt
        if exercise.query.kind == "said":
            assert [tags[1] for tags in exercise.tags.values()].count(1.0) >= 1
    batch = ReadingBatch.of(exercises)
    length = max(len(e.words) for e in exercises)
    assert batch.tags.shape == (41, length, 5)
    assert batch.embed(torch.randn(len(reader.tokenizer), 16)).shape == (41, length, 16)
    assert (batch.mask.sum(1) == torch.tensor([len(e.words) for e in exercises])).all()


def test_pictures_match_their_labels_and_are_reproducible() -> None:
    pictures, labels = draw_pictures(24, 0, "pretrain_frames")
    again, _ = draw_pictures(24, 0, "pretrain_frames")
    assert (pictures == again).all()
    assert labels[:, 0].max() <= len(COLOURS)
    assert ((labels[:, 0] == len(COLOURS)) == (labels[:, 1] == len(SHAPES))).all()


def test_numbers_start_as_one(t5_tokenizer: Any) -> None:
    model = ToyBackbone(Path(resolve_asset("asset:toy/t5_tokenizer")))
    start_language_model(model.t5, t5_tokenizer, seed=0)
    table = model.t5.shared.weight.detach()

    def row(piece: str) -> torch.Tensor:
        return table[t5_tokenizer.convert_tokens_to_ids(piece)]

    assert torch.cosine_similarity(row("▁12"), row("12"), dim=0) > 0.9
    assert model.t5.lm_head.weight is not model.t5.shared.weight


def test_phases_run_and_resume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vision, "draw_pictures", lambda count, seed, split: draw_pictures(16, seed, split))
    steps = dict.fromkeys(pretrain_toy.PHASES, 1)
    with pytest.raises(ValueError, match="alignment needs the phase 'language'"):
        pretrain_toy.run(tmp_path / "out", tmp_path / "work", 0, ["alignment"], steps, "fp32")
    pretrain_toy.run(tmp_path / "out", tmp_path / "work", 0, list(pretrain_toy.PHASES), steps, "fp32")
    assert (tmp_path / "out" / "backbone.safetensors").stat().st_size < 20e6
    before = (tmp_path / "work" / "vision.safetensors").stat().st_mtime_ns
    pretrain_toy.run(tmp_path / "out", tmp_path / "work", 0, ["vision"], steps, "fp32")
    assert (tmp_path / "work" / "vision.safetensors").stat().st_mtime_ns == before


def test_shipped_backbone_fits_and_tells_lines_apart() -> None:
    from safetensors.torch import load_file

    path = Path(resolve_asset("asset:toy/backbone.safetensors"))
    assert path.stat().st_size < 20e6
    model = ToyBackbone(Path(resolve_asset("asset:toy/t5_tokenizer")))
    state = {name: tensor.float() for name, tensor in load_file(path).items()}
    assert set(state) == {name for name, _ in model.named_parameters()}
    model.load_state_dict(state, strict=False)
    quality = line_quality(model.qformer, build_bert_tokenizer())
    assert quality["quoted_min"] > 0.9 > quality["other_max"]

"""MR.BLIP with a causal decoder in place of T5: its prompt, OPT with random weights, LoRA on every linear layer."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from lavis.layers.lora import linear_names
from lavis.models.build import build_model
from lavis.models.language_models.base import IGNORE
from lavis.models.video_llm import VideoLLM
from lavis.structures import Moment
from tests.toy_models import batch, model_node, sample, t5_tokenizer, vocabulary_size

OPT = {
    "model_type": "opt", "vocab_size": vocabulary_size(), "hidden_size": 24, "word_embed_proj_dim": 24, "ffn_dim": 48,
    "num_hidden_layers": 2, "num_attention_heads": 3, "max_position_embeddings": 256, "pad_token_id": 0,
    "bos_token_id": 1, "eos_token_id": 1, "dropout": 0.0,
}  # fmt: skip
TASK = "Given the video and the query, find the relevant windows.\nRelevant windows: "


def node(**changes: Any) -> dict[str, Any]:
    toy = model_node()["compressor"]
    parts: dict[str, Any] = {
        "compressor": {"name": "qformer_frames", "num_queries": toy["num_queries"], "qformer": toy["qformer"]},
        "prompt": {
            "name": "interleaved", "task": TASK, "show_subtitles": False, "show_items": False,
            "end_mark_in_video": False, "attend_padding": True,
        },
        "codec": {"name": "seconds_text", "parser": "mr_blip", "target_replacement": "none", "replace_below": 300},
        "language_model": {
            "name": "causal", "tokenizer": t5_tokenizer(), "config": OPT, "lora": {"rank": 4, "alpha": 8},
        },
        "subtitle_choice": None,
        "generation": {"num_beams": 1, "max_new_tokens": 12},
        "trainable": ["language_model.*.lora_*", "compressor.t5_proj.*", "encoder.ln_vision.*"],
    }  # fmt: skip
    return model_node(**{**parts, **changes})


@pytest.fixture
def model() -> VideoLLM:
    torch.manual_seed(0)
    return build_model(node())


def test_adapters_are_on_all_linear_layers(model: VideoLLM) -> None:
    from peft.tuners.lora import LoraLayer

    language_model = model.language_model.model
    layers = [name for name, module in language_model.named_modules() if isinstance(module, LoraLayer)]
    adapted = {name.rsplit(".", 1)[-1] for name in layers}
    bare = node(language_model={**node()["language_model"], "lora": None}, trainable=None)
    plain = build_model(bare).language_model.model
    assert adapted == set(linear_names(plain)) >= {"q_proj", "v_proj", "out_proj", "fc1", "fc2", "lm_head"}
    learning = [name for name, p in language_model.named_parameters() if p.requires_grad]
    assert learning
    assert all("lora_" in name for name in learning)


def test_the_answer_is_learned_where_it_follows_the_prompt(model: VideoLLM) -> None:
    asked = sample("a", duration=30.6)
    packed = model.pack(batch(asked, sample("b", moments=[Moment(4, 12), Moment(20, 28)])), answer=True)
    assert packed.labels is not None
    decode = model.language_model.tokenizer.decode
    for ids, labels, expected in zip(packed.ids, packed.labels, ("[[4, 12]]", "[[4, 12], [20, 28]]"), strict=True):
        learned = (labels != IGNORE).nonzero().flatten()
        assert decode(ids[learned].tolist(), skip_special_tokens=True).replace(" ", "") == expected.replace(" ", "")
        assert torch.equal(learned, torch.arange(int(learned[0]), int(learned[-1]) + 1))
        before = decode(ids[: learned[0]][ids[: learned[0]] >= 0].tolist())
        assert before.endswith("Relevant windows: ".strip())
    assert len(packed.frame_positions[0]) == 8


def test_training_lowers_the_loss_until_the_answer_is_said(model: VideoLLM) -> None:
    data = batch(sample("a"), sample("b", query="red dog runs", moments=[Moment(20, 28)]))
    model.train()
    learning = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(learning, lr=5e-3)
    losses = []
    for _ in range(300):
        loss = model(data)["lm"]
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(learning, 1.0)
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 * losses[0]
    model.eval()
    # What is said position by position is what was learned in one pass.
    assert [(p.id, p.text, p.malformed) for p in model.generate(data)] == [
        ("a", "[[4, 12]]", False),
        ("b", "[[20, 28]]", False),
    ]


@pytest.mark.parametrize("num_beams", [1, 3])
def test_generates_and_answers_alike_in_any_batch(num_beams: int) -> None:
    torch.manual_seed(0)
    model = build_model(node(generation={"num_beams": num_beams, "max_new_tokens": 8})).eval()
    samples = [sample("a"), sample("b", query="red dog runs to open door")]
    together = [p.text for p in model.generate(batch(*samples))]
    alone = [model.generate(batch(s))[0].text for s in samples]
    assert together == alone
    assert all(p.scores["sequence"] <= 0 for p in model.generate(batch(*samples)))

"""Kept features: the same numbers, what is kept of which model, and what is not."""

from __future__ import annotations

import copy
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from lavis.models.video_llm import VideoLLM
from lavis.structures import Batch, Frames
from tests.toy_models import batch, sample, toy_model

FROZEN = ["compressor.t5_proj.*", "compressor.query_proj.*", "language_model.*.lora_*"]
NORM_LEARNS = [*FROZEN, "encoder.ln_vision.*"]


def model(folder: Path | None = None, memory_mb: int = 16, trainable: list[str] = FROZEN, **changes: Any) -> VideoLLM:
    cache = {"memory_mb": memory_mb, "folder": None if folder is None else str(folder), "disk_gb": 1.0}
    return toy_model(cache=cache, trainable=trainable, **changes)


def questions() -> Batch:
    """Three questions on two videos."""
    first, second = batch(sample("a")), batch(sample("b"), num_frames=6)
    (a,), (b,) = first.views["frames"], second.views["frames"]
    samples = [*first.samples, *second.samples, replace(first.samples[0], id="c", query="dog runs")]
    return Batch(samples, {"frames": [a, b, Frames(a.pixels.clone(), a.times, a.key)]})


def counts(of: VideoLLM) -> tuple[int, int, int]:
    """Videos from memory, from disk and encoded."""
    found = of.cache.store.counts
    return found.memory, found.disk, found.computed


def step(of: VideoLLM, data: Batch, seed: int = 0) -> dict[str, Tensor]:
    """Loss and gradients of a training step."""
    torch.manual_seed(seed)
    of.train()
    of.zero_grad()
    loss = of(data)["lm"]
    loss.backward()
    return {"loss": loss.detach(), **{n: p.grad.clone() for n, p in of.named_parameters() if p.grad is not None}}


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("trainable", [FROZEN, NORM_LEARNS], ids=["frozen", "norm learns"])
def test_losses_gradients_and_answers_are_equal_to_the_bit(tmp_path: Path, trainable: list[str]) -> None:
    data = questions()
    plain = model(memory_mb=0, trainable=trainable)
    wanted, answers = step(plain, data), plain.eval().generate(data)
    assert counts(plain)[:2] == (0, 0)
    in_memory = model(trainable=trainable)
    assert all(same(step(in_memory, data), wanted) for _ in range(2))
    on_disk = [model(tmp_path, memory_mb=0, trainable=trainable) for _ in range(2)]
    assert all(same(step(of, data), wanted) for of in on_disk)
    assert counts(in_memory) == (2, 0, 2)
    assert [counts(of) for of in on_disk] == [(0, 0, 2), (0, 2, 0)]
    for of in (in_memory, *on_disk):
        for _ in range(2):
            assert of.eval().generate(data) == answers


def test_a_frozen_qformer_leaves_nothing_of_the_tokens_behind() -> None:
    of = model()
    step(of, questions())
    names = {name for held in of.cache.store._entries.values() for name in held.tensors}
    assert names == {"hidden", "patch_mean", "times"}
    assert len(of.cache.store) == 2


def test_a_learning_norm_keeps_the_tokens_before_it() -> None:
    of = model(trainable=NORM_LEARNS)
    gradients = step(of, questions())
    assert {name for held in of.cache.store._entries.values() for name in held.tensors} == {"tokens", "times"}
    assert gradients["encoder.ln_vision.weight"].any()


def test_queries_of_a_video_share_its_features_in_evaluation_though_the_norm_learns(tmp_path: Path) -> None:
    of = model(tmp_path, trainable=NORM_LEARNS)
    data = questions()
    step(of, data)
    read: list[int] = []
    original = of.compressor._read
    of.compressor._read = lambda visual: read.append(len(visual)) or original(visual)  # type: ignore[assignment, method-assign, func-returns-value]
    of.eval().generate(data)
    of.generate(data)
    assert read == [8, 6]
    with torch.no_grad():
        of.encoder.ln_vision.weight.mul_(1.5)  # type: ignore[union-attr, operator]
    of.generate(data)
    assert read == [8, 6, 8, 6]
    assert counts(of)[2] == 2, "the encoder itself was never asked again"
    files = list(tmp_path.rglob("*.safetensors"))
    assert len(files) == 2, "what weights that learn have made is not worth keeping on disk"


def test_weights_are_told_apart(tmp_path: Path) -> None:
    data = questions()
    first, second = model(tmp_path), model(tmp_path)
    with torch.no_grad():
        second.compressor.query_tokens.add_(1.0)
    step(first, data)
    step(second, data)
    assert counts(second) == (0, 0, 2)
    with torch.no_grad():
        second.compressor.query_tokens.copy_(first.compressor.query_tokens)
    step(second, data)
    assert counts(second)[1:] == (2, 2)


def test_weights_that_change_nothing_for_frames_do_not_count(tmp_path: Path) -> None:
    first, second = model(tmp_path), model(tmp_path)
    with torch.no_grad():
        second.compressor.Qformer.bert.embeddings.word_embeddings.weight.add_(1.0)
    first.eval().generate(questions())
    second.eval().generate(questions())
    assert counts(second) == (0, 2, 0)


def test_training_evaluation_and_another_system_share_entries(tmp_path: Path) -> None:
    data = questions()
    first = model(tmp_path)
    step(first, data)
    second = model(tmp_path, compressor={"+": {"text": False}}, subtitle_choice=None)
    second.load_state_dict(first.state_dict(), strict=False)
    second.eval().generate(data)
    assert counts(second) == (0, 2, 0)


def test_active_dropout_is_not_kept(caplog: pytest.LogCaptureFixture) -> None:
    of = model(compressor={"+": {"frozen_dropout": True}})
    data = questions()
    with caplog.at_level("INFO"):
        first, second = step(of, data), step(of, data, seed=1)
    assert not torch.equal(first["loss"], second["loss"])
    assert counts(of) == (2, 0, 2), "the encoder's tokens are kept all the same"
    assert caplog.text.count("set model.compressor.frozen_dropout to false") == 1


def test_reduced_precision_is_kept_as_it_was_computed(tmp_path: Path) -> None:
    data = questions()
    answers = []
    for folder in (None, tmp_path, tmp_path):
        of = model(folder, memory_mb=0).eval()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            answers.append([(p.moments, p.text) for p in of.generate(data)])
    assert counts(of) == (0, 2, 0)
    assert answers[0] == answers[1] == answers[2]
    exact = model(tmp_path, memory_mb=0).eval()
    exact.generate(data)
    assert counts(exact) == (0, 0, 2)


def test_spoilt_files_are_made_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = questions()
    wanted = step(model(tmp_path), data)
    for path in tmp_path.rglob("*.safetensors"):
        path.write_bytes(path.read_bytes()[:-7])
    again = model(tmp_path)
    with caplog.at_level("WARNING"):
        assert same(step(again, data), wanted)
    assert counts(again) == (0, 0, 2)
    assert len([r for r in caplog.records if "cannot be used" in r.getMessage()]) == 1
    assert same(step(model(tmp_path), data), wanted)


def test_a_copy_keeps_features_of_its_own() -> None:
    of = model()
    step(of, questions())
    other = copy.deepcopy(of)
    assert len(other.cache.store) == 0
    assert other.encoder.cache is other.compressor.cache is other.cache
    pickle.loads(pickle.dumps(other.cache))


def test_figures_and_the_line_about_them() -> None:
    of = model()
    assert of.cache.report() is None
    of.eval().generate(questions())
    of.generate(questions())
    assert of.cache.statistics()["cache_computed"] == 2
    assert "2 videos from memory, 0 from disk, 2 encoded" in str(of.cache.report())
    assert of.cache.report() is None
    assert model(memory_mb=0).cache.report() is None


def test_weights_held_in_parts_are_run_by_every_process_each_time(caplog: pytest.LogCaptureFixture) -> None:
    of = model()
    for parameter in of.encoder.visual_encoder.parameters():  # type: ignore[union-attr]
        parameter.full_tensor = None  # type: ignore[attr-defined]
    with caplog.at_level("INFO"):
        step(of, questions())
    assert counts(of) == (0, 0, 3), "not even once for two queries of one video: another process may have none"
    assert caplog.text.count("take run.strategy: ddp") == 1


def test_switched_off_it_tells_processors_too() -> None:
    of = model()
    step(of, questions())
    key = of.cache.store.index
    of.cache.switch_off("for a reason")
    assert key._published(True) == []
    step(of, questions())
    assert not of.cache.enabled


def write_behind(of: VideoLLM) -> None:
    for parameter in of.encoder.backbone.parameters():
        parameter.data.mul_(1.5)
    of.train().eval()


def replace_memory(of: VideoLLM) -> None:
    weight = next(p for p in of.encoder.backbone.parameters() if p.ndim == 2)
    weight.data = weight.data * 3


def load_others(of: VideoLLM) -> None:
    torch.manual_seed(5)
    of.load_state_dict({n: t + torch.rand_like(t) if t.is_floating_point() else t for n, t in of.state_dict().items()})


def learn(of: VideoLLM) -> None:
    of.encoder.ln_vision.weight.mul_(2)


def other_kernel(of: VideoLLM) -> None:
    for block in of.encoder.backbone.modules():
        if isinstance(block, torch.nn.LayerNorm):
            block.eps = 0.5
    of.train().eval()


CHANGES: dict[str, Any] = {
    "nothing": lambda of: None,
    "other weights are loaded": load_others,
    "memory of a weight is replaced": replace_memory,
    "weights are rounded": lambda of: of.bfloat16().float(),
    "weights are written to behind the back of torch": write_behind,
    "a norm has another epsilon": other_kernel,
    "the norm after the encoder has learned": learn,
    "modes change": lambda of: of.train().eval(),
}


@pytest.mark.parametrize("memory_mb", [0, 16])
@pytest.mark.parametrize("change", list(CHANGES))
@torch.no_grad()
def test_whatever_becomes_of_a_model_its_features_are_its_own(tmp_path: Path, change: str, memory_mb: int) -> None:
    data = questions()
    own, another = model(tmp_path, memory_mb, NORM_LEARNS), model(tmp_path, memory_mb, NORM_LEARNS)
    for of in (own, another):
        of.generate(data)
    CHANGES[change](own)
    plain = copy.deepcopy(own)
    plain.cache.switch_off("compared with")
    pairs = [of.compressor.read_frames(of.encoder.encode(data.views)) for of in (own, plain)]
    for found, wanted in zip(*pairs, strict=True):
        assert torch.equal(found.hidden, wanted.hidden)
        assert torch.equal(found.patch_mean(), wanted.patch_mean())
    assert counts(another)[2] <= 2

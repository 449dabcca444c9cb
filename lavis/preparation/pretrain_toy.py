"""Makes the toy backbone: tokenizers and pretrained weights small enough to ship, for the quickstart and for tests.

It stands for what full-size CALCE takes from EVA-CLIP, BLIP-2 and Flan-T5, in the project's own classes, at a few
million weights, in three phases:

``language``
    T5 reads stories told in words and answers when something happens (``toy_reading``), never in CALCE's form.
    Extra targets on the encoder (is this frame inside the window, does it have the colour asked for ...) shorten the
    plateau before attention finds out what to compare; their head is thrown away. Some heads start
    out comparing equal words or looking at neighbours, for the same reason.
``vision``
    The ViT and the Q-Former learn to name what single frames show (two classifiers and an image-text contrast, thrown
    away); the Q-Former's text half learns that a query and the line it quotes have a cosine similarity above
    0.9, all else below.
``alignment``
    BLIP-2's second stage: Q-Former and projection learn to caption frames through the frozen T5.

On one core of a machine with two, with bf16 products, the phases took 10, 17 and 2 minutes. The shipped weights are
what the first command below made, with torch 2.13; other processors round differently and come out near, not equal.

The backbone has therefore seen frames, words and questions, but no video and no moment retrieval. Nothing leaks from
the corpora made by ``synthetic_moments``: their scripts are seeded by the names of their splits (train, val,
test), and those used here by other names.

Examples:
    python -m lavis.preparation.pretrain_toy --out lavis/assets/toy --seed 0
    python -m lavis.preparation.pretrain_toy --out results/toy --work results/toy/work --phase vision
"""

from __future__ import annotations

import argparse
import io
import logging
import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from lavis.layers.qformer import QFormer
from lavis.preparation.generators.synthetic_moments import SyntheticMoments
from lavis.preparation.moving_shapes import script as corpus
from lavis.preparation.moving_shapes.scene import SceneRenderer
from lavis.preparation.toy_reading import (
    CAPTION_TASK,
    TAGS,
    ReadingBatch,
    ReadingExercises,
    picture_caption,
    read_times,
    spoken_words,
)
from lavis.preparation.toy_tokenizers import MAX_INTEGER, build_bert_tokenizer, build_chat_tokenizer, build_t5_tokenizer

_log = logging.getLogger(__name__)

PHASES = ("language", "vision", "alignment")
DEFAULT_STEPS = {"language": 1800, "vision": 3300, "alignment": 500}

IMAGE_SIZE = 64
NUM_QUERIES = 4
ENCODER: dict[str, Any] = {
    "image_size": IMAGE_SIZE, "patch_size": 8, "width": 96, "depth": 3, "heads": 4, "mlp_ratio": 3.0,
}  # fmt: skip
QFORMER: dict[str, Any] = {
    "vocab_size": 288, "width": 96, "layers": 4, "heads": 4, "hidden": 256, "max_positions": 256, "dropout": 0.0,
}  # fmt: skip
T5: dict[str, Any] = {
    "vocab_size": 800, "d_model": 128, "d_kv": 32, "d_ff": 256, "num_layers": 4, "num_decoder_layers": 2,
    "num_heads": 4, "dropout_rate": 0.0,
}  # fmt: skip

# Pixel statistics of CLIP, as in CALCE's transforms.
_MEAN = torch.tensor((0.48145466, 0.4578275, 0.40821073))
_STD = torch.tensor((0.26862954, 0.26130258, 0.27577711))
_COLOURS, _SHAPES = list(corpus.COLOURS), list(corpus.SHAPES)

Pictures = NDArray[np.uint8]
Labels = NDArray[np.int64]


# -------------------------------------------------------------------------- model


class ToyBackbone(nn.Module):
    """Encoder, compressor and language model under the names they have inside a ``VideoLLM``."""

    def __init__(self, tokenizer_folder: Path) -> None:
        super().__init__()
        from lavis.models.compressors.base import QFormerSettings
        from lavis.models.compressors.keyframe_qformer import KeyframeQFormer
        from lavis.models.encoders.eva_vit import EvaVit
        from lavis.models.language_models.t5 import T5 as T5Adapter

        self.encoder = EvaVit(**ENCODER)
        self.language_model = T5Adapter(
            architecture="flan_t5_small", tokenizer=str(tokenizer_folder), overrides=T5
        )
        self.compressor = KeyframeQFormer(
            self.encoder.width,
            self.language_model.width,
            num_queries=NUM_QUERIES,
            qformer=QFormerSettings(**QFORMER),
        )

    @property
    def t5(self) -> Any:
        """The ``T5ForConditionalGeneration`` inside the adapter."""
        return self.language_model.model

    @property
    def qformer(self) -> QFormer:
        return self.compressor.Qformer

    def queries(self, pixels: Tensor, frozen_vit: bool = False) -> Tensor:
        """The Q-Former's ``[B, Q, C]`` for normalised frames ``[B, 3, H, W]``."""
        with torch.no_grad() if frozen_vit else torch.enable_grad():
            tokens = self.encoder.visual_encoder(pixels)
        start = self.compressor.query_tokens.expand(len(pixels), -1, -1)
        result: Tensor = self.qformer(start, visual=self.encoder.finish(tokens))
        return result

    def project(self, queries: Tensor, key: bool) -> Tensor:
        """Visual tokens ``[B, n, D]`` of key frames or of others."""
        if not key:
            queries = self.compressor.query_proj(queries.transpose(1, 2)).transpose(1, 2)
        tokens: Tensor = self.compressor.t5_proj(queries)
        return tokens


@torch.no_grad()
def start_language_model(t5: Any, tokenizer: Any, seed: int) -> None:
    """Initial weights from which reading is learned in minutes instead of hours.

    Numbers start on smooth curves, so that near numbers look alike; the two forms of a number start as one.
    """
    width, head_width = T5["d_model"], T5["d_kv"]
    draw = torch.Generator().manual_seed(seed)
    t5.lm_head.weight.copy_(torch.randn(t5.lm_head.weight.shape, generator=draw) * width**-0.5)
    numbers = torch.arange(MAX_INTEGER + 1.0)[:, None]
    periods = torch.tensor([3.0, 6.0, 12.0, 24.0, 48.0, 96.0, 192.0, 400.0])
    waves = torch.cat([torch.sin(2 * math.pi * numbers / periods), torch.cos(2 * math.pi * numbers / periods)], dim=1)
    curves = waves @ torch.randn(16, width, generator=draw) / 8**0.5
    rows = 0.8 * curves + 0.6 * torch.randn(len(curves), width, generator=draw)
    for table, scale in ((t5.shared.weight, 1.0), (t5.lm_head.weight, width**-0.5)):
        for number in range(MAX_INTEGER + 1):
            for piece in (f"▁{number}", str(number)):
                token = tokenizer.convert_tokens_to_ids(piece)
                if token != tokenizer.unk_token_id:
                    table[token] = scale * (rows[number] + 0.1 * torch.randn(width, generator=draw))
    two_heads = 2 * head_width
    for block in t5.encoder.block:
        attention = block.layer[0].SelfAttention
        attention.q.weight[:two_heads] = attention.k.weight[:two_heads] * head_width**-0.5
    bias = t5.encoder.block[0].layer[0].SelfAttention.relative_attention_bias.weight
    for distance in (1, 2, 3):
        # Buckets below 16 are to the left, those from 16 on to the right.
        bias[distance, 2] += 5 - distance
        bias[16 + distance, 3] += 5 - distance
    for block in t5.decoder.block:
        attention = block.layer[1].EncDecAttention
        attention.o.weight[:, :two_heads] = attention.v.weight[:two_heads].T


# ------------------------------------------------------------------------- phases


class Optimizer:
    """AdamW with warm-up, cosine decay and clipping; norms and biases do not decay.

    Args:
        parameters: what learns.
        steps: length of the schedule.
        rate: highest learning rate.
        precision: ``bf16`` runs products in half the bits (several times faster where the CPU supports it).
    """

    def __init__(self, parameters: list[nn.Parameter], steps: int, rate: float, precision: str) -> None:
        self.parameters = [p for p in parameters if p.requires_grad]
        groups = [
            {"params": [p for p in self.parameters if p.ndim > 1], "weight_decay": 0.01},
            {"params": [p for p in self.parameters if p.ndim <= 1], "weight_decay": 0.0},
        ]
        self.adam = torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.98))
        self.steps, self.rate, self.bf16 = steps, rate, precision == "bf16"

    def autocast(self) -> torch.autocast:
        return torch.autocast("cpu", torch.bfloat16, enabled=self.bf16)

    def step(self, step: int, loss: Tensor) -> None:
        decay = 0.5 * (1 + math.cos(math.pi * step / self.steps))
        for group in self.adam.param_groups:
            group["lr"] = self.rate * min(1.0, (step + 1) / 100) * (0.97 * decay + 0.03)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.adam.step()
        self.adam.zero_grad(set_to_none=True)


def pretrain_language(model: ToyBackbone, steps: int, seed: int, precision: str, report: Callable[..., None]) -> None:
    """Reading, from short plain stories to long noisy ones."""
    t5, tokenizer = model.t5, model.language_model.tokenizer
    start_language_model(t5, tokenizer, seed)
    short = ReadingExercises(tokenizer, SyntheticMoments(seed, 16, 24), NUM_QUERIES)
    full = ReadingExercises(tokenizer, SyntheticMoments(seed, 20, 60), NUM_QUERIES)
    tagger = nn.Linear(T5["d_model"], len(TAGS))
    optimizer = Optimizer([*t5.parameters(), *tagger.parameters()], steps, 1e-3, precision)
    rng = np.random.default_rng(seed)
    # Fused attention falls back to a slow path where the position bias learns.
    with _eager_attention(t5):
        for step in range(steps):
            progress = min(1.0, max(0.0, (step / steps - 0.15) / 0.35))
            exercises = []
            for i in range(32):
                index, luck = step * 32 + i, rng.random()
                if luck < 0.12:
                    exercises.append(full.captioning(rng))
                elif rng.random() > progress:
                    exercises.append(short.locating(index, rng, (5, 9), plain=True))
                else:
                    exercises.append(full.locating(index, rng, (8, 8 + int(16 * progress))))
            batch = ReadingBatch.of(exercises)
            with optimizer.autocast():
                embeds = batch.embed(t5.shared.weight)
                out = t5(inputs_embeds=embeds, attention_mask=batch.mask, labels=batch.labels)
                guesses = tagger(out.encoder_last_hidden_state).float()
            tag_loss = guesses.new_zeros(())
            for k in range(len(TAGS)):
                guess, truth = guesses[..., k], batch.tags[..., k]
                known = truth >= 0
                tag_loss = tag_loss + F.binary_cross_entropy_with_logits(guess[known], truth[known])
            optimizer.step(step, out.loss + tag_loss / 3)
            if (step + 1) % 100 == 0:
                found = {} if (step + 1) % 300 else reading_quality(t5, full)
                report(step + 1, steps, answer=out.loss.item(), tags=tag_loss.item(), **found)


@torch.no_grad()
def reading_quality(t5: Any, reader: ReadingExercises, count: int = 128) -> dict[str, float]:
    """Share of fresh stories whose first window has an IoU of at least 0.7 with a true one, by kind of query."""
    rng = np.random.default_rng(0)
    hits: dict[str, list[float]] = {"seen": [], "said": []}
    for start in range(0, count, 32):
        exercises = [reader.locating(10**9 + start + i, rng, (20, 20)) for i in range(32)]
        batch = ReadingBatch.of(exercises)
        tokens = t5.generate(
            inputs_embeds=batch.embed(t5.shared.weight), attention_mask=batch.mask, max_new_tokens=30, num_beams=1
        )
        texts = reader.tokenizer.batch_decode(tokens, skip_special_tokens=True)
        for exercise, text in zip(exercises, texts, strict=True):
            assert exercise.query is not None
            found = read_times(text)
            hit = bool(found) and max(_iou(found[0], w) for w in exercise.query.windows) >= 0.7
            hits[exercise.query.kind].append(float(hit))
    return {kind: float(np.mean(values)) for kind, values in hits.items()}


def pretrain_vision(model: ToyBackbone, steps: int, seed: int, precision: str, report: Callable[..., None]) -> None:
    """Naming what frames show, and telling lines apart."""
    bert = build_bert_tokenizer()
    pictures, labels = draw_pictures(24_000, seed, "pretrain_frames")
    unseen, unseen_labels = draw_pictures(1000, seed, "pretrain_check")
    width = QFORMER["width"]
    heads = nn.ModuleList([nn.Linear(NUM_QUERIES * width, n + 1) for n in (len(_COLOURS), len(_SHAPES))])
    to_text, scale = nn.Linear(width, width), nn.Parameter(torch.tensor(2.5))
    captions = sorted({caption_of(c, s) for c in range(len(_COLOURS)) for s in range(len(_SHAPES))})
    captions.append(caption_of(len(_COLOURS), len(_SHAPES)))
    learning = [*model.encoder.parameters(), *model.qformer.parameters(), model.compressor.query_tokens]
    optimizer = Optimizer([*learning, *heads.parameters(), *to_text.parameters(), scale], steps, 1e-3, precision)
    rng = np.random.default_rng(seed)
    for step in range(steps):
        chosen = rng.integers(0, len(pictures), 96)
        truth = torch.from_numpy(labels[chosen])
        with optimizer.autocast():
            queries = model.queries(normalise(pictures[chosen], rng))
            flat = queries.flatten(1)
            naming = sum(F.cross_entropy(head(flat).float(), truth[:, k]) for k, head in enumerate(heads))
            loss = torch.as_tensor(naming)
            if step % 2 == 0:
                texts = F.normalize(encode_texts(model.qformer, bert, captions).float(), dim=-1)
                images = F.normalize(to_text(queries).float(), dim=-1)
                scores = (images @ texts.T).amax(1) * scale.exp()
                which = torch.tensor([captions.index(caption_of(c, s)) for c, s in labels[chosen].tolist()])
                loss = loss + 0.3 * F.cross_entropy(scores, which)
            # The text half is done long before the pictures.
            if step % 4 == 0 or step < 400:
                loss = loss + line_loss(model.qformer, bert, rng)[0]
        optimizer.step(step, loss)
        if (step + 1) % 100 == 0:
            with torch.no_grad(), optimizer.autocast():
                flat = model.queries(normalise(unseen)).flatten(1)
            right = [(head(flat).argmax(1).numpy() == unseen_labels[:, k]).mean() for k, head in enumerate(heads)]
            quality = line_quality(model.qformer, bert)
            report(step + 1, steps, loss=loss.item(), colour=right[0], shape=right[1], **quality)


def pretrain_alignment(model: ToyBackbone, steps: int, seed: int, precision: str, report: Callable[..., None]) -> None:
    """Captions of frames through the frozen T5, from the tokens of key frames and of others."""
    bert, tokenizer, t5 = build_bert_tokenizer(), model.language_model.tokenizer, model.t5
    pictures, labels = draw_pictures(12_000, seed, "pretrain_captions")
    unseen, unseen_labels = draw_pictures(600, seed, "pretrain_check")
    t5.requires_grad_(False)
    model.encoder.visual_encoder.requires_grad_(False)
    with torch.no_grad():
        model.compressor.query_proj.weight.fill_(1 / NUM_QUERIES)
        model.compressor.query_proj.bias.zero_()
    optimizer = Optimizer(list(model.parameters()), steps, 1e-3, precision)
    task = t5.shared(tokenizer(CAPTION_TASK, return_tensors="pt").input_ids)
    rng = np.random.default_rng(seed)

    def prompt(queries: Tensor, key: bool) -> Tensor:
        return torch.cat([model.project(queries, key), task.expand(len(queries), -1, -1)], dim=1)

    for step in range(steps):
        chosen = rng.integers(0, len(pictures), 96)
        answers = tokenizer([caption_of(c, s) for c, s in labels[chosen].tolist()], padding=True, return_tensors="pt")
        target = answers.input_ids.masked_fill(answers.attention_mask == 0, -100)
        with optimizer.autocast():
            queries = model.queries(normalise(pictures[chosen], rng), frozen_vit=True)
            loss = sum(t5(inputs_embeds=prompt(queries, key), labels=target).loss for key in (True, False))
            loss = torch.as_tensor(loss)
            # Queries and text share self-attention: the text half must be kept up.
            if step % 4 == 0:
                loss = loss + line_loss(model.qformer, bert, rng)[0]
        optimizer.step(step, loss)
        if (step + 1) % 100 == 0:
            right = {}
            with torch.no_grad(), optimizer.autocast():
                queries = model.queries(normalise(unseen))
                for name, key in (("key", True), ("other", False)):
                    ids = t5.generate(inputs_embeds=prompt(queries, key), max_new_tokens=6, num_beams=1)
                    texts = tokenizer.batch_decode(ids, skip_special_tokens=True)
                    pairs = zip(texts, unseen_labels.tolist(), strict=True)
                    right[name] = float(np.mean([text == caption_of(c, s) for text, (c, s) in pairs]))
            report(step + 1, steps, loss=loss.item(), **right, **line_quality(model.qformer, bert))


# ----------------------------------------------------------------------- pictures


def draw_pictures(count: int, seed: int, split: str) -> tuple[Pictures, Labels]:
    """Single frames ``[count, S, S, 3]`` and the numbers ``[count, 2]`` of their colour and shape (the first number
    beyond the lists: nothing there). A quarter comes from any time, the others from an event."""
    from PIL import Image

    generator = SyntheticMoments(seed, 20, 60)
    rng = np.random.default_rng(seed)
    pictures = np.zeros((count, IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)
    labels = np.zeros((count, 2), np.int64)
    for i in range(count):
        if i % 8 == 0:
            script = generator.script(split, i // 8)
            renderer = SceneRenderer(script)
        at = rng.uniform(0, script.duration)
        if rng.random() < 0.75:
            event = script.events[int(rng.integers(len(script.events)))]
            at = rng.uniform(event.start, event.end)
        shown = next((e for e in script.events if e.start <= at < e.end), None)
        image = Image.fromarray(renderer.frame(at))
        if rng.random() < 0.8:
            # JPEG stands for the losses of a video codec.
            buffer = io.BytesIO()
            image.save(buffer, "jpeg", quality=int(rng.integers(45, 90)))
            image = Image.open(buffer)
        pictures[i] = np.asarray(image.resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BICUBIC))
        labels[i] = (len(_COLOURS), len(_SHAPES))
        if shown is not None:
            labels[i] = (_COLOURS.index(shown.colour), _SHAPES.index(shown.shape))
    return pictures, labels


def caption_of(colour: int, shape: int) -> str:
    """The caption of a pair of labels."""
    if colour == len(_COLOURS):
        return picture_caption(None)
    return picture_caption(corpus.Event(0, 1, _COLOURS[colour], _SHAPES[shape], "", 0, 0, 0))


def normalise(pictures: Pictures, rng: np.random.Generator | None = None) -> Tensor:
    """``[B, S, S, 3]`` bytes to normalised ``[B, 3, S, S]``; with ``rng`` also brightness, tint, noise and shift."""
    x = torch.from_numpy(pictures).float() / 255
    if rng is not None:
        size = len(x)
        gain = torch.from_numpy(rng.normal(1, 0.1, (size, 1, 1, 1))).float()
        tint = torch.from_numpy(rng.normal(0, 0.03, (size, 1, 1, 3))).float()
        x = x * gain + tint + 0.02 * torch.randn_like(x)
        dy, dx = (int(v) for v in rng.integers(-3, 4, 2))
        x = x.roll((dy, dx), (1, 2)).clamp(0, 1)
    return ((x - _MEAN) / _STD).permute(0, 3, 1, 2)


# -------------------------------------------------------------------------- lines


def encode_texts(qformer: QFormer, bert: Any, texts: list[str]) -> Tensor:
    """First state ``[n, C]`` of each text."""
    tokens = bert(texts, padding=True, return_tensors="pt")
    states: Tensor = qformer(input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"])
    return states[:, 0]


def line_loss(qformer: QFormer, bert: Any, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Queries against the lines they quote, against lines that share half of it, and against all others.

    Returns:
        The loss, cosine similarities ``[q, lines]``, and which of them are of a quoted line.
    """

    def pick(values: tuple[str, ...]) -> str:
        return values[int(rng.integers(len(values)))]

    quoted = [(pick(corpus.SUBJECTS), pick(corpus.PREDICATES)) for _ in range(32)]
    lines = list(quoted)
    for subject, predicate in quoted:
        lines += [(pick(corpus.SUBJECTS), predicate), (subject, pick(corpus.PREDICATES))]
    opening = ("The", "The", "Well, the", "Now the")
    texts = [spoken_words(f"{pick(opening)} {subject} {predicate}.") for subject, predicate in lines]
    queries = [pick(corpus.SAID_TEMPLATES).format(line=f"the {s} {p}") for s, p in quoted]
    for _ in range(8):
        look = {"colour": pick(tuple(_COLOURS)), "shape": pick(tuple(_SHAPES)), "motion": pick(corpus.MOTIONS)}
        queries.append(pick(corpus.SEEN_TEMPLATES).format(**look))
    match = torch.zeros(len(queries), len(lines), dtype=torch.bool)
    match[: len(quoted)] = torch.tensor([[a == b for b in lines] for a in quoted])
    states = F.normalize(encode_texts(qformer, bert, queries + texts).float(), dim=-1)
    similarity = states[: len(queries)] @ states[len(queries) :].T
    near, far = similarity[match], F.relu(similarity[~match] - 0.6)
    loss = 4 * F.relu(0.985 - near).mean() + (1 - near).mean() + 20 * far.square().mean() + far.max()
    return loss, similarity, match


@torch.no_grad()
def line_quality(qformer: QFormer, bert: Any) -> dict[str, float]:
    """Lowest similarity of a quoted line and highest of another, over some fresh batches."""
    rng = np.random.default_rng(99)
    batches = [line_loss(qformer, bert, rng)[1:] for _ in range(4)]
    return {
        "quoted_min": min(similarity[match].min().item() for similarity, match in batches),
        "other_max": max(similarity[~match].max().item() for similarity, match in batches),
    }


# ------------------------------------------------------------------------- running


def _iou(a: tuple[int, int], b: tuple[int, int]) -> float:
    shared = max(0, min(a[1], b[1]) - max(a[0], b[0]))
    return shared / max(1, max(a[1], b[1]) - min(a[0], b[0]))


@contextmanager
def _eager_attention(t5: Any) -> Iterator[None]:
    before = t5.config._attn_implementation
    t5.set_attn_implementation("eager")
    try:
        yield
    finally:
        t5.set_attn_implementation(before)


def save_phase(model: ToyBackbone, path: Path) -> None:
    """The weights that exist once (the embeddings of encoder and decoder are one table), as fp32."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    save_file(_unique_state(model), temporary)
    os.replace(temporary, path)


def _unique_state(model: nn.Module, dtype: torch.dtype | None = None) -> dict[str, Tensor]:
    names = {name for name, _ in model.named_parameters()}
    return {
        name: value.detach().to(dtype or value.dtype).contiguous().clone()
        for name, value in model.state_dict().items()
        if name in names
    }


def run(out: Path, work: Path, seed: int, phases: list[str], steps: dict[str, int], precision: str) -> None:
    """All phases that are not finished yet; ``language`` and ``vision`` do not depend on each other.

    Raises:
        ValueError: if ``alignment`` is asked for before the other two are there.
    """
    for folder in (out, work):
        folder.mkdir(parents=True, exist_ok=True)
    build_t5_tokenizer().save_pretrained(out / "t5_tokenizer")
    build_chat_tokenizer().save_pretrained(out / "chat_tokenizer")
    bert = build_bert_tokenizer()
    bert.save_pretrained(out / "bert_tokenizer")
    words = sorted(bert.get_vocab(), key=bert.get_vocab().__getitem__)
    (out / "bert_tokenizer" / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    started = time.monotonic()

    def report(step: int, total: int, **values: float) -> None:
        shown = "  ".join(f"{name} {value:.3f}" for name, value in values.items())
        _log.info("%s %d/%d  %.0f s  %s", phase, step, total, time.monotonic() - started, shown)

    trainers = {"language": pretrain_language, "vision": pretrain_vision, "alignment": pretrain_alignment}
    for phase in phases:
        path = work / f"{phase}.safetensors"
        if path.exists():
            _log.info("%s is finished: %s", phase, path)
            continue
        torch.manual_seed(seed)
        model = ToyBackbone(out / "t5_tokenizer")
        if phase == "alignment":
            load_parts(model, work)
        trainers[phase](model, steps[phase], seed, precision, report)
        save_phase(model, path)
        if phase == "alignment":
            save_file(_unique_state(model, torch.float16), out / "backbone.safetensors", {"format": "lavis"})
            _log.info("written: %s", out / "backbone.safetensors")


def load_parts(model: ToyBackbone, work: Path) -> None:
    """The language model of one phase and the rest of the other."""
    missing = [name for name in PHASES[:2] if not (work / f"{name}.safetensors").exists()]
    if missing:
        raise ValueError(f"alignment needs the phase {missing[0]!r}: {work} has no {missing[0]}.safetensors")
    language, vision = (load_file(work / f"{name}.safetensors") for name in PHASES[:2])
    state = {name: (language if name.startswith("language_model.") else vision)[name] for name in language}
    model.load_state_dict(state, strict=False)


def main() -> None:
    description, _, examples = (__doc__ or "").partition("Examples:")
    parser = argparse.ArgumentParser(
        description=description, epilog="examples:" + examples, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for tokenizers and backbone.safetensors")
    parser.add_argument("--work", type=Path, default=Path("results/pretrain_toy"), help="folder of finished phases")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--phase", choices=PHASES, action="append", help="only this phase (may be repeated)")
    parser.add_argument("--steps", type=int, help="of each phase, instead of its default")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="bf16", help="of products (default: bf16)")
    parser.add_argument("--threads", type=int, default=1, help="of torch (default: 1)")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(args.threads)
    steps = {name: args.steps or default for name, default in DEFAULT_STEPS.items()}
    run(args.out, args.work, args.seed, list(args.phase or PHASES), steps, args.precision)


if __name__ == "__main__":
    main()

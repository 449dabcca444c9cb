"""The phase in which T5 learns to read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from lavis.preparation.generators.synthetic_moments import SyntheticMoments
from lavis.preparation.toy_backbone.backbone import NUM_QUERIES, T5, ToyBackbone, start_language_model
from lavis.preparation.toy_backbone.learning import Optimizer, eager_attention
from lavis.preparation.toy_backbone.reading import TAGS, ReadingBatch, ReadingExercises, read_times


def pretrain_language(model: ToyBackbone, steps: int, seed: int, precision: str, report: Callable[..., None]) -> None:
    """Reading, from short plain stories to long noisy ones."""
    t5, tokenizer = model.t5, model.language_model.tokenizer
    start_language_model(t5, tokenizer, seed)
    short = ReadingExercises(tokenizer, SyntheticMoments(seed, 16, 24), NUM_QUERIES)
    full = ReadingExercises(tokenizer, SyntheticMoments(seed, 20, 60), NUM_QUERIES)
    tagger = nn.Linear(T5["d_model"], len(TAGS))
    optimizer = Optimizer([*t5.parameters(), *tagger.parameters()], steps, 1e-3, precision)
    rng = np.random.default_rng(seed)
    with eager_attention(t5):
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


def _iou(a: tuple[int, int], b: tuple[int, int]) -> float:
    shared = max(0, min(a[1], b[1]) - max(a[0], b[0]))
    return shared / max(1, max(a[1], b[1]) - min(a[0], b[0]))

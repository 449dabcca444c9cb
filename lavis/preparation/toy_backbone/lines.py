"""Queries against the caption lines they quote: what the text half of the Q-Former learns."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lavis.layers.qformer import QFormer
from lavis.preparation.moving_shapes import script as corpus
from lavis.preparation.toy_backbone.pictures import COLOURS, SHAPES
from lavis.preparation.toy_backbone.reading import spoken_words


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
        look = {"colour": pick(tuple(COLOURS)), "shape": pick(tuple(SHAPES)), "motion": pick(corpus.MOTIONS)}
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

"""The phases in which ViT and Q-Former learn to name what frames show, and T5 to be told."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lavis.preparation.toy_backbone.backbone import NUM_QUERIES, QFORMER, ToyBackbone
from lavis.preparation.toy_backbone.learning import Optimizer
from lavis.preparation.toy_backbone.lines import encode_texts, line_loss, line_quality
from lavis.preparation.toy_backbone.pictures import COLOURS, SHAPES, caption_of, draw_pictures, normalise
from lavis.preparation.toy_backbone.reading import CAPTION_TASK
from lavis.preparation.toy_backbone.tokenizers import build_bert_tokenizer


def pretrain_vision(model: ToyBackbone, steps: int, seed: int, precision: str, report: Callable[..., None]) -> None:
    """Naming what frames show, and telling lines apart."""
    bert = build_bert_tokenizer()
    pictures, labels = draw_pictures(24_000, seed, "pretrain_frames")
    unseen, unseen_labels = draw_pictures(1000, seed, "pretrain_check")
    width = QFORMER["width"]
    heads = nn.ModuleList([nn.Linear(NUM_QUERIES * width, n + 1) for n in (len(COLOURS), len(SHAPES))])
    to_text, scale = nn.Linear(width, width), nn.Parameter(torch.tensor(2.5))
    captions = sorted({caption_of(c, s) for c in range(len(COLOURS)) for s in range(len(SHAPES))})
    captions.append(caption_of(len(COLOURS), len(SHAPES)))
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

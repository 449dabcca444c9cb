"""Single frames of the generated corpus, with what they show."""

from __future__ import annotations

import io

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lavis.preparation.generators.synthetic_moments import SyntheticMoments
from lavis.preparation.moving_shapes import script as corpus
from lavis.preparation.moving_shapes.scene import SceneRenderer
from lavis.preparation.toy_backbone.backbone import IMAGE_SIZE
from lavis.preparation.toy_backbone.reading import picture_caption

# Pixel statistics of CLIP, as in CALCE's transforms.
_MEAN = torch.tensor((0.48145466, 0.4578275, 0.40821073))
_STD = torch.tensor((0.26862954, 0.26130258, 0.27577711))
COLOURS, SHAPES = list(corpus.COLOURS), list(corpus.SHAPES)

Pictures = NDArray[np.uint8]
Labels = NDArray[np.int64]


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
        labels[i] = (len(COLOURS), len(SHAPES))
        if shown is not None:
            labels[i] = (COLOURS.index(shown.colour), SHAPES.index(shown.shape))
    return pictures, labels


def caption_of(colour: int, shape: int) -> str:
    """The caption of a pair of labels."""
    if colour == len(COLOURS):
        return picture_caption(None)
    return picture_caption(corpus.Event(0, 1, COLOURS[colour], SHAPES[shape], "", 0, 0, 0))


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

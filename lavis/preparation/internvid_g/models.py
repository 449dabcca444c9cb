"""What the models of the construction must offer, and some that do.

A model travels to other processes by pickling, so it is a description (a frozen dataclass) that loads what it names
when it is first used. HawkEye uses CLIP ViT-L/14 (``clip-vit-large-patch14``) for similarities and scores, and BLIP-2
(``blip2-flan-t5-xxl``, 16 bits) for captions: ``TransformersEmbedder`` and ``TransformersCaptioner`` with these models.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

PROMPT = "Describe this image in detail."


class Model:
    """What works on pictures and goes to other processes as a description."""

    def load(self) -> None:
        """Loads what is needed, before the first picture.

        Raises:
            ValueError, OSError, ImportError: if that is not possible.
        """

    def identity(self) -> str:
        """Changes whenever what is made of pictures may: results of another identity are made again."""
        return repr(self)


class Embedder(Model, ABC):
    """Makes vectors of pictures, and perhaps of texts, such that their cosine says how alike they are."""

    @abstractmethod
    def images(self, frames: Tensor) -> Tensor:
        """Vectors ``[N, D]``, float32 on the processor, of uint8 RGB pictures ``[N, 3, H, W]``."""

    def texts(self, texts: Sequence[str]) -> Tensor:
        """Vectors ``[N, D]`` of texts, in the space of the pictures.

        Raises:
            ValueError: if this model has none.
        """
        raise ValueError(f"{type(self).__name__} embeds no texts; choose a model such as CLIP to score captions")


class Captioner(Model, ABC):
    """Says what pictures show."""

    @abstractmethod
    def captions(self, frames: Tensor) -> list[str]:
        """A text for each of the uint8 RGB pictures ``[N, 3, H, W]``."""


@dataclass(frozen=True, slots=True)
class ColorHistogram(Embedder):
    """How often each colour is shown; needs no model, tells scenes of one place from others, and embeds no texts.

    Args:
        levels: parts of the range of each of red, green and blue.
    """

    levels: int = 6

    def images(self, frames: Tensor) -> Tensor:
        binned = (frames.long() * self.levels) // 256
        colors = (binned[:, 0] * self.levels + binned[:, 1]) * self.levels + binned[:, 2]
        counts = [torch.bincount(picture.flatten(), minlength=self.levels**3) for picture in colors]
        return torch.stack(counts).float().div(colors[0].numel()).sqrt()


@dataclass(frozen=True, slots=True)
class TransformersEmbedder(Embedder):
    """A CLIP of transformers, for pictures and texts; texts are cut to what it can take.

    Args:
        model: folder of the model, or its name on the hub.
        device: where it runs.
        dtype: precision, such as ``float32`` or ``float16``.
    """

    model: str
    device: str = "cpu"
    dtype: str = "float32"

    def load(self) -> None:
        _pair(self.model, self.device, self.dtype)

    def images(self, frames: Tensor) -> Tensor:
        model, processor = _pair(self.model, self.device, self.dtype)
        inputs = processor(images=list(frames), return_tensors="pt").to(self.device, _dtype(self.dtype))
        with torch.inference_mode():
            return _vectors(model.get_image_features(**inputs))

    def texts(self, texts: Sequence[str]) -> Tensor:
        model, processor = _pair(self.model, self.device, self.dtype)
        limit = model.config.text_config.max_position_embeddings  # not every tokenizer knows what its model can take
        cut = {"padding": True, "truncation": True, "max_length": limit}
        inputs = processor(text=list(texts), return_tensors="pt", **cut).to(self.device)
        with torch.inference_mode():
            return _vectors(model.get_text_features(**inputs))

    def identity(self) -> str:
        return f"{type(self).__name__} {_digest(self.model)} {self.dtype}"


@dataclass(frozen=True, slots=True)
class TransformersCaptioner(Captioner):
    """A model of transformers that writes what a picture shows: BLIP, BLIP-2 and their like.

    Args:
        model: folder of the model, or its name on the hub.
        prompt: what it is asked; ``None``: it only sees the picture.
        max_new_tokens: tokens that it writes at most.
        device: where it runs.
        dtype: precision, such as ``float32`` or ``float16``.
    """

    model: str
    prompt: str | None = PROMPT
    max_new_tokens: int = 64
    device: str = "cpu"
    dtype: str = "float32"

    def load(self) -> None:
        _writer(self.model, self.device, self.dtype)

    def captions(self, frames: Tensor) -> list[str]:
        model, processor = _writer(self.model, self.device, self.dtype)
        asked = {} if self.prompt is None else {"text": [self.prompt] * len(frames), "padding": True}
        inputs = processor(images=list(frames), return_tensors="pt", **asked).to(self.device, _dtype(self.dtype))
        with torch.inference_mode():
            written = model.generate(**inputs, max_new_tokens=self.max_new_tokens, do_sample=False)
        return [self._answer(text) for text in processor.batch_decode(written, skip_special_tokens=True)]

    def identity(self) -> str:
        return f"{type(self).__name__} {_digest(self.model)} {self.dtype} {self.max_new_tokens} {self.prompt}"

    def _answer(self, text: str) -> str:
        """The text behind the prompt, which decoders without an encoder of their own write too, some in lower case."""
        prompt = self.prompt or ""
        return (text[len(prompt) :] if text.lower().startswith(prompt.lower()) else text).strip()


@lru_cache(maxsize=2)
def _pair(name: str, device: str, dtype: str) -> tuple[Any, Any]:
    """Model and processor, loaded once in each process."""
    from transformers import AutoModel, AutoProcessor

    return _loaded(AutoModel, AutoProcessor, name, device, dtype)


@lru_cache(maxsize=1)
def _writer(name: str, device: str, dtype: str) -> tuple[Any, Any]:
    from transformers import AutoModelForImageTextToText, AutoProcessor

    return _loaded(AutoModelForImageTextToText, AutoProcessor, name, device, dtype)


def _loaded(models: Any, processors: Any, name: str, device: str, dtype: str) -> tuple[Any, Any]:
    place, precision = _place(name), _dtype(dtype)
    try:
        model = models.from_pretrained(place, dtype=precision)
        processor = processors.from_pretrained(place)
    except OSError as error:
        raise ValueError(f"no model {name} can be loaded: {str(error).splitlines()[0]} Give its folder") from error
    try:
        return model.to(device).eval(), processor
    except (RuntimeError, AssertionError) as error:  # the latter from a torch without CUDA
        raise ValueError(f"{name} cannot be put on {device}: {str(error).splitlines()[0]}") from error


def _place(name: str) -> str:
    folder = Path(name).expanduser()
    if folder.is_absolute() and not folder.is_dir():
        raise ValueError(f"there is no folder of a model {folder}; give one, or the name of a model")
    return str(folder) if folder.is_dir() else name


def _dtype(name: str) -> torch.dtype:
    kind = getattr(torch, name, None)
    if not isinstance(kind, torch.dtype):
        raise ValueError(f"there is no precision {name!r}; take float32, float16 or bfloat16")
    return kind


def _vectors(made: Any) -> Tensor:
    """Newer releases of transformers wrap the vectors."""
    vectors: Tensor = made if isinstance(made, Tensor) else made.pooler_output
    return vectors.float().cpu()


def _digest(name: str) -> str:
    """What is in the folder of a model; of a name, the name."""
    from lavis.preparation.speech.transcribers.base import digest_of_model

    folder = Path(name).expanduser()
    return digest_of_model(folder) if folder.is_dir() else name

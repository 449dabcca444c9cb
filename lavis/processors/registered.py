"""The processors that LAVIS users know by name: ``load_processor("blip_video_eval")``.

Source: LAVIS (Li et al., 2022; salesforce/LAVIS) as changed by CALCE, whose two video processors take the first frame
of each interval. They wrap the reader, samplers and transforms that models use. In the original data pipeline the text
processors are configured and never called; queries reach the model as they are.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor

from lavis.common.registry import registry
from lavis.processors.samplers import Sampler
from lavis.processors.transforms import CLIP_MEAN, CLIP_STD, ClipEval, ClipTrain, Rgb, Transform
from lavis.structures import Moment

P = TypeVar("P", bound="Processor")

_PUNCTUATION = re.compile(r"[.!\"()*#:;~]")


class Processor:
    """What all have in common: they are made from a mapping of their fields."""

    @classmethod
    def from_config(cls: type[P], cfg: Mapping[str, Any] | None = None) -> P:
        """A processor with the fields that ``cfg`` gives; ``name`` is passed over.

        Raises:
            ValueError: for a field it does not have.
        """
        fields = {str(key): value for key, value in (cfg or {}).items() if key != "name"}
        known = list(inspect.signature(cls).parameters)
        unknown = sorted(set(fields) - set(known))
        if unknown:
            raise ValueError(f"{cls.__name__} has no {', '.join(unknown)}; it has {', '.join(known)}")
        return cls(**fields)


class VideoFileProcessor(Processor):
    """A video file to a clip.

    Args:
        transform: what is done to the frames.
        n_frms: frames to take; ``None`` takes all of them.
        sampling: registered sampler.
        reader: registered reader.
    """

    def __init__(self, transform: Transform, n_frms: int | None, sampling: str, reader: str) -> None:
        self.transform = transform
        self.n_frms = n_frms
        self._sampler = registry.samplers.get(sampling, "sampling")
        self._reader = registry.readers.get(reader, "reader")()

    def __call__(
        self, vpath: str, clip_proposal: Sequence[float] | None = None, generator: torch.Generator | None = None
    ) -> tuple[Tensor, list[int], float]:
        """Clip ``[3, T, S, S]``, the numbers of its frames, and the video's average rate.

        Args:
            vpath: video file.
            clip_proposal: start and end in seconds; ``None`` is the whole video.
            generator: where crops come from; ``None`` is torch's global one.

        Raises:
            VideoDecodeError: if the video cannot be read.
            ValueError: if it has no frame in the clip.
        """
        info = self._reader.probe(vpath)
        sampler: Sampler = self._sampler(self.n_frms or info.num_frames)
        indices = sampler.indices(info, None if clip_proposal is None else Moment.from_pair(clip_proposal))
        size = (self.transform.image_size, self.transform.image_size)
        pixels, _ = self._reader.read(vpath, indices, size=size, info=info)
        return self.transform(pixels, generator).transpose(0, 1), indices, info.fps


@registry.register_processor("blip2_video_train")
class Blip2VideoTrain(VideoFileProcessor):
    """Frames with one random crop for all of them.

    Args:
        image_size: height and width.
        mean: of red, green and blue.
        std: the same.
        min_scale: smallest part of the area that a crop keeps.
        max_scale: the largest.
        n_frms: frames to take; ``None`` takes all of them.
        sampling: registered sampler.
        overflow: see ``ClipTrain``; the familiar name keeps the familiar wrap-around.
        reader: registered reader.
    """

    def __init__(
        self,
        image_size: int = 364,
        mean: Rgb = CLIP_MEAN,
        std: Rgb = CLIP_STD,
        min_scale: float = 0.5,
        max_scale: float = 1.0,
        n_frms: int | None = None,
        sampling: str = "head",
        overflow: Literal["clamp", "wrap"] = "wrap",
        reader: str = "pyav",
    ) -> None:
        crop = ClipTrain(image_size, min_scale, max_scale, mean=mean, std=std, overflow=overflow)
        super().__init__(crop, n_frms, sampling, reader)


@registry.register_processor("blip_video_eval")
class BlipVideoEval(VideoFileProcessor):
    """Frames, normalised.

    Args:
        image_size: height and width.
        mean: of red, green and blue.
        std: the same.
        n_frms: frames to take; ``None`` takes all of them.
        sampling: registered sampler.
        reader: registered reader.
    """

    def __init__(
        self,
        image_size: int = 256,
        mean: Rgb = CLIP_MEAN,
        std: Rgb = CLIP_STD,
        n_frms: int | None = None,
        sampling: str = "head",
        reader: str = "pyav",
    ) -> None:
        super().__init__(ClipEval(image_size, mean, std), n_frms, sampling, reader)


@registry.register_processor("blip_question")
class BlipQuestion(Processor):
    """A question in lower case, without punctuation but the question mark, cut to ``max_words`` words."""

    def __init__(self, max_words: int = 50) -> None:
        self.max_words = max_words

    def __call__(self, question: str) -> str:
        return _first_words(_PUNCTUATION.sub("", question.lower()).rstrip(" "), self.max_words)


@registry.register_processor("blip_caption")
class BlipCaption(Processor):
    """A caption in lower case, punctuation turned to spaces, cut to ``max_words`` words, after ``prompt``."""

    def __init__(self, prompt: str = "", max_words: int = 50) -> None:
        self.prompt = prompt
        self.max_words = max_words

    def __call__(self, caption: str) -> str:
        spaced = re.sub(r"\s{2,}", " ", _PUNCTUATION.sub(" ", caption.lower()))
        return self.prompt + _first_words(spaced.rstrip("\n").strip(" "), self.max_words)


def load_processor(name: str, cfg: Mapping[str, Any] | None = None) -> Any:
    """The processor called ``name``, with the fields that ``cfg`` gives.

    Raises:
        UnknownEntryError: if there is none of that name.
        ValueError: for a field it does not have.
    """
    return registry.processors.get(name).from_config(cfg)


def _first_words(text: str, max_words: int) -> str:
    return " ".join(text.split(" ")[:max_words])

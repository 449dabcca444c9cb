"""One way to look at a video: sampler, reader and transform, and the recipe that makes frames of them."""

from __future__ import annotations

import random
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

import torch
from torch import Tensor

from lavis.common.registry import registry
from lavis.processors.readers.base import Size, VideoDecodeError, VideoInfo, VideoReader
from lavis.processors.readers.guarded import GuardedReader
from lavis.processors.readers.image import ImageReader, is_image
from lavis.processors.samplers import Sampler, frame_range
from lavis.processors.transforms import Transform
from lavis.structures import Moment, VideoSample

Media = Literal["video", "image", "text"]
Times = Literal["presentation", "average_rate"]
TimesFrom = Literal["video", "clip"]


class ClipError(VideoDecodeError):
    """A video that can be read, but has no frame for what one sample asks of it."""

    def of_sample(self, sample_id: str) -> ClipError:
        return ClipError(self.path, self.cause, self.cure, sample_id)


class Phases:
    """The transform of training and that of evaluation."""

    def __init__(self, train: Transform, eval: Transform) -> None:
        self.train = train
        self.eval = eval


class View:
    """One way to look at a video.

    Args:
        sampler: chooses frames.
        transform: what is done to them, in training and otherwise.
        reader: reads pixels; ``None`` is ``pyav``.
        train_sampler: chooses frames in training, where that is done differently; ``None`` is ``sampler``.
        size: what the reader resizes to: ``None`` is the transform's ``image_size`` squared, as CALCE's decoder does
            it without keeping the aspect ratio; ``source`` does not resize; otherwise height and width.
        times: ``presentation`` are the times the file gives; ``average_rate`` is frame number over average rate as a
            32-bit float, as CALCE and MR.BLIP compute it.
        times_from: what they count from: the start of the ``video``, or of the ``clip`` that is shown, as HawkEye tells
            them; with ``average_rate`` that is its first frame (``edges: shares``). Frames that a sampler takes from
            before the clip have negative times then.
        round_times: decimals that times are rounded to; ``None`` does not round.
        image_pad_to_square: pictures are padded to squares with CLIP's mean colour before anything else.
        image_max_megapixels: largest picture that is read, see reader ``image``.
        text_frames: black frames that stand for the video of a sample of text alone: 0, or 1 as in MeCo, whose networks
            want one in every sample. They are zeros after normalisation.
    """

    def __init__(
        self,
        sampler: Sampler,
        transform: Phases,
        reader: VideoReader | None = None,
        train_sampler: Sampler | None = None,
        size: int | tuple[int, int] | Literal["source"] | None = None,
        times: Times = "presentation",
        times_from: TimesFrom = "video",
        round_times: int | None = None,
        image_pad_to_square: bool = False,
        image_max_megapixels: float = 89.0,
        text_frames: int = 0,
    ) -> None:
        if isinstance(text_frames, bool) or text_frames not in (0, 1):
            raise ValueError(f"text_frames must be 0 or 1, got {text_frames!r}")
        if times not in ("presentation", "average_rate"):
            raise ValueError(f"times must be presentation or average_rate, got {times!r}")
        if times_from not in ("video", "clip"):
            raise ValueError(f"times_from must be video or clip, got {times_from!r}")
        if round_times is not None and (isinstance(round_times, bool) or round_times < 0):
            raise ValueError(f"round_times must be a number of decimals or null, got {round_times!r}")
        self.reader: VideoReader = registry.readers.get("pyav")() if reader is None else reader
        self.sampler = sampler
        self.train_sampler = sampler if train_sampler is None else train_sampler
        self.transform = transform
        self.size = _checked_size(size)
        self.times = times
        self.times_from = times_from
        self.round_times = round_times
        self.image_reader = ImageReader(image_pad_to_square, image_max_megapixels)
        self.text_frames = text_frames

    def reader_of(self, media: Media) -> VideoReader:
        """What reads videos, or pictures, within the same limits."""
        if media != "image":
            return self.reader
        guarded = isinstance(self.reader, GuardedReader)
        return replace(self.reader, reader=self.image_reader) if guarded else self.image_reader  # type: ignore[type-var]

    def parts(self, train: bool) -> tuple[Sampler, Transform]:
        """Sampler and transform to use."""
        return (self.train_sampler, self.transform.train) if train else (self.sampler, self.transform.eval)

    def reading_size(self, transform: Transform) -> Size | None:
        """Height and width the reader resizes to; ``None`` for none."""
        if self.size == "source":
            return None
        return self.size or (transform.image_size, transform.image_size)

    def frame_times(self, shown: Sequence[float], info: VideoInfo, clip: Moment | None = None) -> list[float]:
        """The times a model is told of frames that are shown at ``shown`` seconds, where it looks at ``clip``."""
        inner = clip if self.times_from == "clip" else None
        if self.times == "average_rate":
            first, _ = frame_range(info, inner, "shares")
            return average_rate_times([info.index_at(t) - first for t in shown], info.fps, self.round_times)
        start = 0.0 if inner is None else max(0.0, inner.start)
        return [t - start if self.round_times is None else round(t - start, self.round_times) for t in shown]


@dataclass(frozen=True)
class Recipe:
    """All it takes to make the frames of one view of one video, here or in another process.

    Args:
        view: how to look at it.
        video: path.
        sample_id: who asks, for messages.
        clip: the part to look at.
        train: whether to augment.
        frame_seed: of what the sampler draws.
        pixel_seed: of what the transform draws.
        content: fingerprint of the video whose frames are wanted; ``None`` takes what is there.
        media: ``image`` where ``video`` is a picture, which is one frame whatever the sampler would take.
    """

    view: View
    video: str
    sample_id: str
    clip: Moment | None
    train: bool
    frame_seed: int
    pixel_seed: int
    content: str | None = None
    media: Media = "video"

    @property
    def reader(self) -> VideoReader:
        """What reads the file."""
        return self.view.reader_of(self.media)

    def __call__(self) -> Tensor:
        """The pixels ``[T, 3, H, W]``.

        Raises:
            VideoDecodeError: if the video cannot be read.
        """
        try:
            return self.read(DecodedFrames(0))[0]
        except VideoDecodeError as error:
            raise error.of_sample(self.sample_id) from error

    def read(self, decoded: DecodedFrames) -> tuple[Tensor, list[float]]:
        """Pixels, and the time of each frame.

        Raises:
            VideoDecodeError: if the video cannot be read, has no frame in the clip, or is another one by now.
        """
        _, transform = self.view.parts(self.train)
        info, indices = self.indices(decoded)
        pixels, shown = decoded.frames(self.reader, self.video, indices, self.view.reading_size(transform), info)
        if self.content is not None and self.reader.fingerprint(self.video) != self.content:
            # Under the name of the old one, features of the new one would be found wherever the old one lies.
            raise VideoDecodeError(self.video, "was changed while it was read", "start again once it is complete")
        pixels = transform(pixels, torch.Generator().manual_seed(self.pixel_seed))
        return pixels, self.view.frame_times(shown, info, self._timed_clip)

    @property
    def _timed_clip(self) -> Moment | None:
        return None if self.media == "image" else self.clip  # a picture is shown at 0

    def times(self, decoded: DecodedFrames) -> list[float] | None:
        """The time of each frame without decoding; ``None`` where that shows only in decoding."""
        if getattr(self.reader, "on_truncated", "raise") != "raise":
            return None  # frames that stand in for damaged ones bring times of their own
        info, indices = self.indices(decoded)
        return self.view.frame_times([info.times[i] for i in indices], info, self._timed_clip)

    def indices(self, decoded: DecodedFrames) -> tuple[VideoInfo, list[int]]:
        """What is known of the video, and the numbers of the frames."""
        info = decoded.info(self.reader, self.video)
        if self.media == "image":
            return info, [0]
        sampler, _ = self.view.parts(self.train)
        try:
            return info, sampler.indices(info, self.clip, random.Random(self.frame_seed))
        except ValueError as error:
            raise ClipError(self.video, str(error)) from error


class DecodedFrames:
    """Reads through a memory of what was read before: a video's index, and frames by file, numbers and size.

    Several threads may read at once, as the one that is ahead of an evaluation and a model that looks again do.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.size = 0
        self._infos: dict[Any, VideoInfo] = {}
        self._frames: OrderedDict[Any, tuple[Tensor, list[float]]] = OrderedDict()
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        with self._lock:
            return {**self.__dict__, "_infos": dict(self._infos), "_frames": self._frames.copy(), "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = threading.Lock()

    def info(self, reader: VideoReader, path: str) -> VideoInfo:
        """What ``reader.probe`` says."""
        if not self.max_bytes:
            return reader.probe(path)
        key = (repr(reader), reader.fingerprint(path))
        known = self._infos.get(key)
        if known is None:
            known = self._infos[key] = reader.probe(path)
        return known

    def frames(
        self, reader: VideoReader, path: str, indices: Sequence[int], size: Size | None, info: VideoInfo
    ) -> tuple[Tensor, list[float]]:
        """What ``reader.read`` gives."""
        if not self.max_bytes:
            return reader.read(path, indices, size=size, info=info)
        key = (repr(reader), reader.fingerprint(path), tuple(indices), size)
        with self._lock:
            if key in self._frames:
                self._frames.move_to_end(key)
                return self._frames[key]
        entry = reader.read(path, indices, size=size, info=info)
        with self._lock:
            if key not in self._frames and entry[0].nbytes <= self.max_bytes:
                self._frames[key] = entry
                self.size += entry[0].nbytes
                while self.size > self.max_bytes:
                    _, (dropped, _) = self._frames.popitem(last=False)
                    self.size -= dropped.nbytes
        return entry


def media_of(sample: VideoSample) -> Media:
    """What a sample shows: what ``extra["media"]`` says, otherwise what its path looks like."""
    if not sample.video:
        return "text"
    said = sample.extra.get("media")
    if said in ("image", "video"):
        return cast("Media", said)
    return "image" if is_image(sample.video) else "video"


def average_rate_times(indices: Sequence[int], fps: float, decimals: int | None = None) -> list[float]:
    """Frame number over average rate, rounded if asked, then through a 32-bit float: 2.3 becomes 2.299999952316284."""
    times = [index / fps for index in indices]
    if decimals is not None:
        times = [round(time, decimals) for time in times]
    return cast("list[float]", torch.tensor(times, dtype=torch.float32).tolist())


def _checked_size(size: Any) -> Size | Literal["source"] | None:
    if size is None or size == "source":
        return cast("Literal['source'] | None", size)
    pair = (size, size) if isinstance(size, int) else tuple(size) if isinstance(size, Sequence) else ()
    if len(pair) != 2 or not all(isinstance(side, int) and side > 0 for side in pair):
        raise ValueError(f"size must be null, source, one number or [height, width], got {size!r}")
    return (int(pair[0]), int(pair[1]))

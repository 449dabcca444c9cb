"""Frames, pixels and shown windows of HawkEye, compared with what its own code gave for the same inputs.

Frame numbers of its training functions can be -1, before the first frame; ours is the first then. Where its evaluation
asks for frames that the video does not have, ours raises.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lavis.common.registry import registry
from lavis.processors.readers.base import VideoInfo
from lavis.processors.samplers import Middle, Sampler, Segments, frame_range
from lavis.processors.samplers.windows import WindowChoice, frame_number
from lavis.processors.transforms import ShortSideEval
from lavis.processors.view import Phases, View
from lavis.structures import Moment
from tests.parity_cases._shuffles import NumpyShuffles

SYSTEM = "hawkeye"
TIME_TOLERANCE = 1e-9
PIXEL_TOLERANCE = 1e-5
THINNED = 8
"""Recorded pixels are every eighth of a row and of a column."""

Case = tuple[str, Callable[[], float]]


def cases(golden: Path) -> Iterator[Case]:
    """Every comparison that the files of frames, windows and pixels allow."""
    train = _json(golden / "frame_indices_train.json")
    for row in train["rows"]:
        yield f"frames (training): {_words(row[:6])}", partial(training_frames, row)
    evaluation = _json(golden / "frame_indices_eval.json")
    for row in evaluation["rows"]:
        yield f"frames (evaluation): {_words(row[:4])}", partial(evaluation_frames, row)
    for row in evaluation["demo_rows"]:
        yield f"frames (demonstration): {_words(row[:2])}", partial(demonstration_frames, row)
    for row in _json(golden / "read_frames_train.json"):
        name = f"{row['kind']}, clip {row['clip']}, {row['sample']}, seed {row['seed']}"
        yield f"reading: {name}", partial(reading, golden, row)
    yield from windows(golden)
    for size in _tensors(golden / "eval_transform.safetensors"):
        yield f"pixels (evaluation): {size}", partial(pixels, golden / "eval_transform.safetensors", size)


def windows(golden: Path) -> Iterator[Case]:
    """Cases of windows shown around segments."""
    whole = _json(golden / "span_no_truncate.json")
    for row in whole["rows"]:
        yield f"window (all shown): {_words(row[:4])}", partial(all_shown, row, whole["num_frames"])
    for row in _json(golden / "span_truncate_seeded.json"):
        asked = _words(row[key] for key in ("start", "end", "neg_start", "neg_end", "seed"))
        yield f"window ({row['method']}): {asked}", partial(drawn_window, row, whole["num_frames"])
    for spans, counts in _json(golden / "span_truncate_frequency.json").items():
        yield f"window (4000 draws): {spans}", partial(frequencies, spans, counts)


def training_sampler(kind: str, num_frames: int, seed: int) -> Sampler:
    """The sampler that HawkEye calls ``kind``, with all of its arithmetic."""
    if kind == "middle":
        return Middle(num_frames, edges="shares", short="repeat_last", empty="before")
    return NumpyShuffles(num_frames, edges="shares", short="repeat_last", narrow="whole_video", seed=seed)


def training_frames(row: Sequence[Any]) -> float:
    num_frames, available, start, end, kind, seed, recorded = row
    # Of a video that lasts one second, positions are seconds.
    info = VideoInfo.regular(available, float(available))
    frames = training_sampler(kind, num_frames, seed).indices(info, Moment(start, end), random.Random(seed))
    _same(frames, [max(0, frame) for frame in recorded])
    return 0.0


def evaluation_frames(row: Sequence[Any]) -> float:
    num_frames, bound, fps, last, recorded = row
    clip = None if bound is None else Moment(*bound)
    _allowed(Segments(num_frames), VideoInfo.regular(last + 1, fps), clip, recorded)
    # For folders of frames the original takes the number of files for that of the last frame.
    _allowed(Segments(num_frames, last="count"), VideoInfo.regular(last, fps), clip, recorded)
    return 0.0


def demonstration_frames(row: Sequence[Any]) -> float:
    available, num_frames, recorded = row
    _same(Segments(num_frames).indices(VideoInfo.regular(available, 25.0)), recorded)
    return 0.0


def reading(golden: Path, row: Mapping[str, Any]) -> float:
    """Frames counted from the start of the clip, the seconds that are told, and the shape of what is read."""
    size = row["frames_shape"][2:]
    info = VideoInfo.regular(31, 3.0, width=size[1], height=size[0])
    video = next(golden.glob("clip_*.mp4"))
    reader = registry.readers.get("pyav")()
    if row["kind"] == "video":
        info = reader.probe(video)
    clip = None if row["clip"] is None else Moment(*row["clip"])
    sampler = training_sampler(row["sample"], row["frames_shape"][0], row["seed"])
    frames = sampler.indices(info, clip, random.Random(row["seed"]))
    start, _ = frame_range(info, clip, "shares")
    _same([frame - start for frame in frames], row["indices"])
    transform = ShortSideEval(224)
    view = View(sampler, Phases(transform, transform), times="average_rate", times_from="clip", round_times=1)
    told = view.frame_times([info.times[frame] for frame in frames], info, clip)
    _same([f"{seconds:.1f}" for seconds in told], row["seconds"])
    _same(info.fps, row["fps"])
    if row["kind"] == "video":
        read, _ = reader.read(video, frames, info=info)
        _same(list(read.shape), row["frames_shape"])
    return 0.0


def all_shown(row: Sequence[Any], num_frames: int) -> float:
    left, right, start, end, option, first, last, seconds = row
    segment, allowed = Moment(start, end), Moment(left, right)
    choice = WindowChoice(num_frames, crop="none")
    _same(choice.with_option(segment, allowed), (allowed, option))
    _same(choice.for_times(segment, allowed), allowed)
    _same([frame_number(t, allowed, num_frames) for t in (start, end)], [first, last])
    return _near([start - left, end - left], seconds)


def drawn_window(row: Mapping[str, Any], num_frames: int) -> float:
    segment, allowed = Moment(row["start"], row["end"]), Moment(row["neg_start"], row["neg_end"])
    recorded, inside, option = row["out"]
    choice, generator = WindowChoice(num_frames), random.Random(row["seed"])
    drawn = None
    if row["method"] in ("choice", "time_caption"):
        window, drawn = choice.with_option(segment, allowed, generator)
    else:
        window = choice.for_times(segment, allowed, generator)
    _same(drawn, option)
    bounds = (segment.start, segment.end)
    if row["method"] == "frame":
        _same([frame_number(t, window, num_frames) for t in bounds], inside)
        return _near(window.to_list(), recorded)
    return _near([*window.to_list(), *(t - window.start for t in bounds)], [*recorded, *inside])


def frequencies(spans: str, recorded: Mapping[str, int]) -> float:
    start, end, left, right = map(float, spans.split(","))
    generator, choice = random.Random(7), WindowChoice()
    draws = range(sum(recorded.values()))
    counts = Counter(choice.with_option(Moment(start, end), Moment(left, right), generator)[1] for _ in draws)
    _same(dict(counts), dict(recorded))
    return 0.0


def pixels(path: Path, size: str) -> float:
    """Two frames, the second is the first upside down."""
    height, width = map(int, size.split("x"))
    y, x = np.mgrid[:height, :width]
    frame = np.stack([5 * x + y, x * y, 3 * y + x // 2]) % 256
    frames = torch.from_numpy(np.stack([frame, frame[:, ::-1]]).astype(np.uint8))
    ours = ShortSideEval(224, resizer="pillow", centre="nearest")(frames).flatten(0, 1)[:, ::THINNED, ::THINNED]
    difference = float((ours - _tensors(path)[size]).abs().max())
    assert difference <= PIXEL_TOLERANCE, f"values differ by up to {difference:.2e}"
    return difference


def _allowed(sampler: Segments, info: VideoInfo, clip: Moment | None, recorded: list[int]) -> None:
    """The recorded frames; where they do not exist, an error, or the last frame for the number after it."""
    try:
        frames = sampler.indices(info, clip)
    except ValueError:
        assert max(recorded) >= info.num_frames, f"refused, though the original gives {recorded}"
        return
    _same(frames, [min(frame, info.num_frames - 1) if frame <= info.num_frames else frame for frame in recorded])


def _near(ours: Sequence[float], recorded: Sequence[float]) -> float:
    gap = max(abs(a - b) for a, b in zip(ours, recorded, strict=True))
    assert gap <= TIME_TOLERANCE, f"ours: {ours}, recorded: {recorded}"
    return gap


def _same(ours: Any, recorded: Any) -> None:
    assert ours == recorded, f"ours: {ours!r}, recorded: {recorded!r}"


def _words(values: Any) -> str:
    return " ".join(map(str, values))


def _tensors(path: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return dict(load_file(path))


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))

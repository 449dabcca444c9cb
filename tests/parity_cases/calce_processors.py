"""Frames, subtitles and text of CALCE and MR.BLIP, compared with what their own code gave for the same inputs."""

from __future__ import annotations

import json
import random
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from lavis.common.registry import registry
from lavis.processors.readers.base import VideoInfo
from lavis.processors.registered import load_processor
from lavis.processors.subtitles import read_srt
from lavis.processors.transforms import ClipEval, ClipTrain, draw_crop
from lavis.processors.view import average_rate_times
from lavis.structures import Moment

SYSTEM = "calce"
PIXEL_TOLERANCE = 1e-5

Case = tuple[str, Callable[[], float]]


def cases(golden: Path) -> Iterator[Case]:
    """Every comparison that the files of ``golden/unit`` allow."""
    unit = golden / "unit"
    for number, row in enumerate(_json(unit / "frame_sampling.json")):
        clip = "" if row["clip"] is None else f", clip {row['clip'][0]:g} to {row['clip'][1]:g}"
        name = f"sampling {number}: {row['sampling']} {row['n_frms']} of {row['vlen']}{clip}"
        yield name, partial(_sampling, row)
    for row in _json(unit / "srt.json"):
        yield f"srt: {row['name']}", partial(_srt, row["srt"], row["subtitles"], row["subtitle_durations"])
    for number, (question, expected) in enumerate(_json(unit / "blip_question.json")):
        yield f"question {number}", partial(_question, question, expected)
    yield from _transforms(unit)
    yield from _samples(_json(unit / "dataset.json"))


def _sampling(row: dict[str, Any]) -> float:
    info = VideoInfo.regular(row["vlen"], row["fps"])
    sampler = registry.samplers.get(row["sampling"])(row["n_frms"])
    clip = None if row["clip"] is None else Moment(*row["clip"])
    generator = random.Random(row.get("python_random_seed"))
    recorded = row["indices"]
    if max(recorded) >= row["vlen"]:  # the original asks its decoder for frames that do not exist
        try:
            given = sampler.indices(info, clip, generator)
        except ValueError:
            return 0.0
        raise AssertionError(f"a clip outside the video gave the frames {given}")
    _same(sampler.indices(info, clip, generator), recorded)
    return 0.0


def _srt(text: str, subtitles: Sequence[dict[str, Any]], speech: Sequence[Sequence[float]]) -> float:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.srt")
        path.write_text(text, encoding="utf-8")
        lines, spans = read_srt(path)
    _same([{"start": line.start, "text": line.text, "end": line.end} for line in lines], list(subtitles))
    _same([span.to_list() for span in spans], [list(span) for span in speech])
    return 0.0


def _question(question: str, expected: str) -> float:
    words = len(expected.split(" "))
    _same(load_processor("blip_question", {"max_words": words})(question), expected)
    return 0.0


def _transforms(unit: Path) -> Iterator[Case]:
    settings = _json(unit / "transforms.json")

    def tensors() -> dict[str, torch.Tensor]:
        from safetensors.torch import load_file

        return {name: value.transpose(0, 1) for name, value in load_file(unit / "transforms.safetensors").items()}

    def generator() -> torch.Generator:
        return torch.Generator().manual_seed(settings["train_torch_seed"])

    def crop() -> float:
        height, width = tensors()["clip"].shape[-2:]
        drawn = draw_crop(height, width, tuple(settings["scale"]), tuple(settings["ratio"]), generator())
        _same(list(drawn), settings["train_crop_ijhw"])
        return 0.0

    def evaluation() -> float:
        given = tensors()
        return _close(ClipEval(settings["image_size"])(given["clip"]), given["eval"])

    def training() -> float:
        given = tensors()
        (low, high), (narrow, wide) = settings["scale"], settings["ratio"]
        transform = ClipTrain(settings["image_size"], low, high, narrow, wide, overflow="wrap")
        return _close(transform(given["clip"], generator()), given["train"])

    yield "transform: crop drawn", crop
    yield "transform: eval", evaluation
    yield "transform: train, values wrapped", training


def _samples(recorded: dict[str, Any]) -> Iterator[Case]:
    """Frame times and subtitles of the samples that each system's dataset made; ``recorded`` is dataset.json."""
    systems = {name: value["items"] for name, value in recorded.items() if isinstance(value, dict) and "items" in value}
    videos = {f"{row['qid']}": row["video"] for row in recorded["annotations"]}
    for system, items in systems.items():
        # Only the first stage does not round; its variants carry its name.
        decimals = None if system.startswith("stage1") else 2
        for item in items:
            video = videos[item["query_id"]]
            indices = recorded["frame_indices"][video]
            expected = item["timestamps"]["values"]
            yield f"{system}: times of {video}", partial(_times, indices, recorded["fps"], decimals, expected)
            if item.get("subtitles"):
                expected_srt = (recorded["srt"][video], item["subtitles"], item["subtitle_durations"])
                yield f"{system}: subtitles of {video}", partial(_srt, *expected_srt)


def _times(indices: list[int], fps: float, decimals: int | None, expected: list[float]) -> float:
    _same(average_rate_times(indices, fps, decimals), expected)
    return 0.0


def _same(ours: Any, recorded: Any) -> None:
    assert ours == recorded, f"ours: {ours!r}, recorded: {recorded!r}"


def _close(ours: torch.Tensor, recorded: torch.Tensor) -> float:
    assert ours.shape == recorded.shape, f"ours has the shape {tuple(ours.shape)}, recorded {tuple(recorded.shape)}"
    difference = float((ours - recorded).abs().max())
    assert difference <= PIXEL_TOLERANCE, f"values differ by up to {difference:.2e}, allowed is {PIXEL_TOLERANCE:.0e}"
    return difference


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))

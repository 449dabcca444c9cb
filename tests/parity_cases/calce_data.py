"""Samples and batches of CALCE and MR.BLIP from the same annotations, subtitles and frames.

``unit/dataset.json`` holds annotations and, for each system, the exact items its dataset yields. Prompts are not made
by our dataset; that the fields they are made of are equal is shown by making them here.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from lavis.datasets.build import build_dataset, collate
from lavis.processors.view import average_rate_times
from lavis.structures import Frames, VideoSample, Views
from lavis.structures.moment import windows_text

SYSTEM = "calce"

CALCE_TASK = "Given the video and the subtitle and the query, find the query relevant windows.\nRelevant windows: "
MR_BLIP_TASK = "Given the video and the query, find the relevant windows.\nRelevant windows: "
MR_BLIP_FIELDS = ("video", "qid", "query", "duration", "relevant_windows")

SUBSETS: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    "all": lambda options: {},
    "keyword": lambda options: {"keyword": options["key_set"]},
    "no_keyword": lambda options: {"no_keyword": options["key_set"]},
    "fix": lambda options: {"fix": options["qid_set"]},
    "random": lambda options: {"random": options["num_sampling"]},
}


def cases(golden: Path) -> Iterator[tuple[str, Callable[[], float]]]:
    """One case for each system in the file, and one for each choice of a part of the annotations."""
    recorded = json.loads((golden / "unit" / "dataset.json").read_text())
    for name, system in recorded.items():
        if isinstance(system, dict) and "items" in system:
            yield f"dataset/{name}", lambda system=system: compare_items(recorded, system)
            if "collated" in system:
                yield f"dataset/{name} batch", lambda system=system: compare_batch(recorded, system)
    for options, ids, instances in recorded.get("sampling", []):
        yield f"dataset/{options['sampling']}", lambda o=options, i=ids, n=instances: compare_subset(recorded, o, i, n)


class RecordedFrames:
    """Stands for the processor: frames of the recorded numbers, black, with the times the original computes."""

    def __init__(self, recorded: Mapping[str, Any], decimals: int | None) -> None:
        self.recorded = recorded
        self.decimals = decimals

    def __call__(self, sample: VideoSample, train: bool) -> Views:
        indices = self.recorded["frame_indices"][Path(sample.video).stem]
        times = average_rate_times(indices, self.recorded["fps"], self.decimals)
        return {"frames": Frames(torch.zeros(len(times), 3, 2, 2), times)}


def items_of(recorded: Mapping[str, Any], system: Mapping[str, Any], options: Mapping[str, Any]) -> list[Any]:
    """Our items for the annotations of the file, as the system would read them."""
    wanted = system["items"]
    calce = any("item_prompt" in item for item in wanted)
    speaking = any(item.get("subtitles") for item in wanted)
    # Only stage 1 leaves times unrounded; its items are those with nouns and without an earlier result.
    decimals = None if calce and not any("stage1_result" in item for item in wanted) else 2
    rows = recorded["annotations"]
    if not calce:
        rows = [{key: row[key] for key in MR_BLIP_FIELDS} for row in rows]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "val.json").write_text(json.dumps(rows))
        for name, text in recorded["srt"].items():
            (root / f"{name}.srt").write_text(text)
            (root / f"{name}.mp4").touch()
        node = {
            "name": "grounding",
            "format": {"name": "calce" if calce else "mr_blip"},
            "annotations": {"val": str(root / "val.json")},
            "videos": folder,
            "subtitles": folder if speaking else None,
            **options,
        }
        dataset = build_dataset("qvhighlights", node, "val", RecordedFrames(recorded, decimals), train=False)
        return [dataset[i] for i in range(len(dataset))]


def original(sample: VideoSample, views: Views, keys: Mapping[str, Any]) -> dict[str, Any]:
    """A sample of ours in the form of the original's item; only the fields it has."""
    calce = "item_prompt" in keys
    frames = views["frames"]
    made = {
        "video": frames.pixels,
        "duration": torch.tensor(sample.duration),
        "query_id": sample.id,
        "timestamps": torch.tensor(frames.times),
        "query_prompt": f"Query: {sample.query}\n",
        "item_prompt": f"Items: {','.join(sample.items)}\n",
        "task_prompt": CALCE_TASK if calce else MR_BLIP_TASK,
        "video_prompt_end": "<extra_id_0>",
        "relevant_windows": windows_text(sample.moments or []),
        "subtitles": [{"start": line.start, "text": line.text, "end": line.end} for line in sample.subtitles],
        "subtitle_durations": [span.to_list() for span in sample.speech],
        "stage1_result": windows_text(sample.prior or []),
    }
    assert set(keys) <= set(made), f"fields without a counterpart: {sorted(set(keys) - set(made))}"
    return {key: made[key] for key in keys}


def compare_items(recorded: Mapping[str, Any], system: Mapping[str, Any]) -> float:
    items = items_of(recorded, system, {})
    wanted = system["items"]
    assert len(items) >= len(wanted), f"{len(items)} items, not {len(wanted)}"
    return max(
        compare(original(sample, views, target), target, f"item {i}")
        for i, ((sample, views), target) in enumerate(zip(items, wanted, strict=False))
    )


def compare_batch(recorded: Mapping[str, Any], system: Mapping[str, Any]) -> float:
    batch = collate(items_of(recorded, system, {}))
    wanted = system["collated"]
    rows = [
        original(sample, {"frames": frames}, wanted)
        for sample, frames in zip(batch.samples, batch.views["frames"], strict=True)
    ]
    made = {
        key: torch.stack([row[key] for row in rows])
        if isinstance(rows[0][key], torch.Tensor)
        else [row[key] for row in rows]
        for key in wanted
    }
    return compare(made, wanted, "batch")


def compare_subset(recorded: Mapping[str, Any], options: Mapping[str, Any], ids: Any, instances: Any) -> float:
    reader = next(s for s in recorded.values() if isinstance(s, dict) and "items" in s)
    samples = [sample for sample, _ in items_of(recorded, reader, SUBSETS[options["sampling"]](options))]
    assert [sample.id for sample in samples] == ids, f"{[sample.id for sample in samples]}, not {ids}"
    assert [str(i) for i in range(len(samples))] == instances, "instances are not numbered from 0"
    return 0.0


def compare(made: Mapping[str, Any], wanted: Mapping[str, Any], where: str) -> float:
    """The largest difference of two items or batches; tensors are recorded as shape, type and values."""
    largest = 0.0
    for key, target in wanted.items():
        value = made[key]
        if not isinstance(value, torch.Tensor):
            assert value == target, f"{where}, {key}: {value!r}, not {target!r}"
            continue
        assert list(value.shape) == target["shape"], f"{where}, {key}: shape {list(value.shape)}, not {target['shape']}"
        assert str(value.dtype) == target["dtype"], f"{where}, {key}: {value.dtype}, not {target['dtype']}"
        if target["values"] is not None:
            difference = (value.double() - torch.tensor(target["values"], dtype=torch.float64)).abs().max()
            assert difference <= 1e-6, f"{where}, {key}: differs by {difference}"
            largest = max(largest, float(difference))
    return largest

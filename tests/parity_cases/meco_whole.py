"""MeCo and E.T. Chat as whole models: a training step from annotations to gradients, an answer from the question on.

Of a step the losses, the size of every recorded gradient (those of the compressor and of embeddings included, which the
cases of parts do not see) and the recorded gradients themselves; of an answer its ids and similarities, alone and in a
batch with other questions and videos.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lavis.common.keymap import load_keymap
from lavis.datasets.formats.et_instruct import ETInstruct
from lavis.models.build import build_model
from lavis.models.prompts._templates import TEMPLATES
from lavis.models.video_llm import VideoLLM
from lavis.structures import Batch, Frames, VideoSample
from tests.parity_cases._meco_models import config_of, gap, model_node, weights
from tests.parity_cases.meco_conversations import _template_of

SYSTEM = "meco"
TOLERANCE = 1e-4
FLOOR = 1e-2
"""Of the size of a gradient: below it, as for biases of keys, which a softmax does not see, there is only rounding."""

Case = tuple[str, Callable[[], float]]


def cases(golden: Path) -> Iterator[Case]:
    """Comparisons for whatever ``golden`` holds; none of its files is required."""
    for recorded in sorted(golden.glob("models/*/train_forward.npz")):
        if (recorded.parent / "meta.json").is_file():
            yield f"models/{recorded.parent.name} whole step", lambda f=recorded.parent: _step(golden, f)
    for recorded in sorted(golden.glob("models/*/generate.npz")):
        for run, known in _greedy(recorded.parent / "meta.json"):
            name = f"models/{recorded.parent.name} {run} whole answer"
            yield name, lambda f=recorded.parent, run=run, known=known: _answer(golden, f, run, known)


def _step(golden: Path, folder: Path) -> float:
    """Largest difference: of losses, and of gradients relative to their size."""
    meta = json.loads((folder / "meta.json").read_text())
    with np.load(folder / "train_forward.npz") as stored:
        arrays = {name: torch.from_numpy(stored[name]) for name in stored.files}
    model, batch = _model(golden, folder, meta), _batch(golden, folder, meta, arrays)
    _told(golden, folder, meta, model, batch)
    losses = model(batch)
    total = torch.stack(list(losses.values())).sum()
    total.backward()
    worst = gap(total.detach(), arrays["loss"])
    table, own = load_keymap("meco"), dict(model.named_parameters())
    for name, norm in meta["grad_norms"].items():
        grad = own[table.rename(name) or name].grad
        size = 0.0 if grad is None else float(grad.norm())
        difference = abs(size - norm) / max(norm, FLOOR)
        assert difference <= TOLERANCE, f"{name}: a gradient of size {size:g} where {norm:g} was recorded"
        worst = max(worst, difference)
    for name, expected in arrays.items():
        if name.startswith("grad::"):
            ours = own[table.rename(name.removeprefix("grad::")) or name].grad
            assert ours is not None, f"{name}: no gradient"
            worst = max(worst, gap(ours.reshape(expected.shape), expected) / float(expected.abs().max()))
    return worst


def _greedy(meta: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Recorded answers that a model gave on its own, with what was asked."""
    recorded = json.loads(meta.read_text()).get("generate", {}) if meta.is_file() else {}
    for run, own in recorded.items():
        if run.endswith("greedy") and isinstance(own, dict):
            yield run, {"query": recorded.get("query"), "prompt": recorded.get("prompt"), **own}


def _told(golden: Path, folder: Path, meta: dict[str, Any], model: VideoLLM, batch: Batch) -> None:
    """What is written down of a batch beside its tensors: annotated times, times of frames, tokens, the script."""
    rows = json.loads(_annotations(golden, folder).read_text())
    for field in ("src", "tgt"):
        given = [rows[number].get(field) for number in meta["anno_indices"]]
        told = meta.get(field, given)
        assert given == told, f"{field}: {given} where {told} were recorded"
    times = [frames.times for frames in batch.views["frames"]]
    told = meta.get("tag", times)
    assert times == told, f"frames at {times} where {told} were recorded"
    tokens = len(model.language_model.tokenizer)
    assert tokens == meta.get("len_tokenizer", tokens), f"{tokens} tokens"
    answers = folder / "generate.npz"
    script = meta.get("generate", {}).get("script")
    if script and answers.is_file():
        with np.load(answers) as stored:
            fed = stored["forced_tokens"].tolist()
        assert fed == script[: len(fed)], f"{fed} were fed, of the script {script}"


def _annotations(golden: Path, folder: Path) -> Path:
    meco = bool(config_of(folder).get("localization"))
    return golden / "data" / ("train_annos.json" if meco else "etchat_train_annos.json")


def _answer(golden: Path, folder: Path, run: str, known: dict[str, Any]) -> float:
    """Largest difference of similarities: from the recorded ones, and of the same question among others."""
    meta = json.loads((folder / "meta.json").read_text())
    with np.load(folder / "generate.npz") as stored:
        ids, rows = stored[f"{run}_tokens"].tolist(), torch.from_numpy(stored[f"{run}_sim"])
        video = torch.from_numpy(stored["video"])
    start = known["prompt"].rsplit(TEMPLATES[_template_of(meta)].assistant, 1)[1].lstrip(" ")
    model = _model(golden, folder, meta, answer_start=start, tokens=len(ids)).eval()
    seconds, extra = float(len(video)), {"src": known["src"]} if known.get("src") else {}
    asked = VideoSample("asked", "a.mp4", known["query"], seconds, extra=extra)
    others = [VideoSample("shared", "a.mp4", "a", seconds), VideoSample("short", "b.mp4", "a b c d e f", 5.0)]
    videos = [Frames(shown, [float(second) for second in range(len(shown))]) for shown in (video, video, video[2:7])]
    with torch.no_grad():
        (alone,) = model.outputs(Batch([asked], {"frames": videos[:1]}))
        among = model.outputs(Batch([asked, *others], {"frames": videos}))[0]
    eos = model.language_model.tokenizer.eos_token_id
    expected = ids[: ids.index(eos)] if eos in ids else ids
    worst = 0.0
    for output in (alone, among):
        assert output.token_ids == expected, f"ids {output.token_ids} where {expected} were recorded"
        found = output.hidden["similarities"]
        worst = max(worst, gap(found, rows[: len(found)]))
    return worst


def _model(golden: Path, folder: Path, meta: dict[str, Any], answer_start: str = "", tokens: int = 1) -> VideoLLM:
    node = model_node(golden, folder)
    node["prompt"] = {"name": "chat", "template": _template_of(meta), "answer_start": answer_start}
    node["generation"] = {"num_beams": 1, "max_new_tokens": tokens}
    node["codec"] = {"name": "structural_tokens" if config_of(folder).get("localization") else "match_tokens"}
    model = build_model(node, weights=False)
    missing, unexpected = model.load_state_dict(weights(folder), strict=False)
    lost = [name for name in missing if not name.endswith("position_ids")]
    assert not lost and not unexpected, f"without weights {lost[:3]}, without a place {unexpected[:3]}"
    return model.train()


def _batch(golden: Path, folder: Path, meta: dict[str, list[int]], arrays: dict[str, torch.Tensor]) -> Batch:
    meco = bool(config_of(folder).get("localization"))
    style: Any = "meco" if meco else "vid"
    annotated = ETInstruct(style=style, on_reversed="swap").read(_annotations(golden, folder)).samples
    samples = [annotated[number] for number in meta["anno_indices"]]
    images = [arrays[f"image_{row}"] for row in range(len(samples))]
    frames = [Frames(image, [float(second) for second in range(len(image))]) for image in images]
    return Batch(samples, {"frames": frames})

"""Conversations of MeCo and E.T. Chat against recorded strings, token ids, labels and embeddings.

Templates, prepared conversations (with the labels of the originals, which count tokens), training samples from the
annotation to the labels, and the prompts of inference. Tokens and labels must be equal.
"""

from __future__ import annotations

import json
import random
import unittest
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lavis.common.random import DrawSource, RecordedDraws
from lavis.common.registry import registry
from lavis.datasets.formats.et_instruct import ETInstruct
from lavis.models.codecs.seconds_text import SecondsText
from lavis.models.codecs.structural_tokens import StructuralTokens
from lavis.models.language_models.causal import Causal
from lavis.models.prompts._templates import TEMPLATES
from lavis.models.prompts.chat import Chat
from lavis.structures import Packed, TimedTokens, Turn, VideoSample
from tests.parity_cases._meco_models import gap, load_parts, tokenizer_of
from tests.parity_cases.meco_decoder import parts

SYSTEM = "meco"
TOLERANCE = 1e-5
PICTURE, IGNORE = -200, -100
ADDED = ("<vid>", "<ent>", "<tst>")

Case = tuple[str, Callable[[], float]]


def cases(golden: Path) -> Iterator[Case]:
    """Comparisons for whatever ``golden`` holds; none of its files is required."""
    data = golden / "data"
    for name, recorded in _load(data / "conversations.json", {}).items():
        yield f"data/conversations {name}", lambda name=name, recorded=recorded: _rendered(name, recorded)
    prepared = _load(data / "preprocess.json", {"results": {}})
    for key, recorded in prepared["results"].items():
        yield f"data/preprocess {key}", lambda k=key, r=recorded: _prepared(golden, k, r, prepared["conversations"])
    for recorded in _load(data / "dataset_items.json", []):
        name = f"data/dataset_items {recorded['kind']} {recorded['index']}"
        yield name, lambda recorded=recorded: _training_item(golden, recorded)
    for folder in sorted(path.parent for path in golden.glob("models/*/meta.json")):
        if (folder / "train_forward.npz").is_file():
            yield f"models/{folder.name} training prompts", lambda folder=folder: _training_batch(golden, folder)
        if (folder / "generate.npz").is_file():
            for run, recorded in _runs(folder):
                name = f"models/{folder.name} prompt {run}".strip()
                yield name, lambda f=folder, run=run, r=recorded: _inference(golden, f, run, r)


def _rendered(name: str, recorded: Mapping[str, Any]) -> float:
    template = TEMPLATES[name]
    head = template.system + template.user + template.assistant + template.answer_end
    for mark in (recorded["system"] or "", *recorded["roles"], *recorded["seps"]):
        assert mark in head, f"{name}: no {mark!r}"
    turns = [Turn("user", "<image>\nQ1"), Turn("assistant", "A1", learned=True)]
    turns += [Turn("user", "Q2"), Turn("assistant", "A2", learned=True)]
    for key, said in (("infer_1turn", turns[:1]), ("train_2turn", turns)):
        sample = VideoSample("rendered", "video.mp4", "Q1", 1.0, turns=said)
        prompt = Chat(name, gather=True)
        text = prompt(sample, _frames(1), SecondsText(), [], answer=len(said) > 1).text().replace("<v:1>", "<image>")
        assert text == recorded[key], f"{key}: {text!r} instead of {recorded[key]!r}"
    return 0.0


def _prepared(golden: Path, key: str, recorded: Any, conversations: Mapping[str, list[dict[str, str]]]) -> float:
    tokenizer, *rest = key.split("|")
    if isinstance(recorded, str):
        text = _inserted(int(rest[-1].removeprefix("seed=")))
        assert text == recorded, f"{text!r} instead of {recorded!r}"
        return 0.0
    template, gather, name = rest
    sample = _conversation(conversations[name])
    model = _toy(golden / "tokenizers" / tokenizer, ADDED)
    prompt = _Drawn(
        template,
        place="drawn",
        gather=gather.endswith("True"),
        labels="recounted",
        lose_token=model.tokenizer.bos_token is not None and not model.prepend_bos,
    )
    questions = prompt.questions(sample)
    assert questions == recorded["query"], f"{questions} instead of {recorded['query']}"
    tokens = _frames(len(questions) if sample.video else 0)
    packed = model.pack([prompt(sample, tokens, SecondsText(), [], answer=True)], [tokens], answer=True)
    _equal(packed, recorded, name)
    if not recorded["mismatch_warning"]:  # where the original notices no drift, what it learns is what the texts say
        _same_labels(model, prompt, sample, tokens, recorded)
    return 0.0


def _same_labels(
    model: Causal, prompt: Chat, sample: VideoSample, tokens: TimedTokens, recorded: Mapping[str, Any]
) -> None:
    prompt.labels = "exact"
    packed = model.pack([prompt(sample, tokens, SecondsText(), [], answer=True)], [tokens], answer=True)
    _equal(packed, recorded, "exact labels")


def _inserted(seed: int) -> str:
    sample = VideoSample("inserted", "video.mp4", "msg", 1.0, turns=[Turn("user", "msg"), Turn("assistant", "a")])
    text = _Drawn("qwen2", place="drawn", seed=seed)(sample, _frames(1), SecondsText(), [], answer=True).text()
    before, after = TEMPLATES["qwen2"].user, TEMPLATES["qwen2"].user_end
    return text.replace("<v:1>", "<image>").split(before)[1].split(after)[0]


class _Drawn(Chat):
    """Places drawn as the original does, from Python's generator, seeded for each call."""

    def draws(self, sample: VideoSample) -> DrawSource:
        generator = random.Random(self.seed)
        return RecordedDraws([generator.choice([0, 1]) for _ in range(100)])


def _training_item(golden: Path, recorded: Mapping[str, Any]) -> float:
    sample = _annotated(golden / "data" / "train_annos.json", "meco")[recorded["index"]]
    tokens, prompt = _frames(recorded["num_frames"]), Chat(_template_of(recorded))
    model = _toy(golden / "tokenizers" / recorded["kind"], ADDED)
    assert prompt.questions(sample) == recorded["query"], f"{prompt.questions(sample)}"
    packed = model.pack([prompt(sample, tokens, StructuralTokens(), [], answer=True)], [tokens], answer=True)
    _equal(packed, recorded, sample.id)
    text = model.tokenizer.decode([i for i in packed.ids[0].tolist() if i >= 0])
    assert text == recorded["decoded"], f"{text!r} instead of {recorded['decoded']!r}"
    return 0.0


def _training_batch(golden: Path, folder: Path) -> float:
    """Prompts of a recorded batch: ids, labels and embeddings with their frames."""
    meta, arrays = _load(folder / "meta.json", {}), _arrays(folder / "train_forward.npz")
    meco = bool(_load(folder / "config.json", {}).get("localization"))
    annotated = _annotated(golden / "data" / f"{'' if meco else 'etchat_'}train_annos.json", "meco" if meco else "vid")
    samples = [annotated[number] for number in meta["anno_indices"]]
    decoder, _ = parts(golden, folder)
    codec = StructuralTokens() if meco else _match_tokens()
    prompt = Chat(_template_of(meta))
    assert [prompt.questions(sample) for sample in samples] == meta["query"], "questions differ"
    tokens = _recorded_frames(golden, folder, arrays, meta["query"])
    prompts = [prompt(sample, own, codec, [], answer=True) for sample, own in zip(samples, tokens, strict=True)]
    with torch.no_grad():
        packed = decoder.pack(prompts, tokens, answer=True)
    assert packed.spans() == [[tuple(span) for span in own] for own in meta["img_token_pos"]], f"{packed.spans()}"
    assert packed.labels is not None
    # The original pads before it puts frames in, so its rows may be longer than the longest.
    length = packed.mask.shape[1]
    assert torch.equal(packed.mask.bool(), arrays["new_attention_mask"][:, :length].bool()), "the mask differs"
    assert not arrays["new_attention_mask"][:, length:].any(), "the mask differs"
    assert torch.equal(packed.labels, arrays["new_labels"][:, :length].long()), "labels differ"
    for row in range(len(samples)):
        own = {"input_ids": arrays["input_ids"][row].tolist(), "labels": arrays["labels"][row].tolist()}
        real = int(arrays["attention_mask"][row].sum())
        _equal(packed, {name: values[:real] for name, values in own.items()}, samples[row].id, row)
    mask = packed.mask.bool()
    worst = max([_windows(packed, arrays, row) for row in range(len(samples))])
    return max(worst, gap(packed.embeds[mask], arrays["inputs_embeds"][:, :length][mask]))


def _windows(packed: Packed, arrays: Mapping[str, Tensor], row: int) -> float:
    """Largest difference of the windows that the structural tokens of a row learn, where they are recorded."""
    worst = 0.0
    for token, name in (("<ent>", f"windows_{row}"), ("<tst>", f"tst_windows_{row}")):
        if name in arrays:
            found = [ref.target for _, ref in packed.refs[row] if ref.token == token]
            worst = max(worst, gap(torch.tensor(found).reshape(-1, 2), arrays[name]))
    return worst


def _inference(golden: Path, folder: Path, run: str, recorded: Mapping[str, Any]) -> float:
    """The prompt that an answer was recorded for."""
    arrays = _arrays(folder / "generate.npz")
    ids = arrays.get(f"{run}_input_ids", arrays.get("input_ids"))
    assert ids is not None, f"no ids are recorded for {run}"
    name = _template_of(_load(folder / "meta.json", {}))
    start = recorded["prompt"].rsplit(TEMPLATES[name].assistant, 1)[1].lstrip(" ")  # the prompt puts its own blank
    tokens = _frames(len(arrays["video"]))
    extra = {"src": recorded["src"]} if recorded.get("src") else {}
    sample = VideoSample("asked", "video.mp4", recorded["query"], float(len(tokens)), extra=extra)
    model = _toy(Path(tokenizer_of(golden, folder)), ADDED)
    prompt = Chat(name, answer_start=start)
    sequence = prompt(sample, tokens, StructuralTokens(), [])
    text = sequence.text().replace(f"<v:{len(tokens)}>", "<image>").replace("<v:1>" * len(tokens), "<image>")
    assert text == recorded["prompt"], f"{text!r} instead of {recorded['prompt']!r}"
    _equal(model.pack([sequence], [tokens]), {"input_ids": ids[0].tolist()}, run)
    return 0.0


def _runs(folder: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Prompts of a recorded model: one, or one for each run that has one of its own."""
    recorded = _load(folder / "meta.json", {}).get("generate", {})
    if "prompt" in recorded:
        yield "", recorded
    prompts = {run.rsplit("_", 1)[0]: own for run, own in recorded.items() if isinstance(own, Mapping)}
    yield from ((run, own) for run, own in prompts.items() if "prompt" in own)


def _equal(packed: Packed, recorded: Mapping[str, Any], at: str, row: int = 0) -> None:
    """Ids and labels, where all frames of a place count as one."""
    stays = packed.mask[row].bool()
    for start, end in packed.spans()[row]:
        stays[start + 1 : end] = False
    ids = packed.ids[row][stays]
    found = {"input_ids": torch.where(ids < 0, PICTURE, ids).tolist()}
    if packed.labels is not None:
        found["labels"] = packed.labels[row][stays].tolist()
    for name, ours in found.items():
        theirs = recorded[name]
        if ours != theirs:
            place = next((i for i, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), "the end")
            raise AssertionError(f"{at}: {name} differ from {place} on: {ours} instead of {theirs}")


def _conversation(messages: Sequence[Mapping[str, str]]) -> VideoSample:
    asks = [message["from"] == "human" for message in messages]
    turns = [
        Turn("user" if ask else "assistant", m["value"], learned=not ask) for ask, m in zip(asks, messages, strict=True)
    ]
    video = "video.mp4" if any("<image>" in turn.text for turn in turns) else ""
    return VideoSample("prepared", video, turns[0].text, 1.0, turns=turns)


def _frames(count: int, width: int = 8) -> TimedTokens:
    times = [(float(second), float(second)) for second in range(count)]
    return TimedTokens(torch.zeros(count, width), [1] * count, times, list(range(count)))


def _recorded_frames(
    golden: Path, folder: Path, arrays: Mapping[str, Tensor], questions: Sequence[Sequence[str]]
) -> list[TimedTokens]:
    """Frame tokens of a recorded batch, computed where they are not recorded."""
    encoder, compressor = load_parts(golden, folder)
    result = []
    for row, own in enumerate(questions):
        tokens = arrays.get(f"frame_embeds_{row}")
        if tokens is None:
            with torch.no_grad():
                tokens = compressor.read(encoder.finish(encoder.run_backbone(arrays[f"image_{row}"])), own, [])
        tokens = tokens.flatten(0, 1)
        empty = _frames(len(tokens))
        result.append(TimedTokens(tokens, empty.counts, empty.times, empty.frames))
    return result


def _template_of(meta: Mapping[str, Any]) -> str:
    """The template of a recorded model: that of its recorded prompts, else that of its language model."""
    runs = [meta.get("generate", {}), *meta.get("generate", {}).values()]
    for prompt in (run["prompt"] for run in runs if isinstance(run, Mapping) and "prompt" in run):
        for name, template in TEMPLATES.items():
            if not template.bare and prompt.startswith((template.system + template.user).lstrip("\n")):
                return name
    kind: str = meta["kind"]
    return {"llama": "llama3", "gemma": "gemma2"}.get(kind, kind)


def _match_tokens() -> Any:
    if "match_tokens" not in registry.codecs.names():
        raise unittest.SkipTest("the codec match_tokens is not there")
    return registry.codecs.get("match_tokens")()


@cache
def _toy(tokenizer: Path, added: tuple[str, ...]) -> Causal:
    """The smallest decoder with this tokenizer: packing asks no more of it."""
    from transformers import AutoTokenizer

    loaded = AutoTokenizer.from_pretrained(tokenizer)
    begins = loaded.bos_token_id is not None and loaded("a")["input_ids"][0] == loaded.bos_token_id
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    config = {"model_type": "llama", "vocab_size": 700, **sizes}
    return Causal(config=config, tokenizer=str(tokenizer), prepend_bos=begins, added_tokens=added)


@cache
def _annotated(path: Path, style: Any) -> list[VideoSample]:
    return ETInstruct(style=style, on_reversed="swap").read(path).samples


@cache
def _arrays(path: Path) -> dict[str, Tensor]:
    with np.load(path) as stored:
        return {name: torch.from_numpy(stored[name]) for name in stored.files}


def _load(path: Path, default: Any) -> Any:
    return json.loads(path.read_text()) if path.is_file() else default

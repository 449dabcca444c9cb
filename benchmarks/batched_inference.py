"""Queries per second of MeCo asked in batches, against one at a time, and what frames that queries share are worth.

    python -m benchmarks.batched_inference
    python -m benchmarks.batched_inference --quick

Videos of noise with several queries each, random weights, greedy answers of 32 tokens at most (16 with --quick). "one
at a time" is the originals' way: a query alone, its video encoded for it. "features kept" keeps what the encoder makes
of a video, still a query alone. "in batches" asks queries of several videos together, as an evaluation does. In MeCo a
frame's token depends on the query. The second model is the same decoder and head with frames that do not: there the
queries on a video share frames, whose keys and values are computed once; "nothing shared" computes them for every
query. On a CPU, seconds are those that the process computes, so that other work on the machine does not count. Bars:
ratios of queries per second, and the same answers: tokens, windows, and similarities within 1e-4.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from itertools import count
from typing import Any
from unittest.mock import patch

import torch

from benchmarks._common import Report, compare, options
from benchmarks._models import build, with_cache
from lavis.common.config import load_config
from lavis.models.language_models.causal import Causal
from lavis.models.video_llm import VideoLLM
from lavis.runners.eval_data import fill
from lavis.structures import Frames, ModelOutput, VideoSample

RATIO = {"tiny": {"meco": 0.0, "shared": 0.0, "prefix": 0.0}, "middle": {"meco": 2.0, "shared": 3.0, "prefix": 1.5}}
QUICK = 0.7
TOKENS = {False: 32, True: 16}
"""Of an answer at most, with --quick or without."""
WORDS = "a person opens the door and walks to the table while a dog runs through the garden".split()
Answers = list[tuple[ModelOutput, list[list[float]]]]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = options(__doc__, sizes=("tiny", "middle"))
    parser.add_argument("--videos", type=int, help="how many (default: 3, with --quick 2)")
    parser.add_argument("--queries", type=int, help="on each (default: 4, with --quick 3)")
    parser.add_argument("--batch-size", type=int, default=8, help="queries a batch (default: %(default)s)")
    parser.add_argument("--frames", type=int, help="of the longest video (default: 90, with --quick 24, tiny 12)")
    parsed = parser.parse_args(arguments)
    report = Report("batched_inference", parsed)
    videos = parsed.videos or (2 if parsed.quick else 3)
    longest = parsed.frames or (12 if parsed.size == "tiny" else 24 if parsed.quick else 90)
    repeats = parsed.repeats or (1 if parsed.quick else 2)
    queries, tokens = parsed.queries or (3 if parsed.quick else 4), TOKENS[parsed.quick]
    lengths = [max(2, longest * (videos - i) // videos) for i in range(videos)]
    report.line(
        f"{describe(parsed.size)}; videos of {', '.join(map(str, lengths))} frames, {queries} queries each, "
        f"batches of {parsed.batch_size}, {tokens} tokens at most, median of {repeats}"
    )
    bars = RATIO[parsed.size]
    for title, shared in (("MeCo, tokens of frames depend on the query", False), ("frames shared by queries", True)):
        model = build(node_of(parsed.size, shared, tokens), parsed.device).eval()
        items = questions(model, lengths, queries, parsed.device)
        ways = ways_of(model, items, parsed.batch_size)
        if not shared:
            del ways["in batches, nothing shared"]
        answers: dict[str, Answers] = {}
        calls = {name: partial(_noting, answers, name, call) for name, call in ways.items()}
        seconds = compare(calls, repeats, device=parsed.device, busy=True)
        report.line(title)
        for name, took in seconds.items():
            report.line(f"  {name:28} {took:8.2f} s, {len(items) / took:8.3f} queries/s")
        alone, batched = seconds["one at a time"], seconds["in batches"]
        for name in list(ways)[1:]:
            report.bar(f"answers that differ, {name}", differing(answers["one at a time"], answers[name]), most=0)
        quick = QUICK if parsed.quick else 1
        report.bar("ratio", alone / batched, least=bars["shared" if shared else "meco"] * quick)
        report.line(f"  ratio to features kept {seconds['one at a time, features kept'] / batched:.2f}")
        if shared:
            ratio = seconds["in batches, nothing shared"] / batched
            report.line(f"  ratio to nothing shared {ratio:.2f}")
            report.bar(
                "ratio, reading the prompts of a batch", reading(model, items, parsed), least=bars["prefix"] * quick
            )
    return report.finish()


def _noting(answers: dict[str, Answers], name: str, call: Callable[[], Answers]) -> None:
    answers[name] = call()


def describe(size: str) -> str:
    """The model in words."""
    if size == "tiny":
        return "configs/tiny/meco"
    return "frames of 112 px, ViT 6 x 384 patch 14, Q-Former 4 x 256 with 32 queries, Phi-3 8 x 512, fp32"


def node_of(size: str, shared: bool, tokens: int) -> dict[str, Any]:
    """The ``model`` section; with ``shared``, frames do not depend on the query."""
    node: dict[str, Any] = {**load_config("tiny/meco")["model"], "weights": None, "trainable": ["head.*"]}
    qformer = {**node["compressor"]["qformer"]}
    if size == "middle":
        view = node["processor"]["views"]["frames"]
        transform = {phase: {**own, "image_size": 112} for phase, own in view["transform"].items()}
        node["processor"] = {"views": {"frames": {**view, "transform": transform}}}
        node["encoder"] = {**node["encoder"], "image_size": 112, "width": 384, "depth": 6, "heads": 6}
        qformer |= {"width": 256, "layers": 4, "heads": 4, "hidden": 1024}
        config = {
            **node["language_model"]["config"], "hidden_size": 512, "intermediate_size": 1376, "num_hidden_layers": 8,
            "num_attention_heads": 8, "num_key_value_heads": 8, "vocab_size": 16032,
        }  # fmt: skip
        node["language_model"] = {**node["language_model"], "config": config}
    queries = 32 if size == "middle" else 4
    node["compressor"] = {**node["compressor"], "qformer": qformer, "num_queries": queries}
    if shared:
        node["compressor"] = {
            "name": "qformer_frames", "qformer": qformer, "num_queries": queries, "aggregate": "mean", "text": False
        }  # fmt: skip
    node["generation"] = {**node["generation"], "max_new_tokens": tokens}
    return with_cache(node, memory_mb=2048)


def questions(
    model: VideoLLM, lengths: Sequence[int], each: int, device: str
) -> list[tuple[VideoSample, dict[str, Frames]]]:
    """Queries with the frames of their videos, those on a video one after the other."""
    assert model.processor is not None
    image = model.processor.views["frames"].transform.eval.image_size
    items = []
    for video, length in enumerate(lengths):
        pixels = torch.randn(length, 3, image, image, generator=torch.Generator().manual_seed(video))
        frames = Frames(pixels, [float(i) for i in range(length)], key=f"noise-{video}").to(device)
        for number in range(each):
            words = WORDS[number : number + 4 + 3 * (number % 3)]
            sample = VideoSample(f"q{video}.{number}", f"noise-{video}", " ".join(words), length)
            items.append((sample, {"frames": frames}))
    return items


def ways_of(
    model: VideoLLM, items: list[tuple[VideoSample, dict[str, Frames]]], size: int
) -> dict[str, Callable[[], Answers]]:
    """Each way of asking everything, from nothing kept on."""

    run = count()

    def ask(batch_size: int, kept: bool, together: bool = True) -> Answers:
        found: Answers = []
        key = next(run)  # so that a run finds nothing that another one kept
        asked = [
            (
                sample,
                {
                    "frames": Frames(
                        own["frames"].pixels, own["frames"].times, f"{key}-{sample.video}" if kept else None
                    )
                },
            )
            for sample, own in items
        ]
        whole = nullcontext() if together else patch.object(Causal, "_can_share", lambda self, packed: False)
        with whole:
            for batch in fill([asked], batch_size, None):
                for output, sample in zip(model.outputs(batch), batch.samples, strict=True):
                    moments = model.codec.decode(output, sample).moments
                    found.append((output, [[float(m.start), float(m.end)] for m in moments]))
        return found

    return {
        "one at a time": lambda: ask(1, kept=False),
        "one at a time, features kept": lambda: ask(1, kept=True),
        "in batches, nothing shared": lambda: ask(size, kept=True, together=False),
        "in batches": lambda: ask(size, kept=True),
    }


def differing(alone: Answers, batched: Answers) -> int:
    """How many answers are not the same."""
    return sum(not _same(*pair) for pair in zip(alone, batched, strict=True))


def reading(model: VideoLLM, items: list[tuple[VideoSample, dict[str, Frames]]], parsed: argparse.Namespace) -> float:
    """How much faster a batch of prompts is read when what they share is read once."""
    packed = model.pack(next(fill([items], parsed.batch_size, None)))

    def read(together: bool) -> None:
        whole = nullcontext() if together else patch.object(Causal, "_can_share", lambda self, packed: False)
        with whole, torch.no_grad():
            model.language_model.prefill(packed)

    calls = {"shared": lambda: read(True), "not": lambda: read(False)}
    seconds = compare(calls, 5, device=parsed.device, busy=True)
    return seconds["not"] / seconds["shared"]


def _same(one: tuple[ModelOutput, list[list[float]]], other: tuple[ModelOutput, list[list[float]]]) -> bool:
    (left, moments), (right, others) = one, other
    if (left.token_ids, left.text, moments) != (right.token_ids, right.text, others):
        return False
    return torch.allclose(left.hidden["similarities"], right.hidden["similarities"], atol=1e-4, rtol=0)


if __name__ == "__main__":
    sys.exit(main())

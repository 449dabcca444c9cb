"""Prompts of a batch built and packed, and key frames chosen, against the same written as loops.

    python -m benchmarks.prompt            60 and 150 frames, up to 960 for the growth
    python -m benchmarks.prompt --quick    fewer repeats, up to 480 frames

16 samples with five subtitle lines each and training targets, the tokenizer of the toy backbone, CALCE's counts (32
tokens for key frames, 8 for others). ``loops`` makes two segments a frame and five a line, lays them out one by one and
fills the embeddings with three passes (``tests/segment_by_segment.py``); it tokenises no text twice either. Both must
agree to the bit before anything is timed. Both take turns at the same batches, by processor time, and the ratio is the
median of those of the turns: other work on the machine slows both sides of a ratio. A turn is three batches of each, of
which the least time counts. ``layout`` is the work on segments and ids (a model 8 wide), with texts seen
before (a second epoch), or new ones, where much of the time is the tokenizer's, for either. ``all`` has new texts and
embeddings of the size's width: tiny 64, middle 512 (T5-small), published 2048 (T5-XL).

Key frames: the loops go over samples and frames, with the same clustering of one sample at a time.
"""

from __future__ import annotations

import gc
import itertools
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from benchmarks._common import Report, options
from lavis.common.random import SampleDraws
from lavis.models.codecs.seconds_text import SecondsText
from lavis.models.keyframes import FrameChoice, KeyframeSettings, choose_frames
from lavis.models.language_models.t5 import T5
from lavis.models.prompts.interleaved import Interleaved
from lavis.preparation.toy_backbone.tokenizers import build_t5_tokenizer, corpus_words
from lavis.structures import Moment, Packed, Subtitle, TimedTokens, VideoSample
from tests.frame_by_frame import choose_in_loops
from tests.segment_by_segment import PlainInterleaved, SegmentBySegment

SAMPLES = 16
TURN = 3
WIDTHS = {"tiny": 64, "middle": 512, "published": 2048}
STAGES = {
    "stage 1": KeyframeSettings(),
    "stage 2": KeyframeSettings(features="qformer", dilation=3, prior_clusters=8, budget=0.5, dilate_speech=True),
    "random": KeyframeSettings(mode="interval", budget=0.3),
}


def main(argv: list[str] | None = None) -> int:
    parsed = options(__doc__).parse_args(argv)
    report = Report("prompt", parsed)
    gc.disable()  # clearing away after one would be counted to the other
    repeats = parsed.repeats or (21 if parsed.quick else 45)
    narrow, wide = Packer(8), Packer(WIDTHS[parsed.size])
    report.line(f"{SAMPLES} samples, milliseconds: median processor time of {repeats} batches ({repeats // 3} for all)")
    report.line(f"{'prompts, 5 lines each':<40}{'loops':>10}{'lavis':>10}{'ratio':>8}")
    for frames in (60, 150):
        for name, packer, seen in (
            ("layout", narrow, True),
            ("layout, new texts", narrow, False),
            ("all", wide, False),
        ):
            count = repeats if packer is narrow else repeats // 3
            ratio = packer.measure(report, f"{frames} frames, {name}, width {packer.width}", frames, count, seen)
            if seen or packer is wide:
                report.bar(f"{frames} frames, {name}: times faster", ratio, least=3)
    growth(report, narrow, repeats, (60, 120, 240, 480) if parsed.quick else (60, 120, 240, 480, 960))
    report.line(f"{'key frames':<40}{'loops':>10}{'lavis':>10}{'ratio':>8}")
    for name, settings in STAGES.items():
        key_frames(report, name, settings, 150, repeats)
    return report.finish()


@dataclass(frozen=True)
class Question:
    """What a prompt is made of."""

    sample: VideoSample
    tokens: TimedTokens
    lines: list[Subtitle]


class Packer:
    """Both ways from questions to a packed batch, for a T5 ``width`` wide."""

    def __init__(self, width: int) -> None:
        self.width = width
        with tempfile.TemporaryDirectory() as folder:
            build_t5_tokenizer().save_pretrained(folder)
            sizes = {"d_model": width, "d_kv": 8, "d_ff": 8, "num_layers": 1, "num_decoder_layers": 1, "num_heads": 1}
            self.model = T5(tokenizer=folder, overrides=sizes)
        self.codec = SecondsText()
        self.codec.bind(self.model.tokenizer)
        self.plain = SegmentBySegment(self.model)
        self.seeds = itertools.count()

    def questions(self, frames: int) -> list[Question]:
        """A batch of sentences that this packer has not seen."""
        return questions(frames, self.width, next(self.seeds))

    def lavis(self, questions: list[Question]) -> Packed:
        return self.packed(questions, Interleaved(), self.model.pack)

    def loops(self, questions: list[Question]) -> Packed:
        return self.packed(questions, PlainInterleaved(), self.plain.pack)

    @torch.no_grad()
    def packed(self, questions: list[Question], prompt: Interleaved, pack: Callable[..., Packed]) -> Packed:
        prompts = [prompt(q.sample, q.tokens, self.codec, q.lines, True) for q in questions]
        return pack(prompts, [q.tokens for q in questions], True)

    def measure(self, report: Report, what: str, frames: int, repeats: int, seen: bool) -> float:
        check, *batches = (self.questions(frames) for _ in range(repeats + 1))
        assert_same(self.loops(check), self.lavis(check))
        for batch in batches * seen:
            assert_same(self.loops(batch), self.lavis(batch))
        slow, fast, ratio = in_turns(self.loops, self.lavis, batches)
        report.line(f"{what:<40}{1e3 * slow:>10.2f}{1e3 * fast:>10.2f}{ratio:>8.1f}")
        return ratio


def questions(frames: int, width: int, seed: int) -> list[Question]:
    """A batch that no other seed shares a sentence with."""
    draw = torch.Generator().manual_seed(seed)
    words = corpus_words()

    def sentence(length: int) -> str:
        return " ".join(words[i] for i in torch.randint(len(words), (length,), generator=draw).tolist())

    made = []
    for i in range(SAMPLES):
        counts = torch.where(torch.rand(frames, generator=draw) < 0.5, 32, 8).tolist()
        times = [150 * frame / frames for frame in range(frames)]
        tokens = TimedTokens(
            torch.randn(sum(counts), width), counts, list(zip(times, times, strict=True)), [*range(frames)]
        )
        lines = [Subtitle(20.0 * n + i / 7, 20.0 * n + 5 + i / 7, sentence(12)) for n in range(5)]
        sample = VideoSample(f"{seed}:{i}", "v", sentence(10), 150, moments=[Moment(24, 62)], items=["a"])
        made.append(Question(sample, tokens, lines))
    return made


def seconds_of(call: Callable[[Any], Any], argument: Any) -> float:
    """Processor seconds of a call."""
    start = time.process_time()
    call(argument)
    return time.process_time() - start


def in_turns(
    slow: Callable[[Any], Any], fast: Callable[[Any], Any], arguments: list[Any]
) -> tuple[float, float, float]:
    """Median seconds of either call, and the median of their ratios.

    Each takes every argument once, as what was seen before is faster.
    """
    rows = []
    for first_of_turn in range(0, len(arguments), TURN):
        turn = arguments[first_of_turn : first_of_turn + TURN]
        calls = (slow, fast) if first_of_turn % 2 else (fast, slow)
        found = {call: min(seconds_of(call, argument) for argument in turn) for call in calls}
        rows.append((found[slow], found[fast], found[slow] / found[fast]))
    first, second, ratio = (statistics.median(column) for column in zip(*rows, strict=True))
    return first, second, ratio


def assert_same(left: Packed, right: Packed) -> None:
    for name in ("embeds", "mask", "ids", "labels", "label_mask"):
        if not torch.equal(getattr(left, name), getattr(right, name)):
            raise SystemExit(f"the two disagree in {name}: nothing is worth timing")
    pairs = zip(left.frame_positions, right.frame_positions, strict=True)
    if left.block_lengths != right.block_lengths or not all(torch.equal(a, b) for a, b in pairs):
        raise SystemExit("the two disagree in lengths or positions: nothing is worth timing")


def growth(report: Report, packer: Packer, repeats: int, counts: tuple[int, ...]) -> None:
    """Time from few to many frames, each twice the ones before."""
    report.line("growth, layout, new texts, microseconds a frame and sample")
    rounds = [[seconds_of(packer.lavis, packer.questions(frames)) for frames in counts] for _ in range(repeats)]
    for frames, times in zip(counts, zip(*rounds, strict=True), strict=True):
        report.line(f"{frames:>8} frames{1e6 * statistics.median(times) / frames / SAMPLES:>10.2f}")
    ratio = statistics.median(times[-1] / times[-2] for times in rounds)
    report.bar(f"time at {counts[-1]} over that at {counts[-2]} frames", ratio, most=2.3)


def key_frames(report: Report, name: str, settings: KeyframeSettings, frames: int, repeats: int) -> None:
    """Chooses frames of a batch, in one go and by loops."""
    draw = torch.Generator().manual_seed(0)
    features = [torch.randn(frames, 64, generator=draw).cumsum(0) for _ in range(SAMPLES)]
    speech = [Moment(5, 20), Moment(40, 70)]
    samples = [
        VideoSample(
            str(i), "v", "a man talks" if i % 4 == 0 else "a dog", 150, speech=speech,
            prior=[Moment(20 + i, 60), Moment(90, 100 + i)],
        )
        for i in range(SAMPLES)
    ]  # fmt: skip
    times = [[150 * i / frames for i in range(frames)]] * SAMPLES

    def choose(call: Callable[..., list[FrameChoice]]) -> list[FrameChoice]:
        return call(settings, features, samples, times, [SampleDraws(s.id) for s in samples])

    for ours, plain in zip(choose(choose_frames), choose(choose_in_loops), strict=True):
        if not torch.equal(ours.key, plain.key) or not torch.equal(ours.other, plain.other):
            raise SystemExit("the two choose other frames: nothing is worth timing")
    slow, fast, ratio = in_turns(lambda _: choose(choose_in_loops), lambda _: choose(choose_frames), [None] * repeats)
    report.line(f"{f'{frames} frames, {name}':<40}{1e3 * slow:>10.2f}{1e3 * fast:>10.2f}{ratio:>8.1f}")


if __name__ == "__main__":
    sys.exit(main())

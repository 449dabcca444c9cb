"""Queries per second of an evaluation: as lavis runs it, and as the originals do, one query at a time.

    python -m benchmarks.evaluate
    python -m benchmarks.evaluate --quick

``lavis evaluate`` on generated videos with 2.8 queries each, as Charades-STA has them, in CALCE's first stage with
random weights and its five beams. The second way is the originals': batch 1, the video encoded for every query, and
transformers' search as it is, which repeats the encoder's states for every beam. As its time is the same for each
query, it is measured on one query of each video (of two videos with --quick). Bars: 2.5 times the queries per second
(2 with --quick, where a video has 8 frames and encoding it matters less), and the same answers.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

from benchmarks._common import Report, options
from benchmarks._models import model_node, size_of, with_cache
from benchmarks._runs import QUERIES_PER_VIDEO, corpus, experiment, make_video, timed_evaluation

RATIO = {"tiny": 0.0, "middle": 2.5, "published": 2.5}
QUICK = 0.8


def main(arguments: Sequence[str] | None = None) -> int:
    parser = options(__doc__)
    parser.add_argument("--videos", type=int, default=5, help="how many (default: %(default)s)")
    parser.add_argument("--batch-size", type=int, default=8, help="queries a batch (default: %(default)s)")
    parser.add_argument("--beams", type=int, default=5, help="of the search (default: %(default)s)")
    parsed = parser.parse_args(arguments)
    report = Report("evaluate", parsed)
    size = size_of(parsed.size, parsed.quick)
    width, height, seconds = (96, 64, 4) if parsed.size == "tiny" else (480, 270, 10 if parsed.quick else 30)
    queries = round(parsed.videos * QUERIES_PER_VIDEO)
    sampled = min(2, parsed.videos) if parsed.quick else parsed.videos
    precision = "bf16" if parsed.device == "cuda" else "fp32"
    report.line(
        f"{size}; {parsed.videos} videos of {seconds} s, {width}x{height}; {queries} queries, {parsed.beams} beams, "
        f"{precision}"
    )
    run = {"device": parsed.device, "threads": parsed.threads, "precision": precision}
    ours_run = {**run, "eval_batch_size": parsed.batch_size}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "videos").mkdir()
        videos = [
            make_video(folder / "videos" / f"{i}.mp4", seconds, width, height, seed=i) for i in range(parsed.videos)
        ]
        asked, one_each = corpus(folder, videos, queries, seconds), corpus(folder, videos[:sampled], sampled, seconds)
        node = model_node(size, precision=precision)
        node = {**node, "generation": {**node["generation"], "num_beams": parsed.beams}}
        ours = timed_evaluation(experiment("ours", node, asked, folder, ours_run))
        plain_node = with_cache(node, memory_mb=0)
        with patch("lavis.models.language_models._t5_decoding.generate", plain_search):
            plain = timed_evaluation(experiment("plain", plain_node, one_each, folder, {**run, "eval_batch_size": 1}))
    rows = (("lavis", ours, queries), ("one at a time, nothing kept", plain, sampled))
    for name, found, count in rows:
        report.line(
            f"{name:28} {sum(found.seconds):8.2f} s ({sum(found.cpu):.2f} s of processors), {count} queries, "
            f"{count / sum(found.seconds):.3f} queries/s"
        )
    differing = [identity for identity, text in plain.answers.items() if ours.answers[identity] != text]
    if precision == "fp32":  # in half precision the same product rounds differently in another batch
        report.bar("answers that differ", len(differing), most=0)
    least = RATIO[parsed.size] * (QUICK if parsed.quick else 1)
    report.bar("ratio", (sum(plain.seconds) / sampled) / (sum(ours.seconds) / queries), least=least)
    report.line(f"ratio in processor time {(sum(plain.cpu) / sampled) / (sum(ours.cpu) / queries):.3f}")
    return report.finish()


def plain_search(model: Any, embeds: Any, mask: Any, **settings: Any) -> Any:
    """What ``_t5_decoding.generate`` does, left to transformers."""
    return model.generate(inputs_embeds=embeds, attention_mask=mask, **settings)


if __name__ == "__main__":
    sys.exit(main())

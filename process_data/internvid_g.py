"""Make captioned segments, and how far around each nothing like it is shown, of videos without annotations.

As HawkEye made InternVid-G: scenes, how alike they are, alike neighbours merged, a caption for each, captions that fit
worse than the median left out, and the surroundings of each segment. Every step writes <out>/<step>.jsonl, in the
original's form; the result is <out>/internvid_g.jsonl, which hawkeye_data.py turns into training data. The same command
goes on where an earlier one stopped. Scenes need the extra `scenes` (PySceneDetect).

Examples:
    python process_data/internvid_g.py videos --out internvid_g --clip openai/clip-vit-large-patch14 \\
        --captioner Salesforce/blip2-flan-t5-xxl --device cuda --dtype float16 --workers 1
    python process_data/internvid_g.py videos --out internvid_g --steps scenes --workers 16
    python process_data/internvid_g.py videos --out internvid_g --steps scenes --shard 3/8    # then once without it
    python process_data/internvid_g.py videos --out internvid_g --steps similarity merge      # alike by colours alone
    python process_data/internvid_g.py videos --out internvid_g --steps negatives --original  # with HawkEye's faults
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from lavis.preparation.collection.command_line import add_running, ended, parser_of, running_of

STEPS = ("scenes", "similarity", "merge", "captions", "scores", "select", "negatives")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = parser_of(__doc__)
    parser.add_argument("videos", type=Path, help="folder of videos; folders in it are looked into")
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    parser.add_argument("--steps", nargs="+", choices=STEPS, default=STEPS, help="default: all")
    parser.add_argument(
        "--list", type=Path, metavar="FILE", help="only these videos: one name a line, below the folder"
    )
    parser.add_argument("--durations", type=Path, metavar="FILE", help="videos_metadata.json (default: as measured)")
    models = parser.add_argument_group("models")
    models.add_argument(
        "--clip", metavar="MODEL",
        help="folder or name of a CLIP, for similarities and scores (default: similarities by colours, no scores)",
    )  # fmt: skip
    models.add_argument("--captioner", metavar="MODEL", help="folder or name of a BLIP or the like, for captions")
    models.add_argument("--prompt", help="what the captioner is asked (default: as HawkEye; '' asks nothing)")
    models.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1 (default: %(default)s)")
    models.add_argument("--dtype", default="float32", help="float32, float16, bfloat16 (default: %(default)s)")
    how = parser.add_argument_group("how segments are made")
    how.add_argument("--threshold", type=float, default=27.0, help="change that makes a cut (default: %(default)s)")
    how.add_argument("--min-scene", type=float, default=0.5, metavar="S", help="seconds (default: %(default)s)")
    how.add_argument("--merge-above", type=float, default=0.85, metavar="X", help="similarity (default: %(default)s)")
    how.add_argument("--alike-to", choices=("last", "union"), default="last", help="default: %(default)s")
    how.add_argument("--like-from", type=float, default=0.8, metavar="X", help="similarity (default: %(default)s)")
    how.add_argument("--max-length", type=float, default=10.0, metavar="S", help="of segments (default: %(default)s)")
    how.add_argument("--original", action="store_true", help="as HawkEye in every respect, faults included")
    add_running(parser)
    args = parser.parse_args(arguments)

    def run() -> int:
        from lavis.preparation.collection.metadata import read_metadata
        from lavis.preparation.internvid_g import models, negatives, pipeline
        from lavis.preparation.internvid_g.scenes import Detection
        from lavis.preparation.internvid_g.similarity import Looking

        known = read_metadata(args.durations) if args.durations else {}
        clip = models.TransformersEmbedder(args.clip, args.device, args.dtype) if args.clip else None
        captioner = None
        if args.captioner:
            prompt = models.PROMPT if args.prompt is None else args.prompt or None
            captioner = models.TransformersCaptioner(
                args.captioner, prompt, device=args.device, dtype=args.dtype
            )  # fmt: skip
        surroundings = negatives.ORIGINAL if args.original else negatives.NegativeSpans()
        detection = Detection(args.threshold, min_s=args.min_scene)
        construction = pipeline.Construction(
            args.videos, args.out, clip or models.ColorHistogram(), captioner, clip, args.list,
            durations={name: facts["duration_s"] for name, facts in known.items()},
            detection=replace(detection, uncut="none", rate="average") if args.original else detection,
            looking=Looking("whole_seconds", "average") if args.original else Looking(),
            merge_above=args.merge_above, alike_to=args.alike_to,
            negatives=replace(surroundings, like_from=args.like_from, max_s=args.max_length),
        )  # fmt: skip
        for told in construction.run(args.steps, **running_of(args)):
            print(told)
        return 0

    return ended(parser.prog, run)


if __name__ == "__main__":
    sys.exit(main())

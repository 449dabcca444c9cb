"""Put samples, with the videos or images they are about, into tar shards (webdataset's form) with an index.

A few large files in place of hundreds of thousands of small ones, which network disks like. Train from them with

    datasets: {webvid: {name: shards, annotations: {train: data/webvid/shards/train/index.json}}}

What to put in is a data set of a configuration, or an annotation file with its format. Running it again makes only what
is missing or has changed; a shard that was not finished is never taken for one that was.

Examples:
    python process_data/make_shards.py data/charades/shards --config experiments/calce/charades_stage1 --split train
    python process_data/make_shards.py out --annotations llava.json --format conversations --videos data/llava
    python process_data/make_shards.py out --config my.yaml --split train --dataset webvid --shard-mb 1024 --part 3/8
    python process_data/make_shards.py data/charades/shards --verify
    python process_data/make_shards.py shards_of_others --index
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lavis.preparation.collection.command_line import ended, parser_of
from lavis.preparation.shards import index_folder, make_shards, verify_shards


def main(arguments: Sequence[str] | None = None) -> int:
    parser = parser_of(__doc__)
    parser.add_argument("folder", type=Path, help="of the shards")
    what = parser.add_argument_group("what to put in")
    what.add_argument("--config", help="an experiment, by name or file, with the section datasets")
    what.add_argument("--dataset", help="which of its data sets (default: the only one)")
    what.add_argument("--split", default="train", help="default: %(default)s")
    what.add_argument("--options", nargs="*", default=[], metavar="KEY=VALUE", help="changes to the configuration")
    what.add_argument("--annotations", help="or: an annotation file,")
    what.add_argument("--format", help="its format,")
    what.add_argument("--videos", help="and the folder of the videos or images")
    what.add_argument("--video-suffix", default="", help="where names in the file lack it, such as .mp4")
    what.add_argument("--skip-missing", action="store_true", help="leave out samples whose video is not there")
    how = parser.add_argument_group("how")
    how.add_argument("--name", default="shard", help="beginning of the files' names (default: %(default)s)")
    how.add_argument("--media-per-shard", type=int, default=1000, help="at most (default: %(default)s)")
    how.add_argument("--shard-mb", type=float, default=512.0, help="MiB in a shard at most (default: %(default)s)")
    how.add_argument("--seed", type=int, default=0, help="of the order (default: %(default)s)")
    how.add_argument("--no-shuffle", action="store_true", help="keep the order of the annotations")
    how.add_argument("--workers", type=int, default=4, help="shards at a time (default: %(default)s)")
    how.add_argument("--part", metavar="I/N", help="only part I of N of the shards, for batch schedulers")
    parser.add_argument("--verify", action="store_true", help="only read all shards and compare them with the index")
    parser.add_argument("--index", action="store_true", help="only make the index of shards that have none")
    args = parser.parse_args(arguments)
    return ended(parser.prog, lambda: _run(args))


def _run(args: argparse.Namespace) -> int:
    if args.verify:
        faults = verify_shards(args.folder, print)
        print(f"{len(faults)} damaged shards" if faults else "all shards are whole")
        return 1 if faults else 0
    if args.index:
        print(index_folder(args.folder, args.name))
        return 0
    done = make_shards(
        _samples(args), args.folder, name=args.name, media_per_shard=args.media_per_shard, shard_mb=args.shard_mb,
        shuffle=not args.no_shuffle, seed=args.seed, workers=args.workers, part=args.part,
    )  # fmt: skip
    print(done.to_text())
    return 0


def _samples(args: argparse.Namespace) -> list[Any]:
    from lavis.datasets.build import build_dataset

    name, node = _node(args)
    dataset: Any = build_dataset(name, node, args.split, lambda sample, train: {}, train=False)
    if not hasattr(dataset, "with_subtitles"):
        raise ValueError(f"datasets.{name} is no data set of files (grounding); name one of its parts, or another")
    samples = (dataset.with_subtitles(index) for index in range(len(dataset)))
    return [sample for sample in samples if sample is not None]


def _node(args: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    """Name and node of the data set that the options describe."""
    if args.config:
        from lavis.common.config import load_config

        nodes = load_config(args.config, args.options)["datasets"]
        name = args.dataset or next(iter(nodes))
        if name not in nodes or (args.dataset is None and len(nodes) > 1):
            raise ValueError(f"{args.config} has the data sets {', '.join(nodes)}; choose one with --dataset")
        node = dict(nodes[name])
    elif args.annotations and args.format and args.videos:
        name = args.dataset or "shards"
        files = {"annotations": {args.split: args.annotations}, "videos": args.videos}
        node = {"name": "grounding", "format": {"name": args.format}, **files, "video_suffix": args.video_suffix}
    else:
        raise ValueError("say what to put in: --config, or --annotations with --format and --videos")
    return name, {**node, **({"on_missing_video": "skip"} if args.skip_missing else {})}


if __name__ == "__main__":
    sys.exit(main())

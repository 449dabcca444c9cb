"""Compute what the frozen parts of a model say about all videos, once and for all runs that follow.

The features go into the folder of the model's cache (`model.cache.folder`, docs/caching.md), under the names by which a
training or an evaluation of the same configuration looks for them, which then computes nothing frozen and opens no
video. Splits of `run.train_splits` are looked at as training does (its crops), the others as evaluation does. Videos,
pictures and members of tar shards are looked at alike. A second run does only what is missing.

One process does it by default, with `--workers` threads that decode ahead of the network. With `--executor pool` there
are `--workers` processes, each with a model of its own, on the GPUs in turn; `ray` spreads them over a cluster; and
several machines share the work with `--shard`.

Examples:
    python process_data/extract_features.py experiments/calce/qvh_stage2 --folder /data/features
    python process_data/extract_features.py my.yaml --splits val test --options model.cache.disk_gb=500
    python process_data/extract_features.py my.yaml --folder /data/features --executor pool --workers 8
    CUDA_VISIBLE_DEVICES=3 python process_data/extract_features.py my.yaml --folder /data/features --shard 4/8
    python process_data/extract_features.py my.yaml --videos clips --folder /data/features
    python process_data/extract_features.py my.yaml --folder /data/features --format webdataset --out exported
    python process_data/extract_features.py my.yaml --folder /fast/features --import exported/features-eval.json
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from lavis.common.feature_folder import FeatureFolder
from lavis.feature_jobs import ModelOfConfig, autocast
from lavis.preparation.collection.command_line import add_running, ended, parser_of, running_of
from lavis.preparation.collection.items import Shard, find_videos
from lavis.preparation.features import Extracted, extract_features
from lavis.preparation.features_export import FORMS, export_features, import_features
from lavis.preparation.features_workers import extract_in_processes


def main(arguments: Sequence[str] | None = None) -> int:
    parser = parser_of(__doc__)
    parser.add_argument("config", help="an experiment, by name or file")
    parser.add_argument("--options", nargs="*", default=[], metavar="KEY=VALUE", help="changes to the configuration")
    parser.add_argument("--folder", type=Path, help="of the features (default: model.cache.folder)")
    parser.add_argument("--splits", nargs="+", help="default: all that the run trains on, validates and tests")
    parser.add_argument("--videos", type=Path, help="instead of the data sets: all videos in a folder, whole")
    parser.add_argument(
        "--phase", choices=("auto", "train", "eval", "both"), default="auto",
        help="whose view of the videos; auto: training's for run.train_splits, evaluation's for the others",
    )  # fmt: skip
    add_running(parser)
    parser.set_defaults(executor="serial")
    export = parser.add_argument_group("copies in few files")
    export.add_argument("--format", choices=("store", *FORMS), default="store", help="default: only the folder itself")
    export.add_argument("--out", type=Path, help="folder of the copies")
    export.add_argument("--per-file", type=int, default=1000, help="videos in a file (default: %(default)s)")
    export.add_argument("--import", dest="imported", type=Path, metavar="INDEX", help="only put copies into the folder")
    args = parser.parse_args(arguments)
    return ended(parser.prog, lambda: _run(args))


def _run(args: argparse.Namespace) -> int:
    from lavis.common.check import require_valid
    from lavis.common.config import load_config

    if (args.format == "store") != (args.out is None):
        raise ValueError("--format safetensors or webdataset and --out go together")
    changes = [*args.options, "model.cache.memory_mb=0"]
    if args.folder is not None:
        changes.append(f"model.cache.folder={args.folder.expanduser().absolute()}")
    config = load_config(args.config, changes)
    require_valid(config)
    if not (config["model"].get("cache") or {}).get("folder"):
        raise ValueError("say where the features go: --folder, or model.cache.folder, which runs have to name as well")
    if args.executor == "serial" or args.imported is not None:
        _in_this_process(args, config)
    else:
        _in_processes(args, config)
    return 0


def _in_this_process(args: argparse.Namespace, config: Any) -> None:
    from lavis.common.binding import bind_dataclass
    from lavis.common.schema import RunConfig
    from lavis.models.build import build_model
    from lavis.runners.wiring import build_engine

    run = bind_dataclass(RunConfig, config.get("run"), "run")
    engine = build_engine(run)
    try:
        model: Any = build_model(config["model"], weights=args.imported is None)
        store = model.cache.store.disk
        if args.imported is not None:
            print(f"{import_features(args.imported, store)} entries are in {store.folder}")
            return
        engine.prepare(model)
        for train, samples in _phases(args, config, run, model):
            done = extract_features(
                model, samples, train=train, shard=args.shard, resume=not args.no_resume, retry=args.retry,
                budget=args.budget, decoders=1 if args.workers is None else args.workers,
                computing=partial(autocast, engine.device.type, run, train),
            )  # fmt: skip
            _tell(args, done, train, store)
    finally:
        engine.close()


def _in_processes(args: argparse.Namespace, config: Any) -> None:
    import torch

    from lavis.common.binding import bind_dataclass
    from lavis.common.feature_store import CacheConfig
    from lavis.common.schema import RunConfig
    from lavis.processors.video_processor import build_processor

    run = bind_dataclass(RunConfig, config.get("run"), "run")
    cache = bind_dataclass(CacheConfig, config["model"]["cache"], "model.cache")
    store = FeatureFolder(cache.folder, int(cache.disk_gb * 1e9))
    # Only the processes have a model; here its way to look at videos is enough.
    model = SimpleNamespace(processor=build_processor(config["model"]["processor"]))
    running = running_of(args)
    if args.executor == "pool" and args.workers is None:
        running["workers"] = max(1, torch.cuda.device_count())
    for train, samples in _phases(args, config, run, model):
        opening = ModelOfConfig(config.tree, train)
        done = extract_in_processes(
            opening, samples, store, made_with=opening.made_with, train=train, gpus=opening.gpus, **running
        )
        _tell(args, done, train, store)


def _tell(args: argparse.Namespace, done: Extracted, train: bool, store: FeatureFolder) -> None:
    print(f"{store.folder}, as {'training' if train else 'evaluation'} sees the videos\n{done.to_text()}")
    if args.format == "store":
        return
    part = Shard.of(args.shard)
    name = f"features-{'train' if train else 'eval'}{'' if part.count == 1 else f'-{part}'}"
    print(export_features(store, done.entries, args.out, args.format, name=name, per_file=args.per_file))


def _phases(args: argparse.Namespace, config: Any, run: Any, model: Any) -> list[tuple[bool, list[Any]]]:
    """Whether to look as training does, and samples of all videos."""
    if args.videos is not None:
        samples = _videos(args.videos, model.processor)
        return [(train, samples) for train in (False, True) if args.phase in _names(train, auto=not train)]
    from lavis.runners.wiring import build_data

    evaluated = [*run.valid_splits, *run.test_splits]
    found: dict[bool, list[Any]] = {}
    for split in dict.fromkeys(args.splits or [*run.train_splits, *evaluated]):
        for train in (True, False):
            wanted = split in run.train_splits if train else split in evaluated or split not in run.train_splits
            if args.phase in _names(train, auto=wanted):
                data: Any = build_data(config, model, [split], train=train)[split].values()
                found.setdefault(train, []).extend(sample for dataset in data for sample in dataset.samples)
    return sorted(found.items())


def _names(train: bool, auto: bool) -> tuple[str, ...]:
    """Values of ``--phase`` that mean this one."""
    return ("both", "train" if train else "eval", *(["auto"] if auto else []))


def _videos(folder: Path, processor: Any) -> list[Any]:
    from lavis.processors.readers.base import VideoDecodeError
    from lavis.structures import VideoSample

    samples = []
    for item in find_videos(folder):
        try:
            duration = processor.duration(item.path)
        except VideoDecodeError:
            duration = 1.0  # is counted with those that fail
        samples.append(VideoSample(item.name, str(item.path), item.name, duration))
    return samples


if __name__ == "__main__":
    sys.exit(main())

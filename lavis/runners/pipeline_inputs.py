"""What a stage of a pipeline reads and writes.

Every input is known by its place in the configuration (``datasets.qvh.prior (train)``) and compared by content, so that
data, weights and results may be moved.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

from lavis.common.assets import PREFIX, resolve_asset
from lavis.common.config import Config
from lavis.common.logging import get_logger
from lavis.datasets.build import splits_of
from lavis.runners import run as runs
from lavis.runners.pipeline_digests import Digests, Source, text_digest
from lavis.runners.pipeline_stages import JOIN, PREDICTING, Stage, config_of, predicted_splits

CODE_PACKAGES = ("torch", "transformers", "tokenizers", "peft", "accelerate", "numpy", "av")
"""Packages whose version belongs to the version of the code."""

INCIDENTAL_MODEL = ("weights", "cache")
"""Keys of ``model`` that are no part of the configuration compared: content is an input, a cache changes no result."""
ANNOTATION_FILES = ("annotations", "prior", "videos", "subtitles")
logger = get_logger(__name__)


def facts_of(stage: Stage, digests: Digests, reads: Iterable[Path] = ()) -> dict[str, Any]:
    """Everything the result of a stage depends on, JSON-ready.

    Args:
        stage: the stage.
        digests: of files.
        reads: further files its action reads.

    Returns:
        ``action``, ``config`` (without settings that change how a stage runs and not what comes of it, and without
        paths), ``splits``, ``settings``, ``code`` and ``inputs``: place in the configuration to path and digest.
    """
    sources = sources_of(stage, digests, reads)
    return {
        "action": stage.action,
        "config": _essence(stage.config, sources),
        "splits": list(stage.splits),
        "settings": json.loads(json.dumps(stage.settings, default=str)),
        "code": code_facts(),
        "inputs": {
            key: {"path": str(source.path), "kind": source.kind, "digest": digests.of(source)}
            for key, source in sources.items()
        },
    }


def sources_of(stage: Stage, digests: Digests, reads: Iterable[Path] = ()) -> dict[str, Source]:
    """Place in the configuration to what is read there."""
    found = {str(path): Source(path, "file") for path in (*stage.inputs, *reads)}
    config = stage.config
    if config is None:
        return found
    model: Mapping[str, Any] = config.get("model") or {}
    weights = model.get("weights") or []
    for number, name in enumerate([weights] if isinstance(weights, str) else weights):
        found[f"model.weights.{number}"] = Source(Path(resolve_asset(name)).expanduser(), "weights")
    found.update(
        _named_files({key: node for key, node in model.items() if key not in INCIDENTAL_MODEL}, "model", "model")
    )
    splits = predicted_splits(stage) if stage.action in PREDICTING else _trained_splits(config)
    for where, node in data_nodes(config.get("datasets") or {}, "datasets"):
        for split in splits:
            found.update(_split_sources(where, node, split, digests))
    if stage.action in PREDICTING:
        trained = _trained_weights(config)
        found.update({} if trained is None else {"trained weights": Source(trained, "weights")})
    return found


def expected_outputs(stage: Stage) -> list[Path]:
    """Files a stage is known to write before it has run."""
    made: list[Path] = list(stage.outputs)
    if stage.action == "train":
        made.append(run_folder(config_of(stage)) / "checkpoints" / "best.safetensors")
    elif stage.action in PREDICTING:
        made += prediction_files(stage)
    elif stage.action == JOIN:
        made += [Path(file) for file in stage.settings["files"]]
    return made


def prediction_files(stage: Stage) -> list[Path]:
    """Files that an evaluation writes."""
    config = config_of(stage)
    nodes: Mapping[str, Any] = config["datasets"]
    splits = predicted_splits(stage)
    names = [f"{name}_{split}" for split in splits for name in nodes if split in splits_of(nodes[name])]
    return [run_folder(config) / "predictions" / f"{name}.jsonl" for name in names]


def data_nodes(nodes: Mapping[str, Any], where: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Nodes of data sets with their place, those of mixtures included."""
    for name, node in nodes.items():
        yield f"{where}.{name}", node
        yield from data_nodes(node.get("parts") or {}, f"{where}.{name}.parts")


@lru_cache(maxsize=1)
def code_facts() -> Mapping[str, str]:
    """The version of the code: a digest of the package's source, and the versions of what computes for it."""
    root = Path(__file__).resolve().parents[1]
    source = hashlib.sha256()
    for file in sorted(root.rglob("*.py")):
        source.update(f"{file.relative_to(root).as_posix()}\0".encode() + file.read_bytes() + b"\0")
    found = {"lavis": source.hexdigest()}
    for package in CODE_PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "absent"
    return found


def _split_sources(where: str, node: Mapping[str, Any], split: str, digests: Digests) -> dict[str, Source]:
    file = (node.get("annotations") or {}).get(split)
    if not isinstance(file, str):
        return {}
    annotations = _filled(file, split)
    found = {f"{where}.annotations.{split}": Source(annotations, "annotations")}
    if isinstance(node.get("prior"), str):
        found[f"{where}.prior ({split})"] = Source(_filled(node["prior"], split), "prior")
    side = _named_files(node.get("format") or {}, f"{where}.format", "annotations", split)
    found.update(side)
    names = _videos_of(where, node, split, annotations, digests)
    for kind, suffix in (("videos", str(node.get("video_suffix", ".mp4"))), ("subtitles", ".srt")):
        if isinstance(node.get(kind), str):
            files = None if names is None else tuple(f"{name}{suffix}" for name in names)
            found[f"{where}.{kind} ({split})"] = Source(_filled(node[kind], split), kind, files)
    return found


def _videos_of(
    where: str, node: Mapping[str, Any], split: str, annotations: Path, digests: Digests
) -> Sequence[str] | None:
    """Names of the videos that the annotations speak of; ``None`` for all of the folder, where no format reads them.

    Annotations that are not there, or faulty, speak of none: the stage itself will say so.
    """
    if "format" not in node:
        return None
    content = digests.file(annotations)
    if content is None:
        return []

    def read() -> list[str]:
        from lavis.common.construct import build_part
        from lavis.common.registry import registry

        try:
            annotated = build_part(registry.formats, node["format"], f"{where}.format").read(annotations, split)
        except (ValueError, OSError) as error:
            logger.debug("%s: %s", annotations, error)
            return []
        return [sample.video for sample in annotated.samples]

    return digests.names(text_digest([content, node["format"], split]), read)


def _essence(config: Config | None, sources: Mapping[str, Source]) -> Any:
    """The configuration without incidental settings, and with a mark in place of paths whose content is an input."""
    if config is None:
        return None
    tree: dict[str, Any] = json.loads(json.dumps(config.tree, default=str))
    tree["run"] = {key: value for key, value in (tree.get("run") or {}).items() if key not in runs.INCIDENTAL}
    for key in INCIDENTAL_MODEL:
        (tree.get("model") or {}).pop(key, None)
    for _, node in data_nodes(tree.get("datasets") or {}, "datasets"):
        for key in ANNOTATION_FILES:
            node.pop(key, None)  # type: ignore[attr-defined]
    for key, source in sources.items():
        if source.kind == "model":
            _mark(tree, key.split("."))
    return tree


def _mark(tree: Any, keys: Sequence[str]) -> None:
    for key in keys[:-1]:
        tree = tree[int(key) if isinstance(tree, list) else key]
    tree[int(keys[-1]) if isinstance(tree, list) else keys[-1]] = "(a file)"


def _named_files(node: Any, where: str, kind: str, split: str = "") -> dict[str, Source]:
    """Texts of a tree that name existing files or folders, such as a tokenizer's: ``asset:`` names and paths."""
    if isinstance(node, Mapping):
        rows = [_named_files(value, f"{where}.{key}", kind, split) for key, value in node.items()]
    elif isinstance(node, list):
        rows = [_named_files(value, f"{where}.{number}", kind, split) for number, value in enumerate(node)]
    else:
        path = _existing(node, split)
        return {} if path is None else {where: Source(path, kind)}
    return {key: source for row in rows for key, source in row.items()}


def _existing(value: Any, split: str) -> Path | None:
    if not isinstance(value, str) or len(value) > 1000 or not ("/" in value or value.startswith(PREFIX)):
        return None
    path = _filled(resolve_asset(value), split)
    return path if path.exists() else None


def _trained_splits(config: Config) -> list[str]:
    run = config.get("run") or {}
    defaults = {"train_splits": ["train"], "valid_splits": ["val"], "test_splits": ["test"]}
    return list(dict.fromkeys(split for key, default in defaults.items() for split in run.get(key, default)))


def _trained_weights(config: Config) -> Path | None:
    """Weights an evaluation takes besides those of ``model.weights``; they need not exist."""
    wanted = config.find("run.resume", "auto")
    if wanted == "never":
        return None
    return Path(wanted) if wanted != "auto" else run_folder(config) / "checkpoints" / "best.safetensors"


def run_folder(config: Config) -> Path:
    """Folder of a configuration's run."""
    return Path(config.find("run.output_dir", "results")) / config.name


def _filled(path: str, split: str) -> Path:
    return Path(path.replace("{split}", split)).expanduser()

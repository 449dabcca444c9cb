"""An evaluation of a checkpoint: what is asked comes from the experiment, what is asked of from the checkpoint.

A checkpoint of ours says its parts, so one experiment serves every size and language model. A published one says none:
it has to fit the experiment's.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lavis.common.config import Config, ConfigError

_log = logging.getLogger(__name__)

TRAINED = ("encoder", "compressor", "language_model", "head", "weights", "fold_adapters", "trainable")
"""Of ``model``: what a checkpoint's weights are of, and what they were trained on top of."""
TRAINED_PROMPT = ("template", "lose_token")
"""Of ``model.prompt``: the form of conversations that a language model knows; questions are the experiment's."""
ASKED_VIEW = ("reader", "sampler")
"""Of a view: which frames are looked at, which is the experiment's; how they are made pixels is the checkpoint's."""
ADAPTER = "adapter_config.json"


def of_checkpoint(config: Config, checkpoint: str | Path) -> Config:
    """The experiment with the model of a checkpoint.

    Args:
        config: of the experiment.
        checkpoint: folder of a run, checkpoint of ours, or a file or folder of published weights.

    Raises:
        ConfigError: if there is nothing, a run was not trained, or its head is of another kind than the experiment's.
        CheckpointError: if a file cannot be read.
    """
    place = Path(checkpoint).expanduser()
    if not place.exists():
        raise ConfigError(f"there is no checkpoint {place}; give the folder of a run, or a file or folder of weights")
    found = _ours(place)
    if found is None:
        return _published(config, place)
    saved, weights = found
    _check_head(config["model"].get("head"), saved["model"].get("head"), place)
    model = {**config["model"], **{name: saved["model"][name] for name in TRAINED if name in saved["model"]}}
    model = {name: value for name, value in model.items() if name in saved["model"] or name not in TRAINED}
    model["prompt"] = _joined(config["model"].get("prompt"), saved["model"].get("prompt"), TRAINED_PROMPT)
    model["processor"] = _processor(config["model"].get("processor"), saved["model"].get("processor"))
    run = {**config.get("run", {}), "resume": str(weights)}
    return Config({**config.tree, "model": model, "run": run}, config.origins, config.path)


def with_tasks(config: Config, tasks: list[str]) -> Config:
    """The experiment with some tasks of its benchmark alone.

    Raises:
        ConfigError: if its data sets have no tasks.
    """
    datasets = {name: dict(node) for name, node in config["datasets"].items()}
    having = [name for name, node in datasets.items() if _has_tasks(node)]
    if not having:
        raise ConfigError("--tasks is for benchmarks of several tasks (et_bench, mvbench); the data here are of none")
    for name in having:
        datasets[name]["format"] = {**_named(datasets[name]["format"]), "tasks": list(tasks)}
    return Config({**config.tree, "datasets": datasets}, config.origins, config.path)


def _has_tasks(dataset: Mapping[str, Any]) -> bool:
    from lavis.common.registry import registry
    from lavis.common.signatures import parameters

    name = _named(dataset.get("format")).get("name")
    return isinstance(name, str) and "tasks" in parameters(registry.formats.get(name))


def _named(node: Any) -> dict[str, Any]:
    return dict(node) if isinstance(node, Mapping) else {"name": node}


def _ours(place: Path) -> tuple[Mapping[str, Any], Path] | None:
    """Configuration and weights of a run or a checkpoint of ours; ``None`` if it is neither."""
    from lavis.api import find_model
    from lavis.common.checkpoint import read_checkpoint

    if place.is_dir() and (place / "config.yaml").is_file():
        saved, weights = find_model(str(place))
        if weights is None:
            raise ConfigError(f"{place} was not trained: it has no checkpoints/best.safetensors")
        return saved, weights
    if place.suffix != ".safetensors":
        return None
    written = read_checkpoint(place).config
    return None if written is None or "model" not in written else (written, place)


def _check_head(asked: Any, trained: Any, place: Path) -> None:
    """That a checkpoint finds times as the experiment reads them; one without a head may still answer in words."""
    wanted, own = _named(asked).get("name"), _named(trained).get("name")
    if wanted is None or wanted == own:
        return
    if own is not None:
        raise ConfigError(
            f"{place} finds times with the head {own}, but the experiment reads those of {wanted}: it is of another "
            "system; evaluate it with an experiment of its own"
        )
    _log.warning("%s has no head, so its answers have words alone; it may be of an earlier stage", place)


def _published(config: Config, place: Path) -> Config:
    model = dict(config["model"])
    adapters = place.is_dir() and (place / ADAPTER).is_file()
    # Adapters are read on top of what they were trained on; a whole model needs nothing else.
    model["weights"] = [*(model.get("weights") or [] if adapters else []), str(place)]
    if not adapters:
        model["language_model"] = {**model["language_model"], "pretrained": None}
        model["fold_adapters"] = False
        known = model["language_model"].get("tokenizer") or config["model"]["language_model"].get("pretrained")
        own = place.is_dir() and any((place / name).is_file() for name in ("tokenizer.json", "tokenizer.model"))
        model["language_model"]["tokenizer"] = str(place) if own else known
    run = {**config.get("run", {}), "resume": "never"}
    return Config({**config.tree, "model": model, "run": run}, config.origins, config.path)


def _joined(asked: Any, trained: Any, names: tuple[str, ...]) -> dict[str, Any]:
    """A part as the experiment has it, but for some of its settings; wholly the checkpoint's if it is another part."""
    if (asked or {}).get("name") != (trained or {}).get("name"):
        return dict(trained or {})
    kept: dict[str, Any] = {name: value for name, value in asked.items() if name not in names}
    kept.update({name: trained[name] for name in names if name in trained})
    return kept


def _processor(asked: Any, trained: Any) -> dict[str, Any]:
    processor: dict[str, Any] = dict(trained or asked or {})
    views = {name: dict(view) for name, view in (processor.get("views") or {}).items()}
    for name, view in ((asked or {}).get("views") or {}).items():
        if name in views:
            views[name].update({key: view[key] for key in ASKED_VIEW if key in view})
    processor["views"] = views
    return processor

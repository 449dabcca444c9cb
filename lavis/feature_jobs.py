"""Features by processes: the model of a configuration, loaded in each of them on its device.

Above runners and preparation, since it needs the engine of the ones and the jobs of the others.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from lavis.common.config import Config
from lavis.preparation.features_workers import Opened


@dataclass(frozen=True)
class ModelOfConfig:
    """Loads a configuration's model as a run would have it, see ``features_workers.Opening``.

    Args:
        tree: the configuration, interpolations resolved.
        train: whether it computes as training does.
    """

    tree: dict[str, Any]
    train: bool

    def __call__(self, worker: int) -> Opened:
        from lavis.common.binding import bind_dataclass
        from lavis.common.check import import_modules
        from lavis.common.schema import RunConfig
        from lavis.models.build import build_model
        from lavis.runners.wiring import build_engine

        config = Config(self.tree)
        import_modules(config)
        run = bind_dataclass(RunConfig, config.get("run"), "run")
        run = replace(run, device=device_of(run.device, worker, torch.cuda.device_count()))
        engine = build_engine(run)
        model = build_model(config["model"])
        engine.prepare(model)
        return Opened(model, partial(autocast, engine.device.type, run, self.train))

    @property
    def made_with(self) -> dict[str, Any]:
        """What decides the features, as far as it shows without the model: settings, and files that they name."""
        run = self.tree.get("run") or {}
        model = {key: value for key, value in self.tree["model"].items() if key != "cache"}
        computing = {key: run.get(key) for key in ("device", "precision", "eval_precision", "threads", "deterministic")}
        return {"model": model, "run": computing, "files": list(_files(model)), "code": _code(model)}

    @property
    def gpus(self) -> int:
        """GPUs of a cluster that a process wants."""
        return 0 if str((self.tree.get("run") or {}).get("device", "auto")) == "cpu" else int(torch.cuda.is_available())


def device_of(device: str, worker: int, gpus: int) -> str:
    """The device of a process: processes of ``auto`` and ``cuda`` take the GPUs there are in turn."""
    return f"cuda:{worker % gpus}" if device in ("auto", "cuda") and gpus else device


def autocast(device: str, run: Any, train: bool) -> torch.autocast:
    """The context in which the engine of a run computes."""
    precision = run.precision if train else run.eval_precision or run.precision
    dtype = torch.float16 if precision == "fp16" else torch.bfloat16
    return torch.autocast(device, dtype=dtype, enabled=precision != "fp32")


def _code(model: Mapping[str, Any]) -> str:
    """Digest of the source of the parts that features come from."""
    from lavis.common.provenance import code_version, modules_of, modules_of_class
    from lavis.common.registry import registry
    from lavis.processors.video_processor import build_processor

    processor = build_processor(model["processor"])
    parts: list[object] = [processor]
    for view in processor.views.values():
        parts += [view, view.reader, view.image_reader, *view.parts(True), *view.parts(False)]
    networks = (registry.encoders.get(model["encoder"]["name"]), registry.compressors.get(model["compressor"]["name"]))
    modules = {*modules_of(parts), *(module for network in networks for module in modules_of_class(network))}
    return code_version(tuple(sorted(modules)))


def _files(node: Any) -> Iterator[list[Any]]:
    """Files and folders that a configuration names, with size and time: weights may change under their name."""
    if isinstance(node, Mapping):
        for value in node.values():
            yield from _files(value)
    elif isinstance(node, list):
        for value in node:
            yield from _files(value)
    elif isinstance(node, str) and 0 < len(node) < 4096 and "\0" not in node:
        path = Path(node).expanduser()
        within = sorted(path.iterdir()) if path.is_dir() else [path]  # a folder: that of a language model
        for file in within:
            if file.is_file():
                facts = file.stat()
                yield [str(file), facts.st_size, facts.st_mtime_ns]

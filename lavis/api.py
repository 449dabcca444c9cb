"""Models, datasets and processors by name, in Python.

Source of the names: LAVIS (Li et al., 2022; salesforce/LAVIS), whose ``load_model_and_preprocess`` and friends stay.
Here a model is the YAML file ``configs/models/<system>/<type>.yaml``, a finished run, or any configuration.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lavis.common.check import require_valid
from lavis.common.config import Config, ConfigError, find_config, list_configs, load_config

if TYPE_CHECKING:
    from lavis.datasets.base import MomentDataset
    from lavis.models.video_llm import VideoLLM
    from lavis.processors.video_processor import VideoProcessor
    from lavis.structures import VideoSample, Views

TINY = "tiny"
BEST = Path("checkpoints", "best.safetensors")
TWO_MODELS = ("coarse_to_fine", "locate_then_answer")
"""Localizers that a coarser model can be attached to."""
DEFAULTS: Mapping[str, tuple[str, str]] = {
    "meco": ("phi3", "stage3_phi3"),
    "etchat": ("phi3_stage3", "stage3_phi3"),
}
"""Of a system named alone: its type, and the run in ``results/<system>`` that is taken in its place if it is there."""
_LAVIS_ZOO = "the model zoo of LAVIS (salesforce/LAVIS)"
WEIGHT_SOURCES: Mapping[str, str] = {
    "eva_vit_g.pth": f"{_LAVIS_ZOO}, BLIP-2",
    "instruct_blip_vicuna7b_trimmed.pth": f"{_LAVIS_ZOO}, InstructBLIP",
    "blip2_pretrained_flant5xl.pth": f"{_LAVIS_ZOO}, BLIP-2",
    "MiniCPM-V-2_6_QWen2": "openbmb/MiniCPM-V-2_6 on the Hugging Face hub",
    "ETChat-Phi3-Mini-Stage-3": "PolyU-ChenLab/ETChat-Phi3-Mini-Stage-3 on the Hugging Face hub",
}
"""Where files and folders that models begin with are published."""

_log = logging.getLogger(__name__)


def list_models() -> list[tuple[str, str]]:
    """Names of models as ``(system, type)``; the system ``tiny`` holds random-weight flavours for tests."""
    names = [name.partition("/") for name in list_configs("models")]
    return [(system, kind) for system, _, kind in names if kind] + [(TINY, name) for name in list_configs(TINY)]


def list_datasets() -> list[str]:
    """Names of datasets, as ``load_dataset`` takes them."""
    return list(list_configs("datasets"))


def load_model(
    name: str,
    model_type: str | None = None,
    is_eval: bool = False,
    device: str = "cpu",
    checkpoint: str | Path | None = None,
    options: Sequence[str] = (),
    coarse: str | None = None,
) -> VideoLLM:
    """A model, with weights.

    Args:
        name: system (``calce``), ``system/type``, the folder of a run, a checkpoint of ours, or a configuration.
        model_type: type (``qvh_stage1``) where ``name`` is a system.
        is_eval: put the model into evaluation mode.
        device: ``cpu``, ``cuda``, ``cuda:N``, ``mps``, or ``auto`` for a GPU if there is one.
        checkpoint: trained weights on top of ``model.weights``; by default those of the run, for a zoo name those in
            ``results/<system>/<type>``.
        options: changes such as ``model.generation.num_beams=1``.
        coarse: a further model, named like ``name``, that is asked first and tells this one roughly where to look.

    Raises:
        ConfigError: if there is no such model or its configuration has problems.
        CheckpointError: if weights are missing or do not fit.
        ValueError: if there is no such device.
    """
    place = _device(device)
    config, trained = find_model(name, model_type, options)
    localizer = config.find("model.localizer.name", config.find("model.localizer"))
    if coarse is not None and localizer not in TWO_MODELS:
        config, trained = find_model(name, model_type, [*options, "model.localizer={name: coarse_to_fine}"])
    section = Config({k: config[k] for k in ("model", "imports") if k in config}, config.origins, config.path)
    require_valid(section, ("model",))
    shown = name if model_type is None else f"{name}/{model_type}"
    source = trained if checkpoint is None else _checkpoint_file(checkpoint)
    absent = _absent_weights(section)
    if absent and source is None:
        raise _weights_are_absent(shown, absent)
    from lavis.models.build import build_model, load_model_weights

    model = build_model(config["model"], weights=not absent)
    if source is not None:
        found = load_model_weights(model, [source])
        # Adapters begin as nothing, and a merged file has none.
        if absent and not {name for name, _ in model.named_parameters() if ".lora_" not in name} <= found:
            raise _weights_are_absent(shown, absent)
        _warn_of_missing_head(model, found, source)
    elif is_eval:
        _log.warning("%s has no trained weights: it answers from the weights it starts with", shown)
    model.to(place)
    if coarse is not None:
        attachable: Any = model.localizer
        attachable.attach(load_model(coarse, is_eval=is_eval, device=device))
    if is_eval:
        model.eval()
    return model


def load_model_and_preprocess(
    name: str,
    model_type: str | None = None,
    is_eval: bool = False,
    device: str = "cpu",
    checkpoint: str | Path | None = None,
    options: Sequence[str] = (),
    coarse: str | None = None,
) -> tuple[VideoLLM, dict[str, VisualPreprocess], dict[str, Callable[[str], str]]]:
    """A model and what prepares its inputs; for the arguments see ``load_model``.

    Returns:
        the model; ``vis_processors``, which turn a video's path (or a ``VideoSample``) into frames, and
        ``txt_processors``, which leave a query as it is, since models lay out their prompts themselves; the latter two
        by ``train`` and ``eval``.
    """
    model = load_model(name, model_type, is_eval, device, checkpoint, options, coarse)
    if model.processor is None:
        raise ConfigError(f"model {name!r} has no model.processor in its configuration, so it cannot read videos")
    visual = {"train": VisualPreprocess(model.processor, True), "eval": VisualPreprocess(model.processor, False)}
    return model, visual, {"train": raw_text, "eval": raw_text}


def load_dataset(
    name: str,
    split: str | None = None,
    vis_path: str | None = None,
    processor: VideoProcessor | None = None,
    train: bool = False,
    options: Sequence[str] = (),
) -> Any:
    """A dataset of ``configs/datasets`` or of another configuration.

    Args:
        name: such as ``qvhighlights``, or the path of a configuration with one dataset.
        split: one split; ``None`` loads all that have annotations.
        vis_path: folder of the videos, in place of the configured one.
        processor: decodes videos; ``None`` gives samples without frames.
        train: whether items are for training (augmentation, truth required).
        options: changes such as ``datasets.qvhighlights.subset=10``.

    Returns:
        The split's dataset, or a dictionary of them by split.

    Raises:
        ConfigError: if there is no such dataset, or its configuration has problems.
        ValueError: if files are missing or malformed.
    """
    known = list_configs("datasets")
    config = load_config(known.get(name, name), options)
    require_valid(config, ("datasets",))
    key, node = _only_dataset(config, name)
    if vis_path is not None:
        node = {**node, "videos": vis_path}
    from lavis.datasets.build import build_dataset, splits_of

    def build(one: str) -> MomentDataset:
        return build_dataset(key, node, one, processor if processor is not None else WithoutFrames(), train)

    return build(split) if split is not None else {one: build(one) for one in splits_of(node)}


def load_processor(name: str, cfg: Mapping[str, Any] | None = None) -> Any:
    """A processor that LAVIS users know by name (``blip_video_eval``), with the fields that ``cfg`` gives."""
    from lavis.processors.registered import load_processor as load

    return load(name, cfg)


class VisualPreprocess:
    """Videos to frames, for training or for evaluation.

    Args:
        processor: the model's own.
        train: whether to augment.
    """

    def __init__(self, processor: VideoProcessor, train: bool) -> None:
        self.processor = processor
        self.train = train

    def __call__(self, video: VideoSample | str | os.PathLike[str]) -> Views:
        """Frames of every view, pixels ``[T, 3, H, W]``.

        Raises:
            VideoDecodeError: if the video cannot be read.
        """
        from lavis.structures import VideoSample

        if not isinstance(video, VideoSample):
            path = os.fspath(video)
            video = VideoSample(id=path, video=path, query="", duration=self.processor.duration(path))
        return self.processor(video, self.train)


def raw_text(text: str) -> str:
    """The text unchanged: what the published models were trained on."""
    return text


class WithoutFrames:
    """Stands in for a processor where only samples are wanted."""

    def __call__(self, sample: VideoSample, train: bool) -> Views:
        return {}

    def set_epoch(self, epoch: int) -> None:
        """Nothing changes with the epoch."""


def find_model(name: str, model_type: str | None = None, options: Sequence[str] = ()) -> tuple[Config, Path | None]:
    """Configuration of a model, and its trained weights if there are any.

    Args:
        name: system, ``system/type``, folder of a run, checkpoint of ours, or a configuration. A system alone has one
            type, or a default (``DEFAULTS``).
        model_type: type where ``name`` is a system.
        options: changes to the configuration.

    Raises:
        ConfigError: if nothing of that name is found; names what there is.
    """
    place = Path(name).expanduser()
    if model_type is None and place.is_dir():
        return _of_run(place, options)
    if model_type is None and place.suffix in (".safetensors", ".pth", ".pt") and place.is_file():
        return _of_checkpoint(place, options)
    if model_type is None and place.suffix in (".yaml", ".yml"):
        return load_config(find_config(name), options), None
    system, _, kind = (name if model_type is None else f"{name}/{model_type}").partition("/")
    types = [t for s, t in list_models() if s == system]
    if not kind and system in DEFAULTS:
        kind, run = DEFAULTS[system]
        if Path("results", system, run, BEST).is_file():
            return _of_run(Path("results", system, run), options)
    if not kind and len(types) == 1:
        kind = types[0]
    if kind not in types:
        raise ConfigError(_unknown_model(name, system, kind, types))
    folder = TINY if system == TINY else f"models/{system}"
    trained = Path("results", system, kind) / BEST
    return load_config(list_configs(folder)[kind], options), trained if trained.is_file() else None


def find_default_model(results: Path = Path("results")) -> tuple[str, str | None]:
    """The newest run of the quickstart, and the run that its prior comes from if it needs one.

    Raises:
        ConfigError: if there is none; says how to get one.
    """
    found = sorted(results.glob(f"quickstart/**/{BEST.as_posix()}"), key=lambda p: p.stat().st_mtime, reverse=True)
    every = [path.parent.parent for path in found if (path.parent.parent / "config.yaml").is_file()]
    runs = [run for run in every if _is_asked(load_config(run.resolve() / "config.yaml"))]
    if not runs:
        raise ConfigError(
            f"no model was named, and {results / 'quickstart'} holds no trained one: run `make quickstart` (or `lavis "
            "quickstart`) once, or name a model with --model, such as calce/qvh_stage1 or the folder of a run"
        )
    alone = [run for run in runs if not _needs_prior(load_config(run.resolve() / "config.yaml"))]
    if runs[0] in alone or not alone:
        return str(runs[0]), None
    # The newest of its own system, such as calce_stage1 for calce_stage2: of another it would be no prior.
    system = runs[0].name.partition("_")[0]
    return str(runs[0]), str(next((run for run in alone if run.name.partition("_")[0] == system), alone[0]))


def _is_asked(config: Config) -> bool:
    """Whether a run answers at all: stages that later ones only begin from have no split to be asked about."""
    return bool(config.find("run.valid_splits", None) != [] or config.find("run.test_splits", None) != [])


def _needs_prior(config: Config) -> bool:
    shown = config.find("model.prompt.show_prior", False)
    return bool(shown) or bool(config.find("model.compressor.keyframes.prior_clusters", 0))


def _of_run(folder: Path, options: Sequence[str]) -> tuple[Config, Path | None]:
    file = folder.resolve() / "config.yaml"
    if not file.is_file():
        raise ConfigError(f"{folder} is no run: it has no config.yaml. Name a folder such as results/calce/qvh_stage1")
    best = folder / BEST
    return load_config(file, options), best if best.is_file() else None


def _of_checkpoint(path: Path, options: Sequence[str]) -> tuple[Config, Path]:
    from lavis.common.checkpoint import read_checkpoint
    from lavis.common.config import merge_trees, parse_options
    from lavis.common.yaml_tree import Tree

    saved = read_checkpoint(path).config
    if saved is None:
        raise ConfigError(
            f"{path} does not say what model it is for (only checkpoints of this project do); name the model and give "
            "this file as its checkpoint, or convert it with `lavis convert`"
        )
    merged = merge_trees(Tree(saved, {(): str(path)}), parse_options(options))
    return Config(Config.from_mapping(merged.value).tree, merged.origins, path), path


def _checkpoint_file(place: str | Path) -> Path:
    """A checkpoint: itself, or the best of a run.

    Raises:
        CheckpointError: if there is none.
    """
    from lavis.common.checkpoint import CheckpointError

    path = Path(place).expanduser()
    if not path.exists():
        raise CheckpointError(f"there is no checkpoint {path}; give a file or folder of weights, or that of a run")
    return path / BEST if (path / BEST).is_file() else path


def _absent_weights(config: Config) -> list[str]:
    """Files a model begins with that are not there, asked for before anything large is built."""
    given = config.find("model.weights") or []
    files = [given] if isinstance(given, (str, Path)) else given
    return [str(f) for f in files if not str(f).startswith("asset:") and not Path(f).expanduser().exists()]


def _weights_are_absent(name: str, absent: Sequence[str]) -> ConfigError:
    lines = [f"{file}{_from_where(file)}" for file in absent]
    return ConfigError(
        f"model {name!r} begins with weights that are not here: {'; '.join(lines)}. Download them into the folder "
        f"weights or the one that LAVIS_WEIGHTS names, or set model.weights"
    )


def _warn_of_missing_head(model: VideoLLM, found: set[str], source: str | Path) -> None:
    """Says so where a checkpoint lacks what finds times: one of an earlier stage, or of another system."""
    head = [] if model.head is None else [f"head.{name}" for name, _ in model.head.named_parameters()]
    absent = [name for name in head if name not in found]
    if absent:
        _log.warning(
            "%s lacks %d of the %d weights of model.head (%s, ...), which finds times: it may be of an earlier stage "
            "or of another system, and these weights stay as they begin",
            source,
            len(absent),
            len(head),
            absent[0],
        )


def _from_where(file: str) -> str:
    source = WEIGHT_SOURCES.get(Path(file).name)
    return f" (from {source})" if source else ""


def _only_dataset(config: Config, name: str) -> tuple[str, Mapping[str, Any]]:
    datasets = config["datasets"]
    if name in datasets:
        return name, datasets[name]
    if len(datasets) != 1:
        raise ConfigError(f"{config.path} has the datasets {', '.join(datasets)}; load one with a single dataset")
    key = next(iter(datasets))
    return key, datasets[key]


def _unknown_model(name: str, system: str, kind: str, types: Sequence[str]) -> str:
    import difflib

    names = ["/".join(pair) for pair in list_models()]
    if types and not kind:
        return f"model {name!r} comes in several types; choose one: {', '.join(types)}"
    near = difflib.get_close_matches(f"{system}/{kind}" if kind else system, [*names, *DEFAULTS], n=1, cutoff=0.4)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    asked = f"{system}/{kind}" if kind else system
    return f"no model {asked!r}, and no such folder or file.{hint} Known: {', '.join(names) or 'none'}"


def _device(name: str) -> str:
    from lavis.runners.devices import choose_device

    kind, index = choose_device(str(name), "device")
    return kind if index is None else f"{kind}:{index}"

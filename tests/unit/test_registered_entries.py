"""Every registered part, whoever adds it: its name resolves, it says what it is, it keeps its kind's contract, and it
can be built at toy size.

A new entry is tested on arrival. One that cannot be built with its defaults alone needs a row in ``TOY_FIELDS``, which
the test asks for.
"""

from __future__ import annotations

import inspect
from importlib import import_module
from typing import Any

import pytest
from torch import nn

from lavis.common.catalogue import describe_entries
from lavis.common.construct import build_part
from lavis.common.registry import registry
from lavis.common.signatures import parameters, wiring_of
from tests.toy_models import bert_tokenizer, t5_tokenizer, toy_model, vocabulary_size

KINDS = registry.kinds()
NAMES = [(kind, name) for kind, table in KINDS.items() for name in table.names()]

BASES = {
    "models": "torch.nn.Module",
    "encoders": "lavis.models.encoders.base.VideoEncoder",
    "compressors": "lavis.models.compressors.base.Compressor",
    "prompts": "lavis.models.prompts.base.Prompt",
    "language_models": "lavis.models.language_models.base.LanguageModel",
    "codecs": "lavis.models.codecs.base.TimeCodec",
    "heads": "lavis.models.heads.base.Head",
    "localizers": "lavis.models.localizers.base.Localizer",
    "processors": "lavis.processors.registered.Processor",
    "samplers": "lavis.processors.samplers.Sampler",
    "transforms": "lavis.processors.transforms.Transform",
    "readers": "lavis.processors.readers.base.VideoReader",
    "formats": "lavis.datasets.formats.base.AnnotationFormat",
    "datasets": "lavis.datasets.base.MomentDataset",
    "protocols": "lavis.scoring.base.Protocol",
    "judges": "lavis.scoring.judges.base.Judge",
    "tasks": "lavis.tasks.base.Task",
    "metrics": "lavis.metrics.base.Metric",
    "schedules": "lavis.runners.schedules.Schedule",
    "hooks": "lavis.runners.hooks.base.Hook",
    "generators": "builtins.object",
}

OPTIONAL = {
    ("encoders", "timm_vit"): "timm",
    ("readers", "decord"): "decord",
    ("readers", "opencv"): "cv2",
    ("readers", "torchcodec"): "torchcodec",
    ("hooks", "tensorboard"): "tensorboard",
    ("hooks", "wandb"): "wandb",
}
"""Parts that need a package beyond the installation's, and that package."""

FULL_SIZE = {("models", "video_llm"), ("datasets", "grounding"), ("datasets", "mixture"), ("datasets", "shards")}
"""Built from other parts or files, by tests of their own; ``test_the_toy_model_is_built`` builds the first."""

QFORMER = {"vocab_size": 200, "width": 16, "layers": 2, "heads": 2, "hidden": 24, "max_positions": 64}


def toy_fields(kind: str, name: str) -> dict[str, Any]:
    """What a part needs to be small, or to be built at all."""
    if kind == "compressors":
        words = {"tokenizer": bert_tokenizer(), "max_tokens": 16} if name == "query_aggregator" else {}
        return {"num_queries": 4, "qformer": QFORMER, "encoder_width": 16, "language_width": 24, **words}
    if kind == "language_models":
        return {"tokenizer": t5_tokenizer(), **language_model_sizes(name)}
    return TOY_FIELDS.get((kind, name), DEFAULTS.get(kind, {}))


DEFAULTS: dict[str, dict[str, Any]] = {
    "schedules": {"learning_rate": 1e-3, "epochs": 2, "steps_per_epoch": 3},
    "samplers": {"num_frames": 4},
    "transforms": {"image_size": 28},
    "heads": {"language_width": 16},
}
TOY_FIELDS: dict[tuple[str, str], dict[str, Any]] = {
    ("encoders", "eva_vit"): {"image_size": 28, "patch_size": 14, "width": 16, "depth": 2, "heads": 2},
    ("encoders", "timm_vit"): {"model": "vit_tiny_patch16_224", "image_size": 32},
    ("samplers", "accumulated"): {"fps": 1.0},
    ("samplers", "fps"): {"fps": 1.0},
    ("formats", "mmduet"): {"form": "grounding", "durations": "none.json"},
    ("judges", "batch"): {"requests": "requests.jsonl"},
    ("judges", "local"): {"model": "none"},
    ("judges", "openai"): {"model": "none"},
    ("judges", "recorded"): {"file": "none.jsonl"},
    ("metrics", "magqa"): {"judge": {"name": "recorded", "file": "none.jsonl"}},
}


def language_model_sizes(name: str) -> dict[str, Any]:
    if name == "t5":
        sizes = {"d_model": 12, "d_kv": 4, "d_ff": 16, "num_layers": 1, "num_heads": 2}
        return {"overrides": {"vocab_size": vocabulary_size(), **sizes}}
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
    return {"config": {"model_type": "llama", "vocab_size": vocabulary_size(), **sizes}}


def found(kind: str, name: str) -> type:
    """The entry; skips where it cannot even be imported without its optional package."""
    try:
        entry: type = KINDS[kind].get(name)
    except ImportError as error:
        if (kind, name) not in OPTIONAL:
            raise
        pytest.skip(f"{kind} {name} needs the package {OPTIONAL[kind, name]!r}: {error}")
    return entry


def base_of(kind: str) -> type:
    module, _, name = BASES[kind].rpartition(".")
    base: type = getattr(import_module(module), name)
    return base


def test_every_kind_has_a_base() -> None:
    assert set(BASES) == set(KINDS)


@pytest.mark.parametrize(("kind", "name"), NAMES)
def test_is_what_its_kind_promises(kind: str, name: str) -> None:
    entry = found(kind, name)
    assert inspect.isclass(entry)
    assert issubclass(entry, base_of(kind))
    assert not inspect.isabstract(entry)


@pytest.mark.parametrize(("kind", "name"), NAMES)
def test_says_what_it_is(kind: str, name: str) -> None:
    entry = found(kind, name)
    documentation = vars(entry).get("__doc__") or ""
    summary = documentation.strip().split("\n")[0]
    # A dataclass without a docstring gets one that only repeats its signature.
    assert summary
    assert not summary.startswith(f"{entry.__name__}(")
    assert inspect.getmodule(entry).__doc__  # type: ignore[union-attr]


@pytest.mark.parametrize(("kind", "name"), NAMES)
def test_every_argument_is_typed(kind: str, name: str) -> None:
    entry = found(kind, name)
    annotations = {key: inspect.signature(entry).parameters[key].annotation for key in parameters(entry) if key != "*"}
    assert not [key for key, hint in annotations.items() if hint is inspect.Parameter.empty]
    # What the builder passes must be something the constructor takes.
    assert set(wiring_of(entry)) <= set(inspect.signature(entry).parameters)


@pytest.mark.parametrize("kind", [kind for kind, table in KINDS.items() if not table.one_file])
def test_a_file_registers_its_own_name(kind: str) -> None:
    for name in KINDS[kind].names():
        entry = found(kind, name)
        assert entry.__module__ == f"{KINDS[kind].location}.{name}"


@pytest.mark.parametrize("kind", KINDS)
def test_the_catalogue_lists_what_resolves(kind: str) -> None:
    rows = describe_entries(KINDS[kind])
    assert set(rows) <= set(KINDS[kind].names())
    assert all(rows.values())


@pytest.mark.parametrize(("kind", "name"), [pair for pair in NAMES if pair not in FULL_SIZE])
def test_is_built_at_toy_size(kind: str, name: str) -> None:
    if (kind, name) in OPTIONAL:
        # Some of these fail on import with errors of their own, for want of a library of the system.
        package = OPTIONAL[kind, name]
        pytest.importorskip(package, reason=f"{kind} {name} needs {package}", exc_type=Exception)
    entry = found(kind, name)
    fields = toy_fields(kind, name)
    wiring = {key: value for key, value in fields.items() if key in wiring_of(entry)}
    node = {"name": name, **{key: value for key, value in fields.items() if key not in wiring}}
    part = build_part(KINDS[kind], node, kind, **wiring)
    assert isinstance(part, base_of(kind))
    if isinstance(part, nn.Module):
        assert sum(p.numel() for p in part.parameters()) < 100_000


def test_the_toy_model_is_built() -> None:
    model = toy_model(subtitle_choice={"tokenizer": bert_tokenizer(), "max_tokens": 64})
    assert isinstance(model, registry.models.get("video_llm"))

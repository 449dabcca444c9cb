"""LAVIS for moments: find moments in video with multimodal language models.

Importing this package imports neither torch nor a model; the public names below load on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from lavis.api import (
        list_datasets,
        list_models,
        load_dataset,
        load_model,
        load_model_and_preprocess,
        load_processor,
    )
    from lavis.common.registry import registry
    from lavis.structures import Moment, Prediction, VideoSample

_LAZY = {
    "list_datasets": "lavis.api",
    "list_models": "lavis.api",
    "load_dataset": "lavis.api",
    "load_model": "lavis.api",
    "load_model_and_preprocess": "lavis.api",
    "load_processor": "lavis.api",
    "registry": "lavis.common.registry",
    "Moment": "lavis.structures",
    "Prediction": "lavis.structures",
    "VideoSample": "lavis.structures",
}

__all__ = [
    "Moment", "Prediction", "VideoSample", "__version__", "list_datasets", "list_models", "load_dataset", "load_model",
    "load_model_and_preprocess", "load_processor", "registry",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'lavis' has no attribute {name!r}; public names: {', '.join(__all__)}")
    return getattr(import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)

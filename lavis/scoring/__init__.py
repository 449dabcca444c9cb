"""Benchmark scores, each computed in one place as its official script computes it, on prediction files from anybody.

``score`` is the whole of it: a protocol's name, predictions, truth. Nothing here needs torch, and importing this
package alone imports nothing; the names below load on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lavis.scoring.base import ScoringError
    from lavis.scoring.comparison import compare
    from lavis.scoring.listing import describe_protocols
    from lavis.scoring.score_report import ScoreReport
    from lavis.scoring.scorer import score

_LAZY = {
    "ScoreReport": "lavis.scoring.score_report",
    "ScoringError": "lavis.scoring.base",
    "compare": "lavis.scoring.comparison",
    "describe_protocols": "lavis.scoring.listing",
    "score": "lavis.scoring.scorer",
}

__all__ = ["ScoreReport", "ScoringError", "compare", "describe_protocols", "score"]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'lavis.scoring' has no attribute {name!r}; public names: {', '.join(__all__)}")
    return getattr(import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)

"""QVHighlights as MeCo scores it: moments and highlights from the similarities of structural tokens.

Source: MeCo (arXiv 2503.09027), the metric script for grounding, where the path of the predictions does not contain
``charades``; figures as in UniVTG (see ``lavis/scoring/meco/grounding.py``).

Differs: see ``threshold`` and ``scale``; whether tokens are compared is an option here, and a matter of the path there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lavis.common.registry import registry
from lavis.scoring.meco.grounding import MOMENT_KEYS, MecoGrounding
from lavis.scoring.windows.highlights import RATINGS


@registry.protocols.register("meco_qvhighlights")
@dataclass(eq=False)
class MecoQVHighlights(MecoGrounding):
    """Moments, and highlights where the truth has ratings; for options see ``MecoGrounding``."""

    keys: ClassVar[tuple[str, ...]] = (
        *MOMENT_KEYS,
        *(f"HL-min-{name}-{key}" for name in RATINGS for key in ("mAP", "Hit1")),
    )

    compare_tokens: bool = False

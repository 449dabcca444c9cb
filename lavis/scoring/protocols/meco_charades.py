"""Charades-STA as MeCo scores it: moments from the similarities of structural tokens.

Source: MeCo (arXiv 2503.09027), the metric script for grounding, where the path of the predictions contains
``charades``; figures as in UniVTG (see ``lavis/scoring/meco/grounding.py``).

Differs: see ``threshold`` and ``scale``; whether tokens are compared is an option here, and a matter of the path there.
"""

from __future__ import annotations

from dataclasses import dataclass

from lavis.common.registry import registry
from lavis.scoring.meco.grounding import MecoGrounding


@registry.protocols.register("meco_charades")
@dataclass(eq=False)
class MecoCharades(MecoGrounding):
    """R1, R5, mIoU and mAP of moments on Charades-STA, from MeCo's similarities or from windows; for options see
    ``MecoGrounding``."""

    compare_tokens: bool = True

"""QVHighlights' figures as MeCo reports them (UniVTG's), on similarities or decoded windows.

The arithmetic, and the decoding of recorded similarities, are the protocol's
(lavis/scoring/protocols/meco_qvhighlights).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lavis.common.registry import registry
from lavis.metrics._meco_grounding import MecoGroundingMetric
from lavis.scoring.meco.grounding import MecoGrounding
from lavis.scoring.protocols.meco_qvhighlights import MecoQVHighlights as Official


@registry.metrics.register("meco_qvhighlights")
@dataclass(eq=False)
class MecoQVHighlights(MecoGroundingMetric):
    """``MR-full-R1@0.3`` to ``@0.7``, ``R5``, ``mAP`` and ``mIoU``, by length of the truth, and, where samples have
    ratings and predictions clip scores, ``HL-min-{rating}-mAP`` and ``-Hit1``; all in percent.

    For options, and for what is read of an answer, see ``MecoGroundingMetric``.
    """

    official: ClassVar[type[MecoGrounding]] = Official

    compare_tokens: bool = False

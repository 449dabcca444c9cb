"""Charades-STA as MeCo scores it: moments from the similarities of structural tokens.

Source: MeCo (arXiv 2503.09027), the metric script for grounding, where the path of the predictions contains
``charades``; figures as in UniVTG (see ``_meco_grounding``).

Differs: see ``threshold`` and ``scale``; whether tokens are compared is an option here, and a matter of the path there.
"""

from __future__ import annotations

from lavis.common.registry import registry
from lavis.scoring.meco.grounding import MecoGrounding


@registry.protocols.register("meco_charades")
class MecoCharades(MecoGrounding):
    """R1, R5, mIoU and mAP of moments on Charades-STA, from MeCo's similarities or from windows.

    Args:
        compare_tokens: whether a frame of an event also needs a probability not below that of any other token, and runs
            of frames grow by one on each side. The original does neither if the path of the predictions lacks
            ``charades``.
        threshold: share of an event's range of similarities that a frame needs more than; the original has such an
            option, too, but always takes 0.7.
        nms: boxes that overlap a better one by this IoU or more get the score 0.
        scale: stands in for the scale of cosines that records of the published script lack; without it, such records
            are unparseable, where the original raises.
    """

    source = "MeCo (arXiv 2503.09027), metric script for Charades-STA and QVHighlights; figures of UniVTG"

    def __init__(
        self, compare_tokens: bool = True, threshold: float = 0.7, nms: float = 0.7, scale: float | None = None
    ) -> None:
        super().__init__(compare_tokens, threshold, nms, scale)

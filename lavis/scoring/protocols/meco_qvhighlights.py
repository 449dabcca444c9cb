"""QVHighlights as MeCo scores it: moments and highlights from the similarities of structural tokens.

Source: MeCo (arXiv 2503.09027), the metric script for grounding, where the path of the predictions does not contain
``charades``; figures as in UniVTG (see ``_meco_grounding``).

Differs: see ``threshold`` and ``scale``; whether tokens are compared is an option here, and a matter of the path there.
"""

from __future__ import annotations

from typing import ClassVar

from lavis.common.registry import registry
from lavis.scoring.meco.grounding import MOMENT_KEYS, MecoGrounding
from lavis.scoring.windows.highlights import RATINGS


@registry.protocols.register("meco_qvhighlights")
class MecoQVHighlights(MecoGrounding):
    """Moments, and highlights where the truth has ratings.

    Args:
        compare_tokens: whether a frame of an event also needs a probability not below that of any other token, and runs
            of frames grow by one on each side. The original does both if the path of the predictions contains
            ``charades``, whatever they hold.
        threshold: share of an event's range of similarities that a frame needs more than; the original has such an
            option, too, but always takes 0.7.
        nms: boxes that overlap a better one by this IoU or more get the score 0.
        scale: stands in for the scale of cosines that records of the published script lack; without it, such records
            are unparseable, where the original raises.
    """

    source = "MeCo (arXiv 2503.09027), metric script for Charades-STA and QVHighlights; figures of UniVTG"
    keys: ClassVar[tuple[str, ...]] = (
        *MOMENT_KEYS,
        *(f"HL-min-{name}-{key}" for name in RATINGS for key in ("mAP", "Hit1")),
    )

    def __init__(
        self, compare_tokens: bool = False, threshold: float = 0.7, nms: float = 0.7, scale: float | None = None
    ) -> None:
        super().__init__(compare_tokens, threshold, nms, scale)

"""The options that the protocol ``etbench`` and the metric of that name share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from lavis.scoring.etbench.captioning import Filler
from lavis.scoring.etbench.choosing import Letters, Referring, Strip
from lavis.scoring.etbench.records import TASKS
from lavis.scoring.etbench.sentence_similarity import DEFAULT_MODEL

EvsFailures = Literal["excluded", "zero"]


@dataclass(eq=False)
class Rules:
    """How answers are read and scored.

    Args:
        mode: where windows come from: the answer's ``text``, MeCo's ``similarity`` form, or each row's own (``auto``).
        threshold: for similarities, see ``structural_tokens.boundaries``.
        nms: IoU from which on a box of structural tokens is suppressed.
        suppressed: ``zero`` keeps suppressed boxes, as MeCo does; ``drop`` leaves them out.
        confidences: ``found`` reads the moment of ``vhd`` from the first box *found*, as MeCo does, although boxes are
            sorted; ``sorted`` reads it from the best box.
        strip: how structural tokens are stripped from texts: as ``characters``, as MeCo does, or as the ``marker``.
        letters: ``meco`` keeps its wrong letters for ``gvq`` with structural tokens; ``repaired`` counts D and E right.
        referring: whether a wrong letter decides (``stop``, the official script) or similarity is asked after it
            (``go_on``, MeCo's); ``auto`` goes by the form of the row.
        evs_failures: answers without a window are ``excluded`` from the mean of ``evs``, as by both scripts, or count
            ``zero``.
        random_captions: what stands for the truth of a caption that meets no event: always the same letters
            (``constant``), or ``random`` ones as in the original.
        seed: of the random ones.
        tasks: keys of those to score; all by default.
        sentence_model: folder, or name on the model hub.

    Raises:
        ValueError: for a threshold outside 0 to 1, or an unknown task.
    """

    mode: Literal["auto", "text", "similarity"] = "auto"
    threshold: float = 0.7
    nms: float = 0.7
    suppressed: Literal["zero", "drop"] = "zero"
    confidences: Literal["found", "sorted"] = "found"
    strip: Strip = "characters"
    letters: Letters = "meco"
    referring: Referring = "auto"
    evs_failures: EvsFailures = "excluded"
    random_captions: Filler = "constant"
    seed: int = 0
    tasks: list[str] | None = None
    sentence_model: str = DEFAULT_MODEL

    def __post_init__(self) -> None:
        unknown = sorted(set(self.tasks or ()) - set(TASKS))
        if unknown:
            raise ValueError(f"tasks: the benchmark has no {', '.join(unknown)}; it has {', '.join(TASKS)}")
        for name, value in (("threshold", self.threshold), ("nms", self.nms)):
            if not 0 <= value <= 1:
                raise ValueError(f"{name} must be between 0 and 1, got {value}")

"""Answers in time as a metric: what was said while it was true, rated by a judge.

The arithmetic is the protocol's (lavis/scoring/protocols/magqa); the figures are its repaired ones, over the questions
at hand.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lavis.common.registry import registry
from lavis.metrics._protocol import ProtocolMetric
from lavis.scoring.judges._rating import Rule
from lavis.scoring.judges.base import Judge
from lavis.scoring.protocols.magqa import MagQA as Scoring
from lavis.structures import Prediction, VideoSample

_REPAIRED = "repaired_"


@registry.metrics.register("magqa")
class MagQA(ProtocolMetric):
    """``score`` (1 to 5), ``turns`` and ``distinct_turns`` a question, and ``total``.

    Reference answers are ``sample.extra["captions"]``, one for each of ``sample.moments``; replies are
    ``prediction.captions``, said in the middle of each of ``prediction.moments`` (which may begin and end together).

    Args:
        judge: a registered judge with its options, such as ``{name: openai, model: ...}``.
        reply_rule: how a rating is read from what the judge says.
    """

    predictable = False

    def __init__(self, judge: Judge | Mapping[str, Any] | str, reply_rule: Rule = "first_number") -> None:
        super().__init__(Scoring(judge=judge, reply_rule=reply_rule))

    def rows(self, sample: VideoSample, prediction: Prediction) -> tuple[dict[str, Any], dict[str, Any]]:
        references = sample.extra.get("captions")
        if references is None or len(references) != len(sample.moments or ()):
            raise ValueError(f"sample {sample.id} needs reference answers: extra['captions'], one for each moment")
        spans = [moment.to_list() for moment in sample.moments or ()]
        said = prediction.moments if prediction.captions else []
        answer = {
            "id": sample.id,
            "moments": [moment.to_list() for moment in said],
            "captions": list(prediction.captions),
        }
        truth = {
            "question_id": sample.id,
            "video": sample.video,
            "conversation": [{"role": "user", "content": sample.query}],
            "answer": [{"content": text, "time": span} for text, span in zip(references, spans, strict=True)],
        }
        return answer, truth

    def compute(self) -> dict[str, float]:
        found = super().compute()
        kept = {name.removeprefix(_REPAIRED): value for name, value in found.items() if name.startswith(_REPAIRED)}
        return {**kept, "total": found["total"]}

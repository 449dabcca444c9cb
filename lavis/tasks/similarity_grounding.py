"""Find moments, and how good a highlight each clip is, by similarities of tokens with frames.

Source: MeCo (pangzss/MeCo), whose scripts for Charades-STA and QVHighlights read rows with question, truth and
similarities in one. Differs: rows have the ``scale`` that these scripts want and the original's inference forgets.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lavis.common.registry import registry
from lavis.metrics._protocol import structural
from lavis.metrics.base import Metric
from lavis.metrics.etchat_charades import matched
from lavis.metrics.meco_charades import MecoCharades
from lavis.metrics.qvhighlights import truth_row
from lavis.structures import Prediction, VideoSample
from lavis.tasks.base import Task


@registry.tasks.register("similarity_grounding")
class SimilarityGrounding(Task):
    """Moments and clip scores, scored as Charades-STA is by MeCo unless other metrics are named."""

    def default_metrics(self) -> list[Metric]:
        return [MecoCharades()]

    def result_rows(self, samples: Sequence[VideoSample], predictions: Sequence[Prediction]) -> list[dict[str, Any]]:
        """Rows ``qid, query, vid, duration, relevant_windows, ..., a, ent_inds, tst_inds, vl_sims, scale``.

        A prediction with match tokens has ``pred``, their frames, and its truth also as ``span``, as E.T. Chat's
        script reads it; one without tokens has ``pred_relevant_windows``. ``lavis score`` reads all of them.
        """
        rows = []
        for sample, prediction in zip(samples, predictions, strict=True):
            row = {"qid": sample.id, "query": sample.query, "vid": Path(sample.video).stem, "duration": sample.duration}
            if sample.moments is not None:
                row |= truth_row(sample)
            rows.append({**row, "a": prediction.text, **_answer(sample, prediction)})
        return rows


def _answer(sample: VideoSample, prediction: Prediction) -> dict[str, Any]:
    tokens = structural(prediction)
    if tokens:
        return tokens
    if "frames" in prediction.details:
        return {"pred": matched(prediction), **({"span": sample.moments[0].to_list()} if sample.moments else {})}
    windows = [[m.start, m.end, 1.0 if m.score is None else m.score] for m in prediction.moments]
    return {"pred_relevant_windows": windows}

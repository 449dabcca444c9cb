"""``ModelOutput``: what a model said for one sample; ``Prediction``: what is kept of it, one JSON line each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from lavis.structures.moment import Moment


@dataclass(frozen=True, slots=True)
class ModelOutput:
    """Raw output for one sample.

    Args:
        text: generated text; of special tokens those that a system added stay (``<ent>``), others are removed.
        token_ids: generated ids, end token excluded.
        sequence_score: length-normalised log probability of the text, ``None`` if the decoder gave none.
        frame_scores: ``[T, num_scores]`` of a head, ``None`` without one.
        hidden: named hidden states a codec decodes from (structural tokens).
    """

    text: str
    token_ids: list[int] = field(default_factory=list)
    sequence_score: float | None = None
    frame_scores: Tensor | None = None
    hidden: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Prediction:
    """The answer to one sample.

    Args:
        id: the sample's id.
        moments: best first.
        text: raw model text.
        scores: named scalars.
        frame_scores: score of each frame or 2-second clip, for highlights; empty if there are none.
        malformed: whether the text could not be read as moments (then ``moments`` holds the codec's fallback).
        captions: what happens in each moment, in the order of ``moments``; empty where the task asks for none.
        details: JSON-ready, what a benchmark's own scripts want besides (similarities of structural tokens).

    Raises:
        ValueError: if there are captions, but not one for each moment.
    """

    id: str
    moments: list[Moment]
    text: str = ""
    scores: Mapping[str, float] = field(default_factory=dict)
    frame_scores: list[float] = field(default_factory=list)
    malformed: bool = False
    captions: list[str] = field(default_factory=list)
    details: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.captions and len(self.captions) != len(self.moments):
            counts = f"{len(self.captions)} captions for {len(self.moments)} moments"
            raise ValueError(f"prediction {self.id}: {counts}; give one for each")

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready mapping; ``from_json`` inverts it."""
        row: dict[str, Any] = {"id": self.id, "moments": [_row(m) for m in self.moments], "text": self.text}
        if self.scores:
            row["scores"] = dict(self.scores)
        if self.frame_scores:
            row["frame_scores"] = self.frame_scores
        if self.malformed:
            row["malformed"] = True
        if self.captions:
            row["captions"] = self.captions
        if self.details:
            row["details"] = dict(self.details)
        return row

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Prediction:
        """A prediction from its JSON form, or from a result row of CALCE (``qid``, ``pred_windows``).

        Raises:
            ValueError: if a field is missing or a window is malformed; the message names the id.
        """
        identity = row.get("id", row.get("qid"))
        windows = row.get("moments", row.get("pred_windows"))
        if identity is None or not isinstance(windows, list):
            raise ValueError(f"a prediction needs 'id' and 'moments', got the fields {sorted(row)}")
        try:
            moments = [Moment.from_pair(w) for w in windows]
        except ValueError as error:
            raise ValueError(f"prediction {identity}: {error}") from error
        return cls(
            id=str(identity),
            moments=moments,
            text=str(row.get("text", row.get("raw_pred_windows", ""))),
            scores=dict(row.get("scores", {})),
            frame_scores=list(row.get("frame_scores", [])),
            malformed=bool(row.get("malformed", False)),
            captions=_captions(identity, row.get("captions", [])),
            details=dict(row.get("details") or {}),
        )


def _captions(identity: Any, value: Any) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(caption, str) for caption in value):
        raise ValueError(f"prediction {identity}: captions must be a list of texts, got {value!r:.80}")
    return list(value)


def _row(moment: Moment) -> list[float]:
    return moment.to_list() if moment.score is None else [*moment.to_list(), moment.score]

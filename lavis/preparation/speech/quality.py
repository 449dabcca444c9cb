"""What tells good captions from bad ones without a reference, for one video and for all.

Whisper fails in ways of its own: it invents text where nobody speaks (a low mean log probability, a high probability of
no speech, a thanks for watching in silence), and it falls into loops (the same line again and again, or a line that
compresses too well; both thresholds are Whisper's own).
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from typing import Any

from lavis.preparation.speech.transcribers.base import Transcript
from lavis.preparation.speech.word_errors import normal_words
from lavis.structures import Subtitle

LOOP_RATIO = 2.4
"""How many times shorter zlib makes the text of a line before it counts as a loop."""
UNSURE = -1.0
"""Mean log probability below which Whisper itself would try again."""


@dataclass(frozen=True, slots=True)
class Quality:
    """Figures of the captions of one video, or sums of many.

    Args:
        lines: how many there are.
        chars: characters in them.
        line_s: seconds in which there is a line; where several overlap, once.
        voice_s: seconds in which the voice filter heard somebody; ``None`` without it.
        log_probability: mean over characters of the log probabilities of the tokens; ``None`` if unknown.
        no_speech: likewise, of the probability that nobody speaks.
        repeated: lines that say the same as the one before.
        loops: lines that repeat themselves inside.
        unsure: utterances whose log probability is below -1.
        weight: characters that the two means are over.
    """

    lines: int = 0
    chars: int = 0
    line_s: float = 0.0
    voice_s: float | None = None
    log_probability: float | None = None
    no_speech: float | None = None
    repeated: int = 0
    loops: int = 0
    unsure: int = 0
    weight: int = 0

    @property
    def chars_per_s(self) -> float | None:
        """Characters a second of lines: 10 to 20 in speech; far more means that times are wrong."""
        return self.chars / self.line_s if self.line_s > 0 else None

    def to_json(self) -> dict[str, Any]:
        """For a journal."""
        return asdict(self)

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Quality:
        """The reverse."""
        return cls(**{field.name: row[field.name] for field in fields(cls)})


def quality_of(transcript: Transcript, lines: Sequence[Subtitle]) -> Quality:
    """Figures of one video."""
    known = [said for said in transcript.utterances if said.log_probability is not None and said.text.strip()]
    weights = [len(said.text.strip()) for said in known]
    texts = [normal_words(line.text) for line in lines]
    return Quality(
        lines=len(lines),
        chars=sum(len(line.text) for line in lines),
        line_s=_covered(lines),
        voice_s=transcript.voice_s,
        log_probability=_mean([said.log_probability for said in known], weights),
        no_speech=_mean([said.no_speech for said in known], weights),
        repeated=sum(bool(text) and text == before for before, text in pairwise(texts)),
        loops=sum(_ratio(line.text) > LOOP_RATIO for line in lines),
        unsure=sum((said.log_probability or 0.0) < UNSURE for said in known),
        weight=sum(weights),
    )


def pooled(rows: Iterable[Quality]) -> Quality:
    """Sums over videos, and means weighted by characters."""
    rows = list(rows)
    voices = [row.voice_s for row in rows if row.voice_s is not None]
    weights = [row.weight for row in rows]
    return Quality(
        lines=sum(row.lines for row in rows),
        chars=sum(row.chars for row in rows),
        line_s=sum(row.line_s for row in rows),
        voice_s=sum(voices) if voices else None,
        log_probability=_mean([row.log_probability for row in rows], weights),
        no_speech=_mean([row.no_speech for row in rows], weights),
        repeated=sum(row.repeated for row in rows),
        loops=sum(row.loops for row in rows),
        unsure=sum(row.unsure for row in rows),
        weight=sum(weights),
    )


def _mean(values: Sequence[float | None], weights: Sequence[int]) -> float | None:
    pairs = [(value, weight) for value, weight in zip(values, weights, strict=True) if value is not None]
    total = sum(weight for _, weight in pairs)
    return sum(value * weight for value, weight in pairs) / total if total else None


def _covered(lines: Sequence[Subtitle]) -> float:
    """Seconds covered by lines in time order."""
    covered, end = 0.0, 0.0
    for line in lines:
        covered += max(0.0, line.end - max(end, line.start))
        end = max(end, line.end)
    return covered


def _ratio(text: str) -> float:
    data = text.encode()
    return len(data) / len(zlib.compress(data))

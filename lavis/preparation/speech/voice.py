"""Where somebody speaks: the Silero voice activity model inside faster-whisper, for transcribers that have none."""

from __future__ import annotations

from lavis.preparation.speech.audio import RATE, Samples
from lavis.preparation.speech.transcribers.base import needed

Span = tuple[int, int]
"""First sample, and the one after the last."""


def voiced_spans(samples: Samples, max_s: float) -> list[Span]:
    """Stretches of speech, with the 0.4 s around them and pauses of up to 2 s in them that faster-whisper leaves.

    Args:
        samples: ``[N]``, 16,000 a second.
        max_s: longer stretches are cut, in a pause if there is one.

    Raises:
        ImportError: if faster-whisper is missing.
    """
    library = needed("faster_whisper.vad", "the voice filter (--no-voice-filter works without)")
    found = library.get_speech_timestamps(samples, library.VadOptions(max_speech_duration_s=max_s - 1.0))
    most = int(max_s * RATE)
    spans = [(int(span["start"]), min(int(span["end"]), len(samples))) for span in found]
    return [(start, min(end, start + most)) for start, end in spans if end > start]

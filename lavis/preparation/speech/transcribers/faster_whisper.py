"""Whisper by CTranslate2, through faster-whisper: four times as fast as PyTorch on a processor, with word times.

Source: faster-whisper (SYSTRAN/faster-whisper, extra ``asr``), with its defaults but for ``condition``. Its own
decoding of files is not used: see ``audio.py``. The voice filter is the Silero model inside the package.
"""

from __future__ import annotations

from pathlib import Path

from lavis.preparation.speech.audio import RATE, Samples
from lavis.preparation.speech.transcribers.base import (
    Listening,
    Transcriber,
    Transcript,
    Utterance,
    Word,
    model_folder,
    needed,
    transcribers,
)

_USER = "transcriber faster_whisper"


@transcribers.register("faster_whisper")
class FasterWhisper(Transcriber):
    """Whisper by CTranslate2.

    Args:
        listening: how it is to work; ``model`` is a folder with ``model.bin``.
    """

    def __init__(self, listening: Listening) -> None:
        library = needed("faster_whisper", _USER)
        self.listening = listening
        device, _, number = listening.device.partition(":")
        try:
            self.model = library.WhisperModel(
                str(self.find(listening.model)), device=device, device_index=int(number or 0),
                compute_type=listening.compute_type, cpu_threads=listening.threads, local_files_only=True,
            )  # fmt: skip
        except (RuntimeError, ValueError) as error:
            raise ValueError(
                f"{listening.model} cannot be loaded on {listening.device} as {listening.compute_type}: {error}"
            ) from error
        if not self.model.model.is_multilingual and listening.language not in (None, "en"):
            raise ValueError(f"{listening.model} knows English alone, and the language is {listening.language}")

    @classmethod
    def find(cls, model: str) -> Path:
        library = needed("faster_whisper", _USER)
        folder = model_folder(model, ("model.bin", "config.json"), "a model of faster-whisper")
        if folder is not None:
            return folder
        try:
            return Path(library.download_model(model))
        except ValueError as error:  # an unknown size; it lists those there are
            raise ValueError(f"model {model!r}: {error}") from error
        except Exception as error:  # whatever the network and its libraries make of it
            raise ValueError(
                f"model {model!r} could not be downloaded ({type(error).__name__}: {error}); give the folder of a model"
            ) from error

    def transcribe(self, samples: Samples) -> Transcript:
        options = self.listening
        segments, info = self.model.transcribe(
            samples, language=options.language, beam_size=options.beam_size, vad_filter=options.voice_filter,
            word_timestamps=options.word_times, condition_on_previous_text=options.condition,
        )  # fmt: skip
        utterances = [
            Utterance(
                float(segment.start), float(segment.end), segment.text,
                tuple(Word(float(word.start), float(word.end), word.word) for word in segment.words or ()),
                float(segment.avg_logprob), float(segment.no_speech_prob),
            )
            for segment in segments
        ]  # fmt: skip
        voice_s = min(float(info.duration_after_vad), len(samples) / RATE) if options.voice_filter else None
        return Transcript(utterances, info.language if utterances else None, voice_s)

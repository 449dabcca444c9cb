"""Whisper by PyTorch, through transformers: any checkpoint of its kind, on any device of PyTorch.

Source: Radford et al., *Robust Speech Recognition via Large-Scale Weak Supervision* (openai/whisper), whose windows of
30 seconds, rule for silence and mean log probability these are. Unlike it, there are no second tries at a higher
temperature, so the same sound always gives the same text; loops are counted instead (``quality.py``).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lavis.preparation.speech.audio import RATE, Samples
from lavis.preparation.speech.quality import UNSURE
from lavis.preparation.speech.transcribers.base import (
    Listening,
    Transcriber,
    Transcript,
    Utterance,
    model_folder,
    needed,
    transcribers,
)
from lavis.preparation.speech.voice import Span, voiced_spans

WINDOW_S = 30.0
"""Seconds that Whisper hears at a time."""

_TICK_S = 0.02
_SILENT = 0.6
_MAX_TOKENS = 224  # as many as Whisper allows itself for a window
_USER = "transcriber transformers"


@transcribers.register("transformers")
class TransformersWhisper(Transcriber):
    """Whisper by PyTorch; it knows neither ``word_times`` nor ``condition``.

    Args:
        listening: how it is to work; ``model`` is a folder as transformers saves it. The number of threads is set for
            the whole process.
    """

    def __init__(self, listening: Listening) -> None:
        library, self.torch = needed("transformers", _USER, None), needed("torch", _USER, None)
        self.library = library
        for name in ("word_times", "condition"):
            if getattr(listening, name):
                raise ValueError(f"{_USER} does not know {name}; use transcriber faster_whisper, or leave it out")
        self.listening = listening
        self.torch.set_num_threads(listening.threads)
        folder = self.find(listening.model)
        self.device = _device(self.torch, listening.device)
        self.dtype = _dtype(self.torch, listening.compute_type, self.device)
        try:
            self.processor = library.WhisperProcessor.from_pretrained(folder)
            model = library.WhisperForConditionalGeneration.from_pretrained(folder, dtype=self.dtype)
        except (OSError, ValueError, TypeError, RuntimeError) as error:
            raise ValueError(f"{folder} cannot be loaded as a Whisper model of transformers: {error}") from error
        self.model = model.to(self.device).eval()
        config = self.model.generation_config
        config.max_length = None  # of all tokens; a window has a limit of its own
        self.first_time = int(config.no_timestamps_token_id) + 1
        self.no_speech = int(config.no_timestamps_token_id) - 1
        self.end = int(self.processor.tokenizer.eos_token_id)
        self.languages: dict[str, int] = {
            token.strip("<|>"): number for token, number in (getattr(config, "lang_to_id", None) or {}).items()
        }
        if listening.language and listening.language not in (self.languages or {"en": 0}):
            known = ", ".join(sorted(self.languages)) or "en"
            raise ValueError(f"{folder} does not know the language {listening.language}; it knows {known}")

    @classmethod
    def find(cls, model: str) -> Path:
        needed("transformers", _USER, None)
        folder = model_folder(model, ("config.json", "generation_config.json"), "a Whisper model of transformers")
        if folder is not None:
            return folder
        library = needed("huggingface_hub", _USER, None)
        try:
            return Path(library.snapshot_download(model, allow_patterns=["*.json", "*.txt", "*.safetensors"]))
        except Exception as error:  # whatever the network and its libraries make of it
            raise ValueError(
                f"model {model!r} could not be downloaded ({type(error).__name__}: {error}); give the folder of a model"
            ) from error

    def transcribe(self, samples: Samples) -> Transcript:
        filtered = self.listening.voice_filter
        spans = voiced_spans(samples, WINDOW_S) if filtered else [(0, len(samples))]
        utterances: list[Utterance] = []
        language = self.listening.language or ("en" if not self.languages else None)
        with self.torch.inference_mode():
            for span in spans:
                language = language or self._language(samples[span[0] : span[1]])
                utterances += self._span(samples, span, language)
        voice_s = sum(stop - start for start, stop in spans) / RATE if filtered else None
        return Transcript(utterances, language if utterances else None, voice_s)

    def _span(self, samples: Samples, span: Span, language: str | None) -> list[Utterance]:
        """One window after the other; the next begins where the last whole utterance ends, so none is cut in two."""
        at, stop = span
        full = int(WINDOW_S * RATE)
        found: list[Utterance] = []
        while at < stop:
            last = at + full >= stop
            said, whole_s = self._window(samples[at : min(stop, at + full)], at / RATE, language)
            if last or whole_s <= 0 or not said:
                found += said
                at += full
                continue
            found += [each for each in said if each.end <= at / RATE + whole_s + _TICK_S / 2]
            at += round(whole_s * RATE)
        return found

    def _window(self, samples: Samples, offset_s: float, language: str | None) -> tuple[list[Utterance], float]:
        """What is said in one window, and second of it up to which utterances are whole."""
        heard = self.model.get_encoder()(self._features(samples))
        prompt = self._prompt(language)
        tokens = self._decoded(heard, prompt)
        told = [token for token in tokens if token < self.end or token >= self.first_time]
        log_probability, no_speech = self._sureness(heard, prompt, told)
        if no_speech > _SILENT and log_probability < UNSURE:
            return [], 0.0
        length_s = len(samples) / RATE
        pieces, whole_s = self._pieces(told, length_s)
        decode = self.processor.tokenizer.decode
        texts = [(start, stop, decode(piece)) for start, stop, piece in pieces]
        said = [
            Utterance(offset_s + start, offset_s + stop, text, (), log_probability, no_speech)
            for start, stop, text in texts
            if text.strip()
        ]
        return said, whole_s

    def _decoded(self, heard: Any, prompt: list[int]) -> list[int]:
        """Tokens of one window, with marks of time.

        Not by Whisper's own ``generate``, which goes on behind the last mark of a window and joins both texts, with
        marks that count from different seconds.
        """
        timing = self.library.WhisperTimeStampLogitsProcessor(self.model.generation_config, begin_index=len(prompt))
        tokens = self.library.GenerationMixin.generate(
            self.model, encoder_outputs=heard, decoder_input_ids=self.torch.tensor([prompt], device=self.device),
            logits_processor=self.library.LogitsProcessorList([timing]), num_beams=self.listening.beam_size,
            do_sample=False, max_new_tokens=_MAX_TOKENS,
        )  # fmt: skip
        return list(tokens[0].tolist())

    def _pieces(self, tokens: list[int], length_s: float) -> tuple[list[tuple[float, float, list[int]]], float]:
        """Text tokens between marks of time, and the last mark that ends a piece; a last piece may lack its mark."""
        pieces: list[tuple[float, float, list[int]]] = []
        start, whole_s = 0.0, 0.0
        piece: list[int] = []
        for token in tokens:
            if token < self.first_time:
                piece.append(token)
                continue
            mark = min(length_s, (token - self.first_time) * _TICK_S)
            if piece:
                pieces.append((min(start, mark), mark, piece))
                piece, whole_s = [], mark
            start = mark
        if piece:
            pieces.append((start, length_s, piece))
        return pieces, whole_s

    def _sureness(self, heard: Any, prompt: list[int], told: list[int]) -> tuple[float, float]:
        """Mean log probability of the tokens, the end included, and probability that nobody speaks."""
        tokens = self.torch.tensor([[*prompt, *told, self.end]], device=self.device)
        scores = self.model(encoder_outputs=heard, decoder_input_ids=tokens[:, :-1]).logits[0].float().log_softmax(-1)
        chosen = scores[len(prompt) - 1 :].gather(1, tokens[0, len(prompt) :, None])
        return float(chosen.mean()), float(scores[0, self.no_speech].exp())

    def _prompt(self, language: str | None) -> list[int]:
        start = int(self.model.generation_config.decoder_start_token_id)
        if not self.languages:
            return [start]
        tasks = self.model.generation_config.task_to_id
        return [start, self.languages[language or "en"], int(tasks["transcribe"])]

    def _language(self, samples: Samples) -> str:
        features = self._features(samples[: int(WINDOW_S * RATE)])
        number = int(self.model.detect_language(features)[0])
        return next(name for name, known in self.languages.items() if known == number)

    def _features(self, samples: Samples) -> Any:
        made = self.processor.feature_extractor(samples, sampling_rate=RATE, return_tensors="pt")
        return made.input_features.to(self.device, self.dtype)


def _device(torch: Any, name: str) -> Any:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"device {name!r}: {str(error).splitlines()[0]}") from error


def _dtype(torch: Any, name: str, device: Any) -> Any:
    if name == "default":
        name = "float32" if device.type == "cpu" else "float16"
    if name not in ("float32", "float16", "bfloat16"):
        raise ValueError(f"{_USER} computes in float32, float16 or bfloat16; got {name!r} (int8: faster_whisper)")
    return getattr(torch, name)

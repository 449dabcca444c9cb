"""What every transcriber offers: samples in, what is said and when out."""

from __future__ import annotations

import importlib
import os
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lavis.common.content import content_digest
from lavis.common.registry import Registry
from lavis.preparation.speech.audio import Samples


@dataclass(frozen=True, slots=True)
class Word:
    """A word, with the space before it where there is one, and when it is said, in seconds of the video."""

    start: float
    end: float
    text: str


@dataclass(frozen=True, slots=True)
class Utterance:
    """What is said in one stretch.

    Args:
        start, end: seconds of the video.
        text: what is said.
        words: its words, where they were asked for and are known.
        log_probability: mean natural logarithm of the probabilities of its tokens, at most 0.
        no_speech: probability that nobody speaks there after all, 0 to 1.
    """

    start: float
    end: float
    text: str
    words: tuple[Word, ...] = ()
    log_probability: float | None = None
    no_speech: float | None = None


@dataclass(frozen=True, slots=True)
class Transcript:
    """All that is said in a video.

    Args:
        utterances: in time order.
        language: two letters, such as ``en``; ``None`` where nothing is said.
        voice_s: seconds in which the voice filter heard somebody; ``None`` without the filter.
    """

    utterances: list[Utterance]
    language: str | None = None
    voice_s: float | None = None


@dataclass(frozen=True, slots=True)
class Listening:
    """How speech is written down. All of it is part of what a journal remembers.

    Args:
        model: name of a model, which is downloaded, or its folder.
        language: two letters; ``None`` finds it out for each video.
        device: ``cpu``, ``cuda``, ``cuda:1`` or ``auto``.
        compute_type: precision, such as ``int8``, ``float16``, ``float32``; ``default`` is what suits the device.
        voice_filter: pass over stretches in which nobody speaks, where Whisper would invent text.
        beam_size: hypotheses kept while decoding.
        word_times: find out when each word is said; lines are cut more exactly.
        condition: show the model what it wrote for the half minute before: better punctuation and names, but where it
            repeats itself, it goes on to do so.
        threads: processor threads of one process.
    """

    model: str
    language: str | None = None
    device: str = "auto"
    compute_type: str = "default"
    voice_filter: bool = True
    beam_size: int = 5
    word_times: bool = False
    condition: bool = False
    threads: int = 1

    def __post_init__(self) -> None:
        for name in ("beam_size", "threads"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.language is not None and not (self.language.isalpha() and self.language.islower()):
            raise ValueError(f"the language is a code of lower-case letters, such as en; got {self.language!r}")


class Transcriber(ABC):
    """A model that is loaded. ``Transcriber.find`` is called once in the process that starts a job, before any is.

    Args:
        listening: how it is to work; ``model`` is a folder.

    Raises:
        ImportError: if its package is missing; names the extra.
        ValueError: if the model cannot be loaded.
    """

    @abstractmethod
    def __init__(self, listening: Listening) -> None: ...

    @classmethod
    @abstractmethod
    def find(cls, model: str) -> Path:
        """The folder of a model, downloaded if it is a name; nothing is loaded.

        Raises:
            ImportError: if the package is missing; names the extra.
            ValueError: if there is no such model.
        """

    @abstractmethod
    def transcribe(self, samples: Samples) -> Transcript:
        """What is said.

        Args:
            samples: ``[N]``, mono, 16,000 a second, from the first picture on; at least one.
        """


transcribers: Registry[Transcriber] = Registry("transcriber", "lavis.preparation.speech.transcribers")
"""Names to transcribers; ``transcribers.register`` adds one."""


def needed(package: str, user: str, extra: str | None = "asr") -> Any:
    """A package that not every installation has.

    Args:
        package: as it is imported.
        user: what needs it, for the message.
        extra: of the project that holds it; ``None`` for one of its own needs.

    Raises:
        ImportError: if it is missing or broken.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        cure = f"pip install 'lavis[{extra}]'" if extra else "install the project as its README says"
        raise ImportError(f"{user} needs the package {package.split('.')[0]} ({error}): {cure}") from error


def model_folder(model: str, wanted: tuple[str, ...], what: str) -> Path | None:
    """The folder that ``model`` names; ``None`` if it is a name of something to download.

    Args:
        model: a folder or a name.
        wanted: files of which the folder must hold all.
        what: what such a folder is, for the message.

    Raises:
        ValueError: if it looks like a path where nothing is, or lacks one of the files.
    """
    folder = Path(model).expanduser()
    if not folder.is_dir():
        if folder.is_absolute() or model.startswith((".", "~")) or model.count("/") > 1 or os.path.exists(folder):
            raise ValueError(f"{model}: there is no such folder; give the folder of a model, or its name")
        return None
    lacking = [name for name in wanted if not (folder / name).is_file()]
    if lacking:
        raise ValueError(f"{folder} is not {what}: there is no {' and no '.join(lacking)} in it")
    return folder


def digest_of_model(folder: Path) -> str:
    """Stands for what is in the folder of a model: another after a change, the same for a copy elsewhere."""
    kinds = (".bin", ".json", ".safetensors")
    files = sorted(path for path in folder.iterdir() if path.is_file() and path.suffix in kinds)
    return "-".join(content_digest(path)[:8] for path in files)

"""Tokeniser and METEOR for the length of one scoring.

``with caption_tools() as tools:`` holds at most one METEOR process, started when it is first asked, and remembers what
it was asked. Whether a machine can run them: ``captions_available``.
"""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from lavis.scoring.base import ScoringError
from lavis.scoring.captions import meteor, ptb
from lavis.scoring.captions.pairs import NOTHING, Corpus, CorpusScore

_TIMEOUT = 600.0


class CaptionTools:
    """See ``caption_tools``, which makes and closes it.

    Args:
        java: the program.
        package: folder of pycocoevalcap.
        timeout: seconds that one call of the tokeniser, or one batch of questions to METEOR, may take.
    """

    def __init__(self, java: str, package: Path, timeout: float = _TIMEOUT) -> None:
        self._java, self._package, self._timeout = java, package, timeout
        self._tokens: dict[str, str] = {}
        self._meteor: meteor.Meteor | None = None

    def tokenize(self, texts: Sequence[str]) -> list[str]:
        """Each text as lower-case words with single spaces, punctuation dropped (see ``ptb``).

        One Java call for all texts that are new; hand over those of a whole file at once.

        Args:
            texts: any; also empty, with newlines, or without a word.

        Returns:
            one for each text, in order; empty for a text without words.

        Raises:
            ScoringError: if the tokeniser fails.
        """
        new = sorted(set(texts) - self._tokens.keys())
        self._tokens.update(zip(new, ptb.tokenized(new, self._java, self._package, self._timeout), strict=True))
        return [self._tokens[text] for text in texts]

    def tokenize_together(self, lines: Sequence[str]) -> list[str]:
        """As ``tokenize``, but each line with the next in sight, as evaluators hand their captions over.

        Raises:
            ScoringError: if the tokeniser fails.
        """
        return ptb.tokenized_together(lines, self._java, self._package, self._timeout)

    def meteor(self, corpora: Sequence[Corpus]) -> list[CorpusScore]:
        """METEOR of each corpus, 0 to 1; ``total`` is the corpus score, not a mean.

        Args:
            corpora: pairs ``(hypothesis, references)`` of tokenised texts; hand over many corpora at once.

        Raises:
            ScoringError: if METEOR fails.
        """
        if not any(corpora):
            return [NOTHING for _ in corpora]
        if self._meteor is None:
            self._meteor = meteor.Meteor(self._java, self._package, self._timeout)
        return self._meteor.scores(corpora)

    def close(self) -> None:
        """Ends the METEOR process, if there is one."""
        if self._meteor is not None:
            self._meteor.close()
            self._meteor = None


@contextmanager
def caption_tools(timeout: float = _TIMEOUT) -> Iterator[CaptionTools]:
    """Tokeniser and METEOR, closed afterwards.

    Raises:
        ScoringError: if they cannot run here; names what to install.
    """
    reason = captions_available()
    if reason:
        raise ScoringError(reason)
    java, package = shutil.which("java"), package_folder()
    assert java is not None and package is not None
    tools = CaptionTools(java, package, timeout)
    try:
        yield tools
    finally:
        tools.close()


_CURE = "install both: pip install 'lavis[metrics]', and Java 8 or newer (apt install default-jre-headless)"


def captions_available() -> str | None:
    """Why tokeniser and METEOR cannot run here and what to install; ``None`` if they can."""
    reason = ngrams_available()
    if reason:
        return reason
    package = package_folder()
    assert package is not None
    absent = [str(jar) for jar in (ptb.JAR, meteor.JAR) if not (package / jar).is_file()]
    if absent:
        return f"pycocoevalcap lacks {', '.join(absent)}; install it again: pip install --force-reinstall pycocoevalcap"
    if shutil.which("java") is None:
        return f"the tokeniser and METEOR need Java, which is not found; {_CURE}"
    return None


def ngrams_available() -> str | None:
    """Why CIDEr, BLEU and ROUGE-L cannot run here and what to install; ``None`` if they can."""
    if package_folder() is None:
        return f"caption metrics need pycocoevalcap, which is not installed; {_CURE}"
    return None


def package_folder() -> Path | None:
    """Where pycocoevalcap lies; ``None`` if it is not installed."""
    spec = importlib.util.find_spec("pycocoevalcap")
    places = list(spec.submodule_search_locations or []) if spec else []
    return Path(places[0]) if places else None

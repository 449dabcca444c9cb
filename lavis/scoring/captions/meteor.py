"""METEOR 1.5 (Denkowski and Lavie, 2014) as a process that is kept for many questions.

Source: the jar that pycocoevalcap brings, spoken to as it does: ``SCORE ||| reference ||| hypothesis`` gives the
statistics of a pair, ``EVAL ||| statistics ||| statistics`` the scores of pairs and of the corpus they make. Loading
the paraphrase table takes seconds, so there is one process, the statistics of equal pairs are asked for once, and many
questions are under way at a time. Unlike pycocoevalcap's class the process ends with its user, and says why it died.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from lavis.scoring.base import ScoringError
from lavis.scoring.captions.pairs import NOTHING, Corpus, CorpusScore, Pair

JAR = Path("meteor") / "meteor-1.5.jar"
_ARGUMENTS = ("-", "-", "-stdio", "-l", "en", "-norm")
_UNDER_WAY = 128
"""Questions sent before an answer is read: their answers must fit into a pipe (64 KB), or both sides would wait."""


class Meteor:
    """The process; use as a context.

    Args:
        java: the program.
        package: folder of pycocoevalcap.
        timeout: seconds that any batch of questions may take.
    """

    def __init__(self, java: str, package: Path, timeout: float) -> None:
        self._timeout = timeout
        self._statistics: dict[Pair, str] = {}
        self._lock = threading.Lock()
        self._timed_out = False
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115, closed with the process
        self._process = subprocess.Popen(
            [java, "-Dfile.encoding=UTF-8", "-Xmx2G", "-jar", str(package / JAR), *_ARGUMENTS],
            cwd=package / JAR.parent,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
        )

    def scores(self, corpora: Sequence[Corpus]) -> list[CorpusScore]:
        """The scores of each corpus.

        Raises:
            ScoringError: if the process has died or does not answer.
        """
        with self._lock:
            new = {pair for corpus in corpora for pair in corpus} - self._statistics.keys()
            pairs = sorted(new)
            for start in range(0, len(pairs), _UNDER_WAY):
                batch = pairs[start : start + _UNDER_WAY]
                answers = self._ask([_question(pair) for pair in batch], len(batch))
                self._statistics.update(zip(batch, answers, strict=True))
            return [self._evaluated(corpus) for corpus in corpora]

    def close(self) -> None:
        """Ends the process."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._errors.close()

    def __enter__(self) -> Meteor:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _evaluated(self, corpus: Corpus) -> CorpusScore:
        if not corpus:
            return NOTHING
        line = " ||| ".join(["EVAL", *(self._statistics[pair] for pair in corpus)])
        answers = [float(answer) for answer in self._ask([line], len(corpus) + 1)]
        return CorpusScore(answers[-1], np.array(answers[:-1]))

    def _ask(self, lines: list[str], answers: int) -> list[str]:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None and stdout is not None
        found = []
        with self._watched():
            try:
                stdin.write("".join(f"{line}\n" for line in lines).encode("utf-8", "replace"))
                stdin.flush()
            except OSError as error:
                raise self._dead() from error
            for _ in range(answers):
                answer = stdout.readline().decode("utf-8", "replace").strip()
                if not answer:
                    raise self._dead()
                found.append(answer)
        return found

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """Kills the process if it takes too long, which ends the waiting for its answer."""

        def stop() -> None:
            self._timed_out = True
            self._process.kill()

        timer = threading.Timer(self._timeout, stop)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _dead(self) -> ScoringError:
        if self._timed_out:
            return ScoringError(f"METEOR gave no answer within {self._timeout:g} seconds and was stopped")
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=5)
        self._errors.seek(0)
        told = self._errors.read().decode("utf-8", "replace").strip()[-500:]
        return ScoringError(
            f"METEOR's Java process has stopped (exit status {self._process.returncode}): {told or 'it said nothing'}"
            " (it needs 2 GB of memory)"
        )


def _question(pair: Pair) -> str:
    """The separator is taken out of hypotheses as pycocoevalcap does, and also of references."""
    hypothesis, references = pair
    hypothesis = hypothesis.replace("|||", "").replace("  ", " ")
    cleaned = [reference.replace("|||", "") for reference in references]
    return re.sub("[\r\n]", " ", " ||| ".join(["SCORE", *cleaned, hypothesis]))

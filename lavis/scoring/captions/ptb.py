"""The Stanford tokeniser of caption metrics: Penn Treebank words in lower case, punctuation dropped.

Source: the tokeniser of the COCO caption evaluation (PTBTokenizer of Stanford CoreNLP 3.4.1 with ``-preserveLines
-lowerCase``), through the jar that pycocoevalcap brings. Unlike there, a text is tokenised apart from its neighbours.
The tokeniser looks ahead across line ends (the full stop after a last single letter stays part of the word if the
*next* caption begins with a small letter), so words depended on the order of captions; here every text is followed by
a line that begins as the text itself does, since captions of one file are written alike. Also, all characters that the
tokeniser takes for line ends become spaces, not only ``\\n``: one of them in a text would shift all that follow.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

from lavis.scoring.base import ScoringError

JAR = Path("tokenizer") / "stanford-corenlp-3.4.1.jar"
_DROPPED = frozenset("'' ' `` ` -LRB- -RRB- -LCB- -RCB- . ? ! , : - -- ... ;".split())
_LINE_ENDS = re.compile("[\r\n\x0b\x0c\u2028\u2029]")
_FENCE = "the"


def tokenized(texts: Sequence[str], java: str, package: Path, timeout: float) -> list[str]:
    """Each text as its words with single spaces, through one call.

    Brackets stay as ``-lrb-`` and ``-rrb-``: the list of dropped words is compared after the change to lower case.

    Args:
        texts: any; without words they come back empty.
        java: the program.
        package: folder of pycocoevalcap.
        timeout: seconds.

    Raises:
        ScoringError: if the tokeniser fails.
    """
    if not texts:
        return []
    found = _run([line for text in texts for line in (text, _fence(text))], java, package, timeout)
    if found[1::2] != [_FENCE] * len(texts):
        raise ScoringError(f"the tokeniser failed: it gave other lines than it was given ({len(texts)} texts)")
    return [_words(line) for line in found[::2]]


def tokenized_together(lines: Sequence[str], java: str, package: Path, timeout: float) -> list[str]:
    """The same, as neighbours of each other: what a line becomes may depend on the next, as in the original.

    Raises:
        ScoringError: if the tokeniser fails.
    """
    return [_words(line) for line in _run(lines, java, package, timeout)] if lines else []


def _run(lines: Sequence[str], java: str, package: Path, timeout: float) -> list[str]:
    """What the program makes of each line."""
    given = "".join(f"{_LINE_ENDS.sub(' ', line)}\n" for line in lines)
    command = [java, "-Dfile.encoding=UTF-8", "-cp", str(package / JAR), "edu.stanford.nlp.process.PTBTokenizer"]
    try:
        done = subprocess.run(
            [*command, "-preserveLines", "-lowerCase"],
            input=given.encode("utf-8", "replace"),
            capture_output=True,
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ScoringError(f"the tokeniser took more than {timeout:g} seconds for {len(lines)} lines") from error
    found = done.stdout.decode("utf-8", "replace").split("\n")[:-1]
    if done.returncode or len(found) != len(lines):
        raise ScoringError(
            f"the tokeniser failed (exit status {done.returncode}, {len(found)} of {len(lines)} lines): "
            f"{done.stderr.decode('utf-8', 'replace').strip()[-500:]}"
        )
    return found


def _fence(text: str) -> str:
    return _FENCE if text.lstrip()[:1].islower() else _FENCE.capitalize()


def _words(line: str) -> str:
    return " ".join(word for word in line.rstrip().split(" ") if word not in _DROPPED)

"""Word error rate: how many words of a reference have to be changed, left out or put in to get what was written.

Ours, small: rows of the edit distance with NumPy. Before words are compared, text is brought to one form: compatibility
forms of Unicode (NFKC), lower case, what stands in square brackets (``[music]``) left out, apostrophes left out
(``don't`` is ``dont``), everything else that is neither letter, mark nor digit made a space (``ill-disposed`` is two
words). Numbers stay as they are written: ``20`` is not ``twenty``. Published figures of English often use Whisper's own
normaliser, which also knows titles, spellings and numbers, and come out somewhat lower.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class WordErrors:
    """Errors of one text or of many; sums with ``+``.

    Args:
        errors: words to change, leave out or put in.
        words: words of the reference.
    """

    errors: int = 0
    words: int = 0

    def __add__(self, other: WordErrors) -> WordErrors:
        return WordErrors(self.errors + other.errors, self.words + other.words)

    @property
    def rate(self) -> float | None:
        """Errors by words of the reference, which may exceed 1; ``None`` without words."""
        return self.errors / self.words if self.words else None


def normal_words(text: str) -> list[str]:
    """The words of a text in the form in which they are compared."""
    text = unicodedata.normalize("NFKC", text).lower()
    text = re.sub(r"\[[^\]]*\]", " ", text)
    text = re.sub(r"['’‘ʼ`]", "", text)
    return "".join(letter if _counts(letter) else " " for letter in text).split()


def word_errors(reference: str, written: str) -> WordErrors:
    """Errors of one text against another; both are normalised."""
    wanted, found = normal_words(reference), normal_words(written)
    return WordErrors(edit_distance(wanted, found), len(wanted))


def edit_distance(wanted: Sequence[str], found: Sequence[str]) -> int:
    """Fewest items to change, leave out and put in that make ``wanted`` of ``found``."""
    numbers: dict[str, int] = {}
    a, b = (np.array([numbers.setdefault(item, len(numbers)) for item in side], np.int64) for side in (wanted, found))
    steps = np.arange(len(b) + 1)
    row = steps
    for number, item in enumerate(a, start=1):
        best = np.concatenate([[number], np.minimum(row[1:] + 1, row[:-1] + (b != item))])
        row = np.minimum.accumulate(best - steps) + steps  # putting words in, along the row
    return int(row[-1])


def _counts(letter: str) -> bool:
    return unicodedata.category(letter)[0] in "LMN"

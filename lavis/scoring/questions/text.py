"""Questions with options as text, and which option an answer names.

Source: the templates and the answer check of MVBench (OpenGVLab/Ask-Anything), which HawkEye uses too; the extraction
of Video-MME (thanku-all/parse_answer); the first letter, as E.T. Chat and MeCo take it. ``option_index`` is ours.

The rules disagree about loose answers. ``hawkeye`` holds the first word of the answer against the first word of the
truth (``(b)``) and is content if one contains the other: an empty text and ``(`` count as right, too. ``videomme``
takes the first capital A to D anywhere, once some phrases are cut out; ``first_character`` looks at one character.
``letter`` takes a text only if it names one option, and is never right by chance.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

Rule = Literal["hawkeye", "letter", "videomme", "first_character"]
RULES: tuple[Rule, ...] = ("hawkeye", "letter", "videomme", "first_character")

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_NO_OPTION = "@"
"""What the original's counter shows for a truth that is no option: the character before ``A``."""

_LETTER = re.compile(
    r"(?:the )?(?:(?:best|correct|right) )?(?:option|answer|choice)?(?: is)? ?:? ?"
    r"(?:\( ?([A-Za-z]) ?(?:\).*)?|([A-Za-z]) ?(?:[.:)].*)?)",
    re.IGNORECASE,
)
_LONGEST = 1000
_CAPITAL = re.compile(r"[ABCD]")
_IN_PARENTHESES = re.compile(r"\(([ABCD])\)")
# The 5th and 6th entry are two phrases each: the script lacks the commas between them, so that neither is ever cut out.
_VIDEOMME_PHRASES = (
    "The best answer is",
    "The correct answer is",
    "The answer is",
    "The answer",
    "The best option isThe correct option is",
    "Best answer:Best option:",
    "Answer:",
    "Option:",
    "The correct answer",
    "The correct option",
)


def question_text(question: str, options: Sequence[str]) -> str:
    """The question with its options, lettered, one a line: ``Question: ...``, ``Options:``, ``(A) ...``."""
    lines = [f"({letter_of(index)}) {option}" for index, option in enumerate(options)]
    return "\n".join([f"Question: {question}", "Options:", *lines]).rstrip()


def plain_question_text(question: str) -> str:
    """The question without options, as HawkEye asks for times and open answers."""
    return f"Question: {question}\n"


def gold_text(answer: str, options: Sequence[str]) -> str:
    """The right option as the check compares it, ``(B) a dog``; ``(@) a dog`` if it is none of the options."""
    index = gold_index(answer, options)
    return f"({_NO_OPTION if index is None else letter_of(index)}) {answer}"


def gold_index(answer: str, options: Sequence[str]) -> int | None:
    """Index of the last option that equals the answer but for dots, as the original's template letters it."""
    found = [i for i, option in enumerate(options) if option.replace(".", "") == answer.replace(".", "")]
    return found[-1] if found else None


def letter_of(index: int) -> str:
    """``A`` for 0.

    Raises:
        ValueError: past ``Z``.
    """
    if not 0 <= index < len(LETTERS):
        raise ValueError(f"there is no letter for option {index}; at most {len(LETTERS)} options can be lettered")
    return LETTERS[index]


def lettered_index(gold: str) -> int | None:
    """Index of a truth written as ``(B) a dog`` or ``B. a dog`` or ``B``; ``None`` if no letter stands in front."""
    found = re.match(r"\s*\(?([A-Za-z])(?:[).:\s]|$)", gold)
    return LETTERS.index(found[1].upper()) if found else None


def option_index(text: str, options: Sequence[str]) -> int | None:
    """Index of the option a text names: by its words, or by its letter (``B``, ``(B)``, ``Option B``, ``B. a dog``).

    Args:
        text: an answer of any length.
        options: texts; without any, every letter counts.

    Returns:
        ``None`` where it names none.
    """
    words = [_plain(option) for option in options]
    if _plain(text) in words:
        return words.index(_plain(text))
    # Single spaces, so that the pattern need not try every way to share out long runs of them.
    found = _LETTER.fullmatch(" ".join(text[:_LONGEST].split()))
    if not found:
        return None
    index = LETTERS.index((found[1] or found[2]).upper())
    return index if not options or index < len(options) else None


def hawkeye_correct(answer: str, gold: str) -> bool:
    """MVBench's check, which HawkEye uses: first words in lower case, one inside the other.

    Args:
        answer: as generated.
        gold: ``(B) a dog``.
    """
    said, right = answer.lower().split(" ")[0], gold.lower().split(" ")[0]
    return said.replace(".", "") in right or right in said


def videomme_index(text: str, prefer_parenthesised: bool = False) -> int | None:
    """Video-MME's extraction: the first of ``A`` to ``D`` behind the phrases that are cut out, ``None`` without one.

    Args:
        text: as generated.
        prefer_parenthesised: takes ``(B)`` before any other letter, which the original does not.
    """
    kept = text.strip()
    if prefer_parenthesised and (bracketed := _IN_PARENTHESES.search(kept)):
        return LETTERS.index(bracketed[1])
    for phrase in _VIDEOMME_PHRASES:
        kept = kept.replace(phrase, "")
    found = _CAPITAL.search(kept)
    return LETTERS.index(found[0]) if found else None


def first_character_index(text: str, options: Sequence[str]) -> int | None:
    """Index of the option whose letter is the first character, ``None`` if it is no letter of an option."""
    letters = LETTERS[: len(options)] if options else LETTERS
    return letters.index(text[0]) if text[:1] and text[0] in letters else None


def _plain(text: str) -> str:
    return text.strip().rstrip(".").casefold()

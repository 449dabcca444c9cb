"""Which option an answer chooses (``rar``, ``eca``, ``rvq``, and the first half of ``gvq``).

A letter decides where the answer names one in a known form; otherwise the option whose ``(A) text`` is most similar to
the answer. The official script knows four or five options, by the first question of a source; here the letters are
those of the question's own options.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from string import ascii_lowercase, ascii_uppercase
from typing import Literal

import numpy as np

from lavis.scoring.etbench.sentence_similarity import SentenceSimilarity

Referring = Literal["auto", "stop", "go_on"]
Letters = Literal["meco", "repaired"]
Strip = Literal["characters", "marker"]

_IN_PARENTHESES = re.compile(r"\(([A-Za-z])\)")
_THEREFORE = re.compile(r"Therefore, the answer is\s*:?\s*\(([a-zA-Z])\)")
_PREFIX = "best option:"
_AFTER_LETTER = (".", ",", " ", ")")
_MECO_SHIFT = {"d": 4, "e": 5}


@dataclass(frozen=True, slots=True)
class Choice:
    """What an answer says.

    Args:
        option: index of the option that a letter names; it may be one that the question does not have.
        text: what is to be compared with the options, where no letter decides; ``None`` where one does, or the answer
            is empty.
        failed: whether the script counts the answer as failed, which does not keep similarity from being right.
    """

    option: int | None
    text: str | None
    failed: bool = False


def referring_choice(answer: str, options: int, right: int, go_on: bool) -> Choice:
    """The choice for ``rar``, ``eca`` and ``rvq``.

    Args:
        answer: text.
        options: number of options.
        right: index of the right one.
        go_on: whether a letter is only believed if it is right, as in MeCo's script, which then still asks similarity.
    """
    text = _bare(answer.lower())
    parenthesised = _IN_PARENTHESES.search(answer)
    leading = _leading_letter(text)
    letters = [parenthesised.group(1).lower()] if parenthesised else []
    letters += [leading] if leading else []
    for letter in letters:
        option = ascii_lowercase.find(letter)
        if 0 <= option < options and (option == right or not go_on):
            return Choice(option, None)
    if not text:
        return Choice(None, None, failed=True)
    return Choice(None, text, failed=not letters)


def grounded_choice(answer: str, options: int) -> Choice:
    """The choice for ``gvq`` in a text answer."""
    text = _bare(answer)
    return _leading_choice(text, {letter: i for i, letter in enumerate(ascii_lowercase[:options])})


def meco_choice(answer: str, options: int, letters: Letters, strip: Strip) -> Choice:
    """The choice for ``gvq`` in an answer with structural tokens.

    Args:
        answer: text with ``<ent>``.
        options: number of options.
        letters: ``meco`` takes D for the fifth option and E for a sixth, as the original does, so that D is never
            right where there are four; ``repaired`` counts on.
        strip: how ``<ent>`` is taken from both ends: ``characters`` takes any of its characters, also letters of
            words, as the original does; ``marker`` takes it as a whole.
    """
    concluded = _THEREFORE.search(answer)
    text = concluded.group(1) if concluded else _without_marker(answer, strip)
    known = {letter: i for i, letter in enumerate(ascii_lowercase[:options])}
    if letters == "meco":
        known |= {letter: option for letter, option in _MECO_SHIFT.items() if letter in known}
    return _leading_choice(text, known)


def option_texts(options: Sequence[str]) -> list[str]:
    """Options as they are compared: ``(A) text``."""
    return [f"({letter}) {option}" for letter, option in zip(ascii_uppercase, options, strict=False)]


def _leading_choice(text: str, known: dict[str, int]) -> Choice:
    letter = _leading_letter(text.lower())
    if letter in known:
        return Choice(known[letter], None)
    return Choice(None, text or None, failed=not text)


def _leading_letter(text: str) -> str:
    """The first character, if it stands alone or before ``. , space )``; not always a letter."""
    return text[0] if len(text) == 1 or (text and text[1] in _AFTER_LETTER) else ""


def _bare(text: str) -> str:
    if text.lower().startswith(_PREFIX):
        text = text[len(_PREFIX) :]
    return text.lstrip().lstrip("(").lstrip()


def _without_marker(text: str, strip: Strip) -> str:
    if strip == "characters":
        return text.strip("<ent>")
    text = text.strip()
    while text.startswith("<ent>"):
        text = text.removeprefix("<ent>").strip()
    while text.endswith("<ent>"):
        text = text.removesuffix("<ent>").strip()
    return text


def chosen_options(
    choices: Sequence[Choice], options: Sequence[Sequence[str]], similarity: SentenceSimilarity
) -> list[int | None]:
    """The option of each choice, after similarity has decided where letters do not; ``None`` for empty answers.

    Args:
        choices: as read.
        options: of each question.
        similarity: of sentences; asked once, for all texts, and only if there are any.

    Raises:
        SentenceModelError: if similarity has to decide and there is no sentence model.
    """
    pending = [i for i, choice in enumerate(choices) if choice.text is not None]
    said = [choices[i].text or "" for i in pending for _ in options[i]]
    meant = [text for i in pending for text in option_texts(options[i])]
    values = similarity(said, meant)
    decided = [choice.option for choice in choices]
    start = 0
    for i in pending:
        decided[i] = int(np.argmax(values[start : start + len(options[i])]))
        start += len(options[i])
    return decided

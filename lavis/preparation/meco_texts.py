"""Captions of events out of what E.T. Instruct's own rows say, and the questions that ask for such captions.

Source: MeCo (pangzss/MeCo, arXiv 2503.09027) trains on captions of events that answer the question asked. Its file of
them is not published, and how they were made is not told beyond that; its questions are known from its benchmark
script, which rewords those of E.T. Bench. Here captions are taken from the rows themselves, without a model: the words
that go with each time where the answer has some, else what the question looks for.
"""

from __future__ import annotations

import re

from lavis.datasets.formats._conversation import without_placeholder
from lavis.datasets.formats._et_questions import FORMAT, OPTIONS, QUESTION, described
from lavis.datasets.formats._et_windows import CAPTIONS, REGION

DESCRIBED = ("dvc", "slc", CAPTIONS)
"""Tasks whose answers describe each event."""
ASKED = ("tvg", "epm", "tal", "evs", "vhd", "gvq")
"""Tasks whose questions say what to look for."""
PLACE = "<image>\n"
"""Where the frames are in E.T. Instruct's questions."""
MATCH = "<vid>"
"""What stands for a time in them."""

_UNIT = r"(?:\s*(?:seconds?|secs?|s)\b)?"
_MARK, _NUMBER = r"<vid>", r"\b\d+(?:\.\d+)?"
_QUOTED = re.compile(r"(?:^|(?<=[\s:(]))['\"‘“](.+)['\"’”](?=[\s.,;!?)]|$)", re.DOTALL)
_NAMED = re.compile(
    r"\b(?:sentence|query|question|event|action|topic|description|highlight|moment|clip)\s*:\s*(.+)",
    re.IGNORECASE | re.DOTALL,
)
_ABOUT = re.compile(r"\bvideo about (.+?)(?:[.?!]|$)", re.IGNORECASE)
_OPTION = re.compile(r"\(([A-Z])\)\s*(.*?)(?=\s*[,;]?\s*\([A-Z]\)|\s*$)", re.DOTALL)
_LETTER = re.compile(r"\(([A-Z])\)")
_EDGES = " \t\r\n,:;-–—"


class NoCaption(ValueError):
    """A row's texts do not tell what happens in its windows."""


def own_captions(task: str, question: str, answer: str, count: int) -> list[str]:
    """A caption for each event of a row, out of its texts; the last may be followed by an answer.

    Args:
        task: of the row.
        question: what the human says.
        answer: what is answered.
        count: how many events there are, at least 1.

    Returns:
        ``count`` texts; for ``gvq`` the caption is question and right option.

    Raises:
        NoCaption: if the texts are of another form; says what was looked for.
    """
    if task in DESCRIBED:
        return _beside_times(answer, count, _times(answer, 1 if task == CAPTIONS else 2))
    if task == REGION:
        caption = _bare(_times(answer, 2).sub("", answer))
        if not caption or count != 1:
            raise NoCaption(f"the answer {answer!r:.80} should describe one moment, there are {count}")
        return [caption]
    return [sought(task, question, answer)] * count


def sought(task: str, question: str, answer: str = "") -> str:
    """What a question looks for: the quoted sentence, what follows a colon, or the question itself.

    Raises:
        NoCaption: if nothing of this is there.
    """
    text = without_placeholder(question).partition(FORMAT)[0].strip()
    if task == "gvq":
        return _without_times(_answered(text, answer))
    if task == "epm" and QUESTION in text:
        return _between(text)
    for pattern in (_QUOTED, _NAMED):
        found = pattern.search(text)
        if found and found.group(1).strip():
            return _without_times(found.group(1).strip())
    asked = [part.strip() for part in re.split(r"(?<=[.!?])\s+", text) if part.strip().endswith("?")]
    if asked:
        return _without_times(asked[-1])
    topic = _ABOUT.search(text)
    if topic and task in ("evs", "vhd"):
        return topic.group(1).strip()
    raise NoCaption(f"the question {text!r:.120} neither quotes what to look for nor asks for it")


def _without_times(caption: str) -> str:
    """The caption, unless it speaks of a time that only the question's frames tell.

    Raises:
        NoCaption: then, since the answer would learn a match token that points to no frame.
    """
    if MATCH in caption:
        raise NoCaption(f"{caption!r:.120} speaks of a time ({MATCH}), which a description cannot")
    return caption


def conclusion(task: str, answer: str) -> str:
    """What is said behind the last event: for ``gvq`` which option is right, else nothing."""
    found = _LETTER.search(answer)
    return f" Therefore, the answer is ({found.group(1)})." if task == "gvq" and found else ""


def rewritten(task: str, source: str, question: str) -> str:
    """A row's question, asking for descriptions instead of times as MeCo asks E.T. Bench's.

    Args:
        task: of the row; what MeCo does not reword stays, as does a ``gvq`` without options in the benchmark's words.
        source: data set that the row is from.
        question: with ``<image>`` in front or without.
    """
    place = PLACE if question.startswith(PLACE) else ""
    asked = question.removeprefix(place)
    options = list(_options(asked).values()) if task == "gvq" else []
    if task == "gvq" and (not options or QUESTION not in asked):
        return question
    return place + described(asked, task, source, options).rstrip()


def _times(answer: str, count: int) -> re.Pattern[str]:
    """How one time, or a start and an end, look in an answer; where marks stand for times, numbers are words."""
    one = (_MARK if _MARK in answer else _NUMBER) + _UNIT
    return re.compile(one if count == 1 else rf"{one}\s*(?:-|–|—|to|until|and)\s*{one}", re.IGNORECASE)


def _beside_times(answer: str, count: int, times: re.Pattern[str]) -> list[str]:
    """The words behind each time, or before each where none are behind."""
    pieces = [_bare(piece) for piece in times.split(answer)]
    if len(pieces) != count + 1:
        raise NoCaption(f"the answer has {len(pieces) - 1} times for {count} events: {answer!r:.120}")
    for own in (pieces[1:], pieces[:-1]):
        if all(own):
            return own
    raise NoCaption(f"the answer has no words with one of its times: {answer!r:.120}")


def _bare(text: str) -> str:
    """Without the commas and dashes that joined it to a time, and without a dot that ended the one before."""
    stripped = text.strip(_EDGES)
    return stripped.lstrip(f".{_EDGES}") if stripped.startswith(".") else stripped


def _answered(question: str, answer: str) -> str:
    options, letter = _options(question), _LETTER.search(answer)
    asked = _between(question) if QUESTION in question else sought("tvg", _LETTER.split(question)[0])
    if letter is None or (options and letter.group(1) not in options):
        raise NoCaption(f"the answer {answer!r:.80} names no option, as (A)")
    right = options.get(letter.group(1), "")
    return f"{asked} {right}".strip()


def _between(question: str) -> str:
    """The question between the words that E.T. Bench puts around it."""
    asked = question.partition(QUESTION)[2].partition(OPTIONS)[0].partition(FORMAT)[0].strip().strip("'\"")
    return asked


def _options(question: str) -> dict[str, str]:
    """Letters and texts of the options, ``(A) x (B) y``."""
    text = question.partition(FORMAT)[0]
    text = text.partition(OPTIONS)[2] if OPTIONS in text else text
    return {letter: option.strip(" .,;:\n\"'") for letter, option in _OPTION.findall(text)}

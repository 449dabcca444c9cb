"""E.T. Bench's questions as MeCo asks them: for a description of what happens, not for times.

Source: MeCo (pangzss/MeCo), how its inference rewords the benchmark's questions. What is asked stays; how times are to
be written is taken off, and a request for a description takes its place. Questions of ``rar`` and ``rvq``, which MeCo
leaves out, stay as they are.

Differs: ``gvq`` shows all options, the original no more than four; a question that is not worded as the benchmark's is
kept whole, where the original stops (``gvq``) or lets the request touch its last word.
"""

from __future__ import annotations

from collections.abc import Sequence
from string import ascii_uppercase
from typing import Literal

from lavis.scoring.etbench.requests import GVQ, OF_SOURCE, OF_TASK

GvqOptions = Literal["all", "four"]

FORMAT, WATCH = "The format of your response should", "Watch the video carefully"
QUESTION, OPTIONS = "Now I give you the question: ", ". The options are"
_NAMES = (("visual event", "clip"),)

UP_TO_FORMAT = ("tvg", "eca", "epm", "tal", "vhd", "tem")
"""Tasks whose request takes the place of everything from ``FORMAT`` on."""
UP_TO_WATCH = ("evs", "dvc", "slc")
"""Tasks whose request takes the place of everything from ``WATCH`` on."""
PLUS = "Enclose the clip segment in the localization token and use the transition token for any transitional parts."
REWORDED = (*UP_TO_FORMAT, *UP_TO_WATCH, "gvq")


def described(
    question: str,
    task: str,
    source: str,
    options: Sequence[str] = (),
    *,
    gvq_options: GvqOptions = "all",
    plus: bool = False,
) -> str:
    """A question as MeCo asks it.

    Args:
        question: as the benchmark has it.
        task: key, such as ``tvg``.
        source: data set that the video is from.
        options: of a choice.
        gvq_options: whether ``gvq`` shows ``all`` options, or no more than ``four`` as the original.
        plus: whether to add that segments are to be enclosed in tokens.
    """
    if task not in REWORDED:
        return question
    more = PLUS if plus else ""
    if task == "gvq":
        shown = options if gvq_options == "all" else options[:4]
        listed = " ".join(f"({letter}) {text}" for letter, text in zip(ascii_uppercase, shown, strict=False))
        asked = question.partition(QUESTION)[2] or question
        return GVQ.format(query=asked.partition(OPTIONS)[0], options=listed) + more
    if task in UP_TO_FORMAT:
        kept, request = _up_to(question, FORMAT), OF_TASK[task]
        for name, other in _NAMES:
            kept = kept.replace(name, other)
    else:
        kept, request = _up_to(question, WATCH), OF_SOURCE.get((task, source), OF_TASK[task])
    return kept + request + more


def _up_to(question: str, mark: str) -> str:
    """What stands before a mark; all of the question, and a blank, where the mark is not in it."""
    kept, found, _ = question.partition(mark)
    return kept if found else f"{kept.rstrip()} "

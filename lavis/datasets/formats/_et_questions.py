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

GvqOptions = Literal["all", "four"]

FORMAT, WATCH = "The format of your response should", "Watch the video carefully"
QUESTION, OPTIONS = "Now I give you the question: ", ". The options are"
_NAMES = (("visual event", "clip"),)

_ACTIVITIES = (
    "Densely summarize the video by localizing clips that depict a series of major activity events and briefly "
    "describing each event. The event descriptions should "
)
UP_TO_FORMAT = {
    "tvg": "Provide a detailed description of the clip.",
    "eca": "Provide a detailed description of the clip.",
    "epm": "Provide a detailed description of the clip and give the answer.",
    "tal": "Provide a concise description for each clip with action-centric temporal and spatial details.",
    "vhd": "Provide a detailed summary rich in important visual activities for the user to better understand the "
    "moment.",
    "tem": "Provide a detailed description of the moment.",
}
"""What is requested in place of everything from ``FORMAT`` on."""
UP_TO_WATCH = {
    "evs": "Summarize the video into a brief synopsis by focusing on the clips that contain the most important visual "
    "cues related to the topic.",
    "dvc": f"{_ACTIVITIES}start with action verbs.",
    "slc": "Localize a series of clips that contain the major steps in the video and briefly describe each clip.",
}
"""What is requested in place of everything from ``WATCH`` on."""
OF_SOURCE = {("dvc", "youcook2"): f"{_ACTIVITIES}be in an imperative form."}
"""Requests for a task's videos of one source, before those of the task."""
GVQ = (
    "Watch the video carefully with the question {query} in mind and find the clip that contains the answer. Provide "
    "your analysis of the clip that supports your answer and finally provide the answer by choosing from the given "
    "options and end your response with 'Therefore, the answer is ...'. Here are the options:\n{options}"
)
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
        kept, request = _up_to(question, FORMAT), UP_TO_FORMAT[task]
        for name, other in _NAMES:
            kept = kept.replace(name, other)
    else:
        kept, request = _up_to(question, WATCH), OF_SOURCE.get((task, source), UP_TO_WATCH[task])
    return kept + request + more


def _up_to(question: str, mark: str) -> str:
    """What stands before a mark; all of the question, and a blank, where the mark is not in it."""
    kept, found, _ = question.partition(mark)
    return kept if found else f"{kept.rstrip()} "

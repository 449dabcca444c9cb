"""The commands ``lavis localize`` and ``lavis ask``: one question about one video, the answer as text or JSON."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lavis.structures import Prediction

LOCALIZE, QUESTION = "localize", "question"
TASKS = (
    LOCALIZE, "highlights", "actions", "summary", "dense_captioning", "step_captioning", "grounded_qa", QUESTION,
)  # fmt: skip
"""Kinds of questions, as in ``lavis.models.one_video``, which help must not import."""
LOCALIZE_EXAMPLES = """lavis localize kitchen.mp4 "a woman opens the oven" --model calce/qvh_stage1
  lavis localize kitchen.mp4 "a woman opens the oven" --model meco
  lavis localize kitchen.mp4 "baking a cake" --model meco --task dense_captioning
  lavis localize kitchen.mp4 "the cake is served" --model meco --task highlights --json"""
ASK_EXAMPLES = """lavis ask kitchen.mp4 "What happens at <vid>?" --time 12.5 --model etchat
  lavis ask kitchen.mp4 "What did I open?" --task grounded_qa --option "the oven" --option "a drawer" --model meco"""
WIDTH = 60
"""Columns of a curve."""
_BARS = "▁▂▃▄▅▆▇█"


def add_commands(add: Callable[..., Any]) -> None:
    """Registers the commands.

    Args:
        add: makes a command from name, function, what it does, and ``example``; gives its argument parser.
    """
    command = add(LOCALIZE, run, "Find a query in one video.", example=LOCALIZE_EXAMPLES)
    command.add_argument("video", help="video file")
    command.add_argument("query", nargs="?", default="", help="what to find, in words; for captions the topic, if any")
    _add_common(command, LOCALIZE)
    command = add("ask", run, "Ask a question about one video.", example=ASK_EXAMPLES)
    command.add_argument("video", help="video file")
    command.add_argument("query", metavar="question", help="the question; <vid> stands for a time")
    _add_common(command, QUESTION)


def _add_common(command: Any, task: str) -> None:
    command.add_argument("--task", default=task, metavar="TASK", help=f"{', '.join(TASKS)} (default: %(default)s)")
    command.add_argument(
        "--option", action="append", default=[], dest="choices", metavar="TEXT", help="an answer to choose from; repeat"
    )
    command.add_argument(
        "--time", action="append", default=[], dest="times", type=float, metavar="S",
        help="seconds that a <vid> of the question stands for; repeat",
    )  # fmt: skip
    command.add_argument("--model", help="name in the zoo, run folder or configuration; default: the quickstart's")
    command.add_argument("--checkpoint", help="trained weights; alone, a checkpoint of ours that says its model")
    command.add_argument("--coarse", help="model to ask first, where --model is a second stage")
    command.add_argument("--subtitles", help="SRT file of what is said")
    command.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps (default: %(default)s)")
    command.add_argument("--json", action="store_true", help="print one line of JSON")
    text = "changes to the configuration, such as model.generation.max_new_tokens=64; the value is YAML"
    command.add_argument("--options", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help=text)


def run(args: argparse.Namespace) -> int:
    """Loads the model, asks, prints."""
    from pathlib import Path

    from lavis.api import find_default_model, load_model

    _check_task(args.task)
    if not Path(args.video).exists():
        raise FileNotFoundError(f"there is no video {args.video}")
    coarse = args.coarse
    name = args.model if args.model is not None else args.checkpoint
    checkpoint = args.checkpoint if args.model is not None else None
    if name is None:
        name, found = find_default_model()
        coarse = coarse or found
    lines, speech = None, None
    if args.subtitles is not None:
        from lavis.processors.subtitles import read_srt

        lines, speech = read_srt(args.subtitles)
    model = load_model(
        name, is_eval=True, device=args.device, checkpoint=checkpoint, options=args.options, coarse=coarse
    )
    if args.task == LOCALIZE and not args.times and not args.choices:
        prediction = model.localize(args.video, args.query, subtitles=lines, speech=speech)
    else:
        prediction = model.ask(
            args.video, args.query, args.task, args.choices, args.times, subtitles=lines, speech=speech
        )  # fmt: skip
    print_prediction(prediction, args.task, args.json)
    return 0


def _check_task(task: str) -> None:
    if task not in TASKS:
        from difflib import get_close_matches

        near = get_close_matches(task, TASKS, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"there is no task {task!r}.{hint} Known: {', '.join(TASKS)}")


def print_prediction(prediction: Prediction, task: str = LOCALIZE, as_json: bool = False) -> None:
    """Prints an answer: a moment a line with its score and what happens in it; the text where that is the answer.

    Args:
        prediction: the answer.
        task: what was asked.
        as_json: one line of JSON in place of text.
    """
    if as_json:
        print(json.dumps(prediction.to_json(), ensure_ascii=False))
        return
    if task == QUESTION:
        print(_without_marks(prediction.text))
        return
    if prediction.malformed:
        print(
            f"the model's answer could not be read as moments: {prediction.text!r}{_why(prediction)}", file=sys.stderr
        )
        return
    for line in _moment_lines(prediction, in_time=task not in (LOCALIZE, "highlights")):
        print(line)
    if task == "highlights" and "highlight_s" in prediction.scores:
        print(f"\nhighlight at {prediction.scores['highlight_s']:.2f} s")
        saliency = prediction.details.get("saliency") or []
        if saliency:
            print(f"{sparkline([share for _, share in saliency])}\n0 s{f'{saliency[-1][0]:.0f} s':>{_room(saliency)}}")
    if task == "grounded_qa":
        print(f"\nanswer: {_without_marks(prediction.text)}")


def _why(prediction: Prediction) -> str:
    """What is known of why an answer with structural tokens has no moments."""
    told = prediction.details
    if "ent_inds" not in told:
        return ""
    if not told["ent_inds"]:
        return "; it closes no event with <ent>: ask in other words, or take weights of MeCo's third stage"
    return "; no frame stands out for its events: the video may be too short, or the weights may not be trained"


def _moment_lines(prediction: Prediction, in_time: bool) -> list[str]:
    """Best first, or in the order of time where all are wanted."""
    captions = prediction.captions or [""] * len(prediction.moments)
    told = list(zip(prediction.moments, captions, strict=True))
    if in_time:
        told.sort(key=lambda each: (each[0].start, each[0].end))
    lines = []
    for moment, caption in told:
        caption = _without_marks(caption)
        score = "" if moment.score is None else f"   score {moment.score:.3f}"
        lines.append(f"{moment.start:8.2f} s  to {moment.end:8.2f} s{score}{f'   {caption}' if caption else ''}")
    return lines


def sparkline(values: Sequence[float], width: int = WIDTH) -> str:
    """A curve in one line of text, from its lowest to its highest value; of several in a column the highest."""
    count = min(width, len(values))
    edges = [i * len(values) // count for i in range(count + 1)]
    tops = [max(values[a:b]) for a, b in pairwise(edges)]
    low, span = min(tops), max(tops) - min(tops)
    return "".join(_BARS[round((top - low) / span * (len(_BARS) - 1)) if span > 0 else 0] for top in tops)


def _room(saliency: Sequence[Any]) -> int:
    return max(min(WIDTH, len(saliency)) - len("0 s"), 0)


def _without_marks(text: str) -> str:
    """The text without tokens that stand for parts of the video."""
    for mark in ("<ent>", "<tst>"):
        text = text.replace(mark, " ")
    return " ".join(text.split())

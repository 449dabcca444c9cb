"""Make HawkEye's instruction files (train.json) and test files from InternVid-G and the releases of other data sets.

A segment becomes a question in which part of the video it is (choice), the part with the request to describe it
(choice_caption), or the same with times (grounding, caption); test makes what recursive grounding or question answering
is asked. Rows equal those of HawkEye's own tools with the same seed. --instruction and --question are JSON files with a
list of texts, or the one text itself. Where the releases are from is in docs/data.md.

Examples:
    python process_data/hawkeye_data.py internvid choice internvid_g/*.jsonl --out internvid_grounding/train.json \\
        --instruction instructions.json --question questions.json
    python process_data/hawkeye_data.py internvid choice_caption internvid_g.jsonl --out internvid_caption/train.json \\
        --instruction instructions.json
    python process_data/hawkeye_data.py charades choice charades_sta_train.txt --durations Charades_v1_train.csv \\
        --instruction instructions.json --question questions.json --on-bad-window skip --out train.json
    python process_data/hawkeye_data.py charades test charades_sta_test.txt --out charades_sta-recursive_grounding.json
    python process_data/hawkeye_data.py activitynet test val_1.json val_2.json --out anetc-recursive_grounding.json
    python process_data/hawkeye_data.py nextgqa test test.csv --spans gsub_test.json --video-map map_vid_vidorID.json \\
        --out nextgqa-recursive_grounding.json
    python process_data/hawkeye_data.py nextqa test test.csv --video-map map_vid_vidorID.json --out nextqa-test.json
    python process_data/hawkeye_data.py tvqa test tvqa_test_public.jsonl --out tvqa-test.json
    python process_data/hawkeye_data.py star test STAR_test.json --out star-test.json
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lavis.preparation.collection.command_line import ended, parser_of

if TYPE_CHECKING:
    from lavis.preparation import hawkeye_conversions as conversions

FORMS = ("choice", "choice_caption", "grounding", "caption", "test")
SEGMENTS = ("internvid", "charades", "activitynet")
SOURCES = (*SEGMENTS, "nextgqa", "nextqa", "tvqa", "star")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = parser_of(__doc__)
    parser.add_argument("source", choices=SOURCES)
    parser.add_argument("form", choices=FORMS)
    parser.add_argument("inputs", nargs="+", type=Path, help="files of the release; of activitynet one or two")
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    words = parser.add_argument_group("what rows say")
    words.add_argument("--instruction", metavar="FILE|TEXT", help="what opens a row")
    words.add_argument("--question", metavar="FILE|TEXT", help="with one %%s, for the caption")
    words.add_argument("--seed", type=int, default=0, help="of what is drawn (default: %(default)s)")
    beside = parser.add_argument_group("files beside the inputs")
    beside.add_argument("--durations", type=Path, metavar="FILE", help="charades: lengths, JSON or Charades_v1_*.csv")
    beside.add_argument("--video-map", type=Path, metavar="FILE", help="nextqa, nextgqa: map_vid_vidorID.json")
    beside.add_argument("--spans", type=Path, metavar="FILE", help="nextgqa: gsub_<split>.json")
    parser.add_argument(
        "--on-bad-window", choices=("raise", "skip", "keep"), default="raise",
        help="windows that do not end behind their start (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--sample-ratio", type=float, metavar="X", help="keep a random part of the rows, 0 to 1")
    args = parser.parse_args(arguments)

    def run() -> int:
        from lavis.preparation import hawkeye_conversions as conversions

        notes: dict[str, Any] = {}
        made = _segment_rows(args, notes) if args.source in SEGMENTS else _question_rows(args)
        rows = list(made)
        if args.sample_ratio is not None:
            rows = conversions.sampled(rows, args.sample_ratio, args.seed)
        print(conversions.write_file(args.out, rows, notes))
        return 0

    return ended(parser.prog, run)


def _segment_rows(args: argparse.Namespace, notes: dict[str, Any]) -> Iterable[conversions.Row]:
    from lavis.preparation import hawkeye_conversions as conversions

    segments = _segments(args, notes)
    if args.form == "test":
        return conversions.grounding_test_rows(segments)
    times = conversions.IN_FRAMES if args.source == "charades" else conversions.IN_SECONDS
    asked = conversions.read_wordings(args.question) if args.question else ()
    wording = conversions.Wording(conversions.read_wordings(_given(args, "instruction")), asked, times)
    return conversions.training_rows(segments, args.form, wording, args.seed)


def _segments(args: argparse.Namespace, notes: dict[str, Any]) -> Iterable[conversions.Segment]:
    from lavis.preparation import hawkeye_conversions as conversions

    if args.source == "internvid":
        return conversions.internvid_segments(args.inputs, args.on_bad_window, notes)
    if args.source == "charades":
        durations = args.durations if args.form == "test" else Path(_given(args, "durations"))
        return conversions.charades_segments(_one(args), durations, args.on_bad_window, notes)
    if len(args.inputs) > 2:
        raise ValueError("activitynet takes one file, or val_1.json and val_2.json")
    return conversions.activitynet_segments(*args.inputs, on_bad_window=args.on_bad_window, notes=notes)


def _question_rows(args: argparse.Namespace) -> Iterable[conversions.Row]:
    from lavis.preparation import hawkeye_questions as questions

    if args.form != "test":
        raise ValueError(f"of {args.source} there is only the form test")
    file = _one(args)
    if args.source == "nextqa":
        return questions.nextqa_rows(file, _given(args, "video_map"))
    if args.source == "nextgqa":
        return questions.nextgqa_rows(file, _given(args, "spans"), _given(args, "video_map"))
    return questions.tvqa_rows(file) if args.source == "tvqa" else questions.star_rows(file)


def _one(args: argparse.Namespace) -> Path:
    if len(args.inputs) != 1:
        raise ValueError(f"{args.source} takes one file, got {len(args.inputs)}")
    file: Path = args.inputs[0]
    return file


def _given(args: argparse.Namespace, name: str) -> Any:
    value = getattr(args, name)
    if value is None:
        raise ValueError(f"{args.source} {args.form} needs --{name.replace('_', '-')}")
    return value


if __name__ == "__main__":
    sys.exit(main())

"""Make MeCo's training file from E.T. Instruct 164K: a caption for each event, closed by <ent>, and its window.

MeCo's own file is not published. Captions come from the rows' own texts, from a file of captions, or from a model that
sees the middle of each event; then <out>.captions.jsonl is written first, and the same command goes on where an earlier
one stopped. <tst> is put in when training reads a row; --structure text writes it into the file.

Examples:
    python process_data/meco_annotations.py data/et_instruct_164k/et_instruct_164k_vid.json \\
        --out data/et_instruct_164k/et_instruct_164k_meco.json --on-bad-row skip
    python process_data/meco_annotations.py et_instruct_164k_vid.json --out et_instruct_164k_meco.json \\
        --captions captions.jsonl             # rows {"id": "ETInstruct_0", "captions": ["...", "..."]}, k from 0
    python process_data/meco_annotations.py et_instruct_164k_vid.json --out et_instruct_164k_meco.json \\
        --videos data/et_instruct_164k/videos --captioner Salesforce/blip2-flan-t5-xxl --device cuda \\
        --dtype float16 --workers 1 --on-bad-row skip
    python process_data/meco_annotations.py et_instruct_164k_txt.json --out meco.json --structure text --questions kept
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from lavis.preparation.collection.command_line import add_running, ended, parser_of, running_of

PROMPT = "Describe in detail what the person or object in the picture does that has to do with: {query}"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = parser_of(__doc__)
    parser.add_argument("source", type=Path, help="et_instruct_164k_vid.json or _txt.json")
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--captions", type=Path, metavar="FILE", help="JSON lines, or a JSON object of lists, by id")
    parser.add_argument(
        "--structure", choices=("windows", "text"), default="windows",
        help="windows leaves <tst> to training, text writes it (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--questions", choices=("rewritten", "kept"), default="rewritten",
        help="ask for descriptions, as MeCo does, or leave questions as they are (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--on-bad-row", choices=("raise", "skip"), default="raise",
        help="rows without usable times or captions (default: %(default)s)",
    )  # fmt: skip
    models = parser.add_argument_group("captions by a model")
    models.add_argument("--captioner", metavar="MODEL", help="folder or name of a BLIP or the like")
    models.add_argument("--videos", type=Path, help="folder of the videos")
    models.add_argument("--prompt", default=PROMPT, help="with {query}, what a row looks for (default: %(default)r)")
    models.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1 (default: %(default)s)")
    models.add_argument("--dtype", default="float32", help="float32, float16, bfloat16 (default: %(default)s)")
    add_running(parser)
    args = parser.parse_args(arguments)

    def run() -> int:
        from lavis.preparation.internvid_g.models import TransformersCaptioner
        from lavis.preparation.meco_annotations import Style, make_annotations
        from lavis.preparation.meco_captions import caption_events

        captions = args.captions
        if args.captioner is not None:
            if captions is not None or args.videos is None:
                raise ValueError("--captioner needs --videos, and stands in for --captions; give one of the two")
            captions = args.out.with_name(f"{args.out.stem}.captions.jsonl")
            captioner = TransformersCaptioner(args.captioner, args.prompt, device=args.device, dtype=args.dtype)
            running = running_of(args)
            done = caption_events(
                args.source, args.videos, captions, captioner, on_bad_row=args.on_bad_row, **running
            )  # fmt: skip
            print(done)
            if running.get("shard") is not None and not str(running["shard"]).endswith("/1"):
                return 0  # the file is written when all parts are through
        style = Style(args.structure, args.questions, args.on_bad_row)
        print(make_annotations(args.source, args.out, captions, style))
        return 0

    return ended(parser.prog, run)


if __name__ == "__main__":
    sys.exit(main())

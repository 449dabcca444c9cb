"""Write down what is said in videos: one `.srt` for each, which CALCE's configurations read as `srts/<video>.srt`.

Needs the extra `asr` (faster-whisper) for the transcriber faster_whisper and for the voice filter. Times count from the
first picture. Videos without sound or speech get an empty file. The same command goes on where an earlier one stopped;
another model or option makes its own captions again, and never touches files of other origin without `--overwrite`.

Examples:
    python process_data/extract_captions.py data/qvhighlights/videos --out data/qvhighlights/srts --model small.en
    python process_data/extract_captions.py videos --out srts --model models/whisper-small --workers 8 --language en
    python process_data/extract_captions.py videos --out srts --model large-v3 --device cuda --workers 1
    python process_data/extract_captions.py videos --out srts --model whisper-tiny --transcriber transformers
    python process_data/extract_captions.py videos --list val.txt --out srts --model small.en --shard 3/8
    python process_data/extract_captions.py videos --out srts --model small.en --reference truth --report quality.json
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from lavis.common.io import write_json
from lavis.preparation.collection.command_line import add_running, ended, parser_of, running_of
from lavis.preparation.speech.captions import extract_captions
from lavis.preparation.speech.transcribers.base import Listening, transcribers
from lavis.preparation.speech.videos import listed_videos


def main(arguments: Sequence[str] | None = None) -> int:
    parser = parser_of(__doc__)
    parser.add_argument("videos", type=Path, help="folder of videos, with folders in it or without")
    parser.add_argument("--list", type=Path, metavar="FILE", help="only these: one name a line, below the folder")
    parser.add_argument("--out", type=Path, required=True, help="folder of the captions")
    listening = parser.add_argument_group("how speech is written down")
    known = ", ".join(transcribers)
    listening.add_argument("--transcriber", default="faster_whisper", help=f"{known} (default: %(default)s)")
    listening.add_argument("--model", required=True, help="folder of a model, or its name, such as small.en")
    listening.add_argument("--language", metavar="CODE", help="such as en (default: found out for each video)")
    listening.add_argument("--device", default="auto", help="cpu, cuda, cuda:1 or auto (default: %(default)s)")
    listening.add_argument("--compute-type", default="default", help="int8, float16, float32 ... (default: by device)")
    listening.add_argument("--no-voice-filter", action="store_true", help="listen where nobody speaks, too")
    listening.add_argument("--beam-size", type=int, default=5, metavar="N", help="default: %(default)s")
    listening.add_argument("--word-times", action="store_true", help="cut long lines by when each word is said")
    listening.add_argument("--condition", action="store_true", help="show the model what it wrote before")
    listening.add_argument("--threads", type=int, default=1, metavar="N", help="of each process (default: %(default)s)")
    listening.add_argument("--max-chars", type=int, metavar="N", help="cut longer lines (default: lines of the model)")
    listening.add_argument(
        "--on-truncated", choices=("raise", "warn"), default="raise",
        help="files whose sound ends too early: refuse them, or take what is there (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--reference", type=Path, metavar="FOLDER", help="what is really said, <video>.srt or .txt")
    parser.add_argument("--report", type=Path, metavar="FILE", help="write all figures as JSON")
    parser.add_argument("--overwrite", action="store_true", help="write over captions of other origin")
    add_running(parser)
    args = parser.parse_args(arguments)

    def run() -> int:
        report = extract_captions(
            listed_videos(args.videos, args.list), args.out,
            Listening(
                args.model, args.language, args.device, args.compute_type, not args.no_voice_filter, args.beam_size,
                args.word_times, args.condition, args.threads,
            ),
            transcriber=args.transcriber, max_chars=args.max_chars, on_truncated=args.on_truncated,
            reference=args.reference, overwrite=args.overwrite, **running_of(args),
        )  # fmt: skip
        print(report.to_text())
        if args.report is not None:
            write_json(args.report, report.to_json())
        return 0

    return ended(parser.prog, run)


if __name__ == "__main__":
    sys.exit(main())

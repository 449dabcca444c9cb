"""Make smaller copies of a folder of videos: few frames a second, a short side of few pixels.

Frame i of a copy is the one its original shows at i / fps seconds, by the original's own time stamps. Uses the program
ffmpeg where there is one, and PyAV otherwise. A copy is read back before it gets its name. Run again, it makes only
those that are missing, or whose original or options changed. Whatever lies under the name of a copy is replaced.

Examples:
    python process_data/compress_videos.py videos videos_compressed --fps 3 --size 224
    python process_data/compress_videos.py videos videos_336 --fps 2 --size 336 --shape square --audio keep
    python process_data/compress_videos.py videos videos_meco --shape meco       # as MeCo's tool, portraits squashed
    python process_data/compress_videos.py videos videos_compressed --shard $SLURM_ARRAY_TASK_ID/8 --budget 1%
    RAY_ADDRESS=head:6379 python process_data/compress_videos.py videos videos_compressed --executor ray
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from lavis.preparation.collection.command_line import add_running, ended, parser_of, running_of


def main(arguments: Sequence[str] | None = None) -> int:
    parser = parser_of(__doc__)
    parser.add_argument("videos", type=Path, help="folder of videos; folders in it are looked into")
    parser.add_argument("out", type=Path, help="folder for the copies, outside the first")
    parser.add_argument("--fps", type=float, default=3.0, help="frames a second (default: %(default)s)")
    parser.add_argument("--size", type=int, default=224, help="pixels of the short side (default: %(default)s)")
    parser.add_argument(
        "--shape", choices=("short_side", "square", "meco"), default="short_side",
        help="the whole picture, its middle square, or MeCo's shapes (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--audio", choices=("drop", "keep"), default="drop", help="default: %(default)s")
    parser.add_argument("--crf", type=int, default=23, help="quality, 0 (best) to 51 (default: %(default)s)")
    parser.add_argument("--preset", default="veryfast", help="effort of x264 (default: %(default)s)")
    parser.add_argument("--gop", type=int, default=30, help="frames between keyframes (default: %(default)s)")
    parser.add_argument("--encoder", choices=("auto", "ffmpeg", "pyav"), default="auto", help="default: %(default)s")
    parser.add_argument(
        "--damaged", choices=("raise", "warn"), default="raise",
        help="videos that end too early or are damaged inside: put into quarantine, or copy what is there "
        "(default: %(default)s)",
    )  # fmt: skip
    add_running(parser)
    args = parser.parse_args(arguments)

    def run() -> int:
        from lavis.preparation.collection.compress import compress_videos
        from lavis.preparation.collection.copy_plan import Target

        keep = args.audio == "keep"
        target = Target(args.fps, args.size, args.shape, keep, args.crf, args.preset, args.gop)
        summary = compress_videos(
            args.videos, args.out, target, encoder=args.encoder, on_damage=args.damaged, **running_of(args)
        )
        before, after = (sum((each.result or {})[key] for each in summary.done) for key in ("bytes_before", "bytes"))
        print(summary.to_text())
        print(f"  {before / 2**30:.3g} GiB became {after / 2**30:.3g} GiB in {args.out}")
        return 0

    return ended(parser.prog, run)


if __name__ == "__main__":
    sys.exit(main())

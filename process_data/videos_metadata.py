"""Note what every video of a folder is: duration, frames, rates, size, codec, first time stamp, digest.

Writes `<folder>_metadata.json` (the form of MMDuet's videos_metadata.json) and `<folder>_metadata.jsonl` (everything)
beside the folder. Run again, it reads only what is new or changed. Videos that cannot be read are listed in quarantine.

Examples:
    python process_data/videos_metadata.py $LAVIS_DATA/qvhighlights/videos
    python process_data/videos_metadata.py videos --out metadata --workers 16 --budget 2%
    python process_data/videos_metadata.py videos --shard $SLURM_ARRAY_TASK_ID/8     # then once without --shard
    RAY_ADDRESS=head:6379 python process_data/videos_metadata.py videos --executor ray
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from lavis.preparation.collection.command_line import add_running, ended, parser_of, running_of


def main(arguments: Sequence[str] | None = None) -> int:
    parser = parser_of(__doc__)
    parser.add_argument("videos", type=Path, help="folder of videos; folders in it are looked into")
    parser.add_argument("--out", type=Path, help="folder to write to (default: the one the videos' folder is in)")
    parser.add_argument(
        "--truncated", choices=("raise", "warn"), default="raise",
        help="files that end too early: put into quarantine, or note what is there (default: %(default)s)",
    )  # fmt: skip
    add_running(parser)
    args = parser.parse_args(arguments)

    def run() -> int:
        from lavis.preparation.collection.metadata import videos_metadata

        summary, written = videos_metadata(args.videos, args.out, on_truncated=args.truncated, **running_of(args))
        print(summary.to_text())
        print(*(f"written: {path}" for path in written), sep="\n")
        return 0

    return ended(parser.prog, run)


if __name__ == "__main__":
    sys.exit(main())

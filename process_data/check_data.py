"""Check whether a data set is all there: annotation files, videos, durations, subtitles, and faults of the annotations.

Takes the name of a configured data set (configs/datasets), whose folders LAVIS_DATA moves, or annotation files. Videos
are read once and remembered beside their folder, as by videos_metadata.py. Nothing else is changed.

Examples:
    python process_data/check_data.py qvhighlights
    python process_data/check_data.py charades_sta --output check.json --workers 8
    python process_data/check_data.py train.json val.json --videos videos --subtitles srts --strict
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from lavis.preparation.collection.command_line import add_running, ended, parser_of, running_of


def main(arguments: Sequence[str] | None = None) -> int:
    parser = parser_of(__doc__)
    parser.add_argument("data", nargs="+", help="a configured data set, or annotation files")
    parser.add_argument("--videos", type=Path, help="folder of the videos, for annotation files")
    parser.add_argument("--subtitles", type=Path, help="folder of <video>.srt, for annotation files")
    parser.add_argument("--durations", type=Path, help="table of lengths, for annotation files without")
    parser.add_argument(
        "--tolerance", type=float, default=1.0, help="seconds a duration may differ (default: %(default)s)"
    )
    parser.add_argument("--slack", type=float, default=0.0, help="seconds a window may end late (default: %(default)s)")
    parser.add_argument("--examples", type=int, default=3, help="places shown of each kind (default: %(default)s)")
    parser.add_argument("--output", type=Path, help="also write everything to this JSON file")
    parser.add_argument("--notes", type=Path, help="folder for what is noted of the videos (default: beside them)")
    parser.add_argument("--strict", action="store_true", help="exit with 1 if anything is wrong")
    add_running(parser)
    args = parser.parse_args(arguments)

    def run() -> int:
        from lavis.common.io import write_json
        from lavis.preparation.collection.check import Source, check_data, configured

        if all(Path(name).is_file() for name in args.data):
            paths = {name: Path(name) for name in args.data}
            tables = dict.fromkeys(paths, args.durations) if args.durations else {}
            sources = [Source(", ".join(args.data), paths, tables, args.videos, args.subtitles)]
        else:
            sources = [source for name in args.data for source in configured(name)]
        checks = []
        for source in sources:
            checks.append(
                check_data(source, tolerance=args.tolerance, slack=args.slack, out=args.notes, **running_of(args))
            )
            print(checks[-1].to_text(args.examples))
            if checks[-1].summary is not None and checks[-1].summary.new:
                print(checks[-1].summary.to_text())
        if args.output:
            print(f"written: {write_json(args.output, [check.to_json() for check in checks])}")
        return 1 if args.strict and any(check.faults for check in checks) else 0

    return ended(parser.prog, run)


if __name__ == "__main__":
    sys.exit(main())

"""Check whether a data set is all there: annotation files, videos, durations, subtitles, and faults of the annotations.

Takes the name of a configured data set (configs/datasets), whose folders LAVIS_DATA moves, or annotation files. Videos
are read once and remembered beside their folder, as by videos_metadata.py. Nothing else is changed. With --layout it
says which data sets a folder holds, ours or one arranged as CALCE, MR.BLIP, MeCo, HawkEye, MMDuet or Grounded-VideoLLM
have it, and how to use it as it is.

Examples:
    python process_data/check_data.py --layout ~/HawkEye/data
    python process_data/check_data.py qvhighlights
    python process_data/check_data.py charades_sta --output check.json --workers 8
    python process_data/check_data.py train.json val.json --videos videos --subtitles srts --strict
    python process_data/check_data.py magqa.json --format "{name: mmduet, form: magqa}" --durations notes.json
"""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lavis.preparation.collection.command_line import add_running, ended, parser_of, running_of

if TYPE_CHECKING:
    from lavis.preparation.collection.check import Source


def main(arguments: Sequence[str] | None = None) -> int:
    parser = parser_of(__doc__)
    parser.add_argument("data", nargs="*", help="a configured data set, or annotation files")
    parser.add_argument("--layout", type=Path, metavar="FOLDER", help="say which data sets FOLDER holds, and stop")
    parser.add_argument("--videos", type=Path, help="folder of the videos, for annotation files")
    parser.add_argument("--subtitles", type=Path, help="folder of <video>.srt, for annotation files")
    parser.add_argument("--durations", type=Path, help="table of lengths, for annotation files without")
    parser.add_argument(
        "--format",
        help="registered format that reads annotation files, or its name and options as YAML; default: audit",
    )
    parser.add_argument("--video-suffix", default="", help="behind the names of videos, for --format (default: none)")
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

    if bool(args.data) == (args.layout is not None):
        parser.error("give data sets or annotation files, or --layout FOLDER")

    def run() -> int:
        from lavis.common.io import write_json

        if args.layout is not None:
            return survey_of(args.layout, args.output, args.strict)
        from lavis.preparation.collection.check import Source, check_data, configured

        if args.format:
            sources = [source_of(args)]
        elif all(Path(name).is_file() for name in args.data):
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


def source_of(args: Namespace) -> Source:
    """Annotation files that a registered format reads."""
    from lavis.common.yaml_tree import parse_yaml
    from lavis.preparation.collection.check import Source
    from lavis.preparation.collection.formatted import with_durations

    node = parse_yaml(args.format, "--format", allow_any=True).value
    form = with_durations(node if isinstance(node, dict) else {"name": str(node)}, args.durations)
    paths = {name: Path(name) for name in args.data}
    return Source(", ".join(args.data), paths, {}, args.videos, args.subtitles, form, args.video_suffix)


def survey_of(folder: Path, output: Path | None, strict: bool) -> int:
    """Prints which data sets a folder holds; 1 if anything is missing and that is to be told."""
    from lavis.common.io import write_json
    from lavis.preparation.data_folders import survey

    found = survey(folder)
    print("\n\n".join(each.to_text() for each in found))
    if output:
        print(f"written: {write_json(output, [each.to_json() for each in found])}")
    return 1 if strict and any(each.missing for layout in found for each in layout.sets) else 0


if __name__ == "__main__":
    sys.exit(main())

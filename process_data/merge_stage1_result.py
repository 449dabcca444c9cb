"""Write stage-1 predictions into the annotations, to train and evaluate CALCE's stage 2 from files.

A stage-2 configuration of this project does not need it: its key `prior` joins the predictions directly. This is for
those used to CALCE's files, and for use with CALCE itself. Our predictions (`*.jsonl`) and CALCE's results
(`*_epochbest.json`) are both read. A file is written only if every row of it has a prediction.

Examples:
    python process_data/merge_stage1_result.py
    python process_data/merge_stage1_result.py --eval --dataset qvh
    python process_data/merge_stage1_result.py --dataset qvh --annotations results/quickstart/data/annotations \\
        --results results/quickstart/stage1/predictions --out results/quickstart/merged
    python process_data/merge_stage1_result.py --results lavis/results --annotations lavis/datasets/annotations
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from lavis.preparation.merge import SOURCES, jobs, merge


def main(arguments: Sequence[str] | None = None) -> int:
    description, _, examples = (__doc__ or "").partition("\n\nExamples:")
    parser = argparse.ArgumentParser(
        description=description,
        epilog=f"Examples:{examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--eval", action="store_true", help="leave the train splits out")
    parser.add_argument("--dataset", choices=sorted(SOURCES), action="append", help="only this one (may be repeated)")
    parser.add_argument("--results", default="results/calce", help="folder of stage-1 results (default: %(default)s)")
    parser.add_argument(
        "--annotations",
        default=os.environ.get("LAVIS_DATA", "data"),
        help="folder of the annotations (default: $LAVIS_DATA, or data; now %(default)s)",
    )
    parser.add_argument("--out", help="folder for the merged files (default: beside the annotations)")
    args = parser.parse_args(arguments)
    try:
        # All files are found before the first is written.
        found = list(
            jobs(
                args.dataset or list(SOURCES),
                results=args.results,
                annotations=args.annotations,
                out=args.out,
                eval_only=args.eval,
            )
        )
        for job in found:
            print(merge(job))
    except (ValueError, OSError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

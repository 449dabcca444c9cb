"""Make the sample corpus: short generated videos with subtitles and annotations, for trying everything out.

Examples:
    python process_data/make_sample_corpus.py
    python process_data/make_sample_corpus.py --out data/sample --num-train 30 --num-val 6 --num-test 6
    python process_data/make_sample_corpus.py --out data/other --seed 7 --workers 4
"""

from __future__ import annotations

import argparse
import time

from tqdm import tqdm

from lavis.preparation.generators.synthetic_moments import SyntheticMoments


def main() -> None:
    description, _, examples = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        description=description, epilog=examples, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", default="results/quickstart/data", help="folder to fill (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the corpus (default: %(default)s)")
    parser.add_argument("--num-train", type=int, default=300, help="training videos (default: %(default)s)")
    parser.add_argument("--num-val", type=int, default=60, help="validation videos (default: %(default)s)")
    parser.add_argument("--num-test", type=int, default=60, help="test videos (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="processes (default: %(default)s)")
    args = parser.parse_args()
    counts = {"train": args.num_train, "val": args.num_val, "test": args.num_test}
    started = time.monotonic()
    with tqdm(total=sum(counts.values()), unit="video", desc=str(args.out)) as bar:

        def show(done: int, _total: int) -> None:
            bar.update(done - bar.n)

        try:
            summary = SyntheticMoments(seed=args.seed).generate(args.out, counts, args.workers, show)
        except (ValueError, OSError) as error:
            parser.error(str(error))
    print(
        f"{summary['made']} videos made, {summary['kept']} kept, {summary['queries']} queries "
        f"in {time.monotonic() - started:.0f} s: {args.out}"
    )


if __name__ == "__main__":
    main()

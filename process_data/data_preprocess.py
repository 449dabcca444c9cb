"""Make annotations from the data sets' own releases, as CALCE or MR.BLIP has them.

The notebook of the same name shows the same step by step. Folders, unless given: `<root>/<dataset>/release` (what was
downloaded), `<root>/<dataset>/annotations/items` (CALCE's nouns), `<root>/<dataset>/annotations` (what is made; for
MR.BLIP's form `annotations_mr_blip`). docs/data.md says where to get everything. CALCE's nouns of the queries are
published for QVHighlights and Charades-STA; `--items extract` takes them from the queries instead (extra nouns).

Examples:
    python process_data/data_preprocess.py qvhighlights
    python process_data/data_preprocess.py charades --splits test --release ~/Downloads/charades_sta
    python process_data/data_preprocess.py qvhighlights --items extract --tagger spacy:en_core_web_md
    python process_data/data_preprocess.py activitynet --items extract --phrases          # tennis ball is one item
    python process_data/data_preprocess.py activitynet --form mr_blip
    python process_data/data_preprocess.py charades --form mr_blip --own-split
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from lavis.preparation import (
    annotations,
    annotations_actions,
    annotations_mr_blip,
    annotations_qa,
    annotations_sentences,
    noun_phrases,
)

CALCE = {
    "qvhighlights": annotations.prepare_qvhighlights,
    "charades": annotations.prepare_charades,
    "activitynet": annotations_sentences.prepare_activitynet,
    "tacos": annotations_sentences.prepare_tacos,
}
EXTRACT = "extract"
MR_BLIP = {
    "qvhighlights": annotations_mr_blip.prepare_qvhighlights,
    "charades": annotations_mr_blip.prepare_charades,
    "activitynet": annotations_mr_blip.prepare_activitynet,
    "activitynet_actions": annotations_actions.prepare_activitynet_actions,
    "tacos": annotations_mr_blip.prepare_tacos,
    "nextqa": annotations_qa.prepare_nextqa,
    "nextgqa": annotations_qa.prepare_nextgqa,
}


def items_of(given: str | Path, tagger: str | None, phrases: bool) -> annotations.Items:
    """A folder of nouns, or what extracts them with the named tagger, which is loaded here.

    Raises:
        ImportError, ValueError: see ``noun_phrases.make_tagger``.
    """
    if given != EXTRACT:
        return Path(given).expanduser()
    chosen = noun_phrases.make_tagger(tagger or noun_phrases.DEFAULT)
    return partial(noun_phrases.extract, tagger=chosen, phrases=phrases)


def check_together(args: argparse.Namespace) -> None:
    """That the options fit each other.

    Raises:
        ValueError: if they do not; says what goes with what.
    """
    if args.form == "calce" and args.dataset not in CALCE:
        raise ValueError(f"CALCE has no annotations of {args.dataset}; use --form mr_blip")
    if args.items and args.form != "calce":
        raise ValueError("--items goes with --form calce: MR.BLIP's annotations have no nouns")
    if args.tagger and (args.form, args.items) != ("calce", EXTRACT):
        raise ValueError(f"--tagger goes with --form calce --items {EXTRACT}")
    if args.phrases and (args.form, args.items) != ("calce", EXTRACT):
        raise ValueError(f"--phrases goes with --form calce --items {EXTRACT}")
    if args.own_split and (args.form, args.dataset) != ("mr_blip", "charades"):
        raise ValueError("--own-split goes with charades --form mr_blip")


def main(arguments: Sequence[str] | None = None) -> int:
    description, _, examples = (__doc__ or "").partition("\n\nExamples:")
    parser = argparse.ArgumentParser(
        description=description,
        epilog=f"Examples:{examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("dataset", choices=sorted(MR_BLIP))
    parser.add_argument("--form", choices=("calce", "mr_blip"), default="calce", help="default: %(default)s")
    parser.add_argument(
        "--root",
        type=Path,
        default=Path(os.environ.get("LAVIS_DATA", "data")),
        help="folder of all data (default: $LAVIS_DATA, or data; now %(default)s)",
    )
    parser.add_argument("--release", type=Path, help="folder of the downloaded annotations")
    parser.add_argument("--items", help=f"folder of CALCE's nouns, <split>.json; or {EXTRACT!r}: from the queries")
    parser.add_argument(
        "--tagger",
        help=f"for --items {EXTRACT}: {', '.join(noun_phrases.TAGGERS)}, or spacy:MODEL "
        f"(default: {noun_phrases.DEFAULT})",
    )
    parser.add_argument(
        "--phrases", action="store_true", help=f"for --items {EXTRACT}: nouns that stand together are one item"
    )
    parser.add_argument("--out", type=Path, help="folder to write to")
    parser.add_argument("--splits", nargs="+", help="default: all of the data set")
    parser.add_argument("--videos", type=Path, help="folder of the videos, whose lengths NExT-QA does not give")
    parser.add_argument(
        "--own-split", action="store_true", help="MR.BLIP's Charades-STA: hold 800 training videos out to validate on"
    )
    args = parser.parse_args(arguments)
    home = args.root / args.dataset
    release = (args.release or home / "release").expanduser()
    options: dict[str, object] = {"splits": args.splits} if args.splits else {}
    if args.own_split:
        options["own_split"] = True
    if args.dataset == "nextqa":
        options["videos"] = (args.videos or home / "videos").expanduser()
    try:
        check_together(args)
        if args.form == "calce":
            items = items_of(args.items or home / "annotations" / "items", args.tagger, args.phrases)
            out = (args.out or home / "annotations").expanduser()
            done = CALCE[args.dataset](release, items, out, **options)
        else:
            done = MR_BLIP[args.dataset](release, (args.out or home / "annotations_mr_blip").expanduser(), **options)
    except (ValueError, OSError, ImportError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 1
    print(*done, sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The commands about scores and annotations, for ``lavis.cli``: one function each, registered by ``add_commands``.

Each imports what it needs when it runs; ``lavis score`` never imports torch.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lavis.scoring.score_report import ScoreReport

Command = Callable[[argparse.Namespace], int]
_SCORE_EXAMPLES = """lavis score qvhighlights --predictions preds.jsonl --annotations highlight_val_release.jsonl
  lavis score qvhighlights --predictions a.jsonl --annotations val.jsonl --compare b.jsonl --html score.html
  lavis score --list"""


_AUDIT_EXAMPLES = """lavis audit highlight_val_release.jsonl
  lavis audit train.json val.json test.json --videos videos --output audit.json
  lavis audit mine.json --fields video=clip query=words windows=spans
  lavis audit charades_sta_test.txt --durations Charades_v1_test.csv --strict --allow past_end"""
_CEILING_EXAMPLES = """lavis ceiling charades_sta --codec seconds_text --annotations charades_test_release.jsonl
  lavis ceiling qvhighlights --split val --codec all --output ceiling.json
  lavis ceiling mine.json --codec seconds_text --codec-options style=frame_indices num_indices=100"""

_SUBMIT_EXAMPLE = """lavis submit --val val.jsonl --test test.jsonl --annotations-val highlight_val_release.jsonl \\
      --annotations-test highlight_test_release.jsonl --out submission
  lavis submit --benchmark star --test preds.jsonl --annotations-test STAR_test.json --out submission
  lavis submit --benchmark etbench --test results/meco/etbench/predictions/et_bench_test.json --out preds"""


def add_commands(add: Callable[..., Any]) -> None:
    """Registers the commands.

    Args:
        add: makes a command from name, function, what it does, and ``example``; gives its argument parser.
    """
    text = "Score predictions as a benchmark's official script does."
    _add_score(add("score", _score, text, example=_SCORE_EXAMPLES))
    _add_audit(add("audit", _audit, "List everything that is wrong with annotation files.", example=_AUDIT_EXAMPLES))
    text = (
        "Write what the servers of QVHighlights (an archive, from val and test), STAR and TVQA and the scripts of "
        "E.T. Bench (a file for each task) take."
    )
    _add_submit(add("submit", _submit, text, example=_SUBMIT_EXAMPLE))
    text = "What a way to write time can at best reach: encode true windows, decode and score them."
    _add_ceiling(add("ceiling", _ceiling, text, example=_CEILING_EXAMPLES))


def _add_score(command: Any) -> None:
    command.add_argument("protocol", nargs="?", metavar="PROTOCOL", help="name of the protocol, see --list")
    command.add_argument("--list", action="store_true", help="show the protocols with sources, forms, keys and options")
    given = "JSON lines, JSON, CSV or text; see --list; for etbench also a folder of these"
    command.add_argument("--predictions", metavar="FILE", help=given)
    command.add_argument("--annotations", metavar="FILE", help="truth; not needed where the predictions hold it")
    command.add_argument("--split", help="split of the truth, where the protocol asks for it")
    gaps = "queries without a usable answer: missed, an error, or left out; default: as the official script"
    command.add_argument("--missing", choices=("zero", "error", "drop"), help=gaps)
    surplus = "answers to no query: an error, or left out; default: as the official script"
    command.add_argument("--extra", choices=("error", "drop"), help=surplus)
    command.add_argument("--intervals", action="store_true", help="95 %% intervals, by bootstrap over videos")
    command.add_argument("--compare", metavar="OTHER", help="other predictions: differences with intervals")
    command.add_argument("--output", metavar="FILE", help="official figures (.json), and FILE.details.json beside it")
    command.add_argument("--per-query", metavar="FILE", help="a row per query (.csv, .json); of both with --compare")
    command.add_argument("--html", metavar="FILE", help="write a page about the figures")
    options = "options of the protocol, such as split=val; the value is YAML"
    command.add_argument("--options", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help=options)


def _score(args: argparse.Namespace) -> int:
    if args.list:
        return _list_protocols(args.protocol)
    if args.protocol is None or args.predictions is None:
        raise ValueError(f"score needs a protocol and --predictions, such as: {_SCORE_EXAMPLES.splitlines()[0]}")
    from lavis.common.config import parse_options
    from lavis.common.registry import registry
    from lavis.scoring.scorer import options_of, require_options, score

    options = dict(parse_options(args.options).value)
    has_splits = "split" in options_of(registry.protocols.get(args.protocol))
    if args.split is not None and has_splits:
        options["split"] = args.split
    require_options(args.protocol, options)
    report = score(
        args.protocol,
        args.predictions,
        args.annotations,
        missing=args.missing,
        extra=args.extra,
        intervals=args.intervals or args.html is not None,
        compare=args.compare,
        **options,
    )
    if args.split is not None and not has_splits:
        report.scored.notes.append(f"split {args.split}: this protocol scores whatever queries the truth file holds")
    # Ids may hold half characters, which JSON knows and a terminal does not.
    print(report.text().encode("utf-8", "backslashreplace").decode("utf-8"))
    for line in _write_score(report, args):
        print(line)
    return 0


def _write_score(report: ScoreReport, args: argparse.Namespace) -> Iterator[str]:
    """Writes the files that are asked for, and says which."""
    if args.output or args.per_query or args.html:
        yield ""
    if args.output:
        official, details = report.write(args.output)
        yield f"official figures: {official}\neverything else: {details}"
    if args.per_query:
        from lavis.scoring.comparison import write_rows

        rows = report.per_query() if report.comparison is None else report.comparison.rows()
        yield f"each query: {write_rows(args.per_query, rows)}"
    if args.html:
        from lavis.report.score_page import write_score_page

        yield f"page: {write_score_page(args.html, report)}"


def _list_protocols(name: str | None) -> int:
    from lavis.scoring.listing import describe_protocol, describe_protocols

    found = describe_protocols() if name is None else [describe_protocol(name)]
    print("\n\n".join(protocol.text() for protocol in found))
    return 0


def _add_audit(command: Any) -> None:
    command.add_argument("annotations", nargs="+", metavar="ANNOTATIONS", help="files; several are compared as splits")
    command.add_argument("--format", metavar="NAME", help="layout of the rows; by default found by their fields")
    fields = "which field of plain rows holds what: id, video, query, duration, windows, clips, ratings"
    command.add_argument("--fields", nargs="+", default=[], metavar="PART=FIELD", help=fields)
    command.add_argument("--durations", metavar="FILE", help="seconds of videos: CSV (id, length) or JSON mapping")
    command.add_argument("--videos", metavar="FOLDER", help="compare durations with the video files in it")
    difference = "seconds by which durations may differ from the videos (default: %(default)s)"
    command.add_argument("--tolerance", type=float, default=1.0, metavar="SECONDS", help=difference)
    slack = "seconds by which windows may end past the annotated duration (default: %(default)s)"
    command.add_argument("--slack", type=float, default=0.0, metavar="SECONDS", help=slack)
    command.add_argument("--strict", action="store_true", help="exit code 1 if there are findings")
    command.add_argument("--allow", nargs="+", default=[], metavar="KIND", help="findings that --strict lets pass")
    command.add_argument("--examples", type=int, default=3, metavar="N", help="places shown of each (default: 3)")
    command.add_argument("--output", metavar="FILE", help="write everything, with all places, as JSON")


def _audit(args: argparse.Namespace) -> int:
    from lavis.preparation.audit import audit, check_kinds, columns_of

    check_kinds(args.allow)
    found = audit(
        args.annotations,
        layout=args.format,
        columns=columns_of(args.fields),
        durations=args.durations,
        videos=args.videos,
        tolerance=args.tolerance,
        slack=args.slack,
    )
    print(found.to_text(args.examples))
    if args.output is not None:
        from lavis.common.io import write_json

        print(f"written: {write_json(args.output, found.to_json())}")
    return 1 if args.strict and found.faults(args.allow) else 0


def _add_ceiling(command: Any) -> None:
    command.add_argument("dataset", metavar="DATASET", help="configured data set, or an annotation file")
    command.add_argument("--codec", required=True, metavar="NAME", help="registered codec, or all")
    options = "arguments of the codec, such as style=seconds_floats; the value is YAML"
    command.add_argument("--codec-options", nargs="+", default=[], metavar="KEY=VALUE", help=options)
    tokenizer = "of the language model, for codecs that avoid numbers it splits (default: none is split)"
    command.add_argument("--tokenizer", metavar="FOLDER", help=tokenizer)
    command.add_argument("--split", default="test", help="of a configured data set (default: %(default)s)")
    command.add_argument("--annotations", metavar="FILE", help="read this file in place of the configured one")
    command.add_argument("--format", metavar="NAME", help="annotation format; by default the configured, or found")
    command.add_argument("--durations", metavar="FILE", help="seconds of videos, for files without durations")
    command.add_argument("--output", metavar="FILE", help="write the table as JSON")


def _ceiling(args: argparse.Namespace) -> int:
    from lavis.common.config import parse_options
    from lavis.preparation.audit import read_seconds
    from lavis.preparation.ceiling import ceilings, load_tokenizer, table
    from lavis.preparation.ceiling_samples import load_truth

    truth = load_truth(
        args.dataset,
        split=args.split,
        annotations=args.annotations,
        format_name=args.format,
        durations=read_seconds(args.durations),
    )
    options = parse_options(args.codec_options, "--codec-options").value
    rows = ceilings(truth.samples, args.codec, options, load_tokenizer(args.tokenizer))
    left_out = "".join(f", left out {count} {name}" for name, count in truth.left_out.items())
    print(f"{truth.source}: {len(truth.samples):,} queries{left_out}\n\n{table(rows)}")
    if args.output is not None:
        from lavis.common.io import write_json

        content = {"source": truth.source, "left_out": truth.left_out, "rows": [row.to_json() for row in rows]}
        print(f"\nwritten: {write_json(args.output, content)}")
    return 0


def _add_submit(command: Any) -> None:
    benchmarks = ("qvhighlights", "star", "tvqa", "etbench")
    command.add_argument("--benchmark", choices=benchmarks, default=benchmarks[0], help="default: %(default)s")
    for split in ("val", "test"):
        command.add_argument(f"--{split}", metavar="FILE", help=f"predictions for {split}, in any form")
        what = f"annotations of {split}: qid, query, vid; for star and tvqa their questions, for the ids"
        command.add_argument(f"--annotations-{split}", metavar="FILE", help=what)
    command.add_argument("--out", required=True, metavar="FOLDER", help="where the files and the archive go")
    what = "star, tvqa: an answer that names no option is drawn by chance, or an error (default: %(default)s)"
    command.add_argument("--unreadable", choices=("random", "error"), default="random", help=what)
    command.add_argument("--seed", type=int, default=0, help="star, tvqa: of what is drawn (default: %(default)s)")


def _submit(args: argparse.Namespace) -> int:
    from pathlib import Path

    needed = {"--test": args.test}
    if args.benchmark == "qvhighlights":
        needed |= {"--val": args.val, "--annotations-val": args.annotations_val}
        needed["--annotations-test"] = args.annotations_test
    lacking = [name for name, value in needed.items() if value is None]
    if lacking:
        raise ValueError(f"submit --benchmark {args.benchmark} needs {', '.join(lacking)}")
    if args.benchmark == "etbench":
        return _submit_tasks(args)
    if args.benchmark != "qvhighlights":
        return _submit_answers(args)
    from lavis.scoring.windows.submission import write_submission

    path = write_submission(Path(args.out), (args.val, args.annotations_val), (args.test, args.annotations_test))
    print(f"archive for the server: {path} ({path.stat().st_size:,} bytes)")
    return 0


def _submit_tasks(args: argparse.Namespace) -> int:
    """The files of E.T. Bench, one for each task."""
    from lavis.scoring.etbench.files import write_task_files

    for path in write_task_files(args.out, args.test):
        print(f"for the benchmark's scripts: {path}")
    return 0


def _submit_answers(args: argparse.Namespace) -> int:
    """The files of STAR's and TVQA's servers."""
    from lavis.scoring.questions.leaderboards import question_ids, star_submission, tvqa_submission

    ids = None if args.annotations_test is None else question_ids(args.annotations_test)
    if args.benchmark == "star":
        made = star_submission(args.test, ids, unreadable=args.unreadable, seed=args.seed)
    else:
        validation = [] if args.annotations_val is None else question_ids(args.annotations_val)
        made = tvqa_submission(args.test, ids, unreadable=args.unreadable, seed=args.seed, validation_ids=validation)
    for path in made.write(args.out):
        print(f"for the server: {path}")
    if made.drawn:
        print(f"{len(made.drawn)} answers name no option and were drawn by chance, such as {made.drawn[0]}")
    return 0

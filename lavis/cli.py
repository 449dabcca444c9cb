"""The command ``lavis``: train, evaluate, infer, merge, pipeline, convert, list, show, report, quickstart, and those of
``lavis.localize_command`` and ``lavis.scoring_commands``.

Everything heavy is imported by the command that needs it, so that help and lists come at once. Errors a user can mend
are one message and exit code 2; ``--traceback`` or ``LAVIS_TRACEBACK=1`` shows where they arose.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from lavis.localize_command import add_commands as add_localize
from lavis.scoring_commands import add_commands

if TYPE_CHECKING:
    from pathlib import Path

    from lavis.common.config import Config

USER_ERROR = 2
INTERRUPTED = 130

_CONFIG_HELP = "configuration: a path, or a name below configs/, with or without .yaml"
_OPTIONS_HELP = "changes to the configuration, such as run.batch_size=2; the value is YAML"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command.

    Args:
        argv: arguments without the program's name; ``None`` takes those of the process.

    Returns:
        Exit code: 0, 2 for an error the user can mend, 130 after an interruption.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    parsed = _parse(arguments)
    try:
        if getattr(parsed, "options", None):
            from lavis.common.config import split_options

            parsed.options = [f"{key}={value}" for key, value in split_options(parsed.options)]
        result = parsed.function(parsed)
        sys.stdout.flush()
        return int(result or 0)
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has enough (`lavis list | head`); nothing may be written while Python shuts down.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ValueError, OSError, ImportError) as error:
        if parsed.traceback or os.environ.get("LAVIS_TRACEBACK", "") not in ("", "0"):
            raise
        rank = os.environ.get("RANK", "0")
        process = "" if rank == "0" else f" (process {rank})"
        print(f"lavis {parsed.command}{process}: {error}\n(--traceback shows where this arose)", file=sys.stderr)
        return USER_ERROR


def run_script(command: str) -> NoReturn:
    """``train.py`` and ``evaluate.py``: the command, with the familiar flags, and the process's exit code."""
    sys.exit(main([command, *sys.argv[1:]]))


def _train(args: argparse.Namespace) -> int:
    config = _load(args)
    from lavis.runners.run import train

    return _say(train(config))


def _evaluate(args: argparse.Namespace) -> int:
    config = _load(args)
    if getattr(args, "checkpoint", None) or getattr(args, "tasks", None):
        from lavis.evaluating import of_checkpoint, with_tasks

        config = of_checkpoint(config, args.checkpoint) if args.checkpoint else config
        config = with_tasks(config, args.tasks) if args.tasks else config
    from lavis.runners.run import evaluate

    return _say(evaluate(config))


def _infer(args: argparse.Namespace) -> int:
    splits = ", ".join(args.splits)
    args.options = [*args.options, f"run.test_splits=[{splits}]"]
    return _evaluate(args)


def _pipeline(args: argparse.Namespace) -> int:
    from lavis.actions import draw_graph, more_actions
    from lavis.runners.pipeline import plan_pipeline, plan_text, run_pipeline

    chosen: dict[str, Any] = {"force": getattr(args, "force", []), "start": getattr(args, "start", None)}
    if getattr(args, "dry_run", False):
        return _say(plan_text(plan_pipeline(args.config, args.options, more_actions(), **chosen)))
    accept = getattr(args, "accept", [])
    results = run_pipeline(args.config, args.options, more_actions(), **chosen, accept=accept, draw=draw_graph)
    for stage in results:
        _say(f"{stage.name}: {stage.seconds:.0f} s{' (done before)' if stage.skipped else ''}")
    for page in [file for stage in results for file in stage.outputs if file.suffix == ".html"]:
        _say_report(page)
    return 0


def _say_report(page: Path) -> None:
    """Prints the table of a report and where its page lies."""
    table = page.with_suffix(".txt")
    if table.is_file():
        _say("\n" + table.read_text("utf-8").rstrip())
    _say(f"\nreport: {page}")


def _merge(args: argparse.Namespace) -> int:
    from lavis.preparation.merge import SOURCES, jobs, merge

    names = args.dataset or list(SOURCES)
    # All files are found before the first is written.
    for job in list(jobs(names, results=args.results, annotations=args.annotations, out=args.out, eval_only=args.eval)):
        print(merge(job))
    return 0


def _convert(args: argparse.Namespace) -> int:
    if args.merge:
        if args.family is not None or args.config is not None:
            raise ValueError("--merge takes the model from the checkpoint itself; leave out --family and --cfg-path")
        from lavis.convert.merge import merge

        print(merge(args.source, args.out))
        return 0
    model = _load(args)["model"] if args.config is not None else None
    from lavis.convert.convert import convert

    print(convert(args.source, args.out, args.family, model))
    return 0


def _list(args: argparse.Namespace) -> int:
    from lavis.common.catalogue import describe_entries
    from lavis.common.config import list_configs
    from lavis.common.registry import registry

    folders = {"zoo": ("models", "tiny"), "data": ("datasets",), "runs": ("experiments", "pipelines", "quickstart")}
    kinds = registry.kinds()
    known = [*folders, *kinds]
    if args.kind is not None and args.kind not in known:
        raise ValueError(f"there is no kind {args.kind!r}; known: {', '.join(known)}")
    for kind in known if args.kind is None else [args.kind]:
        if kind in kinds:
            rows = describe_entries(kinds[kind])
        else:
            rows = {f"{folder}/{name}": "" for folder in folders[kind] for name in list_configs(folder)}
        if args.kind is None:
            print(f"{kind}:" if rows else f"{kind}: none")
        width = max(map(len, rows), default=0)
        for name, summary in rows.items():
            print(f"{'' if args.kind else '  '}{name:{width}}  {summary}".rstrip())
    return 0


def _show(args: argparse.Namespace) -> int:
    config = _load(args)
    print(config.to_yaml(origins=args.origin), end="")
    if args.check:
        from lavis.common.check import require_valid

        require_valid(config, ())
    return 0


def _report(args: argparse.Namespace) -> int:
    from lavis.report.run_report import write_report

    _say_report(write_report(args.runs, args.out))
    return 0


def _quickstart(args: argparse.Namespace) -> int:
    args.config = f"quickstart/{args.system}"
    code = _pipeline(args)
    from lavis.common.config import load_config

    reports = [stage for stage in load_config(args.config)["stages"] if stage["action"] == "report"]
    runs = list(reports[-1]["settings"]["runs"].values())
    how = f"--model {runs[-1]}" + (f" --coarse {runs[0]}" if len(runs) > 1 else "")
    _say(f'ask it about a video: lavis localize VIDEO.mp4 "a red circle moves left" {how}')
    return code


def _load(args: argparse.Namespace) -> Config:
    from lavis.common.config import load_config

    return load_config(args.config, args.options)


def _say(text: object) -> int:
    """Prints in one process of several."""
    if os.environ.get("RANK", "0") == "0":
        print(text)
    return 0


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = _parser()
    parsed, rest = parser.parse_known_args(arguments)
    loose = [item for item in rest if not item.startswith("-")]
    unknown = [item for item in rest if item.startswith("-")]
    # LAVIS takes changes as trailing pairs `a.b c`, too, and launchers pass --local_rank.
    if unknown or (loose and not hasattr(parsed, "options")):
        parser.error(f"unrecognized arguments: {' '.join(unknown or loose)}")
    if hasattr(parsed, "cfg_path") and parsed.cfg_path is not None:
        loose = [parsed.config, *loose] if parsed.config is not None else loose
        parsed.config = parsed.cfg_path
    if hasattr(parsed, "options"):
        parsed.options = [*parsed.options, *loose]
    if hasattr(parsed, "config") and parsed.config is None and parsed.command != "convert":
        parser.error(f"{parsed.command} needs a configuration, such as: {_EXAMPLES[parsed.command].splitlines()[0]}")
    return parsed


_EXAMPLES = {
    "train": "lavis train experiments/calce/qvh_stage1 --options run.batch_size=2 run.num_workers=4",
    "evaluate": "lavis evaluate experiments/calce/qvh_stage1 --options 'run.test_splits=[val]'",
    "infer": "lavis infer experiments/calce/qvh_stage1 --splits train val test",
    "merge": "lavis merge --dataset qvh --results results/calce --annotations data --eval",
    "pipeline": """lavis pipeline pipelines/calce_qvh --dry-run
  lavis pipeline pipelines/calce_qvh --options run.device=cuda stages.stage2.run.epochs=10
  lavis pipeline pipelines/calce_qvh --from stage2
  lavis pipeline pipelines/calce_qvh --accept stage1_predictions""",
    "convert": "lavis convert checkpoint_best.pth results/calce/qvh_stage1/checkpoints/best.safetensors",
    "list": "lavis list codecs",
    "show": "lavis show experiments/calce/qvh_stage2 --origin",
    "report": "lavis report results/calce/qvh_stage1 results/calce/qvh_stage2 --out report",
    "quickstart": "lavis quickstart --system calce",
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lavis", description="Find moments in video with multimodal language models.", epilog="Example: lavis list"
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(
        name: str, function: Callable[[argparse.Namespace], int], text: str, config: bool = False, example: str = ""
    ) -> Any:
        command = commands.add_parser(
            name,
            help=text,
            description=text,
            epilog=f"Example:\n  {example or _EXAMPLES[name]}",
            formatter_class=argparse.RawDescriptionHelpFormatter,  # examples stay in one line
        )
        command.set_defaults(function=function)
        command.add_argument("--traceback", action="store_true", help="show where an error arose")
        if config:
            _add_config(command)
        return command

    add("train", _train, "Train a model, then test it; prints the folder of the run.", config=True)
    evaluate = add("evaluate", _evaluate, "Evaluate a trained model on run.test_splits.", config=True)
    evaluated = "weights to evaluate: folder of a run, checkpoint of ours, or published file or folder"
    evaluate.add_argument("--checkpoint", metavar="PLACE", help=evaluated)
    evaluate.add_argument("--tasks", nargs="+", help="of a benchmark of several (et_bench, mvbench) these alone")
    infer = add("infer", _infer, "Predict whole splits, also the training split, as a later stage needs.", config=True)
    infer.add_argument("--splits", nargs="+", default=["train", "val", "test"], help="default: %(default)s")
    _add_merge(add("merge", _merge, "Write stage-1 predictions into annotation files."))
    _add_pipeline(add("pipeline", _pipeline, _PIPELINE_HELP, config=True))
    add_localize(add)
    convert = add("convert", _convert, "Turn a published checkpoint into one of ours.")
    convert.add_argument("source", help="published .pth, .bin or .safetensors, or a folder with parts and their index")
    convert.add_argument("out", help=".safetensors file, or a folder for model.safetensors")
    convert.add_argument("--family", help="key map; by default recognised by the names in the file")
    convert.add_argument(
        "--merge",
        action="store_true",
        help="source is ours (or a run's folder): write all of the model, adapters merged",
    )
    convert.add_argument("--cfg-path", dest="config", help="configuration whose model the result must fit")
    _add_options(convert)
    listing = add("list", _list, "List models, configurations and registered parts.")
    listing.add_argument("kind", nargs="?", help="zoo, data, runs, or a kind of part such as codecs; default: all")
    show = add("show", _show, "Print a configuration with bases, options and interpolations applied.", config=True)
    show.add_argument("--origin", action="store_true", help="say behind each value where it was set")
    show.add_argument("--check", action="store_true", help="check it, and list all problems")
    report = add("report", _report, "Write a page about one or several runs.")
    report.add_argument("runs", nargs="+", help="folders of runs")
    report.add_argument("--out", default="report", help="page (.html) or folder to write (default: %(default)s)")
    quickstart = add("quickstart", _quickstart, "Train and evaluate a small model on generated videos.")
    quickstart.add_argument("--system", default="calce", help="calce or meco (default: %(default)s)")
    _add_options(quickstart)
    add_commands(add)
    return parser


def _add_config(command: Any) -> None:
    command.add_argument("config", nargs="?", help=_CONFIG_HELP)
    command.add_argument("--cfg-path", metavar="CONFIG", help="the same, as LAVIS spells it")
    _add_options(command)
    command.add_argument("--local_rank", "--local-rank", help=argparse.SUPPRESS)


def _add_options(command: Any) -> None:
    command.add_argument("--options", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help=_OPTIONS_HELP)


_PIPELINE_HELP = (
    "Run the stages of a pipeline in order. A stage that was completed, and whose configuration, data, weights and "
    "other inputs are the same in content, is passed over; an interrupted one goes on where it stopped."
)


def _add_pipeline(command: Any) -> None:
    command.add_argument("--dry-run", action="store_true", help="print what would be done, and why; do nothing")
    command.add_argument("--force", nargs="+", default=[], metavar="STAGE", help="do these again, up to date or not")
    command.add_argument("--from", dest="start", metavar="STAGE", help="do this stage and all after it again")
    accepted = "go on with what these stages wrote as it is now, though it was changed by hand"
    command.add_argument("--accept", nargs="+", default=[], metavar="STAGE", help=accepted)


def _add_merge(command: Any) -> None:
    command.add_argument("--dataset", action="append", help="qvh or charades; may be repeated; default: both")
    command.add_argument("--results", default="results/calce", help="folder of the runs (default: %(default)s)")
    folder = os.environ.get("LAVIS_DATA", "data")
    command.add_argument("--annotations", default=folder, help="their folder (default: $LAVIS_DATA, now %(default)s)")
    command.add_argument("--out", help="folder for the merged files; default: beside the annotations")
    command.add_argument("--eval", action="store_true", help="leave the training split out")


if __name__ == "__main__":
    sys.exit(main())

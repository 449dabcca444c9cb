"""What the scripts over collections have in common: options of a run, help with examples, and how they end."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from lavis.preparation.collection.run import DEFAULT_BUDGET, EXECUTORS, Running


def parser_of(doc: str | None) -> argparse.ArgumentParser:
    """A parser whose help is a script's docstring, with its examples at the end."""
    description, _, examples = (doc or "").partition("\n\nExamples:")
    return argparse.ArgumentParser(
        description=description,
        epilog=f"Examples:{examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def add_running(parser: argparse.ArgumentParser) -> None:
    """Adds the options of ``run_collection``."""
    group = parser.add_argument_group("how it is run")
    group.add_argument(
        "--executor", choices=EXECUTORS, default="pool",
        help="processes of this machine, a Ray cluster (extra ray; RAY_ADDRESS names it), or this process "
        "(default: %(default)s)",
    )  # fmt: skip
    group.add_argument("--workers", type=int, metavar="N", help="files at a time (default: the processors there are)")
    group.add_argument("--shard", metavar="I/N", help="only part I of N, for batch schedulers; I counts from 1")
    group.add_argument("--no-resume", action="store_true", help="do everything again, also what earlier runs did")
    group.add_argument("--retry", action="store_true", help="try files again that failed before")
    group.add_argument(
        "--budget", type=budget_of, default=DEFAULT_BUDGET, metavar="N|P%",
        help=f"files that may fail before the job stops: a number or a share (default: {DEFAULT_BUDGET * 100:g}%%)",
    )  # fmt: skip
    group.add_argument("--time-limit", type=float, metavar="S", help="seconds a file may take (default: no limit)")
    group.add_argument(
        "--memory-limit", type=int, metavar="MIB",
        help="mebibytes a file may take, of private memory with the stacks of threads (default: no limit)",
    )  # fmt: skip


def running_of(parsed: argparse.Namespace) -> Running:
    """The keywords for ``run_collection``."""
    return Running(
        executor=parsed.executor, workers=parsed.workers, shard=parsed.shard, resume=not parsed.no_resume,
        retry=parsed.retry, budget=parsed.budget, time_limit_s=parsed.time_limit,
        memory_limit_mib=parsed.memory_limit,
    )  # fmt: skip


def budget_of(text: str) -> float:
    """``20`` files, or ``5%`` of them."""
    try:
        value = float(text[:-1]) / 100 if text.endswith("%") else float(int(text))
    except ValueError:
        value = -1.0
    if not value >= 0 or (text.endswith("%") and value >= 1):
        raise argparse.ArgumentTypeError(f"a number of files, or a share below 100%, such as 20 or 5%; got {text!r}")
    return value


def ended(program: str, run: Callable[[], int]) -> int:
    """Runs a script's work with messages on standard error; what the user can mend is one line and exit status 1."""
    from lavis.common.logging import close_logging, setup_logging

    setup_logging()
    try:
        return run()
    except (ValueError, OSError, ImportError) as error:
        print(f"{program}: {error}", file=sys.stderr)  # noqa: T201
        return 1
    except KeyboardInterrupt:
        print(f"{program}: stopped; the same command goes on from here", file=sys.stderr)  # noqa: T201
        return 130
    finally:
        close_logging()

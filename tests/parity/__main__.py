"""Compare this project with recorded outputs of the original systems.

Examples:
    python -m tests.parity --golden ../shared/golden
    python -m tests.parity --golden ../shared/golden --system calce
    python -m tests.parity --golden ../shared/golden --filter stage2 --fail-fast --json results/parity.json
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from tests.parity import runner


def main(arguments: list[str] | None = None) -> int:
    args = parse(arguments)
    golden: Path = args.golden
    if not golden.is_dir():
        return stop(f"--golden {golden} is no folder")
    if golden.resolve().name in runner.SYSTEMS:
        golden = golden.resolve()
    known = sorted({system for system, _ in runner.modules()})
    if args.system and args.system not in known:
        return stop(f"there are no cases for the system {args.system!r}; there are some for: {', '.join(known) or '-'}")
    if args.list:
        for case in selected(golden, args.system, args.filter):
            print(f"{case.system:<{WIDTH_SYSTEM}} {case.name}")
        return 0
    started = time.perf_counter()
    outcomes = []
    for case in selected(golden, args.system, args.filter):
        outcome = runner.run(case)
        outcomes.append(outcome)
        print(line(outcome), flush=True)
        if args.fail_fast and outcome.status == "FAIL":
            break
    seconds = time.perf_counter() - started
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps([outcome.to_json() for outcome in outcomes], indent=1) + "\n")
    return summary(outcomes, seconds, golden, args)


WIDTH_SYSTEM = 17
WIDTH_NAME = 52


def parse(arguments: list[str] | None) -> argparse.Namespace:
    description, _, examples = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        prog="python -m tests.parity",
        description=description,
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--golden",
        type=Path,
        required=True,
        metavar="DIR",
        help="recorded outputs: the folder with one sub-folder a system, or the folder of one system",
    )
    parser.add_argument("--system", metavar="NAME", help="only this one, such as calce")
    parser.add_argument("--filter", default="", metavar="TEXT", help="only cases with this in their name")
    parser.add_argument("--fail-fast", action="store_true", help="stop at the first failure")
    parser.add_argument("--json", type=Path, metavar="OUT", help="write all outcomes there")
    parser.add_argument("--list", action="store_true", help="list the cases, run none")
    return parser.parse_args(arguments)


def selected(golden: Path, system: str | None, text: str) -> Iterator[runner.Case]:
    """The cases of the chosen systems that have recorded outputs and a matching name."""
    for name, module in runner.modules():
        if system and name != system:
            continue
        folder = runner.system_folder(golden, name, asked_for=system is not None)
        if folder is None:
            continue
        yield from (case for case in runner.cases_of(module, name, folder) if text in case.name)


def line(outcome: runner.Outcome) -> str:
    difference = "-" if outcome.difference is None else f"{outcome.difference:.3g}"
    row = f"{outcome.system:<{WIDTH_SYSTEM}} {outcome.name:<{WIDTH_NAME}} {difference:>9}  {outcome.status:<4}"
    row += f" {outcome.seconds:7.2f} s"
    reason = "\n    ".join(outcome.reason.splitlines())
    return f"{row}  {reason}" if reason else row


def summary(outcomes: list[runner.Outcome], seconds: float, golden: Path, args: argparse.Namespace) -> int:
    count = {status: sum(o.status == status for o in outcomes) for status in ("ok", "FAIL", "skip")}
    differences = [(o.difference, o.name) for o in outcomes if o.difference is not None]
    print()
    if differences:
        largest, name = max(differences)
        print(f"largest difference {largest:.3g} ({name})")
    print(f"{count['ok']} ok, {count['FAIL']} failed, {count['skip']} skipped in {seconds:.1f} s")
    for outcome in outcomes:
        if outcome.status == "FAIL":
            print(f"FAIL {outcome.system} {outcome.name}")
    if not count["ok"] and not count["FAIL"]:
        chosen = f" for {args.system}" if args.system else ""
        matching = f" matching {args.filter!r}" if args.filter else ""
        return stop(f"nothing was compared: no case{chosen}{matching} found recorded outputs in {golden}")
    return 1 if count["FAIL"] else 0


def stop(message: str) -> int:
    print(f"parity: {message}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        sys.exit(main())
    except BrokenPipeError:
        sys.exit(1)

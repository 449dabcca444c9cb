"""``run_collection``: one job over many files, on this machine or a cluster, that can be stopped and taken up again.

    summary = run_collection(find_videos("videos"), work, "out", name="lengths", options={"version": 1}, workers=8)

``work`` gets an ``Item`` and a folder for unfinished files, and returns what JSON can hold. What is done is in a
journal (``state.py``): a second run does only what is new or changed. An item that fails, kills its process or hangs
goes into quarantine, and the job stops once more than ``budget`` are there. It stops at once, and blames no item, where
the disk is full.
"""

from __future__ import annotations

import math
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypedDict

from lavis.preparation.collection.items import Item, Shard, content_key, options_digest
from lavis.preparation.collection.outcome import Outcome, UnwritableError, Work, attempt
from lavis.preparation.collection.state import State
from lavis.preparation.collection.summary import Summary

Executor = Literal["pool", "ray", "serial"]
EXECUTORS: tuple[Executor, ...] = ("pool", "ray", "serial")
DEFAULT_BUDGET = 0.05


class Running(TypedDict, total=False):
    """How a job is run: the keywords of ``run_collection`` that every tool passes on."""

    executor: Executor
    workers: int | None
    shard: str | None
    resume: bool
    retry: bool
    budget: float
    time_limit_s: float | None
    memory_limit_mib: int | None


class TooManyFailures(ValueError):
    """More items failed than the budget allows."""


def run_collection(
    items: Sequence[Item],
    work: Work,
    out: str | Path,
    *,
    name: str,
    options: Mapping[str, Any] | None = None,
    is_done: Callable[[Item, Mapping[str, Any]], bool] | None = None,
    executor: Executor = "pool",
    workers: int | None = None,
    shard: str | None = None,
    resume: bool = True,
    retry: bool = False,
    budget: float = DEFAULT_BUDGET,
    time_limit_s: float | None = None,
    memory_limit_mib: int | None = None,
) -> Summary:
    """Does ``work`` for every item that is not done yet.

    Args:
        items: all items of the job; no two have the same name.
        work: see ``outcome.Work``; its output must be whole or absent whenever it is killed.
        out: folder of the output; the journal is below it.
        name: of the job; jobs of different names share a folder without touching each other.
        options: whatever changes the result; an item is done again when they do.
        is_done: asked of an item that the journal calls done, with its result: whether the output is still there.
        executor: ``pool``, processes of this machine; ``ray``, a cluster; ``serial``, this process, where an item that
            hangs or dies takes the job with it.
        workers: items at a time; by default the processors there are.
        shard: ``I/N``: do only this part of the items.
        resume: whether what earlier runs did counts.
        retry: try items again that failed before, although they are what they were.
        budget: items that may fail: a number of them, or below 1 a share of all (of any, at least one may).
        time_limit_s: seconds an item may take.
        memory_limit_mib: mebibytes an item may take, see ``memory.py``; not with ``serial``, whose process is this one.

    Returns:
        outcomes of all items of the part, of earlier runs as well, and figures.

    Raises:
        TooManyFailures: once more items failed than ``budget``; the journal keeps what was done.
        UnwritableError: once an item's output cannot be written, as on a full disk; that item is no failure.
        BusyError: if another run is at the same job in the same folder.
        ValueError: for options that make no sense.
        ImportError: if ``executor`` is ``ray`` and Ray is not installed; names the extra.
    """
    part = Shard.of(shard)
    _check(items, executor, workers, budget, time_limit_s)
    if memory_limit_mib is not None:
        work = _limited(work, executor, memory_limit_mib)
    mine = part.share(items)
    state = State(out, name, part)
    digest = options_digest(options or {})
    with state.held():
        known = state.outcomes() if resume else {}
        plan = _plan(mine, digest, known, retry, is_done)
        allowed = _allowed(budget, len(mine))
        todo = [item for item in mine if plan.keys.get(item.name)]
        count = min(workers or _processors(), max(1, len(todo)))
        run = _Run(state, plan, allowed)
        start = time.monotonic()
        run.check_budget()
        run.follow(_outcomes(executor, todo, work, state.scratch, count, workers, time_limit_s), name, len(mine))
        wall_s = time.monotonic() - start
        outcomes = [plan.outcomes[item.name] for item in mine]
        state.write_quarantine(each for each in outcomes if each.failure)
    new = [plan.outcomes[item.name] for item in todo]
    return Summary(
        name=name, outcomes=outcomes, before=len(mine) - len(new), video_s=sum(_video_s(each) for each in new),
        core_s=sum(each.core_s for each in new), wall_s=wall_s, workers=count if executor != "serial" else 1,
        quarantine=state.quarantine, journal=state.journal,
    )  # fmt: skip


class _Plan:
    """What is known of each item, and the keys of those that are to be done."""

    def __init__(self) -> None:
        self.outcomes: dict[str, Outcome] = {}
        self.keys: dict[str, str] = {}


def _plan(
    items: Sequence[Item],
    digest: str,
    known: Mapping[str, tuple[str, Outcome]],
    retry: bool,
    is_done: Callable[[Item, Mapping[str, Any]], bool] | None,
) -> _Plan:
    plan = _Plan()
    for item in items:
        try:
            key = content_key(item.path, digest)
        except OSError as error:
            plan.outcomes[item.name] = Outcome(item.name, None, "error", str(error))
            continue
        earlier_key, earlier = known.get(item.name, ("", None))
        if earlier is not None and earlier_key == key:
            failed = earlier.failure is not None
            if (failed and not retry) or (not failed and (is_done is None or is_done(item, earlier.result or {}))):
                plan.outcomes[item.name] = earlier
                continue
        plan.keys[item.name] = key
    return plan


class _Run:
    """Keeps the journal while outcomes come, and the budget."""

    def __init__(self, state: State, plan: _Plan, allowed: int) -> None:
        self.state, self.plan, self.allowed = state, plan, allowed

    def follow(self, outcomes: Iterator[Outcome], name: str, total: int) -> None:
        from lavis.common.logging import Progress

        before = len(self.plan.outcomes)
        shown = Progress(outcomes, name, total=total, done=before, unit="items", every=30.0)
        try:
            for outcome in shown:
                if outcome.failure == "unwritable":
                    raise UnwritableError(f"{outcome.item}: {outcome.error}; then the same command goes on from here")
                self.state.add(outcome, self.plan.keys[outcome.item])
                self.plan.outcomes[outcome.item] = outcome
                if outcome.failure:
                    shown.facts(failed=len(self._failed()))
                    self.check_budget()
        finally:
            closing = getattr(outcomes, "close", None)
            if closing is not None:
                closing()  # ends the processes now, and not when the generator is collected

    def check_budget(self) -> None:
        failed = self._failed()
        if len(failed) <= self.allowed:
            return
        self.state.write_quarantine(failed)
        shown = "".join(f"\n  {each.item}: {each.error}" for each in failed[:5])
        raise TooManyFailures(
            f"{len(failed)} items failed, of which {self.allowed} are allowed (--budget); all are in "
            f"{self.state.quarantine}, the first are:{shown}\nRepair them, or allow more; what is done stays done"
        )

    def _failed(self) -> list[Outcome]:
        return [each for each in self.plan.outcomes.values() if each.failure]


def _outcomes(
    executor: Executor,
    items: Sequence[Item],
    work: Work,
    scratch: Path,
    count: int,
    workers: int | None,
    time_limit_s: float | None,
) -> Iterator[Outcome]:
    if not items:
        return iter(())
    if executor == "serial":
        start = getattr(work, "start", None)
        if start is not None:
            start(0)
        return (attempt(work, item, scratch) for item in items)
    if executor == "pool":
        from lavis.preparation.collection.pool import run_pool

        return run_pool(items, work, scratch, count, time_limit_s)
    from lavis.preparation.collection.ray_cluster import run_ray

    return run_ray(items, work, scratch, workers, time_limit_s)


def _limited(work: Work, executor: str, memory_limit_mib: int) -> Work:
    from lavis.preparation.collection.memory import LimitedMemory

    if executor == "serial":
        raise ValueError("a memory limit (--memory-limit) would hold for this very process; use --executor pool or ray")
    if memory_limit_mib < 1:
        raise ValueError(f"the memory limit must be at least 1 MiB, got {memory_limit_mib}")
    return LimitedMemory(work, memory_limit_mib)


def _check(
    items: Sequence[Item], executor: str, workers: int | None, budget: float, time_limit_s: float | None
) -> None:
    if executor not in EXECUTORS:
        raise ValueError(f"there is no executor {executor!r}; there are {', '.join(EXECUTORS)}")
    if workers is not None and workers < 1:
        raise ValueError(f"workers must be at least 1, got {workers}")
    if not math.isfinite(budget) or budget < 0:
        raise ValueError(f"the budget is a number of items, or a share below 1, got {budget}")
    if time_limit_s is not None and not time_limit_s > 0:
        raise ValueError(f"the time limit must be above 0 s, got {time_limit_s}")
    twice = next((name for name, count in Counter(item.name for item in items).items() if count > 1), None)
    if twice is not None:
        raise ValueError(f"two items are called {twice!r}; each needs a name of its own")


def _allowed(budget: float, total: int) -> int:
    return math.ceil(budget * total) if budget < 1 else int(budget)


def _processors() -> int:
    """Processors this process may use, which containers and batch schedulers make fewer than there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _video_s(outcome: Outcome) -> float:
    seconds = (outcome.result or {}).get("duration_s", 0.0)
    return float(seconds) if isinstance(seconds, (int, float)) else 0.0

"""Answers beside their truth, and a count of everything that does not fit.

A query is *missing* without an answer row, *unparseable* where its row cannot be read; both are treated as the policy
says: they count as missed (``zero``), are left out (``drop``), or stop the scoring with a list of them (``error``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from lavis.scoring.base import A, ExtraPolicy, Form, Pairs, Policy, Protocol, Row, RowError, ScoringError, T, Tally
from lavis.scoring.reading import Fault, Given, Source, chosen_form, has_form, open_rows

R = TypeVar("R")


@dataclass(slots=True)
class Read(Generic[R]):
    """Records of a source with their places, what could not be read, and how the source was understood."""

    records: list[R]
    places: list[str]
    broken: list[tuple[str | None, str]]
    form: str


def paired(
    protocol: Protocol[A, T],
    predictions: Given,
    annotations: Given | None,
    missing: Policy | None = None,
    extra: ExtraPolicy | None = None,
) -> tuple[Pairs[A, T], dict[str, str]]:
    """Reads both sides and pairs them.

    Args:
        protocol: says which forms there are.
        predictions: answers.
        annotations: truth; ``None`` where the rows of predictions hold it.
        missing: by default the protocol's.
        extra: by default the protocol's.

    Returns:
        the pairs, and how each file was understood (``predictions``, ``annotations``).

    Raises:
        ScoringError: if a side is empty or of no known form, a row of truth is broken, no answer fits any query, or
            something is missing and the policy is ``error``.
    """
    policy = protocol.missing if missing is None else missing
    answers, truths = _both_sides(protocol, predictions, annotations)
    answers.records, answers.broken = protocol.aligned(answers.records, truths.records, answers.broken)
    tally = Tally()
    by_query = protocol.joined(_truth_by_id(truths, annotations is not None and protocol.repeated_truth == "error"))
    tally.queries = len(by_query)
    given: dict[str, list[tuple[A, str]]] = {}
    for answer, place in zip(answers.records, answers.places, strict=True):
        given.setdefault(answer.id, []).append((answer, place))
    unreadable = _count_broken(answers.broken, given, tally)
    kept, chosen = _walk(protocol, by_query, given, unreadable, policy, tally)
    unknown = [identity for identity in given if identity not in by_query]
    for identity in unknown:
        tally.add("extra", f"{given[identity][0][1]}: answers {identity!r}, which the truth does not hold")
    if by_query and given and len(unknown) == len(given):
        raise ScoringError(
            f"none of the {len(given)} answered queries is in the truth: answers to {_some(list(given))}, truth on "
            f"{_some(list(by_query))}. Is it the truth of another split or data set?"
        )
    _require(tally, len(answers.broken), policy, protocol.extra if extra is None else extra)
    if not kept:
        raise ScoringError("no query is left to score: " + _told(tally))
    tally.scored = len(kept)
    forms = {"predictions": answers.form, "annotations": truths.form}
    return Pairs(kept, chosen, tally), forms


def _both_sides(protocol: Protocol[A, T], predictions: Given, annotations: Given | None) -> tuple[Read[A], Read[T]]:
    source = open_rows(predictions, "predictions")
    answers = read(source, chosen_form(source, protocol.answer_forms, "predictions"))
    truth_source = (
        open_rows(predictions, "predictions") if annotations is None else open_rows(annotations, "annotations")
    )
    if annotations is None:
        form = has_form(truth_source, protocol.truth_forms)
        if form is None:
            raise ScoringError(f"{source.name} holds no truth of its own; give the annotations (--annotations FILE)")
    else:
        form = chosen_form(truth_source, protocol.truth_forms, "annotations")
    truths = read(truth_source, form)
    if annotations is None:
        truths.form = "in the rows of predictions"
        known = {problem for _, problem in answers.broken}
        answers.broken += [(name, problem) for name, problem in truths.broken if problem not in known]
    elif truths.broken:
        raise ScoringError("the truth cannot be read: " + "; ".join(problem for _, problem in truths.broken[:5]))
    if not truths.records:
        raise ScoringError(f"{truth_source.name} holds no truth to score against")
    return answers, truths


def read(source: Source, form: Form[R]) -> Read[R]:
    """All records of a source in one form; what cannot be read is kept as ``(id if known, problem)``."""
    found: Read[R] = Read([], [], [], f"{form.name}, {source.container}")
    for row in source.rows:
        if isinstance(row, Fault):
            found.broken.append((None, f"{row.place}: {row.problem}"))
            continue
        try:
            records = form.records(row)
        except RowError as error:
            found.broken.append((_known_id(form, row), f"{row.place}: {error}"))
            continue
        found.records.extend(records)
        found.places.extend([row.place] * len(records))
    return found


def _known_id(form: Form[R], row: Row) -> str | None:
    """The id of a row that cannot be read, if at least that can."""
    try:
        return form.identify(row)
    except RowError:
        return None


def _truth_by_id(truths: Read[T], once: bool) -> dict[str, T]:
    by_id: dict[str, T] = {}
    for truth, place in zip(truths.records, truths.places, strict=True):
        if once and truth.id in by_id:
            raise ScoringError(f"{place}: the truth holds the id {truth.id!r} twice; remove one of the rows")
        by_id[truth.id] = truth
    return by_id


def _count_broken(
    broken: Sequence[tuple[str | None, str]], given: dict[str, list[tuple[A, str]]], tally: Tally
) -> set[str]:
    """Counts rows that cannot be read; gives the ids of queries that are left without another answer."""
    ids = set()
    for identity, problem in broken:
        tally.add("unparseable", problem)
        if identity is not None and identity not in given:
            ids.add(identity)
    return ids


def _walk(
    protocol: Protocol[A, T],
    by_query: dict[str, T],
    given: dict[str, list[tuple[A, str]]],
    unreadable: set[str],
    policy: Policy,
    tally: Tally,
) -> tuple[list[T], list[A | None]]:
    """Each query with the answer that counts, in the order of the truth."""
    kept: list[T] = []
    chosen: list[A | None] = []
    for identity, truth in by_query.items():
        answers = given.get(identity, [])
        if len(answers) > 1:
            tally.add("duplicated", f"{answers[1][1]}: {identity!r} is answered again", len(answers) - 1)
        if not answers and identity not in unreadable:
            tally.add("missing", f"no answer to {identity!r}")
        if not answers:
            if policy == "zero":
                kept.append(truth)
                chosen.append(None)
            continue
        answer = answers[0][0] if len(answers) == 1 else protocol.merged([answer for answer, _ in answers])
        protocol.checked(answer, truth, tally, answers[-1][1])
        kept.append(truth)
        chosen.append(answer)
    return kept, chosen


def _require(tally: Tally, broken: int, missing: Policy, extra: ExtraPolicy) -> None:
    """What the policies ``error`` demand.

    A text that a protocol finds no window in is an answer, if a wrong one; only broken rows stop the scoring.
    """
    lacking = (tally.missing or broken) and missing == "error"
    surplus = tally.extra and extra == "error"
    if not lacking and not surplus:
        return
    cure = []
    if lacking:
        cure.append("predict the missing ones, or choose --missing zero (they count as missed) or --missing drop")
    if surplus:
        cure.append("take the truth of the split that was predicted, or --extra drop")
    raise ScoringError(f"predictions and truth do not match: {_told(tally)}. Mend it: {'; '.join(cure)}")


def _told(tally: Tally) -> str:
    counts = {name: count for name, count in tally.counts().items() if count and name != "scored"}
    told = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in counts.items())
    examples = [example for kind in ("unparseable", "missing", "extra") for example in tally.examples.get(kind, [])]
    return told + "".join(f"\n  {example}" for example in examples)


def _some(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:3])) + (" ..." if len(names) > 3 else "")

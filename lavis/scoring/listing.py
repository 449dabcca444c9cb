"""What each registered protocol takes and gives, for ``lavis score --list``."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lavis.common.registry import registry
from lavis.common.yaml_tree import ConfigError
from lavis.scoring.base import ExtraPolicy, Form, Policy
from lavis.scoring.scorer import build_protocol, options_of


@dataclass(frozen=True, slots=True)
class FormDescription:
    """A form: what it is called, fields that a row must have, and its layout in words."""

    name: str
    fields: tuple[str, ...]
    summary: str


@dataclass(frozen=True, slots=True)
class ProtocolDescription:
    """A protocol as a user meets it.

    Args:
        name: registered name.
        summary: first line of its documentation.
        source: paper and script.
        answers: forms of predictions; empty where ``problem`` says why they are not known.
        truths: forms of annotations.
        keys: headline figures.
        options: with their defaults as text; ``required`` where there is none.
        missing: what becomes of queries without a usable answer, by default.
        extra: what becomes of answers to no query, by default.
        problem: why the protocol cannot be built with its defaults.
    """

    name: str
    summary: str
    source: str
    answers: tuple[FormDescription, ...]
    truths: tuple[FormDescription, ...]
    keys: tuple[str, ...]
    options: dict[str, str]
    missing: Policy
    extra: ExtraPolicy
    problem: str = ""

    def text(self) -> str:
        """Several lines for the terminal."""
        options = ", ".join(f"{name}={default}" for name, default in self.options.items()) or "none"
        lines = [f"{self.name}: {self.summary}", _wrapped("source", self.source)]
        forms = [*_told("predictions", self.answers), *_told("truth", self.truths)]
        lines += [_wrapped(label, form) for label, form in forms]
        if self.problem:
            lines.append(_wrapped("forms", f"known once it is built: {self.problem}"))
        lines += [_wrapped("figures", ", ".join(self.keys)), _wrapped("options", options)]
        lines.append(f"  by default   missing: {self.missing}, extra: {self.extra}")
        return "\n".join(lines)


def describe_protocols() -> list[ProtocolDescription]:
    """All registered protocols, by name. Imports their modules, which are light."""
    return [describe_protocol(name) for name in registry.protocols.names()]


def describe_protocol(name: str) -> ProtocolDescription:
    """One protocol.

    Raises:
        UnknownEntryError: if there is none of that name.
    """
    entry = registry.protocols.get(name)
    answers: tuple[FormDescription, ...] = ()
    truths: tuple[FormDescription, ...] = ()
    problem, built = "", None
    try:
        built = build_protocol(name, {})
    except ConfigError as error:  # one with an option that has no default
        problem = str(error)
    else:
        answers, truths = _forms(built.answer_forms), _forms(built.truth_forms)
    shown = entry if built is None else built
    return ProtocolDescription(
        name=name,
        summary=(inspect.getdoc(entry) or "").strip().split("\n")[0],
        source=entry.source,
        answers=answers,
        truths=truths,
        keys=tuple(shown.keys),
        options={key: _default(each) for key, each in options_of(entry).items()},
        missing=shown.missing,
        extra=shown.extra,
        problem=problem,
    )


def _forms(forms: Sequence[Form[Any]]) -> tuple[FormDescription, ...]:
    return tuple(FormDescription(form.name, tuple(form.fields), form.summary) for form in forms)


def _told(label: str, forms: Sequence[FormDescription]) -> list[tuple[str, str]]:
    rows = [f"{form.name}: {form.summary or ', '.join(form.fields)}" for form in forms]
    return [(label if number == 0 else "", row) for number, row in enumerate(rows)]


def _wrapped(label: str, items: str) -> str:
    return textwrap.fill(items, 118, initial_indent=f"  {label:13}", subsequent_indent=15 * " ")


def _default(parameter: inspect.Parameter) -> str:
    if parameter.default is inspect.Parameter.empty:
        return "required"
    value = parameter.default
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)

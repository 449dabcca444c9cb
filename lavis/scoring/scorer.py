"""The one function that scores: files in, figures with their conditions out."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lavis.common.binding import Binder
from lavis.common.construct import build_part
from lavis.common.registry import registry
from lavis.common.signatures import parameters
from lavis.common.yaml_tree import ConfigError
from lavis.scoring.base import EXTRA_POLICIES, POLICIES, ExtraPolicy, Policy, Protocol, ScoringError
from lavis.scoring.intervals import bootstrap
from lavis.scoring.pairing import paired
from lavis.scoring.reading import Given, rows_of_folder
from lavis.scoring.score_report import ScoreReport

__all__ = ["ScoreReport", "build_protocol", "score"]


def score(
    protocol: str | Protocol[Any, Any],
    predictions: Given,
    annotations: Given | None = None,
    *,
    missing: Policy | None = None,
    extra: ExtraPolicy | None = None,
    intervals: bool = False,
    compare: Given | None = None,
    **options: Any,
) -> ScoreReport:
    """Scores predictions as a benchmark's official script does.

    Args:
        protocol: registered name (``qvhighlights``), or a protocol that is built already.
        predictions: file, or rows in memory; for ``etbench`` also a folder of files.
        annotations: file or rows of truth; not needed where the rows of predictions hold it.
        missing: what becomes of queries without a usable answer; by default what the official script does.
        extra: ``error`` or ``drop`` for answers to unknown queries; by default what the official script does.
        intervals: compute 95 % intervals, by bootstrap over videos.
        compare: other predictions, to be scored in the same way and compared with these.
        options: arguments of the protocol, such as ``split="val"``.

    Raises:
        ScoringError: if the files cannot be scored together.
        FileFormatError: if a file cannot be read at all.
        FileNotFoundError: if there is no such file.
        ConfigError: if an option is unknown or has a bad value.
        UnknownEntryError: if there is no such protocol.
    """
    _require_policies(missing, extra)
    if not isinstance(protocol, str) and options:
        raise ScoringError(f"the protocol is built already; give it {', '.join(options)} when building it")
    built = build_protocol(protocol, options) if isinstance(protocol, str) else protocol
    name = protocol if isinstance(protocol, str) else type(protocol).__module__.rpartition(".")[2]
    report = _one_report(built, name, options, predictions, annotations, missing, extra)
    if intervals:
        report.intervals = bootstrap(report.scored, report.pairs.ids, report.pairs.videos)
    if compare is not None:
        from lavis.scoring.comparison import compare as compared

        other = _one_report(built, name, options, compare, annotations, missing, extra)
        report.comparison = compared(report, other)
    return report


def build_protocol(name: str, options: Mapping[str, Any]) -> Protocol[Any, Any]:
    """A registered protocol with its options.

    Raises:
        ConfigError: if an option is unknown, missing, or has a bad value.
        UnknownEntryError: if there is no such protocol.
    """
    require_options(name, options)
    hints, binder = parameters(registry.protocols.get(name)), Binder()
    for option, value in options.items():
        if _is_plain(value):  # Python callers may give parts that are built already
            binder.value(value, hints[option].hint, (option,))
    if binder.problems:
        raise ConfigError("\n".join(f"protocol {name}: {each.key} {each.message}" for each in binder.problems))
    built: Protocol[Any, Any] = build_part(registry.protocols, {"name": name, **options}, f"protocol {name}")
    return built


def require_options(name: str, options: Iterable[str]) -> None:
    """Refuses options that a protocol does not have.

    Raises:
        ConfigError: names the option and those there are.
        UnknownEntryError: if there is no such protocol.
    """
    known = options_of(registry.protocols.get(name))
    for option in options:
        if option not in known:
            raise ConfigError(f"protocol {name} has no option {option!r}; its options: {', '.join(known) or 'none'}")


def _one_report(
    built: Protocol[Any, Any],
    name: str,
    options: Mapping[str, Any],
    predictions: Given,
    annotations: Given | None,
    missing: Policy | None,
    extra: ExtraPolicy | None,
) -> ScoreReport:
    several = built.folders and isinstance(predictions, (str, Path)) and Path(predictions).is_dir()
    given = rows_of_folder(Path(str(predictions)), "predictions") if several else predictions
    pairs, forms = paired(built, given, annotations, missing, extra)
    return ScoreReport(
        protocol=name,
        options=_options(built, options),
        scored=built.score(pairs),
        pairs=pairs,
        forms=forms,
        missing=built.missing if missing is None else missing,
        extra=built.extra if extra is None else extra,
        defaults={"missing": built.missing, "extra": built.extra},
        source=built.source,
        files={"predictions": _named(predictions), "annotations": _named(annotations)},
    )


def _require_policies(missing: str | None, extra: str | None) -> None:
    if missing is not None and missing not in POLICIES:
        raise ScoringError(f"missing must be one of {', '.join(POLICIES)}, got {missing!r}")
    if extra is not None and extra not in EXTRA_POLICIES:
        raise ScoringError(f"extra must be one of {', '.join(EXTRA_POLICIES)}, got {extra!r}")


def _options(protocol: Protocol[Any, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The protocol's arguments as given, the others as the protocol keeps them, or else with their defaults."""
    known = {name: getattr(protocol, name, each.default) for name, each in options_of(type(protocol)).items()}
    return {name: value for name, value in {**known, **given}.items() if _is_plain(value)}


def options_of(protocol: type[Protocol[Any, Any]]) -> dict[str, inspect.Parameter]:
    """The options of a protocol: its constructor's parameters."""
    names = parameters(protocol)
    return {name: each for name, each in inspect.signature(protocol).parameters.items() if name in names}


def _is_plain(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, (str, int, float, bool, Mapping))


def _named(given: Given | None) -> str:
    if given is None:
        return ""
    return str(given) if isinstance(given, (str, Path)) else "rows in memory"

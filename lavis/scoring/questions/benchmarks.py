"""Accuracy by task, type, category: which figures each multiple-choice benchmark reports, and how it rounds them.

Sources: MVBench (OpenGVLab/Ask-Anything): accuracy of each task, and ``Avg`` over all questions; NExT-QA as
``eval_next.py`` (doc-doc/NExT-GQA) groups it: ``TP`` counts as ``TN``, then all causal, temporal and descriptive
questions, two decimals; STAR: four categories and their mean; Video-MME (thanku-all/parse_answer,
eval_your_results.py): one decimal, for each length of video and for all. What a benchmark's script leaves out, such
as TVQA's shows, is ours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from lavis.scoring.base import Array, Derived, Estimate, Scored, ScoringError
from lavis.scoring.questions.rows import Question
from lavis.scoring.windows.ragged import Mask

Benchmark = Literal["generic", "mvbench", "nextqa", "star", "tvqa", "videomme"]

MVBENCH_TASKS = 20
VIDEOMME_VIDEOS = 900
NEXTQA_TYPES = {
    "CW": "Why",
    "CH": "How",
    "TN": "Bef&Aft",
    "TC": "When",
    "DC": "Cnt",
    "DL": "Loc",
    "DO": "Other",
    "TP": "Bef&Aft",
}
NEXTQA_GROUPS = ("C", "T", "D")
STAR_CATEGORIES = ("Interaction", "Sequence", "Prediction", "Feasibility")
LENGTHS = ("short", "medium", "long")
_VIDEOMME_PARTS = {"domain": "domains", "sub_category": "sub_categories", "kind": "task_types"}


def figures_of(benchmark: Benchmark, questions: Sequence[Question], correct: Array) -> Scored:
    """The benchmark's figures in percent.

    Args:
        benchmark: which.
        questions: ``Q`` of them.
        correct: ``[Q]``, 1 or 0, "not a number" for a question that does not count.
    """
    return _FIGURES[benchmark](questions, correct)


def _mvbench(questions: Sequence[Question], correct: Array) -> Scored:
    tasks = _by(questions, "kind")
    scored = _scored({**tasks, "Avg": _all(questions)}, correct, decimals=None)
    if len(tasks) != MVBENCH_TASKS:
        scored.notes.append(f"MVBench has {MVBENCH_TASKS} tasks; these answers are of {len(tasks)}")
    return scored


def _nextqa(questions: Sequence[Question], correct: Array) -> Scored:
    kinds = _by(questions, "kind")
    unknown = [kind for kind in kinds if kind not in NEXTQA_TYPES]
    if unknown:
        raise ScoringError(
            f"NExT-QA has the types {', '.join(NEXTQA_TYPES)}, not {', '.join(unknown[:5])}; give its table of "
            "questions as annotations, or take benchmark=generic"
        )
    official: dict[str, Mask] = {}
    for kind, name in NEXTQA_TYPES.items():
        if kind in kinds:
            official[name] = official.get(name, kinds[kind] & False) | kinds[kind]
    for letter in NEXTQA_GROUPS:
        members = [mask for kind, mask in kinds.items() if kind.startswith(letter)]
        if members:
            official[f"Acc_{letter}"] = np.logical_or.reduce(members)
    scored = _scored({**official, "Acc": _all(questions)}, correct, decimals=2)
    types = _scored(kinds, correct, decimals=2)
    scored.figures["types"] = types.figures
    scored.headline |= types.headline
    scored.estimates |= types.estimates
    if not kinds:
        scored.notes.append("the answers do not tell types of questions; give NExT-QA's table as annotations")
    return scored


def _star(questions: Sequence[Question], correct: Array) -> Scored:
    kinds = _by(questions, "kind")
    unknown = [kind for kind in kinds if kind not in STAR_CATEGORIES]
    if unknown or not kinds:
        raise ScoringError(
            f"STAR's ids begin with {', '.join(STAR_CATEGORIES)}; found {', '.join(unknown[:5]) or 'none of them'}. "
            "Give its annotations (--annotations), or take benchmark=generic"
        )
    found = {name: kinds[name] for name in STAR_CATEGORIES if name in kinds}
    scored = _scored({**found, "Acc": _all(questions)}, correct, decimals=2)
    known = [name for name in found if name in scored.headline]
    mean = float(np.mean([_percent(correct[found[name]]) for name in known]))
    scored.figures["Mean"] = scored.headline["Mean"] = _rounded(mean, 2)
    scored.estimates["Mean"] = Derived(tuple(known), lambda *parts: np.asarray(np.mean(parts, axis=0)))
    if len(found) < len(STAR_CATEGORIES):
        scored.notes.append(f"only {', '.join(found)} are in the truth; Mean is over these")
    return scored


def _tvqa(questions: Sequence[Question], correct: Array) -> Scored:
    return _scored({"Acc": _all(questions), **_by(questions, "kind")}, correct, decimals=2)


def _videomme(questions: Sequence[Question], correct: Array) -> Scored:
    lengths = _by(questions, "duration")
    ordered = [name for name in LENGTHS if name in lengths] + [name for name in lengths if name not in LENGTHS]
    whole = _scored({"Overall": _all(questions), **{name: lengths[name] for name in ordered}}, correct, decimals=1)
    figures: dict[str, Any] = {}
    for length, mask in [*((name, lengths[name]) for name in ordered), ("entire", _all(questions))]:
        parts = {}
        for label, title in _VIDEOMME_PARTS.items():
            groups = {name: mask & group for name, group in _by(questions, label).items() if (mask & group).any()}
            parts[title] = _scored(groups, correct, decimals=1).figures
        figures[length] = {**parts, "Overall": _scored({"Overall": mask}, correct, decimals=1).figures.get("Overall")}
    for label in _VIDEOMME_PARTS:
        named = {f"{label if label != 'kind' else 'task'}/{n}": mask for n, mask in _by(questions, label).items()}
        part = _scored(named, correct, decimals=1)
        whole.headline |= part.headline
        whole.estimates |= part.estimates
    whole.figures = figures
    videos = len({question.video for question in questions})
    if videos != VIDEOMME_VIDEOS:
        whole.notes.append(f"Video-MME has {VIDEOMME_VIDEOS} videos, and its script insists on all; here are {videos}")
    return whole


def _generic(questions: Sequence[Question], correct: Array) -> Scored:
    scored = _scored({"Acc": _all(questions)}, correct, decimals=2)
    kinds = _scored({f"kind/{name}": mask for name, mask in _by(questions, "kind").items()}, correct, decimals=2)
    scored.figures |= {"kinds": {name.partition("/")[2]: value for name, value in kinds.figures.items()}}
    scored.headline |= kinds.headline
    scored.estimates |= kinds.estimates
    return scored


_FIGURES: Mapping[Benchmark, Callable[[Sequence[Question], Array], Scored]] = {
    "generic": _generic,
    "mvbench": _mvbench,
    "nextqa": _nextqa,
    "star": _star,
    "tvqa": _tvqa,
    "videomme": _videomme,
}
BENCHMARKS = tuple(_FIGURES)


def _scored(groups: Mapping[str, Mask], correct: Array, decimals: int | None) -> Scored:
    """Accuracy of each group that has a question that counts."""
    figures, estimates = {}, {}
    for name, mask in groups.items():
        inside = correct[mask]
        if np.isnan(inside).all():
            continue
        figures[name] = _rounded(_percent(inside), decimals)
        estimates[name] = Estimate(np.where(mask, correct, np.nan))
    return Scored(dict(figures), dict(figures), dict(estimates))


def _by(questions: Sequence[Question], label: str) -> dict[str, Mask]:
    """Which questions have which label, in alphabetical order; those without it are in no group."""
    labels = np.array([question.labels.get(label, "") for question in questions], dtype=object)
    return {name: labels == name for name in sorted({str(name) for name in labels} - {""})}


def _all(questions: Iterable[Question]) -> Mask:
    return np.ones(sum(1 for _ in questions), dtype=bool)


def _percent(correct: Array) -> float:
    """Counted before it is divided, so that the order of questions cannot matter."""
    counted = correct[~np.isnan(correct)]
    return 100 * float(counted.sum()) / len(counted)


def _rounded(value: float, decimals: int | None) -> float:
    return value if decimals is None else float(f"{value:.{decimals}f}")

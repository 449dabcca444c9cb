"""Files for the servers of STAR and TVQA, made of multiple-choice answers.

Source: HawkEye (yellow-binary-tree/HawkEye), ``data_preparing/videoqa.py``: the second character of an answer (behind
the ``(`` that it was primed with) is the letter, and where that is no letter of an option the original draws one.

Differs: the draw is seeded and belongs to the question, so it does not depend on the order of answers, and how many
were drawn is told; ``unreadable="error"`` draws none. Answers are paired by id, not by position. TVQA's meta data are
arguments, and random answers to the validation split are written only where they are asked for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from lavis.common.io import write_json
from lavis.scoring.base import Row, RowError, ScoringError
from lavis.scoring.pairing import read
from lavis.scoring.questions.benchmarks import STAR_CATEGORIES
from lavis.scoring.questions.rows import Choice, answer_forms
from lavis.scoring.questions.text import LETTERS, option_index
from lavis.scoring.reading import Given, chosen_form, open_rows

Reading = Literal["second_character", "letter"]
Unreadable = Literal["random", "error"]
STAR_OPTIONS, TVQA_OPTIONS = 4, 5


@dataclass(slots=True)
class Submission:
    """What a server takes.

    Args:
        files: names to contents that become JSON.
        drawn: ids of the questions whose answer was drawn by chance.
    """

    files: dict[str, Any]
    drawn: list[str] = field(default_factory=list)

    def write(self, folder: str | Path) -> list[Path]:
        """Writes the files into a folder, which is made if it is absent."""
        return [write_json(Path(folder) / name, content, indent=None) for name, content in self.files.items()]


def star_submission(
    answers: Given,
    ids: Sequence[str] | None = None,
    reading: Reading = "second_character",
    unreadable: Unreadable = "random",
    seed: int = 0,
) -> Submission:
    """``submission.json``: for each category of STAR a list of ``{question_id, answer: index}``.

    Args:
        answers: file or rows of answers, in any form of the protocol ``multiple_choice``.
        ids: of the questions: in the order of ``answers`` where these hold none (HawkEye's rows), else to check that
            all of them are answered.
        reading: how the letter is found; answers that hold an index are taken as they are.
        unreadable: what becomes of an answer without a letter.
        seed: of the draw.

    Raises:
        ScoringError: if an answer is unreadable and none is drawn, a question has no category, or ids do not fit.
    """
    chosen, drawn = _chosen(answers, ids, reading, unreadable, seed, STAR_OPTIONS)
    categories: dict[str, list[dict[str, Any]]] = {name: [] for name in STAR_CATEGORIES}
    for identity, index in chosen.items():
        category = next((name for name in STAR_CATEGORIES if identity.startswith(name)), None)
        if category is None:
            raise ScoringError(f"question {identity!r} is none of STAR's ({', '.join(STAR_CATEGORIES)}); give its ids")
        categories[category].append({"question_id": identity, "answer": index})
    return Submission({"submission.json": categories}, drawn)


def tvqa_submission(
    answers: Given,
    ids: Sequence[str] | None = None,
    reading: Reading = "second_character",
    unreadable: Unreadable = "random",
    seed: int = 0,
    validation_ids: Iterable[str] = (),
    meta: Mapping[str, Any] | None = None,
) -> Submission:
    """``prediction_test_public.json`` (``{qid: index}``), ``prediction_val.json`` and ``meta.json`` of TVQA's server.

    Args:
        answers: see ``star_submission``.
        ids: see there.
        reading: see there.
        unreadable: see there.
        seed: see there.
        validation_ids: questions of the validation split, which the server wants answered too; drawn by chance, as the
            original does. Without any, ``prediction_val.json`` is left out.
        meta: fields of ``meta.json`` that are to differ from the original's.

    Raises:
        ScoringError: see ``star_submission``.
    """
    chosen, drawn = _chosen(answers, ids, reading, unreadable, seed, TVQA_OPTIONS)
    files: dict[str, Any] = {"prediction_test_public.json": chosen}
    if validation := [str(identity) for identity in validation_ids]:
        files["prediction_val.json"] = {identity: _draw(seed, identity, TVQA_OPTIONS) for identity in validation}
    unknown = ("author", "institution", "description", "paper_link", "code_link")
    files["meta.json"] = {
        "model_name": "null",
        "is_ensemble": False,
        "with_ts": True,
        "show_on_leaderboard": False,
        **dict.fromkeys(unknown, "null"),
        **(meta or {}),
    }
    return Submission(files, drawn)


def question_ids(annotations: Given) -> list[str]:
    """Ids of questions in the order of their file: STAR's or TVQA's own, or any rows with ``qid`` or ``id``.

    Raises:
        ScoringError: if a row has no id.
    """
    source = open_rows(annotations, "annotations")
    ids = []
    for row in source.rows:
        if not isinstance(row, Row):
            raise ScoringError(f"{row.place}: {row.problem}")
        try:
            ids.append(row.identity("question_id", "qid", "id"))
        except RowError as error:
            raise ScoringError(f"{row.place}: {error}") from error
    return ids


def _chosen(
    answers: Given, ids: Sequence[str] | None, reading: Reading, unreadable: Unreadable, seed: int, num_options: int
) -> tuple[dict[str, int], list[str]]:
    """The index of each question's answer, and which were drawn."""
    if reading not in ("second_character", "letter") or unreadable not in ("random", "error"):
        raise ScoringError(
            "reading must be second_character or letter and unreadable random or error, got "
            f"{reading!r} and {unreadable!r}"
        )
    chosen: dict[str, int] = {}
    drawn = []
    for identity, choice in _named(answers, ids):
        if identity in chosen:
            raise ScoringError(f"question {identity!r} is answered twice; remove one of the rows")
        index = _index(choice, reading, num_options)
        if index is None and unreadable == "error":
            raise ScoringError(
                f"question {identity!r}: {choice.text!r:.60} names none of {num_options} options; choose "
                "unreadable=random to draw one"
            )
        if index is None:
            drawn.append(identity)
            index = _draw(seed, identity, num_options)
        chosen[identity] = index
    return chosen, drawn


def _named(answers: Given, ids: Sequence[str] | None) -> list[tuple[str, Choice]]:
    """Answers with the ids of their questions."""
    source = open_rows(answers, "answers")
    found = read(source, chosen_form(source, answer_forms(), "answers"))
    if found.broken:
        raise ScoringError("the answers cannot be read: " + "; ".join(problem for _, problem in found.broken[:5]))
    if ids is None or all(choice.named for choice in found.records):
        _require_known(found.records, ids)
        unnamed = next((choice for choice in found.records if not choice.named), None)
        if unnamed is not None:
            raise ScoringError("the answers hold no ids of questions (qid); give those of the annotations, in order")
        return [(choice.id, choice) for choice in found.records]
    if len(ids) != len(found.records):
        raise ScoringError(f"{len(found.records)} answers but {len(ids)} ids; give one for each, in order")
    return list(zip(map(str, ids), found.records, strict=True))


def _require_known(choices: Sequence[Choice], ids: Sequence[str] | None) -> None:
    """Answers with ids of their own must answer the questions asked, all of them.

    Raises:
        ScoringError: if they do not.
    """
    if ids is None:
        return
    given, asked = {choice.id for choice in choices}, {str(identity) for identity in ids}
    for what, names in (("not answered", asked - given), ("none of the annotations", given - asked)):
        if names:
            raise ScoringError(f"{len(names)} questions are {what}, such as {min(names)!r}; is it the same split?")


def _index(choice: Choice, reading: Reading, num_options: int) -> int | None:
    if choice.index is not None:
        return choice.index if choice.index < num_options else None
    text = choice.text or ""
    if reading == "letter":
        index = option_index(text, [])
        return index if index is not None and index < num_options else None
    letters = LETTERS[:num_options]
    return letters.index(text[1]) if text[1:2] and text[1] in letters else None


def _draw(seed: int, identity: str, num_options: int) -> int:
    """An index that depends on the seed and the question alone."""
    digest = hashlib.sha256(f"{seed} {identity}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % num_options

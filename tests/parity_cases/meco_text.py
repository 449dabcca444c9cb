"""Texts of answers, where structural tokens stand in them, and the repetition penalty, against what was recorded.

The loop that writes answers is the one in use: a scripted answer is written by a chooser that follows the script.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lavis.common.schema import GenerationConfig
from lavis.models.language_models._decoding import Ends, write
from lavis.models.language_models._sampling import Chooser, penalised, seen_tokens
from lavis.models.language_models.causal import Causal
from lavis.structures import Packed
from tests.parity_cases._meco_models import config_of, gap, recorded_answers
from tests.parity_cases.meco_decoder import parts
from tests.parity_cases.meco_generation import _packed as packed_prompt

SYSTEM = "meco"
TOLERANCE = 1e-4
MATCH, EVENT, TRANSITION = "<vid>", "<ent>", "<tst>"
Case = tuple[str, Callable[[], float]]


def cases(golden: Path) -> Iterator[Case]:
    """Comparisons for whatever ``golden`` holds; none of its files is required."""
    for recorded, run in recorded_answers(golden):
        yield f"models/{recorded.parent.name} {run} text", _answer(golden, recorded, run)
    for recorded in sorted(golden.glob("*/repetition_penalty*.json")):
        yield f"{recorded.parent.name}/{recorded.stem}", _penalty(recorded)


class Scripted(Chooser):
    """Writes what it is told, whatever the scores."""

    def __init__(self, script: Sequence[int]) -> None:
        self.script = list(script)

    def __call__(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        return torch.tensor([self.script.pop(0)]), torch.zeros(1)

    def keep(self, rows: Tensor) -> None:
        """There is one row."""


def _answer(golden: Path, recorded: Path, run: str) -> Callable[[], float]:
    def compare() -> float:
        with np.load(recorded) as stored:
            arrays = {name: torch.from_numpy(stored[name]) for name in stored.files}
        meta = json.loads((recorded.parent / "meta.json").read_text())["generate"]
        known = meta.get(run, {})
        query, src = known.get("query", meta.get("query")), known.get("src") or []
        prompt = arrays.get(f"{run.rsplit('_', 1)[0]}_input_ids", arrays.get("input_ids"))
        assert prompt is not None
        decoder, head = parts(golden, recorded.parent)
        decoder.eval(), head.eval()
        packed = packed_prompt(golden, recorded.parent, decoder, prompt, arrays["video"], query, src)
        numbers = decoder.token_ids([MATCH])
        if config_of(recorded.parent).get("localization"):
            numbers = decoder.token_ids([MATCH, EVENT, TRANSITION])
        watcher = head.watch({MATCH: numbers[MATCH]})
        expected = arrays[f"{run}_tokens"].tolist()
        written = _written(decoder, packed, watcher, expected, forced=run.endswith("forced"))
        own = watcher.results([len(written) - 1])[0]
        (text,) = decoder.answers.texts([written], "all")
        # Bytes on both sides of a mark may be one character without it, so only scripted texts are compared without.
        plain = decoder.answers.texts([written])[0] if run.endswith("forced") else None
        marks = [token.content for token in decoder.tokenizer.added_tokens_decoder.values() if token.special]
        marks = [mark for mark in marks if mark not in numbers and not mark.startswith("<0x")]
        if "response" in known:
            return _seconds(text, plain, written, own, known, numbers[MATCH], marks)
        return _structure(text, plain, written, own, known, numbers, marks)

    return compare


def _written(decoder: Causal, packed: Packed, watcher: Any, expected: list[int], forced: bool) -> list[int]:
    """Ids of the answer, however it ends."""
    settings = GenerationConfig(num_beams=1, max_new_tokens=len(expected))
    chooser = Scripted(expected) if forced else Chooser(packed.ids, settings, [1.0])
    with torch.no_grad():
        (ids,), _ = write(decoder, packed, chooser, Ends(-1), [len(expected)], watcher)
    if ids != expected:
        raise AssertionError(f"ids {ids} where {expected} were recorded")
    return ids


def _structure(
    text: str,
    plain: str | None,
    ids: list[int],
    own: Any,
    known: dict[str, Any],
    numbers: dict[str, int],
    marks: Sequence[str],
) -> float:
    """A MeCo answer: its text, places of structural tokens, their similarities and the scale of these."""
    _same("text", text.strip(), known["text"])
    if plain is not None:
        _same("text without marks", plain.strip(), _without(marks, known["text"]))
    for name, token in (("ent_inds", EVENT), ("tst_inds", TRANSITION)):
        _same(name, [i for i, number in enumerate(ids) if number == numbers[token]], known[name])
    places = sorted(known["ent_inds"] + known["tst_inds"])
    worst = abs(float(own["scale"]) - known["scale"])
    if places:
        worst = max(worst, gap(own["similarities"][places], torch.tensor(known["vl_sims"])))
    return worst


def _seconds(
    text: str, plain: str | None, ids: list[int], own: Any, known: dict[str, Any], match: int, marks: Sequence[str]
) -> float:
    """An E.T. Chat answer: the text in which each match token is the frame it was matched with."""
    frames = own["frames"].tolist()
    _same("frames", frames, known["tgt"])
    matched = [frame for frame, number in zip(frames, ids, strict=True) if number == match]
    _same("match_inds", [i for i, number in enumerate(ids) if number == match], known["match_inds"])
    _same("response", _filled(text, matched), known["response"])
    if plain is not None:
        _same("response without marks", _filled(plain, matched), _without(marks, known["response"]))
    return 0.0


def _penalty(recorded: Path) -> Callable[[], float]:
    def compare() -> float:
        known = json.loads(recorded.read_text())
        scores, ids = torch.tensor(known["scores"]), torch.tensor(known["input_ids"])
        seen = seen_tokens(ids, scores.shape[1], [known["match_token_id"]])
        return gap(penalised(scores, seen, known["penalty"]), torch.tensor(known["out"]))

    return compare


def _filled(text: str, frames: list[int]) -> str:
    """The text with a frame in place of each match token."""
    pieces = text.strip().split(MATCH)
    return "".join(piece + frame for piece, frame in zip(pieces, [*map(str, frames), ""], strict=True)).strip()


def _without(marks: Sequence[str], text: str) -> str:
    for mark in marks:
        text = text.replace(mark, "")
    return text.strip()


def _same(what: str, ours: Any, theirs: Any) -> None:
    if ours != theirs:
        raise AssertionError(f"{what}: {ours!r} where {theirs!r} was recorded")

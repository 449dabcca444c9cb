"""Replies that were recorded: by the judges of this project, by MMDuet's evaluation, or as results of a batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from lavis.common.registry import registry
from lavis.scoring.base import Row, RowError, ScoringError
from lavis.scoring.judges._batch_files import Results, is_result
from lavis.scoring.judges.base import Judge, Pair, Reply
from lavis.scoring.reading import Fault, open_rows


@registry.judges.register("recorded")
class RecordedJudge(Judge):
    """Looks replies up in a file.

    Three kinds of rows are taken: kept replies of the judges here (``question``, ``gold``, ``predicted``, ``reply``),
    rows of MMDuet's evaluation (``question_id``, ``evaluator_output``: a rating for each reference answer and reply),
    and results of a batch (``custom_id``, ``response``).

    Args:
        file: where they stand.
        model: of the kept replies, only this one's; needed where a file keeps those of several models or prompts.
        prompt: of the kept replies, only those to the prompt with this digest.
        absent: pairs without a record stop the scoring (``error``), or are left without a rating (``unscored``), as
            the original leaves them.
    """

    def __init__(
        self,
        file: str,
        model: str | None = None,
        prompt: str | None = None,
        absent: Literal["error", "unscored"] = "error",
    ) -> None:
        self.file = file
        self.absent = absent
        self._model = model
        self._prompt = prompt
        self._kept: dict[tuple[str, str, str], str] = {}
        self._matrices: dict[str, Any] = {}
        self._results = Results()
        self._is_read = False

    def told(self) -> str:
        return f"recorded in {self.file}"

    def replies(self, pairs: Sequence[Pair]) -> list[Reply]:
        if not self._is_read:
            self._read()
            self._is_read = True
        found = [self._reply(pair) for pair in pairs]
        lacking = [pair for pair, reply in zip(pairs, found, strict=True) if reply is None]
        if lacking and self.absent == "error":
            first = lacking[0]
            raise ScoringError(
                f"{self.file} holds no reply to {len(lacking)} of {len(pairs)} pairs, the first: question "
                f"{first.question_id!r}, reference {first.gold!r:.60}, answer {first.predicted!r:.60}. Was it made "
                "from other predictions? A judge 'local' or 'openai' can ask for these; judge.absent=unscored leaves "
                "them without a rating"
            )
        return found

    def _reply(self, pair: Pair) -> Reply:
        if pair.question_id in self._matrices:
            matrix = self._matrices[pair.question_id]
            try:
                cell = matrix[pair.gold_ids[0]][pair.predicted_ids[0]]
            except (IndexError, TypeError, KeyError):
                return None
            return cell if isinstance(cell, (str, int, float)) and not isinstance(cell, bool) else None
        return self._kept.get(pair.texts, self._results.reply(pair))

    def _read(self) -> None:
        speakers = set()
        for row in open_rows(self.file, "replies of the judge").rows:
            if isinstance(row, Fault):
                raise ScoringError(f"{row.place}: {row.problem}")
            try:
                speakers |= self._take(row)
            except RowError as error:
                raise ScoringError(f"{row.place}: {error}") from error
        if len(speakers) > 1:
            told = "; ".join(f"model {model}, prompt {prompt}" for model, prompt in sorted(map(_texts, speakers)))
            raise ScoringError(f"{self.file} keeps replies of several judges; name the model and prompt: {told}")

    def _take(self, row: Row) -> set[tuple[Any, Any]]:
        """Keeps what a row holds; gives the model and prompt of a kept reply."""
        if is_result(row.fields):
            self._results.add(row)
        elif "evaluator_output" in row:
            self._matrices[row.identity("question_id")] = row.get("evaluator_output")
        elif {"question", "gold", "predicted", "reply"} <= set(row.fields):
            if not self._is_meant(row.fields):
                return set()
            self._kept[row.text("question"), row.text("gold"), row.text("predicted")] = row.text("reply")
            return {(row.fields.get("model"), row.fields.get("prompt"))}
        else:
            raise RowError(
                "holds no reply: expected 'reply' with question, gold and predicted, or 'evaluator_output', or "
                f"'custom_id' with 'response', got {', '.join(sorted(map(str, row.fields)))}"
            )
        return set()

    def _is_meant(self, fields: Mapping[str, Any]) -> bool:
        return self._model in (None, fields.get("model")) and self._prompt in (None, fields.get("prompt"))


def _texts(speaker: tuple[Any, Any]) -> tuple[str, str]:
    return str(speaker[0]), str(speaker[1])

"""A judge asked by way of files: requests are written, sent off by the user, and results read another day.

Batches at an OpenAI-compatible address cost half and need no connection while they run.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from lavis.common.io import write_jsonl
from lavis.common.registry import registry
from lavis.scoring.base import RowError, ScoringError
from lavis.scoring.judges._batch_files import Results, original_key, request
from lavis.scoring.judges._prompt import Prompt
from lavis.scoring.judges.base import Judge, JudgingPending, Pair, Reply, short_key
from lavis.scoring.reading import Fault, open_rows


@registry.judges.register("batch")
class BatchJudge(Judge):
    """Writes what it has no result for to a file of requests, and then stops the scoring; with all results, judges.

    Args:
        requests: file of JSON lines to write.
        results: files that came back; several, where a batch was sent off in parts or failed in part.
        model: name of the judge, as the address knows it.
        prompt: what it is told.
        max_tokens: of a reply; ``None`` leaves it to the address.
        temperature: 0 for the likeliest reply; ``None`` leaves it to the address, as the original does.
        custom_id: ``digest`` of the content, or ``original``, as MMDuet writes it.
    """

    def __init__(
        self,
        requests: str,
        results: str | list[str] | None = None,
        model: str = "gpt-4o-2024-08-06",
        prompt: str = "asset:judges/magqa.txt",
        max_tokens: int | None = None,
        temperature: float | None = 0.0,
        custom_id: Literal["digest", "original"] = "digest",
    ) -> None:
        self.requests = Path(requests)
        self.files = [results] if isinstance(results, str) else list(results or ())
        self.model = model
        self.prompt = Prompt.read(prompt)
        settings = {"model": model, "max_tokens": max_tokens, "temperature": temperature}
        self._body: dict[str, Any] = {key: value for key, value in settings.items() if value is not None}
        self._key = short_key if custom_id == "digest" else original_key

    def told(self) -> str:
        return f"{self.model}, prompt {self.prompt.path} ({self.prompt.digest}), results {', '.join(self.files)}"

    def replies(self, pairs: Sequence[Pair]) -> list[Reply]:
        results = self._read()
        found = [results.reply(pair) for pair in pairs]
        left = {self._key(pair): pair for pair, text in zip(pairs, found, strict=True) if text is None}
        if left:
            write_jsonl(self.requests, (request(pair, key, self.prompt, self._body) for key, pair in left.items()))
            failures = [f"{key}: {reason}" for key, reason in results.failed.items() if key in left]
            told = f" {len(failures)} came back as errors, the first: {failures[0]}." if failures else ""
            raise JudgingPending(
                f"{len(left)} of {len(pairs)} pairs have no result yet;{told} requests for them are in "
                f"{self.requests}. Send that file off as a batch, and name what comes back: judge.results"
            )
        return [text for text in found if text is not None]

    def _read(self) -> Results:
        results = Results()
        for file in self.files:
            for row in open_rows(file, "results of the batch").rows:
                if isinstance(row, Fault):
                    raise ScoringError(f"{row.place}: {row.problem}")
                try:
                    results.add(row)
                except RowError as error:
                    raise ScoringError(f"{row.place}: {error}") from error
        return results

"""Files of a batch at an OpenAI-compatible address: one request a line, one result a line, joined by ``custom_id``.

MMDuet writes ``{question id}*{reference ids}*{reply ids}`` for it, which cannot be taken apart again where a question's
id holds a ``*``, at least not from the left; ours is a digest of the content. Results of both kinds are read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lavis.scoring.base import Row, RowError
from lavis.scoring.judges._prompt import Prompt
from lavis.scoring.judges.base import Pair, short_key

_ADDRESS = "/v1/chat/completions"


def original_key(pair: Pair) -> str:
    """The ``custom_id`` that MMDuet gives."""
    gold, predicted = (",".join(map(str, ids)) for ids in (pair.gold_ids, pair.predicted_ids))
    return f"{pair.question_id}*{gold}*{predicted}"


def request(pair: Pair, custom_id: str, prompt: Prompt, body: Mapping[str, Any]) -> dict[str, Any]:
    """A line of a batch.

    Args:
        pair: to be judged.
        custom_id: under which its result will stand.
        prompt: what the judge is told.
        body: model and settings.
    """
    messages = prompt.filled(pair.texts)
    return {"custom_id": custom_id, "method": "POST", "url": _ADDRESS, "body": {**body, "messages": messages}}


def is_result(fields: Mapping[str, Any]) -> bool:
    """Whether a row is a result of a batch."""
    return "custom_id" in fields and ("response" in fields or "error" in fields)


class Results:
    """Replies of a batch; ``failed`` holds what came back as an error, with its reason."""

    def __init__(self) -> None:
        self.failed: dict[str, str] = {}
        self._texts: dict[str, str] = {}
        self._cells: dict[tuple[str, int, int], str] = {}

    def add(self, row: Row) -> None:
        """Takes a line of results.

        Raises:
            RowError: if it holds neither a reply nor an error.
        """
        key, response = row.text("custom_id"), row.fields.get("response")
        error = row.fields.get("error")
        if error or not isinstance(response, Mapping) or response.get("status_code", 200) != 200:
            self.failed[key] = f"{error or response!r:.200}"
            return
        text = reply_text(response.get("body"))
        self._texts[key] = text
        *question, gold, reply = key.rsplit("*", 2) if key.count("*") >= 2 else ("", "", "")
        for gold_id in _numbers(gold):
            self._cells.update({(question[0], gold_id, reply_id): text for reply_id in _numbers(reply)})

    def reply(self, pair: Pair) -> str | None:
        """What came back for a pair, ``None`` if nothing did."""
        cell = (pair.question_id, pair.gold_ids[0], pair.predicted_ids[0])
        return self._texts.get(short_key(pair), self._cells.get(cell))


def reply_text(body: Any) -> str:
    """The text in the answer of an OpenAI-compatible address.

    Raises:
        RowError: if there is none.
    """
    try:
        text = body["choices"][0]["message"]["content"]
    except (TypeError, KeyError, IndexError) as error:
        raise RowError(f"holds no choices[0].message.content: {body!r:.200}") from error
    if not isinstance(text, str):
        raise RowError(f"choices[0].message.content must be text, got {text!r:.80}")
    return text


def _numbers(text: str) -> list[int]:
    parts = text.split(",")
    return [int(part) for part in parts] if all(part.isdigit() for part in parts) else []

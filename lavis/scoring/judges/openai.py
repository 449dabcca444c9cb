"""A judge behind an OpenAI-compatible address: a service, or a server of one's own (vLLM, llama.cpp, Ollama ...).

Plain HTTP of the standard library. Requests that fail for the moment are sent again, more and more slowly; replies are
kept as they come, so that nothing is paid for twice.
"""

from __future__ import annotations

import http.client
import json
import os
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any

from lavis.common.registry import registry
from lavis.scoring.base import RowError, ScoringError
from lavis.scoring.judges._batch_files import reply_text
from lavis.scoring.judges._prompt import Prompt
from lavis.scoring.judges.base import AskedJudge, Pair

_MOMENTARY = (408, 409, 425, 429)
_LONGEST_WAIT = 60.0


class _Momentary(Exception):
    """A failure that may pass; ``wait`` is how long the address asks to wait, in seconds."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


@registry.judges.register("openai")
class OpenAIJudge(AskedJudge):
    """Asks an address for chat completions.

    Args:
        model: name of the judge, as the address knows it.
        base_url: of the address, up to ``/chat/completions``.
        key_variable: environment variable with the key; one that is not set sends none, for servers without keys.
        prompt: what the judge is told.
        cache: file that keeps replies; ``None`` keeps none.
        max_tokens: of a reply.
        temperature: 0 for the likeliest reply; ``None`` leaves it to the address.
        timeout: seconds for one request.
        retries: how often a request is sent again after a failure that may pass (no connection, too many requests).
        pause: seconds before the first of them; each further one waits twice as long, up to a minute.
        workers: requests under way at once.
        requests_per_minute: at most so many are begun; ``None`` sets no limit.
    """

    def __init__(
        self,
        model: str,
        base_url: str = "https://api.openai.com/v1",
        key_variable: str = "OPENAI_API_KEY",
        prompt: str = "asset:judges/magqa.txt",
        cache: str | None = "magqa_judged.jsonl",
        max_tokens: int = 16,
        temperature: float | None = 0.0,
        timeout: float = 60.0,
        retries: int = 5,
        pause: float = 1.0,
        workers: int = 4,
        requests_per_minute: float | None = None,
    ) -> None:
        if workers < 1 or retries < 0:
            raise ValueError(f"workers must be at least 1 and retries at least 0, got {workers} and {retries}")
        if not base_url.startswith(("http://", "https://")):
            raise ValueError(f"base_url must begin with http:// or https://, got {base_url!r}")
        if requests_per_minute is not None and not requests_per_minute > 0:
            raise ValueError(f"requests_per_minute must be above 0, got {requests_per_minute}")
        super().__init__(model, Prompt.read(prompt), cache)
        self.url = base_url.rstrip("/") + "/chat/completions"
        self.key_variable = key_variable
        self.timeout = timeout
        self.retries = retries
        self.pause = pause
        self.workers = workers
        self._limit = _RateLimit(requests_per_minute)
        self._body: dict[str, Any] = {"model": model, "max_tokens": max_tokens}
        if temperature is not None:
            self._body["temperature"] = temperature

    def ask(self, pairs: Sequence[Pair]) -> Iterator[tuple[Pair, str]]:
        stopped = threading.Event()
        failure: ScoringError | None = None
        done = 0
        with ThreadPoolExecutor(self.workers) as pool:
            asked = {pool.submit(self._patiently, pair, stopped): pair for pair in pairs}
            try:
                for future in as_completed(asked):
                    try:
                        text = future.result()
                    except ScoringError as error:
                        failure = failure or error
                        continue
                    if text is not None:
                        done += 1
                        yield asked[future], text
            finally:
                stopped.set()
        if failure is not None:
            kept = f"; {done} replies of this run are kept in {self.cache}, run again to go on" if self.cache else ""
            raise ScoringError(f"{failure}{kept}") from failure

    def _patiently(self, pair: Pair, stopped: threading.Event) -> str | None:
        """The reply, after several tries if need be; ``None`` if another request has failed for good."""
        try:
            return self._tried(pair, stopped)
        except ScoringError:
            stopped.set()  # here, so that this thread does not begin another request before anyone looks
            raise

    def _tried(self, pair: Pair, stopped: threading.Event) -> str | None:
        wait = self.pause
        for attempt in range(self.retries + 1):
            self._limit.wait(stopped)
            if stopped.is_set():
                return None
            try:
                return self._once(pair)
            except _Momentary as error:
                if attempt == self.retries:
                    raise ScoringError(f"{self.url}: {error} (tried {attempt + 1} times)") from error
                stopped.wait(min(error.wait if error.wait is not None else wait, _LONGEST_WAIT))
                wait *= 2
        raise AssertionError("the last try returns or raises")

    def _once(self, pair: Pair) -> str:
        data = json.dumps({**self._body, "messages": self.prompt.filled(pair.texts)}).encode()
        headers = {"Content-Type": "application/json"}
        if key := os.environ.get(self.key_variable):
            headers["Authorization"] = f"Bearer {key}"
        request = urllib.request.Request(self.url, data, headers)
        try:
            with urllib.request.urlopen(request, timeout=self.timeout) as response:
                body = json.loads(response.read())
            return reply_text(body)
        except urllib.error.HTTPError as error:
            raise self._told(error) from error
        except (urllib.error.URLError, TimeoutError, ConnectionError, http.client.HTTPException) as error:
            raise _Momentary(f"no answer ({error})") from error
        except (ValueError, RowError) as error:
            raise _Momentary(f"not the answer of an OpenAI-compatible address: {error}") from error

    def _told(self, error: urllib.error.HTTPError) -> Exception:
        """The failure that a status means."""
        with error:
            detail = error.read(500).decode(errors="replace").strip()
        reason = f"status {error.code} {error.reason}: {detail}"
        if error.code in _MOMENTARY or error.code >= 500:
            return _Momentary(reason, _seconds(error.headers.get("Retry-After")))
        hint = f" (is the key in {self.key_variable}?)" if error.code in (401, 403) else ""
        return ScoringError(f"{self.url}: {reason}{hint}")


class _RateLimit:
    """Spaces out beginnings evenly."""

    def __init__(self, per_minute: float | None) -> None:
        self._interval = 60.0 / per_minute if per_minute is not None else 0.0
        self._next = 0.0
        self._lock = threading.Lock()

    def wait(self, stopped: threading.Event) -> None:
        """Waits for the next beginning, or until all is stopped."""
        if not self._interval:
            return
        with self._lock:
            begin = max(time.monotonic(), self._next)
            self._next = begin + self._interval
        stopped.wait(max(0.0, begin - time.monotonic()))


def _seconds(text: str | None) -> float | None:
    """The wait that a header asks for; ``None`` where it gives a date, or nothing."""
    return float(text) if text is not None and text.strip().isdigit() else None

"""A judge behind an address: against a server in this process."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lavis.scoring.base import ScoringError
from lavis.scoring.judges import openai
from lavis.scoring.judges.base import Pair
from lavis.scoring.judges.openai import OpenAIJudge


class Server(ThreadingHTTPServer):
    """Answers chat completions; ``failures`` are statuses to give first, ``seen`` is what it was sent."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.failures: list[tuple[int, dict[str, str]]] = []
        self.refused: set[str] = set()
        self.seen: list[tuple[dict[str, Any], str | None]] = []
        self.reply: Any = None
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        asked = body["messages"][-1]["content"]
        with self.server.lock:
            self.server.seen.append((body, self.headers.get("Authorization")))
            status, headers = self.server.failures.pop(0) if self.server.failures else (200, {})
        if any(word in asked for word in self.server.refused):
            status = 400
        reply = self.server.reply or {"choices": [{"message": {"content": f"Rating: {len(asked) % 5 + 1}"}}]}
        data = json.dumps(reply if status == 200 else {"error": "no"}).encode()
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Quiet."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def pair(number: int) -> Pair:
    return Pair(f"q{number}", "What?", "gold " + "x" * number, "predicted", (0,), (0,))


def judge(server: Server, cache: Path | None = None, **options: Any) -> OpenAIJudge:
    settings: dict[str, Any] = {"base_url": server.url, "pause": 0.01, "key_variable": "LAVIS_TEST_KEY", **options}
    return OpenAIJudge("some-model", cache=str(cache) if cache else None, **settings)


def test_asks_and_keeps_order(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAVIS_TEST_KEY", "secret")
    replies = judge(server).replies([pair(n) for n in range(12)])
    assert len(set(replies)) == 5
    by_text = {body["messages"][-1]["content"]: body for body, _ in server.seen}
    for number, reply in enumerate(replies):
        (asked,) = [text for text in by_text if "gold " + "x" * number + "\n" in text]
        assert reply == f"Rating: {len(asked) % 5 + 1}"
    body, authorization = server.seen[0]
    assert authorization == "Bearer secret"
    assert (body["model"], body["temperature"], body["max_tokens"]) == ("some-model", 0, 16)
    assert body["messages"][0]["role"] == "system"


def test_a_key_is_not_needed(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LAVIS_TEST_KEY", raising=False)
    judge(server, temperature=None).replies([pair(1)])
    body, authorization = server.seen[0]
    assert authorization is None
    assert "temperature" not in body


def test_failures_that_may_pass_are_tried_again(server: Server) -> None:
    server.failures = [(500, {}), (429, {"Retry-After": "0"}), (503, {})]
    assert judge(server, workers=1).replies([pair(1)])[0]
    assert len(server.seen) == 4


def test_gives_up_after_so_many_tries(server: Server) -> None:
    server.failures = [(503, {})] * 20
    with pytest.raises(ScoringError, match=r"status 503.*\(tried 3 times\)"):
        judge(server, retries=2, workers=1).replies([pair(1), pair(2)])
    assert len(server.seen) == 3


def test_no_server_is_told() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))  # and does not listen; nobody else can do so there
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/v1"
        with pytest.raises(ScoringError, match=r"no answer .*\(tried 2 times\)"):
            OpenAIJudge("m", address, cache=None, retries=1, pause=0.01).replies([pair(1)])


def test_other_failures_stop_at_once(server: Server) -> None:
    server.failures = [(401, {})]
    with pytest.raises(ScoringError, match=r"status 401.*is the key in LAVIS_TEST_KEY\?"):
        judge(server, workers=1).replies([pair(1)])
    assert len(server.seen) == 1


def test_what_is_no_completion_is_told(server: Server) -> None:
    server.reply = {"choices": []}
    with pytest.raises(ScoringError, match="not the answer of an OpenAI-compatible address"):
        judge(server, retries=0).replies([pair(1)])


def test_replies_are_kept_and_not_asked_again(server: Server, tmp_path: Path) -> None:
    cache = tmp_path / "kept.jsonl"
    server.refused = {"gold xxx\n"}
    with pytest.raises(ScoringError, match="3 replies of this run are kept in .*run again to go on"):
        judge(server, cache, workers=1).replies([pair(n) for n in range(6)])
    kept = len(cache.read_text().splitlines())
    assert kept == 3
    server.refused, asked = set(), len(server.seen)
    replies = judge(server, cache).replies([pair(n) for n in range(6)])
    assert len(server.seen) - asked == 6 - kept
    assert len(cache.read_text().splitlines()) == 6
    assert judge(server, cache).replies([pair(n) for n in range(6)]) == replies
    assert len(server.seen) - asked == 6 - kept


def test_another_prompt_or_model_is_asked_anew(server: Server, tmp_path: Path) -> None:
    cache = tmp_path / "kept.jsonl"
    judge(server, cache).replies([pair(1)])
    judge(server, cache, prompt="asset:judges/magqa_few_shot.txt").replies([pair(1)])
    assert len(server.seen) == 2
    with cache.open("a") as stream:
        stream.write('{"model": "some-mo')
    assert judge(server, cache).replies([pair(1)])
    assert len(server.seen) == 2


def test_a_cache_that_is_something_else_is_refused(server: Server, tmp_path: Path) -> None:
    cache = tmp_path / "predictions.jsonl"
    cache.write_text('{"question_id": 1}\n')
    with pytest.raises(ScoringError, match="holds other rows than a judge's kept replies"):
        judge(server, cache).replies([pair(1)])
    assert cache.read_text() == '{"question_id": 1}\n'


def test_equal_pairs_are_asked_once(server: Server) -> None:
    same = [Pair(str(n), "What?", "gold", "predicted", (0,), (0,)) for n in range(5)]
    replies = judge(server).replies(same)
    assert len(set(replies)) == 1
    assert len(server.seen) == 1


def test_requests_are_spaced_out(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []

    class Stopped(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            waits.append(timeout or 0.0)
            return False

    monkeypatch.setattr(openai, "time", SimpleNamespace(monotonic=lambda: 5.0))  # all ask at the same moment
    monkeypatch.setattr(openai, "threading", SimpleNamespace(Event=Stopped, Lock=threading.Lock))
    judge(server, requests_per_minute=1200).replies([pair(n) for n in range(4)])
    assert sorted(waits) == pytest.approx([0.0, 0.05, 0.1, 0.15])
    assert len(server.seen) == 4


def test_the_key_is_nowhere_in_what_is_kept(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAVIS_TEST_KEY", "secret")
    asked = judge(server, tmp_path / "kept.jsonl")
    asked.replies([pair(1)])
    assert "secret" not in (tmp_path / "kept.jsonl").read_text() + asked.told()


@pytest.mark.parametrize("options", [{"workers": 0}, {"retries": -1}, {"base_url": "x"}, {"requests_per_minute": 0}])
def test_bad_options(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must"):
        OpenAIJudge("m", **options)

"""What a judge is told: the packaged prompts, and files of one's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from lavis.scoring.base import ScoringError
from lavis.scoring.judges._prompt import Prompt

TEXTS = ("Who {gold}?", "a man", "a {question}")


@pytest.mark.parametrize("name", ["magqa", "magqa_few_shot"])
def test_packaged_prompts(name: str) -> None:
    prompt = Prompt.read(f"asset:judges/{name}.txt")
    messages = prompt.filled(TEXTS)
    assert messages[0]["role"] == "system"
    assert "#" not in messages[0]["content"]
    assert [m["role"] for m in messages[1:]] == ["user", "assistant"] * (len(messages) // 2 - 1) + ["user"]
    # Blanks in what was said stay as they are.
    assert "Who {gold}?" in messages[-1]["content"]
    assert "a {question}" in messages[-1]["content"]


def test_examples_in_the_packaged_prompt_use_the_scale() -> None:
    given = {text for role, text in Prompt.read("asset:judges/magqa_few_shot.txt").messages if role == "assistant"}
    assert given == set("12345")


def test_a_prompt_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.txt"
    path.write_text("a note\n[user]\n{question} {gold}\nvs\n{predicted}\n")
    prompt = Prompt.read(str(path))
    assert prompt.filled(("q", "g", "p")) == [{"role": "user", "content": "q g\nvs\np"}]
    path.write_text("another note\n[user]\n{question} {gold}\nvs\n{predicted}\n")
    assert Prompt.read(str(path)).digest == prompt.digest
    path.write_text("[user]\n{question} {gold}\nand\n{predicted}\n")
    assert Prompt.read(str(path)).digest != prompt.digest


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has parts under"),
        ("[user]\nx\n[assistant]\n4", "the last \\[user\\]"),
        ("[user]\n{question}", "lacks {gold}, {predicted}"),
    ],
)
def test_bad_prompts(text: str, message: str) -> None:
    with pytest.raises(ScoringError, match=message):
        Prompt.of(text, "mine.txt")

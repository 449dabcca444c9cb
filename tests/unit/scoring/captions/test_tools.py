from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

import numpy as np
import pytest

from lavis.scoring.base import ScoringError
from lavis.scoring.captions import ngrams
from lavis.scoring.captions import tools as tools_module
from lavis.scoring.captions.pairs import Pair
from lavis.scoring.captions.tools import CaptionTools, caption_tools, captions_available, package_folder


def test_words_are_lower_case_without_punctuation(tools: CaptionTools) -> None:
    texts = ["The chef's knife slices; dices & chops.", "A man (in red) walks -- slowly.", '"Quoted" text, isn\'t it?']
    assert tools.tokenize(texts) == [
        "the chef 's knife slices dices & chops",
        "a man -lrb- in red -rrb- walks slowly",
        "quoted text is n't it",
    ]


@pytest.mark.parametrize("broken", ["a\nb", "a\r\nb", "a\rb", "a\u2028b", "a\u2029b", "a\x0bb", "a\x0cb"])
def test_line_ends_inside_a_text_do_not_shift_its_neighbours(tools: CaptionTools, broken: str) -> None:
    assert tools.tokenize(["one.", broken, "two."]) == ["one", "a b", "two"]


def test_texts_without_words(tools: CaptionTools) -> None:
    assert tools.tokenize(["", "  ", "\U0001f600", "...", "\ud83d", "x"]) == ["", "", "", "", "", "x"]


def test_separators_and_long_texts(tools: CaptionTools) -> None:
    long = "word " * 2000
    assert tools.tokenize(["a ||| b", long]) == ["a | | | b", " ".join(["word"] * 2000)]


def test_a_text_means_the_same_beside_any_other(tools: CaptionTools) -> None:
    alone = {text: tools_of(tools).tokenize([text])[0] for text in ("he takes vitamin c.", "Plan B.", "etc.", "U.S.")}
    for text, words in alone.items():
        assert tools_of(tools).tokenize(["Before.", text, "Next one"])[1] == words
        assert tools_of(tools).tokenize(["before", text, "next one"])[1] == words


def tools_of(tools: CaptionTools) -> CaptionTools:
    """The same programs without memory of texts."""
    return CaptionTools(tools._java, tools._package)


def test_meteor_is_not_symmetric(tools: CaptionTools) -> None:
    one, other = "cut the onion into small pieces", "a person cuts an onion into pieces"
    forth, back = tools.meteor([[(other, (one,))], [(one, (other,))]])
    assert forth.total == pytest.approx(0.2209997718570137, abs=1e-12)
    assert back.total == pytest.approx(0.21058227419372014, abs=1e-12)


def test_meteor_of_a_corpus_is_no_mean(tools: CaptionTools) -> None:
    pairs: list[Pair] = [("add oil", ("add oil",)), ("zebra", ("stir the vegetables",)), ("a b", ("c", "a b"))]
    (score,) = tools.meteor([pairs])
    np.testing.assert_array_equal(score.each, [1.0, 0.0, 1.0])
    assert score.total != pytest.approx(score.each.mean())


def test_meteor_takes_anything(tools: CaptionTools) -> None:
    pairs: list[Pair] = [
        ("", ("a",)),
        ("a", ("",)),
        ("", ("",)),
        ("a ||| b", ("a b",)),
        ("a b", ("a ||| b",)),
        ("a\nb", ("a\rb",)),
        ("\U0001f600", ("\ud83d",)),
        ("word " * 3000, ("word",)),
    ]
    score, nothing = tools.meteor([pairs, []])
    assert score.each.shape == (len(pairs),)
    assert np.isfinite(score.each).all()
    assert nothing.total == 0.0 and nothing.each.shape == (0,)


def test_one_process_and_no_question_twice(tools: CaptionTools) -> None:
    tools.meteor([[("a man walks", ("a man runs",))]])
    process = tools._meteor
    assert process is not None
    asked = len(process._statistics)
    tools.meteor([[("a man walks", ("a man runs",))] * 300])
    assert tools._meteor is process
    assert len(process._statistics) == asked


def test_more_questions_than_a_pipe_holds(tools: CaptionTools) -> None:
    pairs: list[Pair] = [(f"number {n} " * 20, (f"number {n + 1} " * 20,)) for n in range(700)]
    (score,) = tools.meteor([pairs])
    assert score.each.shape == (700,)


def fake_java(folder: Path, script: str) -> str:
    """A program that stands for Java."""
    path = folder / "java"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def needs_package() -> Path:
    package = package_folder()
    if package is None:
        pytest.skip("pycocoevalcap is not installed")
    return package


def test_the_process_ends_with_its_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needs_package()
    answer = 'case "$line" in SCORE*) echo 1;; *) echo 0.5; echo 0.25;; esac'
    fake_java(tmp_path, f"while read line; do {answer}; done")
    monkeypatch.setenv("PATH", str(tmp_path) + os.pathsep + os.environ["PATH"])
    with caption_tools() as made:
        assert made.meteor([[("a", ("a",))]])[0].total == 0.25
        assert made._meteor is not None
        process = made._meteor._process
        assert process.poll() is None
    assert process.poll() == 0


def test_a_process_that_dies_says_why(tmp_path: Path) -> None:
    java = fake_java(tmp_path, "echo 'Could not reserve enough space' >&2; exit 1")
    made = CaptionTools(java, needs_package())
    with pytest.raises(ScoringError, match=r"exit status 1.*Could not reserve enough space"):
        made.meteor([[("a", ("a",))]])
    made.close()
    with pytest.raises(ScoringError, match="tokeniser failed .exit status 1"):
        made.tokenize(["a"])


def test_a_process_that_does_not_answer_is_stopped(tmp_path: Path) -> None:
    java = fake_java(tmp_path, "exec sleep 60")
    made = CaptionTools(java, needs_package(), timeout=0.2)
    with pytest.raises(ScoringError, match=r"within 0\.2 seconds"):
        made.meteor([[("a", ("a",))]])
    made.close()
    with pytest.raises(ScoringError, match=r"more than 0\.2 seconds"):
        made.tokenize(["a"])


def test_what_to_install_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tools_module, "package_folder", lambda: None)
    with pytest.raises(ScoringError, match=r"pip install 'lavis\[metrics\]'"), caption_tools():
        pass


def test_java_is_named_where_it_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    needs_package()
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(ScoringError, match=r"lavis\[metrics\].*default-jre-headless"), caption_tools():
        pass


def test_ngram_scores_of_hard_corpora(capfd: pytest.CaptureFixture[str]) -> None:
    needs_package()
    corpora: list[list[Pair]] = [[], [("", ("",))], [("a b", ("",)), ("", ("a b",))], [("a", ("a", "b"))]]
    for corpus in corpora:
        scores = [ngrams.cider(corpus), ngrams.rouge_l(corpus), *ngrams.bleu(corpus)]
        assert all(np.isfinite(score.total) and score.each.shape == (len(corpus),) for score in scores)
    assert capfd.readouterr().out == ""


def test_cider_of_one_pair_is_zero() -> None:
    needs_package()
    assert ngrams.cider([("add oil", ("add oil",))]).total == 0.0
    assert ngrams.cider([("add oil", ("add oil",)), ("zebra", ("dog runs",))]).total > 0


def test_java_is_found_by_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needs_package()
    fake_java(tmp_path, "exit 0")
    monkeypatch.setenv("PATH", str(tmp_path) + os.pathsep + os.environ["PATH"])
    assert captions_available() is None

"""Nouns of queries: the rules found in the published items, and real taggers where they are installed."""

from __future__ import annotations

import importlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from lavis.preparation.noun_phrases import Tagger, agreement, extract, items_of, make_tagger, words_of


class Listed(Tagger):
    """Knows its nouns by heart."""

    def __init__(self, *nouns: str) -> None:
        self.known = set(nouns)
        self.asked: list[list[str]] = []

    def nouns(self, sentences: Sequence[Sequence[str]]) -> list[list[bool]]:
        self.asked = [list(sentence) for sentence in sentences]
        return [[word.lower() in self.known for word in sentence] for sentence in sentences]


def test_words() -> None:
    assert words_of("The girl\N{RIGHT SINGLE QUOTATION MARK}s t-shirt, it isn't (U.S.A) red.") == [
        *("The", "girl", "'s", "t-shirt", ",", "it", "is", "n't", "(", "U.S.A", ")", "red", "."),
    ]
    assert words_of("") == words_of(" \n_") == []
    assert words_of("Café 360 x2's n't") == ["Café", "360", "x2", "'s", "n't"]


@pytest.mark.parametrize(
    ("query", "items"),
    [
        ("person opens the Front DOOR", ["person", "front", "door"]),
        ("A person hands a book to another person.", ["person", "book", "person"]),
        ("A person sits in front of the door", ["person", "door"]),
        ("In Front Of the door", ["door"]),
        ("the door's front, in front", ["door", "front", "front"]),
        ("she runs", []),
    ],
)
def test_rules(query: str, items: list[str]) -> None:
    assert extract([query], Listed("person", "front", "door", "book", "'s", "front")) == [items]


def test_signs_and_numbers_are_no_items() -> None:
    assert items_of(["360", "'s", "-", "2nd", "Floor"], [True] * 5) == ["2nd", "floor"]


@pytest.mark.parametrize(
    ("query", "items"),
    [
        ("A man throws a tennis ball in New York City.", ["man", "tennis ball", "new york city"]),
        ("the man's tennis ball, ball and a city", ["man", "tennis ball", "ball", "city"]),
        ("A man in front of the ball", ["man", "ball"]),
        ("she runs", []),
    ],
)
def test_phrases_are_nouns_that_stand_together(query: str, items: list[str]) -> None:
    tagger = Listed("man", "tennis", "ball", "new", "york", "city", "front")
    assert extract([query], tagger, phrases=True) == [items]
    assert extract([query], tagger) == [[word for item in items for word in item.split()]]


def test_queries_go_to_the_tagger_at_once_and_empty_ones_do_not() -> None:
    tagger = Listed("dog", "cat")
    assert extract(["a dog", "", "a cat", "?!"], tagger) == [["dog"], [], ["cat"], []]
    assert tagger.asked == [["a", "dog"], ["a", "cat"], ["?", "!"]]
    assert extract([], tagger) == []


def test_agreement() -> None:
    figures = agreement([["a", "b", "b"], ["c"]], [["a", "b"], ["c"]])
    assert (figures.rows, figures.exact, figures.precision, figures.recall) == (2, 0.5, 0.75, 1.0)
    assert figures.f1 == pytest.approx(6 / 7)
    assert agreement([[]], [["a"]]).f1 == agreement([["a"]], [[]]).f1 == 0.0
    with pytest.raises(ValueError, match="the items of 1 queries with those of 2"):
        agreement([[]], [[], []])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("hanta", r"hanta needs the package HanTa .*: pip install 'lavis\[nouns\]'"),
        ("spacy", r"spacy needs the package spacy .*: pip install spacy && python -m spacy download en_core_web_sm"),
    ],
)
def test_a_missing_package_is_named(name: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(module: str) -> Any:
        raise ImportError(f"No module named {module!r}")

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(ImportError, match=message):
        extract(["a dog"], name)


@pytest.mark.parametrize("name", ["nltk", "spacy:", ":en", ""])
def test_unknown_taggers(name: str) -> None:
    with pytest.raises(ValueError, match="take hanta or spacy"):
        make_tagger(name)


# ------------------------------------------------------------------ real taggers

SENTENCES = {
    "person opens the refrigerator door.": ["person", "refrigerator", "door"],
    "Man in a black suit escorts a woman to a doorway.": ["man", "suit", "woman", "doorway"],
    "The girl's dog sits in front of a camera": ["girl", "dog", "camera"],
}


@pytest.fixture
def hanta() -> Tagger:
    pytest.importorskip("HanTa", reason="the package HanTa (extra nouns) is not installed")
    return make_tagger("hanta")


def test_hanta(hanta: Tagger, tmp_path: Path) -> None:
    assert extract(list(SENTENCES), hanta) == list(SENTENCES.values())
    with pytest.raises(ValueError, match="has no model"):
        make_tagger(f"hanta:{tmp_path}/none.pgz")


def test_spacy() -> None:
    spacy = pytest.importorskip("spacy", reason="the package spacy is not installed")
    installed = [name for name in spacy.util.get_installed_models() if name.startswith("en_")]
    if not installed:
        pytest.skip("no English model of spaCy is installed")
    assert extract(list(SENTENCES), f"spacy:{installed[0]}") == list(SENTENCES.values())


def test_spacy_without_its_model() -> None:
    pytest.importorskip("spacy", reason="the package spacy is not installed")
    with pytest.raises(ValueError, match="python -m spacy download en_none"):
        make_tagger("spacy:en_none")


@pytest.mark.parametrize(
    ("file", "same", "f1"),
    [("qvhighlights/calce_items_val.json", 0.47, 0.84), ("charades/calce_test.json", 0.79, 0.93)],
)
def test_agreement_with_the_published_items(hanta: Tagger, data_dir: Path, file: str, same: float, f1: float) -> None:
    entries = json.loads((data_dir / file).read_text())
    rows = list(entries.values()) if isinstance(entries, dict) else entries
    figures = agreement(extract([row["query"] for row in rows], hanta), [row["items"] for row in rows])
    print(f"{file}: {figures}, F1 {figures.f1:.3f}")
    assert figures.exact > same, figures
    assert figures.f1 > f1, figures

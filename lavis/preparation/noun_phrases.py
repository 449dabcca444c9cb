"""Nouns of queries, the ``items`` of CALCE, by a tagger of parts of speech.

Source: the items that CALCE (tjhd1475/CALCE) publishes for QVHighlights and Charades-STA; how they were made is not
published. They are lower-case words in the order of the query, mostly one noun an item (``front``, ``door``), repeats
kept, without articles, adjectives and ``in front of``. Those rules are followed here; the published lists also hold
phrases (``front door``), adjectives and corrected spellings now and then, by no rule, so some rows differ
(``python -m benchmarks.nouns`` says how many). With ``phrases`` nouns that stand together are one item.
"""

from __future__ import annotations

import importlib
import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

WORD = re.compile(r"[^\W_]+(?:[-'.][^\W_]+)*|[^\w\s]")
"""Words with what joins their parts (``t-shirt``), and single signs."""
CLITIC = re.compile(r"(.+?)(n't|'(?:s|re|ll|ve|d|m))", re.IGNORECASE)
"""What English writes at the end of a word and taggers expect apart: ``girl's``, ``doesn't``."""
NO_NOUNS = (("in", "front", "of"),)
"""Prepositions whose noun names no thing; the published items never have it."""


class Tagger(ABC):
    """Tells which words of a sentence are nouns."""

    @abstractmethod
    def nouns(self, sentences: Sequence[Sequence[str]]) -> list[list[bool]]:
        """Whether each word is one; sentences as ``words_of`` splits them, none empty."""


class HanTaTagger(Tagger):
    """Hannover Tagger (package HanTa, extra ``nouns``), whose English model ships inside the package.

    Args:
        model: ``en``, or the file of a model trained with HanTa.

    Raises:
        ImportError: if the package is missing; names the extra.
        ValueError: if there is no such file.
    """

    def __init__(self, model: str = "en") -> None:
        package = _package("HanTa.HanoverTagger", "hanta", "pip install 'lavis[nouns]'")
        if model != "en" and not Path(model).is_file():
            raise ValueError(f"the noun tagger hanta has no model {model!r}: 'en', or the file of one")
        self._tagger = package.HanoverTagger("morphmodel_en.pgz" if model == "en" else model)

    def nouns(self, sentences: Sequence[Sequence[str]]) -> list[list[bool]]:
        # Its tags are those of the British National Corpus: NN0, NN1, NN2, NP0; PNI is "something", "someone".
        return [
            [tag.startswith("N") or tag == "PNI" for _, _, tag in self._tagger.tag_sent(list(sentence))]
            for sentence in sentences
        ]


class SpacyTagger(Tagger):
    """A pipeline of spaCy; package and model are installed apart from the project.

    Args:
        model: installed package or folder of an English pipeline with a tagger.

    Raises:
        ImportError: if spaCy is missing; says how to install it.
        ValueError: if the model is missing or tags nothing.
    """

    def __init__(self, model: str = "en_core_web_sm") -> None:
        cure = f"pip install spacy && python -m spacy download {model}"
        spacy = _package("spacy", "spacy", cure)
        self._doc: Any = _package("spacy.tokens", "spacy", cure).Doc
        try:
            self._pipeline = spacy.load(model, exclude=["ner", "lemmatizer", "parser", "senter"])
        except OSError as error:
            cure = f"python -m spacy download {model}, or another with spacy:MODEL"
            raise ValueError(f"the noun tagger spacy has no model {model!r}: {cure}") from error
        if "tagger" not in self._pipeline.pipe_names:
            raise ValueError(f"the pipeline {model!r} of spaCy has no tagger; take another, such as en_core_web_sm")

    def nouns(self, sentences: Sequence[Sequence[str]]) -> list[list[bool]]:
        documents = (self._doc(self._pipeline.vocab, words=list(sentence)) for sentence in sentences)
        return [[token.tag_.startswith("N") for token in document] for document in self._pipeline.pipe(documents)]


TAGGERS: dict[str, Callable[..., Tagger]] = {"hanta": HanTaTagger, "spacy": SpacyTagger}
DEFAULT = "hanta"


def _package(module: str, tagger: str, cure: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f"the noun tagger {tagger} needs the package {module.split('.')[0]} ({error}): {cure}"
        ) from error


def make_tagger(name: str = DEFAULT) -> Tagger:
    """A tagger by name: ``hanta``, ``spacy``, or with a model of one's own, ``spacy:en_core_web_md``.

    Raises:
        ImportError: if its package is missing; names the extra.
        ValueError: for another name, or a model that is not there.
    """
    kind, colon, model = name.partition(":")
    if kind not in TAGGERS or (colon and not model):
        raise ValueError(f"there is no noun tagger {name!r}; take {' or '.join(TAGGERS)}, and a model as spacy:MODEL")
    return TAGGERS[kind](model) if model else TAGGERS[kind]()


def extract(queries: Sequence[str], tagger: str | Tagger = DEFAULT, *, phrases: bool = False) -> list[list[str]]:
    """Nouns of each query, in its order, lower-case; empty where it has none.

    Args:
        queries: English sentences.
        tagger: a name (``make_tagger``), or one that is made.
        phrases: whether nouns that stand together are one item (``tennis ball``) or, as in most of the published
            lists, one each.

    Raises:
        ImportError, ValueError: see ``make_tagger``.
    """
    if isinstance(tagger, str):
        tagger = make_tagger(tagger)
    sentences = [words_of(query) for query in queries]
    tagged = iter(tagger.nouns([sentence for sentence in sentences if sentence]))
    return [items_of(sentence, next(tagged), phrases) if sentence else [] for sentence in sentences]


def words_of(query: str) -> list[str]:
    """Words and signs of a query; what English joins to words (``'s``, ``n't``) is apart."""
    words: list[str] = []
    for word in WORD.findall(query.replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")):
        joined = CLITIC.fullmatch(word)
        words += joined.groups() if joined else [word]
    return words


def items_of(words: Sequence[str], nouns: Sequence[bool], phrases: bool = False) -> list[str]:
    """The items of a tagged sentence, by the rules found in the published ones.

    Args:
        words: of the sentence.
        nouns: whether each is one.
        phrases: see ``extract``.
    """
    lowered = [word.lower() for word in words]
    inside = {
        index + offset
        for phrase in NO_NOUNS
        for index in range(len(lowered) - len(phrase) + 1)
        if tuple(lowered[index : index + len(phrase)]) == phrase
        for offset in range(len(phrase))
    }
    kept = [
        noun and index not in inside and word[0].isalnum() and not word.isnumeric()
        for index, (word, noun) in enumerate(zip(lowered, nouns, strict=True))
    ]
    if not phrases:
        return [word for word, keep in zip(lowered, kept, strict=True) if keep]
    runs = groupby(zip(kept, lowered, strict=True), key=lambda pair: pair[0])
    return [" ".join(word for _, word in run) for keep, run in runs if keep]


@dataclass(frozen=True)
class Agreement:
    """How lists of items agree with others of the same queries.

    Args:
        rows: how many queries.
        exact: share whose lists are equal, order included; 0 to 1.
        precision: share of the items found that the others have too, repeats counted; 0 to 1.
        recall: share of the others' items that were found; 0 to 1.
    """

    rows: int
    exact: float
    precision: float
    recall: float

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        total = self.precision + self.recall
        return 2 * self.precision * self.recall / total if total else 0.0


def agreement(found: Sequence[Sequence[str]], published: Sequence[Sequence[str]]) -> Agreement:
    """Compares items, query by query.

    Raises:
        ValueError: if there are none, or not as many on both sides.
    """
    if not found or len(found) != len(published):
        raise ValueError(f"cannot compare the items of {len(found)} queries with those of {len(published)}")
    same = sum(list(ours) == list(theirs) for ours, theirs in zip(found, published, strict=True))
    shared = sum((Counter(ours) & Counter(theirs)).total() for ours, theirs in zip(found, published, strict=True))
    ours, theirs = sum(map(len, found)), sum(map(len, published))
    return Agreement(len(found), same / len(found), shared / ours if ours else 0.0, shared / theirs if theirs else 0.0)

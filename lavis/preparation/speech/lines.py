"""Caption lines from what a transcriber wrote, in a form that every reader of subtitles gets back whole.

Whisper's segments are the lines, as in CALCE's files (its reader is described in ``lavis/processors/subtitles.py``).
Two things a line could say would break such a file and are written differently: a line of digits alone, which CALCE's
reader takes for the number of the next entry (``1984`` becomes ``1984.``), and ``-->`` (becomes ``->``).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate

from lavis.preparation.speech.transcribers.base import Utterance, Word
from lavis.structures import Subtitle


def caption_lines(
    utterances: Iterable[Utterance], max_chars: int | None = None, duration: float = math.inf
) -> list[Subtitle]:
    """The lines of a file of captions, in time order.

    What begins before the video or ends behind it is cut to it (Whisper's last segment may end up to 30 s late); what
    has no text or lies outside is left out.

    Args:
        utterances: what is said.
        max_chars: cut what is longer, between words; a word that is longer by itself stays whole. ``None``: no cuts.
        duration: of the video, in seconds.

    Raises:
        ValueError: if ``max_chars`` is below 1, or a time is not finite.
    """
    if max_chars is not None and max_chars < 1:
        raise ValueError(f"a line has at least 1 character, got max_chars={max_chars}")
    lines = []
    for said in utterances:
        if not (math.isfinite(said.start) and math.isfinite(said.end)):
            raise ValueError(f"the transcriber gave no finite times for {said.text[:60]!r}: {said.start} to {said.end}")
        for line in _cut(said, max_chars):
            text = _plain(line.text)
            if text and line.end > 0 and line.start < duration:
                start = max(0.0, line.start)
                lines.append(Subtitle(start, max(start, min(line.end, duration)), text))
    return sorted(lines, key=lambda line: line.start)


def _plain(text: str) -> str:
    text = " ".join(text.split()).replace("-->", "->")
    return f"{text}." if text.isdigit() else text


def _cut(said: Utterance, max_chars: int | None) -> Iterator[Subtitle]:
    if max_chars is None or len(_plain(said.text)) <= max_chars:
        yield Subtitle(said.start, said.end, said.text)
        return
    words = said.words or _spread(said)
    begin = 0
    for number in range(1, len(words)):
        if len(_text(words[begin : number + 1])) > max_chars:
            yield _joined(words[begin:number])
            begin = number
    yield _joined(words[begin:])


def _joined(words: Sequence[Word]) -> Subtitle:
    return Subtitle(words[0].start, words[-1].end, _text(words))


def _text(words: Sequence[Word]) -> str:
    """Words carry the space before them, since some languages have none."""
    return "".join(word.text for word in words).strip()


def _spread(said: Utterance) -> tuple[Word, ...]:
    """Words as long as their share of the letters, where nothing is known of when they are said."""
    texts = said.text.split()
    sizes = list(accumulate((len(text) + 1 for text in texts), initial=0))
    scale = (said.end - said.start) / sizes[-1]
    edges = [said.start + size * scale for size in sizes]
    return tuple(Word(edges[i], edges[i + 1], f" {text}") for i, text in enumerate(texts))

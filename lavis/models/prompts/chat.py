"""Conversations about frames, in the form that a chat model was trained on: what is asked, what is learned in answer.

Everything is one block. The frames stand where a text says ``<image>``, else before or behind it; each of the user's
turns has its own, since a compressor may read the question. Answers are learned with the mark that closes them.

Source: E.T. Chat (PolyU-ChenLab/ETBench) and MeCo (pangzss/MeCo), which follow LLaVA. Differs from them: a text is
tokenised whole between two pictures, and what is learned is found by where the texts lie, not by counting tokens of
rounds tokenised alone (``labels: recounted``), which drifts in conversations of several rounds.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence as Sequence_
from itertools import groupby
from string import ascii_uppercase
from typing import Literal, get_args

from lavis.common.random import DrawSource, SampleDraws
from lavis.common.registry import registry
from lavis.models.codecs.base import TimeCodec
from lavis.models.prompts._templates import TEMPLATES, Template
from lavis.models.prompts.base import Prompt
from lavis.structures import (
    Block,
    FrameRef,
    Passage,
    Round,
    Segment,
    Sequence,
    Series,
    Subtitle,
    Text,
    TimedTokens,
    VideoSample,
    Visuals,
)

Place = Literal["first", "last", "drawn"]
Labels = Literal["exact", "recounted"]
Part = Text | FrameRef | Series

OPTIONS = "{options}"
"""What stands in a question for the options."""
PLACEHOLDERS = ("<image>", "<video>")
"""What stands in a turn for the frames."""


@registry.prompts.register("chat")
class Chat(Prompt):
    """A conversation with frames.

    Args:
        template: ``phi3``, ``qwen2``, ``llama3``, ``gemma2``, ``vicuna_v1``, or ``plain``: frames and a caption alone.
        question: what the user says in a sample without turns; ``{query}`` is the query, ``{options}`` are the
            sample's options, a line each.
        question_of_kind: other questions for samples of a kind.
        option: how an option is written; ``{letter}`` is its letter, ``{text}`` what it says.
        query_end: characters taken off the end of such a query, such as a full stop before a closing quote.
        answer_start: how an answer begins that the model then completes; a blank is put before it where it would
            touch a word.
        answer_start_of_kind: other beginnings for samples of a kind.
        place: where the frames of a turn stand that does not say: ``first``, ``last``, or ``drawn`` for each sample by
            its id (to learn; first where an answer is wanted).
        gather: one place for frames in a conversation, in its first turn, and all turns of the user as one question
            about them; otherwise each turn of the user has a place, and is a question.
        labels: ``exact``, or ``recounted`` as the originals count.
        lose_token: leave out the first token behind each place for frames, as the originals do where the tokenizer's
            begin token is also the template's first mark (MiniCPM-V).
        max_tokens: positions that a conversation keeps in training, where all frames of a place count as one; ``None``
            keeps all. The end is left out.
        seed: of what is drawn.

    Raises:
        ValueError: for a setting that does not exist or is out of range.
    """

    def __init__(
        self,
        template: str = "phi3",
        question: str = "{query}",
        question_of_kind: Mapping[str, str] | None = None,
        option: str = "({letter}) {text}",
        query_end: str = "",
        answer_start: str = "",
        answer_start_of_kind: Mapping[str, str] | None = None,
        place: Place = "first",
        gather: bool = False,
        labels: Labels = "exact",
        lose_token: bool = False,
        max_tokens: int | None = 2048,
        seed: int = 0,
    ) -> None:
        _check_choice("template", template, tuple(TEMPLATES))
        _check_choice("place", place, get_args(Place))
        _check_choice("labels", labels, get_args(Labels))
        for own in (question, *(question_of_kind or {}).values()):
            if own.count("{query}") != 1:
                raise ValueError(f"prompt.question must hold {{query}} once, got {own!r}")
        if option.count("{letter}") > 1 or option.count("{text}") != 1:
            raise ValueError(f"prompt.option must hold {{text}} once, and may hold {{letter}} once, got {option!r}")
        if max_tokens is not None and max_tokens < 1:
            raise ValueError(f"prompt.max_tokens must be at least 1 or null, got {max_tokens}")
        self.template: Template = TEMPLATES[template]
        self.question, self.question_of_kind = question, dict(question_of_kind or {})
        self.option, self.query_end = option, query_end
        self.answer_start, self.answer_start_of_kind = answer_start, dict(answer_start_of_kind or {})
        self.place, self.gather, self.labels = place, gather, labels
        self.lose_token, self.max_tokens, self.seed = lose_token, max_tokens, seed
        self.stops = (self.template.answer_end,)

    def questions(self, sample: VideoSample) -> list[str]:
        """What the user says, without places for frames; one text for each of these."""
        if sample.turns:
            said = [_without_placeholder(turn.text) for turn in sample.turns if turn.role == "user"]
        else:
            before, after = self._around(sample)
            said = [before + sample.query.strip().rstrip(self.query_end) + after]
        return [" ".join(said)] if self.gather else said

    def __call__(
        self,
        sample: VideoSample,
        tokens: TimedTokens,
        codec: TimeCodec,
        subtitles: list[Subtitle],
        answer: bool = False,
    ) -> Sequence:
        """The sequence of one sample; see ``Prompt``.

        Raises:
            ValueError: if a text holds a mark of the template, or a place for frames that cannot be; names the sample.
        """
        said: list[Sequence_[Part]] = [*codec.turns(sample, tokens, answer)]
        if not sample.turns:
            said[0] = self._asked(sample, said[0])
        self._check(sample, said, answer)
        pictures = _pictures(tokens, len(self.questions(sample)))
        if self.template.bare:
            return self._captioned(sample, said, pictures, answer)
        draws = self.draws(sample) if answer and self.place == "drawn" else None
        parts: list[Part] = []
        edges: list[tuple[int, int, int]] = []  # of each round: first part, first of the answer, first behind it
        for number in range(0, len(said), 2):
            begin = len(parts)
            picture = pictures.pop(0) if pictures else None
            asked = self._with_picture(sample, said[number], picture, draws)
            parts += [Text(self._head(number)), *asked, *self._between(asked), Text(self.template.assistant)]
            given = len(parts)
            if number + 1 < len(said):
                parts += self._closed(said[number + 1])
            edges.append((begin, given, len(parts)))
        if not answer:
            parts.append(Text(self._start(sample)))
        rounds = self._rounds(parts, edges) if answer and self.labels == "recounted" else ()
        return Sequence([Block(self._joined(parts))], max_tokens=self.max_tokens, rounds=rounds)

    def draws(self, sample: VideoSample) -> DrawSource:
        """Where the places of a sample's frames are drawn from: 0 is before the text, 1 behind it."""
        return SampleDraws(sample.id, self.seed)

    def _around(self, sample: VideoSample) -> tuple[str, str]:
        question = self.question_of_kind.get(sample.kind or "", self.question)
        before, _, after = question.partition("{query}")
        if OPTIONS in question:
            listed = self._options(sample)
            before, after = before.replace(OPTIONS, listed), after.replace(OPTIONS, listed)
        return before, after

    def _options(self, sample: VideoSample) -> str:
        if not 0 < len(sample.options) <= len(ascii_uppercase):
            raise ValueError(
                f"sample {sample.id}: prompt.question shows options, which must be 1 to {len(ascii_uppercase)}, but "
                f"there are {len(sample.options)}"
            )
        lettered = zip(ascii_uppercase, sample.options, strict=False)
        return "\n".join(
            self.option.replace("{letter}", letter).replace("{text}", text.strip()) for letter, text in lettered
        )

    def _asked(self, sample: VideoSample, query: Sequence_[Part]) -> list[Part]:
        """The question about a query; its match tokens stay what they are."""
        parts = _stripped(query)
        if parts and isinstance(parts[-1], Text):
            parts[-1] = Text(parts[-1].text.rstrip(self.query_end))
        before, after = self._around(sample)
        return [Text(before), *parts, Text(after)]

    def _check(self, sample: VideoSample, said: Sequence_[Sequence_[Part]], answer: bool) -> None:
        if answer and len(said) % 2:
            raise ValueError(f"sample {sample.id}: the conversation ends with the user; there is no answer to learn")
        for number, turn in enumerate(said):
            text = "".join(part.text for part in turn if isinstance(part, Text))
            places = sum(text.count(placeholder) for placeholder in PLACEHOLDERS)
            if places > int(number % 2 == 0 and bool(sample.turns)):
                raise ValueError(
                    f"sample {sample.id}: {text!r:.80} holds {' or '.join(PLACEHOLDERS)}, which stands for the frames "
                    "and may only be once in what the user says in a conversation; take it out, or write it otherwise"
                )
            found = [mark for mark in self.template.marks if mark in text]
            if found:
                raise ValueError(
                    f"sample {sample.id}: {text!r:.80} holds {found[0]}, which marks the turns of a conversation; take "
                    "it out, or write it otherwise"
                )

    def _head(self, number: int) -> str:
        head = self.template.user if number else self.template.system + self.template.user
        return head if number else head.lstrip("\n")

    def _with_picture(
        self, sample: VideoSample, turn: Sequence_[Part], picture: Series | None, draws: DrawSource | None
    ) -> list[Part]:
        """What the user says, with frames where they belong."""
        parts: list[Part] = [piece for part in turn for piece in _split(part)]
        told = any(part == _HERE for part in parts)
        if told and picture is None:
            raise ValueError(
                f"sample {sample.id}: a turn shows frames ({' or '.join(PLACEHOLDERS)}), but there are none for it; "
                "give the sample a video, or, with prompt.gather, a place in its first turn alone"
            )
        if picture is not None and not told:
            behind = draws.randint(2) if draws is not None else int(self.place == "last")
            parts = [*parts, Text("\n"), _HERE] if behind else [_HERE, Text("\n"), *parts]
        return [picture if part == _HERE and picture is not None else part for part in _stripped(parts)]

    def _between(self, asked: list[Part]) -> list[Text]:
        """What closes the user's turn: nothing where the prompt ends with that already."""
        end = self.template.user_end
        last = next((part for part in reversed(asked) if not isinstance(part, Text) or part.text), None)
        before = self.template.user if last is None else last.text if isinstance(last, Text) else ""
        return [] if before.endswith(end) else [Text(end)]

    def _closed(self, turn: Sequence_[Part]) -> list[Part]:
        learned = any(part.learned for part in turn if not isinstance(part, Series))
        return [Text(self.template.lead, learned), *_stripped(turn), Text(self.template.answer_end, learned)]

    def _start(self, sample: VideoSample) -> str:
        start = self.answer_start_of_kind.get(sample.kind or "", self.answer_start)
        touches = start and not self.template.assistant.endswith("\n") and not self.template.bare
        return f" {start}" if touches else start

    def _captioned(
        self, sample: VideoSample, said: Sequence_[Sequence_[Part]], pictures: list[Series], answer: bool
    ) -> Sequence:
        """Frames and their caption, as they stand: what the user says is for the compressor alone."""
        if len(said) > 2 or not pictures:
            raise ValueError(
                f"sample {sample.id}: the template plain shows frames and one caption, but there are "
                f"{len(said)} turns and {'frames' if pictures else 'no frames'}; use the template of a conversation"
            )
        parts: list[Part] = [pictures[0]]
        parts += [*said[1], Text(self.template.answer_end, learned=True)] if answer else [Text(self._start(sample))]
        return Sequence([Block(self._joined(parts))], max_tokens=self.max_tokens)

    def _joined(self, parts: Sequence_[Part]) -> list[Segment]:
        """Frames, and what stands between them as one passage each."""
        segments: list[Segment] = []
        shown = [part for part in parts if not isinstance(part, Text) or part.text]
        for picture, run in groupby(shown, lambda part: isinstance(part, Series)):
            if picture:
                segments += run
            else:
                own = tuple(part for part in run if not isinstance(part, Series))
                lost = int(self.lose_token and not self.template.bare and bool(segments))
                segments.append(Passage(own, skip=lost))
        return segments

    def _rounds(self, parts: Sequence_[Part], edges: Sequence_[tuple[int, int, int]]) -> tuple[Round, ...]:
        """The rounds as the originals tokenise them by themselves, and how they correct for the begin token."""
        if self.template.spaced:  # the closing mark of a round is counted as the begin token of it
            rounds = [Round(("",), ("",))]
            for begin, given, end in edges:
                *first, last = _texts_of(parts[begin:given])
                rounds.append(Round((*first, f"{last} "), _texts_of(parts[begin : end - 1]), given_more=-2))
            return tuple(rounds)
        rounds = []
        for number, (begin, given, end) in enumerate(edges):
            texts = _texts_of(parts[begin:given]), _texts_of(parts[begin:end])
            more = -(len(texts[0]) - 1) * self.lose_token if number == 0 else self.template.whole_rounds - 1
            rounds.append(Round(*texts, given_more=more, whole_more=more))
        return tuple(rounds)


_HERE = FrameRef(PLACEHOLDERS[0])
"""Where frames belong, until they are put there."""


def _check_choice(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"prompt.{name} must be one of {', '.join(allowed)}, got {value!r}")


def _without_placeholder(text: str) -> str:
    for placeholder in PLACEHOLDERS:
        text = text.replace(placeholder, "")
    return text.strip()


def _split(part: Part) -> list[Part]:
    """A text of the user with the place for frames as a part of its own."""
    if not isinstance(part, Text):
        return [part]
    for placeholder in PLACEHOLDERS:
        before, found, after = part.text.partition(placeholder)
        if found:
            return [Text(before), _HERE, Text(after)]
    return [part]


def _stripped(parts: Sequence_[Part]) -> list[Part]:
    """Without blanks around the whole, and without empty texts."""
    parts = [part for part in parts if not isinstance(part, Text) or part.text]
    while parts and isinstance(parts[0], Text):
        parts[0] = Text(parts[0].text.lstrip(), parts[0].learned)
        if parts[0].text:
            break
        parts = parts[1:]
    while parts and isinstance(parts[-1], Text):
        parts[-1] = Text(parts[-1].text.rstrip(), parts[-1].learned)
        if parts[-1].text:
            break
        parts = parts[:-1]
    return parts


def _pictures(tokens: TimedTokens, places: int) -> list[Series]:
    """The frames of each place; a compressor that read as many questions has them once for each."""
    if not len(tokens):
        return []
    count = len(tokens) // places
    repeated = tokens.frames[:count] * places == tokens.frames
    offsets, shown = tokens.offsets(), []
    for place in range(places):
        own = slice(place * count, (place + 1) * count) if repeated else slice(None)
        shown.append(Series((Visuals(offsets[own], tokens.counts[own]),)))
    return shown


def _texts_of(parts: Sequence_[Part]) -> tuple[str, ...]:
    """The texts between frames."""
    texts = [""]
    for part in parts:
        if isinstance(part, Series):
            texts.append("")
        else:
            texts[-1] += part.text if isinstance(part, Text) else part.token
    return tuple(texts)

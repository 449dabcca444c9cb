"""``VideoLLM``: the one model class. A system is defined by the parts it contains.

frames -> ``encoder`` -> patch features -> ``compressor`` -> visual tokens with times -> ``prompt`` -> segments ->
``language_model`` -> text -> ``codec`` -> moments; ``localizer`` decides how often, and on what, that is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any
from weakref import WeakMethod

import torch
from torch import Tensor, nn

from lavis.common.feature_store import CacheConfig
from lavis.common.random import DrawSource, SampleDraws
from lavis.common.registry import registry
from lavis.common.schema import GenerationConfig
from lavis.models import one_video
from lavis.models.codecs.base import TimeCodec
from lavis.models.compressors.base import Compressor
from lavis.models.encoders.base import VideoEncoder
from lavis.models.feature_cache import FeatureCache
from lavis.models.heads.base import Head
from lavis.models.language_models.base import Asked, LanguageModel, check_context
from lavis.models.localizers.base import Localizer
from lavis.models.localizers.single_pass import SinglePass
from lavis.models.prompts.base import Prompt
from lavis.models.prompts.subtitle_choice import SubtitleChoice
from lavis.structures import Batch, Block, ModelOutput, Packed, Prediction, Subtitle, TimedTokens, VideoSample, Views
from lavis.structures import Sequence as PromptSequence

if TYPE_CHECKING:
    from lavis.processors.video_processor import VideoProcessor


@registry.models.register("video_llm")
class VideoLLM(nn.Module):
    """A multimodal language model that finds moments.

    Args:
        encoder: frames to patch features.
        compressor: patch features to visual tokens in the language model's width.
        prompt: layout of the prompt.
        language_model: the adapter around it.
        codec: writes and reads times; already bound to the language model's tokenizer.
        subtitle_choice: picks the subtitle lines a prompt shows; ``None`` shows all of them.
        localizer: how often the model is asked; ``None`` asks once.
        head: compares states of the language model with frames; ``None`` where times are in the text.
        processor: makes frames of a file; needed by ``localize`` only.
        generation: decoding settings.
        cache: where the output of frozen parts is kept; ``None`` is as ``CacheConfig`` has it. Changes no result.
        seed: of everything drawn per sample, such as the tie-breaking noise of clustering.
    """

    def __init__(
        self,
        encoder: VideoEncoder,
        compressor: Compressor,
        prompt: Prompt,
        language_model: LanguageModel,
        codec: TimeCodec,
        subtitle_choice: SubtitleChoice | None = None,
        localizer: Localizer | None = None,
        head: Head | None = None,
        processor: VideoProcessor | None = None,
        generation: GenerationConfig | None = None,
        cache: CacheConfig | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.compressor = compressor
        self.prompt = prompt
        self.language_model = language_model
        self.codec = codec
        self.head = head
        self.fresh_head = False
        """Whether weights were read and none of them were the head's: what finds times has learned nothing yet."""
        self.subtitle_choice = subtitle_choice
        self.localizer: Localizer = localizer if localizer is not None else SinglePass()
        self.processor = processor
        self.generation = generation if generation is not None else GenerationConfig()
        self.seed = seed
        self.cache = encoder.cache = compressor.cache = FeatureCache(cache or CacheConfig())
        if processor is not None:
            processor.index = self.cache.store.index
            processor.index.ask = _weakly(self.announce)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Losses of one batch, each a scalar; their sum is what the runner minimises.

        Raises:
            ValueError: if a sample has no truth to learn.
        """
        unknown = [
            s.id
            for s in batch.samples
            if s.moments is None and s.answer is None and not any(turn.learned for turn in s.turns)
        ]
        if unknown:
            raise ValueError(f"samples without moments cannot be trained on: {', '.join(unknown[:5])}")
        packed = self.pack(self.localizer.training_batch(self, batch), answer=True)
        output = self.language_model(packed) if self.head is None else self.language_model(packed, self.head.taps)
        assert output.loss is not None
        return {"lm": output.loss, **(self.head.losses(output, packed) if self.head is not None else {})}

    @torch.no_grad()
    def generate(self, batch: Batch) -> list[Prediction]:
        """A prediction for each sample, through the localizer."""
        return self.localizer(self, batch)

    @torch.no_grad()
    def answer(self, batch: Batch, generation: GenerationConfig | None = None) -> list[Prediction]:
        """Asks the model once about every sample."""
        outputs = self.outputs(batch, generation)
        return [self.codec.decode(output, sample) for output, sample in zip(outputs, batch.samples, strict=True)]

    @torch.no_grad()
    def outputs(self, batch: Batch, generation: GenerationConfig | None = None) -> list[ModelOutput]:
        """What the language model says, unread."""
        generation = generation or self.generation
        if self.prompt.stops:
            generation = replace(generation, stops=[*generation.stops, *self.prompt.stops])
        of_kind, others = generation.repetition_penalty_of_kind, generation.repetition_penalty
        asked = Asked(
            names=[sample.id for sample in batch.samples],
            draws=[SampleDraws(f"answer of {sample.id}", self.seed) for sample in batch.samples],
            penalties=[of_kind.get(sample.kind or "", others) for sample in batch.samples],
        )
        self._check_context(batch)
        watcher = None
        if self.head is not None:
            watcher = self.head.watch(self.language_model.token_ids(self.codec.tokens))
        return self.language_model.generate(self.pack(batch), generation, watcher, asked)

    def _check_context(self, batch: Batch) -> None:
        """That prompts fit into the language model, before frames are encoded in vain; what is packed decides."""
        limit = self.language_model.context
        if limit is None or not self.compressor.every_frame or self.encoder.view not in batch.views:
            return
        per_frame = self.compressor.tokens_of_frame(self.encoder.num_tokens)
        for sample, frames in zip(batch.samples, batch.views[self.encoder.view], strict=True):
            if len(frames) * per_frame > limit // 2:  # else it cannot be the frames
                check_context(sample.id, self.count_tokens(sample, {self.encoder.view: frames}), limit)

    def pack(self, batch: Batch, answer: bool = False, draws: Sequence[DrawSource] | None = None) -> Packed:
        """The prompts of a batch as embeddings; arguments as for ``sequences``.

        To ask (``answer=False``), an encoder-decoder's prompts are laid out as the prompt's ``eval_layout`` says.
        Decoders are always padded at the start alone, which their positions leave out.
        """
        prompts, tokens = self.sequences(batch, answer, draws)
        if answer or not self.language_model.encoder_decoder or self.prompt.eval_layout == "batch":
            return self.language_model.pack(prompts, tokens, answer)
        return self.language_model.pack([prompt.padded_behind() for prompt in prompts], tokens)

    def count_tokens(self, sample: VideoSample, views: Views, answer: bool = False) -> int:
        """Tokens that a sample's prompt takes at most: as if every frame were worth all tokens, and the longest
        subtitles chosen; with the ``answer`` to learn, if it is asked for. Nothing is encoded.
        """
        frames = views[self.encoder.view]
        per_frame = self.compressor.tokens_of_frame(self.encoder.num_tokens)
        shown = len(self.prompt.questions(sample)) if self.compressor.reads_questions else 1
        tokens = TimedTokens(
            tokens=torch.empty(per_frame * len(frames) * shown, 0),
            counts=[per_frame] * len(frames) * shown,
            times=list(zip(frames.times, frames.times, strict=True)) * shown,
            frames=list(range(len(frames))) * shown,
        )
        lines = sample.subtitles if self.prompt.shows_subtitles else []
        if self.subtitle_choice is not None:
            lines = self.subtitle_choice.longest(lines, self.language_model.tokenizer)
        if sample.prior is None:  # what an earlier stage has still to find
            sample = sample.with_prior([sample.window] * 5)
        prompt = self.prompt(sample, tokens, self.codec, lines, answer)
        return self.language_model.length(PromptSequence([*prompt.blocks, Block(prompt.answer)]))

    def sequences(
        self, batch: Batch, answer: bool = False, draws: Sequence[DrawSource] | None = None
    ) -> tuple[list[PromptSequence], list[TimedTokens]]:
        """The prompts of a batch as segments, with the visual tokens they point to.

        Args:
            batch: samples and frames.
            answer: whether to add training targets.
            draws: random numbers of each sample; by default from a generator seeded with its id, so that a prediction
                depends neither on the batch nor on the number of processes.
        """
        if draws is None:
            draws = [SampleDraws(sample.id, self.seed) for sample in batch.samples]
        self._explain(batch)
        features = self.encoder.encode(batch.views)
        times = [self.codec.view_times(f.times, sample) for f, sample in zip(features, batch.samples, strict=True)]
        asked: dict[str, Any] = {}
        if self.compressor.reads_questions:
            asked["questions"] = [self.prompt.questions(sample) for sample in batch.samples]
        tokens = self.compressor(features, self.codec.view(batch.samples), draws=draws, times=times, **asked)
        prompts = [
            self.prompt(sample, timed, self.codec, lines, answer)
            for sample, timed, lines in zip(batch.samples, tokens, self._subtitles(batch.samples), strict=True)
        ]
        return prompts, tokens

    def _subtitles(self, samples: list[VideoSample]) -> list[list[Subtitle]]:
        if not self.prompt.shows_subtitles:
            return [[] for _ in samples]
        if self.subtitle_choice is None:
            return [sample.subtitles for sample in samples]
        repeatable = not (self.training and self.compressor.frozen_dropout)
        return self.subtitle_choice(
            samples, self.compressor.encode_text, self.language_model.device, repeatable=repeatable
        )

    def cache_statistics(self) -> dict[str, float]:
        """Videos found in memory and on disk and encoded since the model was built, and MiB read and kept."""
        return self.cache.statistics()

    def cache_facts(self) -> dict[str, float]:
        """``cache_hits``: part of the videos since the last call that was not encoded; empty if there was none."""
        return self.cache.facts()

    def cache_report(self) -> str | None:
        """A line for the log about the videos since the last call; ``None`` if there is nothing to say."""
        return self.cache.report()

    def announce(self) -> None:
        """Tells processors which features are looked for, so that they need not decode what is there already."""
        self.compressor.announce(self.encoder.source())

    def _explain(self, batch: Batch) -> None:
        """Says once why frames have no name under which anything could be kept."""
        frames = batch.views.get(self.encoder.view, [])
        if self.processor is not None and any(f.key is None for f in frames):
            reason = self.processor.unrepeatable(self.encoder.view, self.training)
            if reason is not None:
                self.cache.refuse(reason)

    def localize(
        self,
        video: str,
        query: str,
        subtitles: list[Subtitle] | None = None,
        speech: list[Any] | None = None,
        prior: list[Any] | None = None,
        items: Iterable[str] | None = None,
    ) -> Prediction:
        """Finds a query in one video file.

        Args:
            video: path of the file.
            query: a sentence.
            subtitles: caption lines in time order, if there are any.
            speech: spans with speech.
            prior: a coarser result, for second stages.
            items: nouns of the query; by default the words of it that carry meaning.

        Returns:
            the prediction, moments best first.

        Raises:
            VideoDecodeError: if the file cannot be read.
            ValueError: if the query is empty or the model has no processor.
        """
        return self.ask(video, query, subtitles=subtitles, speech=speech, prior=prior, items=items)

    def ask(
        self,
        video: str,
        question: str = "",
        kind: str = one_video.LOCALIZE,
        options: Iterable[str] = (),
        times: Iterable[float] = (),
        subtitles: list[Subtitle] | None = None,
        speech: list[Any] | None = None,
        prior: list[Any] | None = None,
        items: Iterable[str] | None = None,
    ) -> Prediction:
        """Asks about one video file.

        Args:
            video: path of the file.
            question: query, topic or question, as the kind has it; ``<vid>`` stands for one of ``times``.
            kind: ``localize``, ``highlights``, ``actions``, ``summary``, ``dense_captioning``, ``step_captioning``,
                ``grounded_qa`` or ``question``.
            options: answers to choose from, of the last two.
            times: seconds that the question refers to, one for each ``<vid>``.
            subtitles, speech, prior, items: see ``localize``.

        Returns:
            the prediction: moments best first, ``captions`` of them, ``text``; of highlights the seconds of the peak
            in ``scores["highlight_s"]``.

        Raises:
            VideoDecodeError: if the file cannot be read.
            ValueError: if this cannot be asked, or not of this model; says why.
        """
        words = one_video.content_words(question) if items is None else items
        sample = one_video.sample_of(
            self, video, question, kind, list(options), list(times), subtitles, speech, prior, words
        )
        assert self.processor is not None
        views = self.processor(sample, train=False)
        batch = Batch([sample], {name: [frames] for name, frames in views.items()})
        was_training = self.training
        self.eval()
        try:
            (prediction,) = self.generate(batch.to(self.language_model.device))
        finally:
            self.train(was_training)
        return one_video.answered(self, sample, prediction)

    def set_trainable(self, patterns: Iterable[str]) -> list[str]:
        """Freezes everything but the parameters that match a pattern (``compressor.t5_proj.*``).

        Returns:
            names of what learns.

        Raises:
            ValueError: if a pattern matches nothing.
        """
        names = [name for name, _ in self.named_parameters()]
        chosen: set[str] = set()
        for pattern in patterns:
            hits = [name for name in names if fnmatchcase(name, pattern)]
            if not hits:
                parts = sorted({".".join(name.split(".")[:2]) for name in names})
                raise ValueError(
                    f"model.trainable pattern {pattern!r} matches no parameter; they begin {', '.join(parts)}"
                )
            chosen.update(hits)
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(name in chosen)
        return [name for name in names if name in chosen]

    def train(self, mode: bool = True) -> VideoLLM:
        """Training mode for what learns; wholly frozen modules stay in evaluation mode."""
        super().train(mode)
        self.cache.mode(mode)
        if mode:
            keep = getattr(self.compressor, "Qformer", None) if self.compressor.frozen_dropout else None
            _freeze_modes(self, keep)
        return self


def _weakly(method: Callable[[], object]) -> Callable[[], object]:
    """The same call, without keeping its object alive; nothing happens once that is gone."""
    reference = WeakMethod(method)

    def call() -> object:
        alive = reference()
        return None if alive is None else alive()

    return call


def _freeze_modes(module: nn.Module, keep: nn.Module | None) -> None:
    if module is keep:
        return
    parameters = list(module.parameters())
    if parameters and not any(p.requires_grad for p in parameters):
        holds_keep = keep is not None and any(m is keep for m in module.modules())
        if not holds_keep:
            module.eval()
            return
    for child in module.children():
        _freeze_modes(child, keep)

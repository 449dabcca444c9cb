"""Frames interleaved with their times, then subtitles, then the question: the prompt of MR.BLIP and CALCE.

``[frame tokens] time [frame tokens] time ... > duration <extra_id_0> [start text end] ... <extra_id_1> Query: ...``

Source: MR.BLIP (Meinardus et al., 2024; sudo-Boris/mr-Blip), CALCE (tjhd1475/CALCE). One class covers both: what
differs is whether subtitles, items and the prior are shown, and how the parts are padded.
"""

from __future__ import annotations

from typing import Literal

from lavis.common.registry import registry
from lavis.models.codecs.base import TimeCodec
from lavis.models.prompts.base import EvalLayout, Prompt, checked_eval_layout
from lavis.structures import Block, Segment, Sequence, Series, Subtitle, Text, Texts, TimedTokens, VideoSample, Visuals

NO_SUBTITLE = Subtitle(-1, -1, "*None*")
"""What CALCE shows where no line fits the query."""


@registry.prompts.register("interleaved")
class Interleaved(Prompt):
    """Interleaved frames and times.

    Args:
        task: the instruction that ends the prompt.
        show_task: whether to show it.
        show_subtitles: whether a subtitle part follows the video part.
        show_items: whether the nouns of the query are listed.
        show_prior: whether the coarser result is shown (``ref: [[24, 62]]``); needs ``sample.prior``.
        show_duration_again: MR.BLIP's ``add_duration``: the end mark is preceded by the exact duration once more.
        interleave: frames between their times; ``False`` lists all times, then all frames.
        show_times: ``False`` shows frames only (needs ``interleave: false``).
        layout: ``parts`` pads video, subtitles and text each on its own, as the originals do, so that what a sample
            sees depends a little on its batch; ``joined`` pads once, at the end.
        attend_padding: MR.BLIP lets attention see the zero vectors that pad its video part.
        end_mark_in_video: CALCE keeps the end mark in the padded video part, MR.BLIP puts it behind.
        eval_layout: how the model is asked, as opposed to trained: ``alone`` lays every sample out as if it were
            alone in its batch; ``batch`` pads as ``layout`` and ``attend_padding`` say, as the originals do.
        options_style: ``none``, or ``list`` to append answer options to the query (``Options: (a b c)``).
        max_tokens: limit of the text part and of each subtitle line, in tokens.
    """

    def __init__(
        self,
        task: str = (
            "Given the video and the subtitle and the query, find the query relevant windows.\nRelevant windows: "
        ),
        show_task: bool = True,
        show_subtitles: bool = True,
        show_items: bool = True,
        show_prior: bool = False,
        show_duration_again: bool = False,
        interleave: bool = True,
        show_times: bool = True,
        layout: Literal["parts", "joined"] = "parts",
        attend_padding: bool = False,
        end_mark_in_video: bool = True,
        options_style: Literal["none", "list"] = "none",
        max_tokens: int = 200,
        eval_layout: EvalLayout = "alone",
    ) -> None:
        if max_tokens < 2:
            raise ValueError(f"prompt.max_tokens must be at least 2, got {max_tokens}")
        if interleave and not show_times:
            raise ValueError("prompt.show_times: false needs prompt.interleave: false (there is nothing to interleave)")
        self.task = task
        self.show_task = show_task
        self.shows_subtitles = show_subtitles
        self.show_items = show_items
        self.show_prior = show_prior
        self.show_duration_again = show_duration_again
        self.interleave = interleave
        self.show_times = show_times
        self.layout = layout
        self.attend_padding = attend_padding
        self.end_mark_in_video = end_mark_in_video
        self.options_style = options_style
        self.max_tokens = max_tokens
        self.eval_layout = checked_eval_layout(eval_layout)

    def __call__(
        self,
        sample: VideoSample,
        tokens: TimedTokens,
        codec: TimeCodec,
        subtitles: list[Subtitle],
        answer: bool = False,
    ) -> Sequence:
        blocks = self._video(sample, tokens, codec)
        if self.shows_subtitles:
            blocks.append(Block(self._subtitles(sample, subtitles or [NO_SUBTITLE], codec), pad="left"))
        question = Text(self.question(sample, codec), eos=True, max_tokens=self.max_tokens)
        blocks.append(Block([question]))
        if self.layout == "joined":
            blocks = [Block([segment for block in blocks for segment in block.segments])]
        return Sequence(blocks, list(codec.encode(sample)) if answer else [])

    def question(self, sample: VideoSample, codec: TimeCodec) -> str:
        """The text part: query, prior, items, task."""
        query = f"Query: {sample.query}"
        if self.options_style == "list" and sample.options:
            query += f" Options: ({' '.join(sample.options)})"
        parts = [query + "\n"] if sample.query or self.options_style != "none" else [""]
        if self.show_prior:
            if sample.prior is None:
                raise ValueError(
                    f"sample {sample.id}: the prompt shows a prior (prompt.show_prior) but the sample has none; set "
                    "datasets.<name>.prior to the predictions of the earlier stage"
                )
            parts.append(f"ref: {codec.format_prior(sample.prior, sample)}\n")
        if self.show_items:
            parts.append(f"Items: {','.join(sample.items)}\n")
        if self.show_task:
            parts.append(self.task)
        return "".join(parts)

    def _video(self, sample: VideoSample, tokens: TimedTokens, codec: TimeCodec) -> list[Block]:
        visuals = Visuals(tokens.offsets(), tokens.counts)
        end = self._end_mark(sample)
        if not self.interleave:
            listing = codec.format_times(tokens.starts(), sample) if self.show_times else "<vid>"
            return [Block([Text(listing, max_tokens=self.max_tokens)]), Block([Series((visuals,))]), Block([Text(end)])]
        segments: list[Segment] = [
            Series((visuals, Texts(codec.time_texts(tokens.starts(), sample)))),
            Text(">", isolated=True),
            Text(codec.format_duration(sample), isolated=True),
        ]
        if self.end_mark_in_video:
            segments.append(Text(end, isolated=True))
        video = Block(segments, pad="left", attend_padding=self.attend_padding)
        return [video] if self.end_mark_in_video else [video, Block([Text(end)])]

    def _end_mark(self, sample: VideoSample) -> str:
        if self.show_duration_again:
            return f">{round(float(sample.duration), 2)}<extra_id_0>\n"
        return "<extra_id_0>"

    def _subtitles(self, sample: VideoSample, subtitles: list[Subtitle], codec: TimeCodec) -> list[Segment]:
        columns = (
            Texts(["["] * len(subtitles)),
            Texts([codec.format_subtitle_time(line.start, sample) for line in subtitles]),
            Texts([line.text for line in subtitles], isolated=False, max_tokens=self.max_tokens),
            Texts([codec.format_subtitle_time(line.end, sample) for line in subtitles]),
            Texts(["]"] * len(subtitles)),
        )
        return [Series(columns), Text("<extra_id_1>", isolated=True)]

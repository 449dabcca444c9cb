"""Frames, then a multiple-choice question: the answering prompt of MR.BLIP on NExT-QA and NExT-GQA.

``[frame tokens] Question: ... Option A: ... Considering the information presented in the frames, select the correct
answer from the options.`` Source: SeViLA (Yu et al., 2023), MR.BLIP (sudo-Boris/mr-Blip).
"""

from __future__ import annotations

from lavis.common.registry import registry
from lavis.models.codecs.base import TimeCodec
from lavis.models.prompts.base import EvalLayout, Prompt, checked_eval_layout
from lavis.structures import Block, Sequence, Series, Subtitle, Text, TimedTokens, VideoSample, Visuals

LETTERS = "ABCDEFGHIJ"


@registry.prompts.register("question_answer")
class QuestionAnswer(Prompt):
    """A question with lettered options behind the frames.

    Args:
        task: the instruction that ends the prompt.
        max_tokens: limit of the text, in tokens.
        eval_layout: how the model is asked, as opposed to trained: ``alone`` lays every sample out as if it were
            alone in its batch; ``batch`` pads frames and text each on their own, as the original does.
    """

    def __init__(
        self,
        task: str = (
            "Considering the information presented in the frames, select the correct answer from the options."
        ),
        max_tokens: int = 200,
        eval_layout: EvalLayout = "alone",
    ) -> None:
        if max_tokens < 2:
            raise ValueError(f"prompt.max_tokens must be at least 2, got {max_tokens}")
        self.task = task
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
        if not 2 <= len(sample.options) <= len(LETTERS):
            raise ValueError(
                f"sample {sample.id}: a question needs 2 to {len(LETTERS)} options, got {len(sample.options)}"
            )
        options = [f"Option {letter}: {text}" for letter, text in zip(LETTERS, sample.options, strict=False)]
        question = " ".join([f"Question: {sample.query}", *options, self.task])
        frames = Series((Visuals(tokens.offsets(), tokens.counts),))
        blocks = [Block([frames]), Block([Text(question, eos=True, max_tokens=self.max_tokens)])]
        return Sequence(blocks, list(codec.encode(sample)) if answer else [])

"""A judge that runs here: a chat model of Transformers.

Source: MMDuet judges with Llama-3.1-70B-Instruct and its model card's sampling, so that no two runs agree; here the
likeliest reply is taken unless ``sample`` says otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from lavis.common.registry import registry
from lavis.scoring.base import ScoringError
from lavis.scoring.judges._prompt import Prompt
from lavis.scoring.judges.base import AskedJudge, Pair


@registry.judges.register("local")
class LocalJudge(AskedJudge):
    """Asks a causal language model with a chat template, loaded at the first question.

    Args:
        model: folder, or name on the model hub.
        prompt: what the judge is told.
        cache: file that keeps replies; ``None`` keeps none.
        batch_size: pairs in one forward pass.
        max_new_tokens: of a reply.
        sample: draw replies as the model's own settings say, as the original does, instead of taking the likeliest.
        dtype: of the weights: ``auto``, ``bfloat16``, ``float16`` or ``float32``.
        device: ``auto`` takes an accelerator where there is one; ``spread`` divides the layers among all of them.
    """

    def __init__(
        self,
        model: str,
        prompt: str = "asset:judges/magqa_few_shot.txt",
        cache: str | None = "magqa_judged.jsonl",
        batch_size: int = 8,
        max_new_tokens: int = 32,
        sample: bool = False,
        dtype: str = "auto",
        device: str = "auto",
    ) -> None:
        if batch_size < 1 or max_new_tokens < 1:
            raise ValueError(f"batch_size and max_new_tokens must be at least 1, got {batch_size} and {max_new_tokens}")
        super().__init__(model, Prompt.read(prompt), cache)
        self.batch_size = batch_size
        self.max_new_tokens = max_new_tokens
        self.sample = sample
        self.dtype = dtype
        self.device = device
        self._loaded: tuple[Any, Any] | None = None

    def ask(self, pairs: Sequence[Pair]) -> Iterator[tuple[Pair, str]]:
        for start in range(0, len(pairs), self.batch_size):
            part = pairs[start : start + self.batch_size]
            yield from zip(part, self._generate(part), strict=True)

    def _generate(self, pairs: Sequence[Pair]) -> list[str]:
        import torch

        model, tokenizer = self._load()
        conversations = [self.prompt.filled(pair.texts) for pair in pairs]
        inputs = tokenizer.apply_chat_template(
            conversations, add_generation_prompt=True, padding=True, return_dict=True, return_tensors="pt"
        ).to(model.device)
        chosen = (
            {"do_sample": True}
            if self.sample
            else {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}
        )
        with torch.inference_mode():
            ids = model.generate(
                **inputs, max_new_tokens=self.max_new_tokens, pad_token_id=tokenizer.pad_token_id, **chosen
            )
        texts: list[str] = tokenizer.batch_decode(ids[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        return texts

    def _load(self) -> tuple[Any, Any]:
        """Model and tokenizer.

        Raises:
            ScoringError: if it cannot be loaded, or is no chat model.
        """
        if self._loaded is None:
            import torch
            from transformers import AutoModelForCausalLM, AutoTokenizer

            spread = {"device_map": "auto"} if self.device == "spread" else {}
            try:
                tokenizer = AutoTokenizer.from_pretrained(self.model, padding_side="left")
                model = AutoModelForCausalLM.from_pretrained(self.model, dtype=self.dtype, **spread)
            except (OSError, ValueError) as error:
                raise ScoringError(f"the judge {self.model} cannot be loaded: {error}") from error
            if tokenizer.chat_template is None:
                raise ScoringError(f"the judge {self.model} has no chat template; take an instruction-tuned model")
            if tokenizer.pad_token_id is None:
                tokenizer.pad_token = tokenizer.eos_token
            if not spread:
                found = "cuda" if torch.cuda.is_available() else "cpu"
                model = model.to(found if self.device == "auto" else self.device)
            self._loaded = model.eval(), tokenizer
        return self._loaded
